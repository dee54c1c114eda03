"""The benchmark: its jobs run in small, rows survive their file, tables say what rows say, rivals get our numbers."""

import runpy
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import torch

from bench import cpu, gpu, job, pages, peak, plan, rivals, row, table, work
from bench.bars import BARS, LARGE, SHORT
from mambats_kernels import causal_conv, selective_scan
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SHAPE = (2, 20, 8, 4)
HEAD = row.Machine("H", "2.11", "3.6", "13.0", "580", "3.12", 1, "2026-01-01", 3.0, 4.18)


def bench(*arguments):
    runpy.run_path(str(ROOT / "kernels/bench.py"))["main"]([*map(str, arguments)])


def made(section, shape, step, ms, who="cuda", **more):
    family = "causal_conv" if section == "conv" else "selective_scan"
    return row.Row(section, f"{family}/{shape}", "bfloat16", who, step, device_ms=ms, **more)


def test_every_gpu_job_runs_in_small(tmp_path, capsys):
    bench("--bars", "--tiny", "--csv", tmp_path / "rows.csv")
    found = [r for _, r in row.read([tmp_path / "rows.csv"])]
    assert {r.section for r in found} == {"scan", "bidirectional", "conv", "step", "backends", "extras", "attention"}
    assert not [r for r in found if r.note.startswith("failed")]
    assert {r.step for r in found if r.section == "extras"} == {"fwd", "fwd+bwd"}
    assert "### Promises" in capsys.readouterr().out


def test_the_promises_name_jobs_that_exist():
    jobs = [*plan.promises(CPU, None, False), *plan.explanations(CPU, False)]
    keys = {(j.section, j.case, str(j.dtype)[6:]) for j in jobs}
    assert {(bar.section, bar.case, bar.dtype) for bar in BARS} <= keys


def test_a_failing_job_is_told_and_the_next_one_runs():
    def broken():
        raise RuntimeError("no such kernel\nmore")

    def empty():
        return work.Work(lambda: (torch.tensor([torch.nan]),))

    good = work.Work(lambda: (torch.ones(1),))
    jobs = [job.Job("scan", n, "", torch.float32, make, {}, who="x") for n, make in
            (("a", broken), ("b", empty), ("c", lambda: good))]  # fmt: skip
    book = row.Book(HEAD)
    from bench.watch import CpuWatch

    gpu.run(jobs, book, CpuWatch(1), CPU, 60)
    assert [r.note.partition(":")[0] for r in book.rows] == ["failed", "failed", ""]
    assert "no such kernel" in book.rows[0].note and "not finite" in book.rows[1].note
    gpu.run(jobs, book, CpuWatch(1), CPU, -1)
    assert book.rows[-1].note == "skipped: the time is up"


def test_rows_survive_their_file(tmp_path):
    rows = [made("scan", LARGE, "fwd", 0.21, replays=20, note='a, "b"'), made("scan", LARGE, "fwd+bwd", None)]
    row.Book(HEAD, tmp_path / "a.csv").add(rows)
    assert row.read([tmp_path / "a.csv"]) == [(HEAD, r) for r in rows]
    (tmp_path / "b.csv").write_text("device,ms\nH,1\n")
    with pytest.raises(ValueError, match="measure anew"):
        row.read([tmp_path / "b.csv"])


def test_floors_are_those_of_the_research():
    floors = work.scan_floors((8, 2048, 1536, 16), 2)
    assert floors["fwd"].times(3.0, 4.18) == pytest.approx((0.0675, 0.0963), rel=2e-3)
    assert floors["fwd+bwd"].times(3.0, 4.18) == pytest.approx((0.1856, 0.1927), rel=2e-3)
    assert work.conv_floors((8, 2048, 1536, 4), 2)["fwd+bwd"].times(3.0, None)[0] == pytest.approx(0.0839, rel=2e-3)
    assert work.step_floors(64, 1536, 16, 2)["fwd"].times(3.0, None)[0] == pytest.approx(0.0045, rel=0.02)


