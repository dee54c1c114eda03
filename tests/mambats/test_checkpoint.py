"""Checkpoints: whole or refused by name, the previous one kept, no code run."""

import subprocess
import sys
import textwrap

import pytest
import torch

from mambats.checkpoint import (
    CheckpointDamagedError,
    CheckpointForeignError,
    CheckpointMismatchError,
    CheckpointMissingError,
    CheckpointUnverifiedError,
    CheckpointWriteError,
    check_same_model,
    load_task,
    read_checkpoint,
    read_entry,
    sum_path,
    verify,
    write_checkpoint,
    write_entry,
)


class Net(torch.nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.width = width
        self.linear = torch.nn.Linear(width, 1)


class Task(torch.nn.Module):
    """A stand-in for a LightningModule: what a checkpoint needs of a task."""

    def __init__(self, model: Net, rate: float = 0.1):
        super().__init__()
        self.model, self.rate = model, rate

    def on_load_checkpoint(self, checkpoint):
        check_same_model(checkpoint, self)


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    import types

    module = types.ModuleType("mambats.standin")
    for cls in (Net, Task):
        monkeypatch.setattr(cls, "__module__", "mambats.standin")
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "mambats.standin", module)


def content(task):
    checkpoint = {"state_dict": task.state_dict(), "epoch": 3}
    write_entry(checkpoint, task, ["a", "b"], 3_600_000_000_000, source="here", fingerprint="f" * 64)
    return checkpoint


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    task = Task(Net(4))
    write_checkpoint(content(task), tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt", task


def test_a_task_comes_back_from_its_checkpoint_alone(saved):
    path, task = saved
    again = load_task(path)
    assert isinstance(again, Task) and again.model.width == 4 and not again.training
    assert all(torch.equal(a, b) for a, b in zip(task.parameters(), again.parameters(), strict=True))
    entry = read_entry(read_checkpoint(path), path)
    assert (entry.channels, entry.period_ns, entry.source) == (("a", "b"), 3_600_000_000_000, "here")


def test_the_sum_is_what_sha256sum_checks(saved):
    path, _ = saved
    done = subprocess.run(["sha256sum", "-c", sum_path(path).name], cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0 and "OK" in done.stdout


def test_every_flipped_bit_and_every_truncation_is_found(saved):
    path, _ = saved
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(1)
    for _ in range(300):
        bit = int(torch.randint(len(whole) * 8, (1,), generator=generator))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointDamagedError, match=r"best\.ckpt.*Take another copy"):
            read_checkpoint(path)
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointDamagedError):
            read_checkpoint(path)


def test_a_missing_file_or_sum_is_named(saved, tmp_path):
    path, _ = saved
    with pytest.raises(CheckpointMissingError, match="there is no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    sum_path(path).unlink()
    with pytest.raises(CheckpointUnverifiedError, match=r"sha256sum best\.ckpt > best\.ckpt\.sha256"):
        read_checkpoint(path)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    write_checkpoint({"state_dict": Payload()}, tmp_path / "trap.ckpt")
    with pytest.raises(CheckpointForeignError, match="could run foreign code"):
        read_checkpoint(tmp_path / "trap.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("mambats"), "of another program"),
        (lambda c: c["mambats"].update(format=2), "has layout 2"),
        (lambda c: c["mambats"].update(colour="red"), "is not ours"),
        (lambda c: c["mambats"]["recipe"].update(class_path="os.system"), "not of an allowed package"),
    ],
)
def test_a_foreign_checkpoint_is_refused(tmp_path, change, said):
    checkpoint = content(Task(Net()))
    change(checkpoint)
    write_checkpoint(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointForeignError, match=said):
        load_task(tmp_path / "a.ckpt")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    import hashlib

    path = tmp_path / "a.ckpt"
    path.write_text("hello")
    sum_path(path).write_text(f"{hashlib.sha256(b'hello').hexdigest()}  a.ckpt\n")
    with pytest.raises(CheckpointForeignError, match=r"a\.ckpt"):
        read_checkpoint(path)
    write_checkpoint([1, 2], path)
    with pytest.raises(CheckpointForeignError, match="holds list"):
        read_checkpoint(path)


