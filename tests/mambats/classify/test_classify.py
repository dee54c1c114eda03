"""A classifier answers row by row what it answers at once, learns, comes back from its checkpoint, and is scored."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mambats_datasets.uea as uea
from mambats.checkpoint import CheckpointMismatchError, load_task
from mambats.classify import AttentionPool, Augment, Classifier, ClassifyTask, LastToken, MeanToken
from mambats.classify.metrics import balanced_accuracy, confusion, expected_calibration_error
from mambats.classify.warping import nearest_warped, warping_distances
from mambats.cli import main
from mambats.data import CaseBatch
from mambats.encoders import BidirectionalEncoder, CausalEncoder
from mambats.recipe import describe, rebuild
from mambats_datasets.fakes.uea import fake, fake_unequal

RECIPES = Path(__file__).parents[3] / "recipes" / "classify"
POOLS = {"last": LastToken, "mean": MeanToken, "attention": lambda: AttentionPool(8)}


def classifier(pool="mean", classes=3, encoder=CausalEncoder):
    model = Classifier(encoder(2, 8, 2), classes, POOLS[pool]()).double().eval()
    if pool == "attention":
        torch.nn.init.normal_(model.pool.weigh.weight, std=3)
    return model


@pytest.mark.parametrize("pool", POOLS)
def test_steps_say_what_the_whole_says(pool):
    model, rows = classifier(pool), torch.randn(3, 7, 2, dtype=torch.float64)
    gaps = torch.rand(3, 7, dtype=torch.float64) + 0.5
    gaps[:, 0] = 1
    mask = torch.rand(3, 7) < 0.7
    mask[:, 0] = True
    state = model.init_state(3)
    for t in range(7):
        said, state = model.step(rows[:, t], gaps[:, t], mask_t=mask[:, t], state=state)
        whole = model(rows[:, : t + 1], gaps[:, : t + 1], mask=mask[:, : t + 1])
        torch.testing.assert_close(said, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("encoder", [CausalEncoder, BidirectionalEncoder])
@pytest.mark.parametrize("pool", POOLS)
def test_padding_changes_nothing(pool, encoder):
    model, rows = classifier(pool, encoder=encoder), torch.randn(1, 5, 2, dtype=torch.float64)
    padded = torch.cat([rows, torch.full((1, 4, 2), 7.0, dtype=torch.float64)], 1)
    mask = torch.arange(9)[None] < 5
    torch.testing.assert_close(model(padded, mask=mask), model(rows), rtol=1e-9, atol=1e-9)


def test_a_case_without_a_row_gives_numbers():
    model = classifier("attention")
    assert bool(model(torch.zeros(1, 3, 2).double(), mask=torch.zeros(1, 3, dtype=torch.bool)).isfinite().all())


def test_metrics_by_hand():
    probability = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    label = torch.tensor([0, 0, 1, 1])
    assert float(balanced_accuracy(probability, label)) == pytest.approx(0.75)
    assert confusion(probability, label).tolist() == [[2, 0], [1, 1]]
    # Each in a bin of its own: |1 - .9| + |1 - .6| + |0 - .8| + |1 - .7|, over four.
    assert float(expected_calibration_error(probability, label)) == pytest.approx((0.1 + 0.4 + 0.8 + 0.3) / 4)


def warped_by_hand(a, b):
    table = np.full((len(a) + 1, len(b) + 1), np.inf)
    table[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            cost = ((a[i] - b[j]) ** 2).sum()
            table[i + 1, j + 1] = cost + min(table[i, j + 1], table[i + 1, j], table[i, j])
    return table[-1, -1]


def test_warping_is_the_recursion():
    rng = np.random.default_rng(0)
    case, others = rng.normal(size=(5, 2)), [rng.normal(size=(n, 2)) for n in (7, 3, 1)]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(o) for o in others], batch_first=True)
    found = warping_distances(torch.tensor(case), padded, torch.tensor([7, 3, 1]))
    np.testing.assert_allclose(found, [warped_by_hand(case, o) for o in others], rtol=1e-9)


def test_a_case_is_nearest_to_its_slower_self():
    wave = torch.sin(torch.linspace(0, 6, 30))[:, None]
    slow, other = torch.sin(torch.linspace(0, 6, 45))[:, None], torch.zeros(30, 1)
    assert nearest_warped([other, slow], torch.tensor([0, 1]), [wave]).tolist() == [1]


def test_augmenting_keeps_shapes_and_what_is_not_there():
    mask = torch.arange(6)[None] < torch.tensor([[6], [3]])
    batch = CaseBatch(torch.randn(2, 6, 2), torch.zeros(2, 6), mask)
    changed = Augment(0.1, 0.2, 0.5, 0.5)(batch)
    assert changed.values.shape == batch.values.shape
    assert not bool((changed.mask & ~mask).any()) and bool(changed.mask.any(1).all())
    assert bool((changed.values[~changed.observed] == 0).all())


def test_what_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        Classifier(CausalEncoder(2, 8, 1), 1)
    with pytest.raises(ValueError, match="smoothing is 1"):
        ClassifyTask(classifier(), smoothing=1.0)
    task = ClassifyTask(classifier().float())
    for target in (torch.full((1, 4), torch.nan), torch.full((1, 4), 5.0), torch.full((1, 4), -1.0)):
        with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
            task.shared_step(CaseBatch(torch.randn(1, 4, 2), target), "val")


def test_a_task_is_rebuilt_from_its_description():
    task = ClassifyTask(classifier("attention"), augment=Augment(0.1))
    assert describe(rebuild(describe(task))) == describe(task)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A folder of fake problems, which are not the published files."""
    monkeypatch.setattr(uea, "RECORDS", {})
    monkeypatch.setattr(uea, "KNOWN", {})
    fake(tmp_path / "uea", "TRAIN", 12)
    fake(tmp_path / "uea", "TEST", 8, seed=1)
    path = fake_unequal(tmp_path / "uea", (7, 29, 12, 9, 15, 8, 20, 11, 13))
    path.with_name("JapaneseVowels_TEST.ts").write_bytes(path.read_bytes())
    monkeypatch.setenv("MAMBATS_DATA", str(tmp_path))
    return tmp_path


