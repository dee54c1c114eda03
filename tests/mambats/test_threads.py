"""The command line uses the cores that are free."""

import os

import pytest
import torch

from mambats.command.setup import settle_threads


@pytest.mark.parametrize(("load", "had", "want"), [(0.2, 4, 4), (1.6, 4, 2), (9.0, 4, 1)])
def test_threads_leave_busy_cores_alone(monkeypatch, load, had, want):
    chosen = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: had)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    settle_threads()
    assert chosen == [want]


def test_the_environment_has_the_last_word(monkeypatch):
    chosen = []
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    settle_threads()
    assert chosen == []
