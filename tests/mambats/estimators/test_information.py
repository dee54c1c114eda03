import math

import pytest
import torch
from torch import Tensor

from mambats.estimators import fuse_independent, intersect_covariances
from mambats.gaussian import Gaussian


def estimates(batch: int, count: int, n: int, seed: int = 0) -> Gaussian:
    random = torch.Generator().manual_seed(seed)
    root = torch.randn(batch, count, n, n, generator=random, dtype=torch.float64)
    covariance = root @ root.mT + 0.1 * torch.eye(n, dtype=torch.float64)
    return Gaussian(torch.randn(batch, count, n, generator=random, dtype=torch.float64), covariance)


def test_information_adds_up():
    given = estimates(3, 4, 2)
    made = fuse_independent(given)
    information = given.covariance.inverse()
    torch.testing.assert_close(made.covariance, information.sum(1).inverse())
    wanted = made.covariance @ (information @ given.mean[..., None]).sum(1)
    torch.testing.assert_close(made.mean, wanted[..., 0])


def test_two_numbers_by_hand():
    given = Gaussian(torch.tensor([[1.0], [4.0]]), torch.tensor([[[1.0]], [[2.0]]]))
    made = fuse_independent(given)
    torch.testing.assert_close(made.mean, torch.tensor([2.0]))
    torch.testing.assert_close(made.covariance, torch.tensor([[2 / 3]]))
    torch.testing.assert_close(intersect_covariances(given).covariance, torch.tensor([[1.0]]))


@pytest.mark.parametrize("fuse", [fuse_independent, intersect_covariances])
def test_missing_ones_may_hold_anything(fuse):
    given = estimates(4, 3, 2)
    mask = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [False, True, True]])
    broken = Gaussian(given.mean.clone(), given.covariance.clone())
    broken.mean[~mask], broken.covariance[~mask] = math.nan, math.nan
    made = fuse(broken, mask)
    for b in range(4):
        kept = Gaussian(given.mean[b][mask[b]], given.covariance[b][mask[b]])
        alone = fuse(kept)
        torch.testing.assert_close(made.mean[b], alone.mean)
        torch.testing.assert_close(made.covariance[b], alone.covariance)
    torch.testing.assert_close(made.mean[2], given.mean[2, 1])


@pytest.mark.parametrize("minimise", ["trace", "determinant"])
def test_the_share_is_the_best_of_all(minimise):
    given = estimates(5, 2, 3, seed=2)
    made = intersect_covariances(given, minimise=minimise)

    def cost(covariance: Tensor) -> Tensor:
        return covariance.diagonal(dim1=-2, dim2=-1).sum(-1) if minimise == "trace" else covariance.logdet()

    information = given.covariance.inverse()
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None, None]
    mixed = (grid * information[:, 0] + (1 - grid) * information[:, 1]).inverse()
    assert (cost(made.covariance) <= cost(mixed).amin(0) + 1e-6).all()


def test_never_surer_than_the_truth_whatever_the_correlation():
    """The true error of the fused mean, for joint errors of any correlation, lies below the covariance it claims."""
    random = torch.Generator().manual_seed(3)
    given = estimates(1, 2, 2, seed=4)
    probes = torch.cat([torch.eye(4, dtype=torch.float64)]).reshape(4, 2, 2)  # how the fused mean hangs on both means
    same = Gaussian(probes, given.covariance.expand(4, -1, -1, -1))
    made = intersect_covariances(same)
    a, b = made.mean.mT[:, :2], made.mean.mT[:, 2:]
    torch.testing.assert_close(a + b, torch.eye(2, dtype=torch.float64))
    one, other = given.covariance[0]
    roots = torch.linalg.cholesky(given.covariance[0])
    for _ in range(200):
        turn = torch.linalg.qr(torch.randn(2, 2, generator=random, dtype=torch.float64))[0]
        cross = roots[0] @ turn @ roots[1].mT
        actual = a @ one @ a.mT + b @ other @ b.mT + a @ cross @ b.mT + b @ cross.mT @ a.mT
        assert torch.linalg.eigvalsh(made.covariance[0] - actual).min() > -1e-9


@pytest.mark.parametrize("fuse", [fuse_independent, intersect_covariances])
def test_gradients_equal_finite_differences(fuse):
    given = estimates(2, 3, 2)

    def made(mean: Tensor, root: Tensor) -> tuple[Tensor, ...]:
        return fuse(Gaussian(mean, root @ root.mT))

    root = torch.linalg.cholesky(given.covariance).requires_grad_()
    if fuse is fuse_independent:
        assert torch.autograd.gradcheck(made, (given.mean.requires_grad_(), root))
    made(given.mean, root)[0].sum().backward()
    assert root.grad is not None and root.grad.isfinite().all()


def test_bad_input_is_named():
    given = estimates(2, 3, 2)
    with pytest.raises(ValueError, match="stack the estimates"):
        fuse_independent(Gaussian(given.mean, given.covariance[:, 0]))
    with pytest.raises(ValueError, match="needed bool"):
        fuse_independent(given, torch.ones(2, 3))
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse_independent(given, torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match="'trace' or 'determinant'"):
        intersect_covariances(given, minimise="norm")
