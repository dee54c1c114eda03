"""A navigator's bundle: what is read and refused, and the flat model that its graph is made of."""

import json

import numpy as np
import pytest
import torch

from mambats.bundle import BundleDamagedError, BundleForeignError, BundleMissingError, layout, read_bundle
from mambats.bundle.card import CardFacts
from mambats.bundle.check import check_bundle
from mambats.bundle.elementary import asinh, atan2, cholesky, cholesky_solve, cummax, searchsorted, slice_scatter
from mambats.bundle.flat_navigator import FlatNavigator, members_scale
from mambats.bundle.navigator_check import record_ticks, replay_ticks
from mambats.bundle.navigator_export import navigator_files, navigator_graphs
from mambats.encoders.fusion import StreamFusion
from mambats.odometry import FilterBank, Navigator
from mambats.odometry.robot import inertial_filter
from mambats.streaming.engines.navigation_facts import ANSWERS, start_of
from mambats.streaming.engines.navigator import NavigatorEngine, name_state

TICK = 100_000_000
CARD = CardFacts(source="nowhere", fingerprint="", checkpoint_sha256="0" * 64, versions={"mambats": "0"})


def make_navigator(seed=0):
    torch.manual_seed(seed)
    made = Navigator(StreamFusion(Navigator.channels(), width=8, layers=1, period_ns=TICK), FilterBank()).eval()
    torch.nn.init.normal_(made.head.outer.weight, std=0.3)
    return made


@pytest.fixture(scope="module")
def model():
    return make_navigator()


@pytest.fixture(scope="module")
def files(model):
    return navigator_files(model, {}, "demo", CARD)


class FlatTicks:
    """The flat model behind a stream, robot by robot as its graph."""

    def __init__(self, model):
        self.flat = FlatNavigator(model).eval()

    def begin(self, start, rows):
        state = name_state(self.flat.begin(torch.from_numpy(start)[None]))
        return {name: np.repeat(leaf.numpy(), rows, 0) for name, leaf in state.items()}

    @torch.no_grad()
    def answer(self, rows, ticks, state):
        assert ticks == 1
        made = [self._robot(rows, state, slice(k, k + 1)) for k in range(len(state["fresh"]))]
        return tuple(
            {name: np.concatenate([one[part][name] for one in made]) for name in made[0][part]} for part in (0, 1)
        )

    def _robot(self, rows, state, robot):
        given = {name: [torch.from_numpy(_one_more(part[robot])) for part in parts] for name, parts in rows.items()}
        estimate, after = self.flat(given, {name: torch.from_numpy(state[name][robot]) for name in self.flat.names})
        answers = {name: getattr(estimate, name).double().numpy() for name in ANSWERS}
        return answers, {name: leaf.contiguous().numpy() for name, leaf in after.items()}


def _one_more(part):
    return np.concatenate([part, np.zeros_like(part[:, :1], shape=(len(part), 1, *part.shape[2:]))], 1)


def test_the_flat_model_is_the_model(model):
    engine = NavigatorEngine(model)
    recorded = record_ticks(engine, ticks=4, rows=1)
    engine.core = FlatTicks(model)
    answers, last = replay_ticks(engine, recorded)
    assert np.abs(recorded["position"]).max() > 1e-3
    for name, wanted in recorded.items():
        if name not in answers and not name.startswith("last."):
            continue
        found = answers[name] if name in answers else last[name.removeprefix("last.")]
        assert np.abs(found.astype(float) - wanted).max() <= 1e-6 * max(1, np.abs(wanted.astype(float)).max()), name


def test_a_bundle_is_read_and_its_torch_engine_gives_the_recorded_numbers(model, lay, files, tmp_path):
    folder = lay(tmp_path / "bundle", files)
    assert check_bundle(folder, ["torch"])["torch"] < 1e-6
    start = (1.0, 2.0, 0.0, 0.0, 0.0, 0.3, 0.9, 0.5, 0.0, 0.0)
    bundle = read_bundle(folder)
    for given in (None, start):  # a snapshot of one goes on with the other
        assert bundle.engine("torch", given).identity == NavigatorEngine(model, given).identity
    state = bundle.engine("torch", start).init_state(2)
    assert np.allclose(state["bank.blind.position"], [[1, 2, 0]] * 2)
    card = files[layout.CARD].decode()
    assert "navigator" in card and "gnss" in card and "0.1 s" in card and bundle.identity in card


def test_what_a_bundle_lacks_is_named(lay, files, tmp_path):
    bundle = read_bundle(lay(tmp_path / "bundle", files))
    with pytest.raises(BundleMissingError, match=r"step\.onnx"):
        bundle.engine("onnx")
    with pytest.raises(BundleMissingError, match=r"begin\.onnx"):
        read_bundle(lay(tmp_path / "half", {**files, layout.STEP: b"x"})).engine()
    with pytest.raises(ValueError, match="native library steps no navigators"):
        bundle.engine("native")
    with pytest.raises(ValueError, match="px py pz"):
        bundle.engine("torch", [0.0] * 10)