def test_a_checkpoint_of_another_model_names_the_difference():
    checkpoint = content(Task(Net(4)))
    check_same_model(checkpoint, Task(Net(4), rate=0.5))
    with pytest.raises(CheckpointMismatchError, match=r"model\.init_args\.width is 4, here 3"):
        check_same_model(checkpoint, Task(Net(3)))


def test_tensors_that_do_not_fit_their_recipe_are_refused(tmp_path):
    checkpoint = content(Task(Net(4)))
    checkpoint["state_dict"] = Task(Net(2)).state_dict()
    write_checkpoint(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointMismatchError, match="do not fit"):
        load_task(tmp_path / "a.ckpt")


def test_a_full_disk_leaves_the_previous_checkpoint(saved, monkeypatch):
    path, _ = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        write_checkpoint({"state_dict": {}}, path)
    assert path.read_bytes() == before
    verify(path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["best.ckpt", "best.ckpt.sha256"]


def test_a_real_size_limit_is_reported_as_a_full_disk(tmp_path):
    code = """
        import resource, signal, sys, torch
        from mambats.checkpoint import CheckpointWriteError, verify, write_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = sys.argv[1] + "/a.ckpt"
        write_checkpoint({"x": torch.zeros(10)}, path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            write_checkpoint({"x": torch.zeros(1_000_000)}, path)
        except CheckpointWriteError as error:
            print("refused:", error)
        import pathlib
        verify(pathlib.Path(path))
        print(sorted(p.name for p in pathlib.Path(sys.argv[1]).iterdir()))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert "refused:" in done.stdout and "['a.ckpt', 'a.ckpt.sha256']" in done.stdout


@pytest.mark.parametrize("stage", [1, 2])
def test_a_process_killed_between_the_steps_leaves_a_file_that_verifies(saved, monkeypatch, stage):
    from mambats.checkpoint import file as module

    path, _ = saved
    written = []
    replace_text = module._replace_text

    class Killed(BaseException):
        pass

    def die(target, text):
        written.append(text)
        if len(written) == stage and stage == 2:
            raise Killed
        replace_text(target, text)
        if len(written) == stage:
            raise Killed

    monkeypatch.setattr(module, "_replace_text", die)
    with pytest.raises(Killed):
        write_checkpoint({"new": 1}, path)
    verify(path)
    assert ("new" in read_checkpoint(path)) == (stage == 2)


def test_reading_checkpoints_loads_no_heavy_package():
    heavy = ("lightning", "mlflow", "polars", "jsonargparse")
    code = f"import sys, mambats.checkpoint; print([m for m in {heavy} if m in sys.modules])"
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "[]", done.stderr


def test_lightning_saves_and_resumes_through_the_safe_way(tmp_path):
    from lightning.pytorch import LightningModule, Trainer
    from torch.utils.data import DataLoader

    from mambats.checkpoint.plugin import SafeCheckpointIO

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def training_step(self, batch):
            return self.linear(batch).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    def trainer(epochs):
        return Trainer(
            max_epochs=epochs,
            plugins=[SafeCheckpointIO()],
            logger=False,
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
        )

    loader = DataLoader(torch.ones(4, 2), batch_size=2)
    first = trainer(1)
    first.fit(Module(), loader)
    (path,) = (tmp_path / "checkpoints").glob("*.ckpt")
    verify(path)
    second = trainer(2)
    second.fit(Module(), loader, ckpt_path=path)
    assert second.current_epoch == 2
    for left in (tmp_path / "checkpoints").glob("*.ckpt"):
        left.write_bytes(left.read_bytes()[:-1])
        with pytest.raises(CheckpointDamagedError):
            trainer(3).fit(Module(), loader, ckpt_path=left)
