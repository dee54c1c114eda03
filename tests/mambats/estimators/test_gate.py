import pytest
import torch

from mambats.estimators.gate import chi_square, thresholds


# Tables of the chi-square distribution: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.4.
@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [(0.95, 1, 3.841), (0.99, 3, 11.345), (0.999, 10, 29.588), (0.9, 100, 118.498), (0.025, 7, 1.690)],
)
def test_tables(probability: float, degrees: int, value: float):
    assert chi_square(probability, degrees) == pytest.approx(value, abs=6e-4)


def test_equals_scipy():
    stats = pytest.importorskip("scipy.stats")
    for probability in (1e-6, 0.1, 0.5, 0.997, 1 - 1e-9):
        for degrees in (1, 2, 7, 32):
            assert chi_square(probability, degrees) == pytest.approx(stats.chi2.ppf(probability, degrees), rel=1e-8)


def test_thresholds_go_by_how_many_were_measured():
    made = thresholds(0.99, 3)
    assert made.dtype == torch.float64
    assert made.tolist() == [0.0, chi_square(0.99, 1), chi_square(0.99, 2), chi_square(0.99, 3)]


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0, float("nan")])
def test_no_probability(probability: float):
    with pytest.raises(ValueError, match="inside"):
        chi_square(probability, 2)


def test_no_degrees():
    with pytest.raises(ValueError, match="degrees is 0"):
        chi_square(0.9, 0)