def test_the_page_says_what_the_rows_say(tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "rows.csv"
    page.write_text("before\n<!-- bench gpu -->\nold\n<!-- end bench gpu -->\nafter\n")
    book = row.Book(HEAD, file)
    book.add([made("scan", SHORT, "fwd", 0.03, eager_ms=0.2), made("scan", SHORT, "fwd+bwd", 0.2, eager_ms=0.21)])
    book.add([made("scan", LARGE, "fwd", 0.2, bytes_ms=0.0675, arithmetic_ms=0.1)])
    book.add([made("scan", LARGE, "fwd+bwd", 0.9, held_mib=80.0, saved_mib=32.0, peak_mib=300.0)])
    book.add([made("scan", LARGE, "fwd", 0.5, who="mamba_ssm"), made("extras", f"{LARGE}+gaps", "fwd", 0.25)])
    book.add([made("attention", LARGE, "fwd", 0.4, who="torch SDPA flash")])
    book.add([made("backends", LARGE, "fwd", None, who="triton", note="failed: X")])
    pytest.importorskip("matplotlib")
    pages.write([file], page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "5.40x met (must 4.7, aim 6) | 2.95x **missed** (must 4.3, aim 6)" in text  # published: 0.162 / 0.591
    assert "0.82x **missed** (must 1.5, aim 3) | 2.87x met (must 2, aim 4)" in text  # eager
    assert "mamba_ssm, this run: 0.5 / published" not in text and "2.50x met (must 1.9, aim 2.7)" in text
    assert "| fwd | 1.25 **over** | - | - | - |" in text
    assert "| 0.2 | 0.4 | 2.00x |" in text
    assert "80.0 MiB of at most 97.5 (met" in text and "300.0 MiB of at most 245 (**missed**)" in text
    assert "2.96 / 2 |" in text and "triton, fwd: failed: X" in text
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no marks"):
        pages.write([file], page)


def test_cpu_and_model_tables_are_written(tmp_path):
    bench("--cpu", "--tiny", "--quick", "--csv", tmp_path / "cpu.csv")
    bench("--cpu", "--tiny", "--quick", "--model", "--only", "causal", "--csv", tmp_path / "model.csv")
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- bench {n} -->\n<!-- end bench {n} -->\n" for n in ("cpu", "model")))
    bench("--table", tmp_path / "cpu.csv", tmp_path / "model.csv", "--page", page)
    text = page.read_text()
    assert "| selective_scan/full | float32 |" in text and "| causal_conv/full | float32 |" in text
    assert "| causal/B2_T16_w8_L1 | float32 | training |" in text and table.digits(None) == "-"


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own():
    case, small = cpu.BENCHES[1], cpu.TINY[0]
    found = {backend: peak.peak(case, small, backend, 1) for backend in ("torch", "reference")}
    assert 1 < found["torch"] < found["reference"]
    with pytest.raises(RuntimeError, match="known back-ends"):
        peak.peak(case, small, "nothing")


def stand_in(monkeypatch, name, **functions):
    """A module that holds functions with a rival's signature."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
    vars(sys.modules[name]).update(functions)


def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """The published signature, (B, D, L) and (B, N, L)."""
    last = {"D": D, "z": z.mT, "dt_bias": delta_bias, "dt_softplus": delta_softplus}
    return selective_scan(u.mT, delta.mT, A, B.mT, C.mT, **last)[0].mT


def pscan(a, x):
    """States (B, L, D, N) of h = a h + x."""
    h, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = a[:, t] * h + x[:, t]
        states.append(h)
    return torch.stack(states, 1)


@pytest.mark.parametrize(
    ("module", "name", "function", "adapt"),
    [
        ("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", selective_scan_fn, rivals.mamba_ssm_scan),
        ("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", selective_scan_fn, rivals.mamba_ssm_both_ways),
        ("mambapy.pscan", "pscan", pscan, rivals.mambapy_scan),
    ],
)
def test_scan_rivals_get_our_numbers(monkeypatch, module, name, function, adapt):
    stand_in(monkeypatch, module, **{name: function})
    op, missing = rivals.find(module, name)
    assert op is function and not missing
    theirs = adapt(op, SHAPE, torch.float32, CPU)
    given = scan_cases.timed(0, torch.float32, CPU, shape=SHAPE)
    y = (job.both_ways(**given) if adapt is rivals.mamba_ssm_both_ways else selective_scan(**given))[0]
    found = theirs.both()
    torch.testing.assert_close(found[0] if adapt is rivals.mambapy_scan else found[0].mT, y, rtol=1e-4, atol=1e-5)
    assert len(found) == 1 + 8 and all(g is not None for g in found)  # x, dt, z, B, C, A, D, bias


@pytest.mark.parametrize("adapt", [rivals.causal_conv1d, rivals.fla_conv, rivals.conv1d])
def test_convolution_rivals_get_our_numbers(adapt):
    def first(x, weight, bias, activation):
        return causal_conv(x.mT, weight, bias, activation=activation)[0].mT

    functions = {rivals.causal_conv1d: first, rivals.fla_conv: partial(causal_conv), rivals.conv1d: None}
    op = functions[adapt] or torch.nn.functional.conv1d
    found = adapt(op, SHAPE, CPU).both()
    y = causal_conv(**conv_cases.timed(0, torch.bfloat16, CPU, shape=SHAPE))[0]
    mine = found[0] if adapt is rivals.fla_conv else found[0].mT
    assert (mine - y).float().norm() < 0.02 * y.float().norm()
    assert len(found) == 4


@pytest.mark.gpu
def test_graphs_are_timed_and_memory_is_counted():
    from bench.watch import GpuWatch

    device = torch.device("cuda", torch.cuda.current_device())
    x = torch.randn(2**22, device=device, requires_grad=True)
    squared = work.Work(lambda: (x * x,), (x,), torch.ones_like(x))
    watch = GpuWatch(device, 0.01)
    ran, memory = watch.device(squared.both), watch.memory(squared)
    assert not ran.note and 0.005 < ran.ms < 1 and watch.eager(squared.both).ms >= 0.5 * ran.ms
    assert memory.held == pytest.approx(16, abs=1) and memory.saved == pytest.approx(0, abs=1)
    assert memory.peak >= 32
    waits = watch.device(lambda: (x + x.sum().item(),))
    assert "not captured" in waits.note and waits.ms > 0