def test_foreign_and_changed_bundles_are_refused(lay, files, tmp_path):
    config = json.loads(files[layout.CONFIG])
    for place, (change, kind, text) in enumerate(
        [
            ({"kind": "detector"}, BundleForeignError, "holds a 'detector'"),
            ({"facts": {"tick_ns": 1}}, BundleDamagedError, "not of one export"),
            ({"state": []}, BundleDamagedError, "different states"),
        ]
    ):
        changed = {**files, layout.CONFIG: json.dumps({**config, **change}).encode()}
        with pytest.raises(kind, match=text):
            read_bundle(lay(tmp_path / str(place), changed))
    folder = lay(tmp_path / "flipped", files)
    body = bytearray((folder / layout.WEIGHTS).read_bytes())
    body[-1] ^= 1
    (folder / layout.WEIGHTS).write_bytes(body)
    with pytest.raises(BundleDamagedError, match="truncated or was changed"):
        read_bundle(folder)
    (folder / layout.CHECK).unlink()
    with pytest.raises(BundleMissingError, match="is missing"):
        check_bundle(folder)
    config["model"]["init_args"]["encoder"]["init_args"]["width"] = 16
    broken = read_bundle(lay(tmp_path / "recipe", {**files, layout.CONFIG: json.dumps(config).encode()}))
    with pytest.raises(BundleForeignError, match="do not make a navigator"):
        broken.engine("torch")


def test_a_bank_of_unlike_filters_says_why_it_stays():
    other = FilterBank(wheeled=inertial_filter())
    assert torch.equal(members_scale(other), torch.ones(4, 4, dtype=torch.float64))
    other.wheeled.wander_seconds = 10.0
    with pytest.raises(ValueError, match="differs from the other"):
        members_scale(other)


def test_elementary_operators_are_those_of_torch():
    torch.manual_seed(1)
    root = torch.randn(3, 5, 5, dtype=torch.float64)
    matrix = root @ root.mT + 0.1 * torch.eye(5)
    factor, failed = cholesky(matrix)
    assert torch.allclose(factor, torch.linalg.cholesky(matrix), atol=1e-12) and not failed.any()
    assert cholesky(-matrix)[1].all()
    right = torch.randn(3, 5, 2, dtype=torch.float64)
    assert torch.allclose(cholesky_solve(right, factor), torch.linalg.solve(matrix, right), atol=1e-9)
    rows, values = torch.tensor([[1, 3, 3, 8]]), torch.tensor([[0, 3, 4, 9]])
    for side in (False, True):
        assert torch.equal(searchsorted(rows, values, right=side), torch.searchsorted(rows, values, right=side))
    assert torch.equal(cummax(values.flip(1), 1)[0], values.flip(1).cummax(1).values)
    angles = torch.linspace(-3.14, 3.14, 101, dtype=torch.float64)
    y, x = (
        torch.cat([angles.sin(), torch.tensor([0.0, 1.0, 0.0])]),
        torch.cat([angles.cos(), torch.tensor([0.0, 0.0, -1.0])]),
    )
    assert (atan2(y, x) - torch.atan2(y, x)).abs().max() < 1e-15
    assert (asinh(10 * x) - torch.asinh(10 * x)).abs().max() < 1e-14
    whole, part = torch.zeros(4, 6), torch.ones(4, 2)
    for begin in (0, 2, 4):
        assert torch.equal(
            slice_scatter(whole, part, 1, begin, begin + 2), whole.slice_scatter(part, 1, begin, begin + 2)
        )


def test_the_start_is_made_of_length_1():
    assert np.allclose(start_of((0, 0, 0, 0, 0, 3, 4, 0, 0, 0))[3:7], [0, 0, 0.6, 0.8])


@pytest.mark.slow
def test_its_graph_is_the_model(model, lay, tmp_path):
    """Three to ten minutes: the exporter takes nine parts."""
    for needed in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(needed)
    graphs = navigator_graphs(model, "test")
    assert graphs.keys() == {layout.STEP, layout.BEGIN}
    folder = lay(tmp_path / "bundle", navigator_files(model, graphs, "demo", CARD))
    assert check_bundle(folder, ["onnx"])["onnx"] < 1e-5
    two = record_ticks(read_bundle(folder).engine("onnx"), ticks=3, rows=2)
    given = {name: part for name, part in two.items() if not name.startswith("last.")}
    first = {name: part[:, :1] if part.ndim > 1 else part for name, part in given.items()}
    answers, _ = replay_ticks(read_bundle(folder).engine("onnx"), first)
    assert all(np.array_equal(answers[name], two[name][:, :1]) for name in ANSWERS)  # robots do not touch one another
