"""The examples in the docstrings run as they stand."""

import textwrap

import pytest
import torch

import mambats_kernels


@pytest.mark.parametrize("name", mambats_kernels.__all__)
def test_the_example_runs(name):
    document = getattr(mambats_kernels, name).__doc__
    example = document.partition("Example:\n")[2].partition("\n\n")[0]
    assert example.strip()
    exec(textwrap.dedent(example), {"torch": torch, **vars(mambats_kernels)})
