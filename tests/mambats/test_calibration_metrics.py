import subprocess
import sys

import pytest
import torch

from mambats.calibration import NEES, NIS, ChiSquareMean, IntervalCoverage
from mambats.gaussian import Gaussian


def drawn(entries, inflate):
    root = torch.tensor([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.1, -0.3, 0.2]], dtype=torch.float64)
    truth = torch.randn(entries, 3, dtype=torch.float64) @ root.T
    return Gaussian(torch.zeros_like(truth), (inflate * root @ root.T).expand(entries, 3, 3)), truth


@pytest.mark.parametrize(("inflate", "place"), [(1.0, 0), (0.5, 1), (2.0, -1)])
def test_nees_says_over_and_underconfident(inflate, place):
    metric = NEES(3, 0.99)
    for batch in range(4):
        metric.update(*drawn(500, inflate), mask=None if batch else torch.arange(500) > 99)
    found = {k: float(v) for k, v in metric.compute().items()}
    assert (found["average"] > found["band_high"]) - (found["average"] < found["band_low"]) == place
    assert found["per_degree"] == pytest.approx(1 / inflate, rel=0.1)
    assert (found["inside"] > 0.98) == (place == 0 or (place < 0 and found["inside"] > 0.98))


def test_nis_and_coverage():
    estimate, truth = drawn(4000, 1.0)
    metric, cover = NIS(3), IntervalCoverage(0.9)
    metric.update(truth, estimate.covariance)
    cover.update(estimate, truth)
    assert metric.compute()["per_degree"].item() == pytest.approx(1.0, abs=0.05)
    assert cover.compute().item() == pytest.approx(0.9, abs=0.01)
    with pytest.raises(ValueError, match=r"give \(\.\.\., 3\)"):
        metric.update(truth[:, :2], estimate.covariance[:, :2, :2])
    assert NEES(3).compute()["average"].isnan() and IntervalCoverage().compute().isnan()


def test_values_of_any_kind_are_gathered():
    metric = ChiSquareMean(7)
    values = torch.distributions.Chi2(7.0).sample((5000,))
    metric.update(values, values > 0)
    found = metric.compute()
    assert found["per_degree"].item() == pytest.approx(1.0, abs=0.03)
    assert found["inside"].item() == pytest.approx(0.95, abs=0.015)


def test_single_entries_are_judged_without_torchmetrics():
    code = (
        "import sys, mambats.calibration as c; assert 'torchmetrics' not in sys.modules\n"
        "c.NIS; assert 'torchmetrics' in sys.modules\n"
        "try: c.Nothing\n"
        "except AttributeError: print('good')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "good\n"
