from dataclasses import replace

import pytest
import torch

from mambats.track import Objects
from mambats.track.objects import splits_of


@pytest.fixture
def three() -> Objects:
    boxes = torch.arange(21.0, dtype=torch.float64).reshape(3, 7)
    return Objects(torch.tensor([0, 10]), splits_of([2, 1]), boxes, torch.tensor([0, 1, 1]), ("car", "cyclist"))


def test_rows_know_their_frames(three: Objects) -> None:
    assert three.frames.tolist() == [0, 0, 1]
    assert len(three) == 2


def test_taking_rows_keeps_all_frames(three: Objects) -> None:
    cars = three.of_class("car")
    assert cars.splits.tolist() == [0, 1, 1]
    assert torch.equal(cars.boxes, three.boxes[:1])
    last = three.between(1, 2)
    assert last.splits.tolist() == [0, 1] and torch.equal(last.boxes, three.boxes[2:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stamps": torch.tensor([10, 10])}, "do not rise"),
        ({"splits": torch.tensor([0, 2, 2])}, "needed 0 to 3"),
        ({"labels": torch.tensor([0, 1, 2])}, "classes are"),
        ({"score": torch.zeros(2)}, "needed \\(3,\\)"),
        ({"boxes": -torch.ones(3, 7, dtype=torch.float64)}, "negative"),
    ],
)
def test_bad_tables_are_named(three: Objects, change: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(three, **change)


def test_an_unknown_class_is_named(three: Objects) -> None:
    with pytest.raises(ValueError, match="bus"):
        three.of_class("bus")
