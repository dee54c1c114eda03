"""The doctor: says what is there, and notices a scan that computes wrongly."""

import torch

from mambats.cli import main
from mambats.command import doctor


def test_the_doctor_reports_and_finds_all_well(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in (
        "torch",
        "mlflow",
        "selective_scan on cpu",
        "chosen back-end vs reference",
        "step by step",
        "all well",
    ):
        assert word in out


def test_the_doctor_notices_a_wrong_result(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_step_error", lambda place: 1e-3)
    assert main(["doctor"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_errors_are_relative_to_the_largest_value():
    assert doctor.relative_error(torch.tensor([100.0, 1.0]), torch.tensor([100.0, 0.0])) == 0.01