# The fakes have the recipe's layout, JapaneseVowels with fewer channels and classes.
FAKES = {
    "basicmotions": [],
    "japanesevowels": ["--model.init_args.model.init_args.classes", "2",
                       "--model.init_args.model.init_args.encoder.init_args.channels", "3"],
}  # fmt: skip


@pytest.mark.parametrize("name", ["basicmotions", pytest.param("japanesevowels", marks=pytest.mark.slow)])
def test_the_recipe_trains_is_scored_and_predicts(name, corpus, capsys):
    words = ["--config", str(RECIPES / f"{name}.yaml"), "--runs", str(corpus / "runs"), "--trainer.logger", "false"]
    words += [*FAKES[name], "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"]
    for command in ("fit", "test"):
        assert main([command, *words]) == 0
    run = corpus / "runs" / name
    rows = json.loads((run / "results.json").read_text())
    models = {"majority", "nearest_euclidean", "nearest_warped", "random_convolutions", "logistic_summary", name}
    assert {row["model"] for row in rows} == models and {row["metric"] for row in rows} >= {"accuracy", "log_loss"}
    assert (run / "pictures" / "confusion.png").stat().st_size > 5_000
    assert main(["predict", *words, "--output", str(run / "said.csv")]) == 0
    lines = (run / "said.csv").read_text().splitlines()
    assert lines[0].startswith("unique_id,ds,") and len(lines) == 1 + (8 if name == "basicmotions" else 9)
    shares = [sum(float(cell) for cell in line.split(",")[2:]) for line in lines[1:]]
    np.testing.assert_allclose(shares, 1, atol=1e-5)
    task = load_task(run / "checkpoints" / "best.ckpt")
    assert task.classes == (("Standing", "Running", "Walking", "Badminton") if name == "basicmotions" else ("1", "2"))
    with pytest.raises(CheckpointMismatchError, match="another model"):
        other = ClassifyTask(classifier(classes=4))
        other.on_load_checkpoint(torch.load(run / "checkpoints" / "best.ckpt", weights_only=True))


def test_a_model_of_other_classes_is_refused(corpus, capsys):
    words = ["--config", str(RECIPES / "basicmotions.yaml"), "--runs", str(corpus / "runs")]
    words += ["--trainer.logger", "false", "--model.init_args.model.init_args.classes", "3"]
    assert main(["fit", *words]) == 2
    assert "has 4 (Standing, Running, Walking, Badminton)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_basicmotions_is_solved(seed, data_root, tmp_path):
    words = ["--config", str(RECIPES / "basicmotions.yaml"), "--runs", str(tmp_path), "--trainer.logger", "false"]
    words += ["--seed_everything", str(seed), "--trainer.accelerator", "cpu"]
    assert main(["fit", *words]) == 0 and main(["test", *words]) == 0
    rows = json.loads((tmp_path / "basicmotions" / "results.json").read_text())
    [share] = [row["value"] for row in rows if (row["model"], row["metric"]) == ("basicmotions", "accuracy")]
    assert share == 1.0
