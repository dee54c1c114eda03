"""Each law of estimators is broken on purpose, and the check must say which."""

import pytest
import torch

from mambats.estimators import ExtendedKalmanFilter
from mambats.testing import check_covariances, check_estimator
from tests.mambats.estimators.turning import straight


class Agrees(ExtendedKalmanFilter):
    pass


class DriftsWhileStanding(Agrees):
    def predict(self, state, elapsed, **changes):
        after = super().predict(state, elapsed, **changes)
        return after._replace(mean=after.mean + 1e-9)


class IgnoresMasks(Agrees):
    def update(self, state, stream, value, *, noise=None, mask=None):
        return super().update(state, stream, value, noise=noise)


class SaysItUsedWhatItDidNot(Agrees):
    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        return after, told._replace(used=torch.ones_like(told.used))


class WritesIntoItsState(Agrees):
    def update(self, state, *args, **changes):
        made = super().update(state, *args, **changes)
        state.mean.mul_(1.5)
        return made


class MixesTheBatch(Agrees):
    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        return after._replace(mean=after.mean + 1e-3 * (after.mean.mean(0) - after.mean) * told.used[:, None]), told


class ThrowsDice(Agrees):
    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        return after._replace(mean=after.mean + 1e-13 * torch.randn_like(after.mean) * told.used[:, None]), told


class TakesHolesForZeros(Agrees):
    def update(self, state, stream, value, **changes):
        return super().update(state, stream, value.nan_to_num(0.0), **changes)


class TakesAnyTime(Agrees):
    def predict(self, state, elapsed, **changes):
        return super().predict(state, elapsed.nan_to_num(0.0).clamp_min(0), **changes)


class CountsPredictions(Agrees):
    """Adds noise once a prediction, however long."""

    def predict(self, state, elapsed, **changes):
        noise = torch.eye(self.size).to(state.mean).expand(len(elapsed), -1, -1)
        return super().predict(state, elapsed, noise=noise)


class BurstsAfterAnHour(Agrees):
    def predict(self, state, elapsed, **changes):
        after = super().predict(state, elapsed, **changes)
        return after._replace(mean=torch.where(elapsed[:, None] > 1000, torch.inf, after.mean))


class LosesItsCovariance(Agrees):
    """In float32 only, as rounding does."""

    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        less = 0.5 * torch.eye(self.size).to(after.mean) * told.used[:, None, None]
        return after._replace(covariance=after.covariance - less * (less.dtype == torch.float32)), told


class TwistsItsCovariance(Agrees):
    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        return after._replace(
            covariance=after.covariance + 1e-3 * after.covariance.triu(1) * told.used[:, None, None]
        ), told


class CutsGradients(Agrees):
    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        return after, told._replace(log_likelihood=told.log_likelihood.detach())


class BreaksGradients(Agrees):
    def update(self, *args, **changes):
        after, told = super().update(*args, **changes)
        nothing = told.log_likelihood - told.log_likelihood.detach()
        return after, told._replace(log_likelihood=told.log_likelihood + nothing.abs().sqrt())


class NeedsAllStreams(Agrees):
    def estimate(self, state):
        made = super().estimate(state)
        whole = made.deviation[:, 1:2] < 3 * made.deviation[:, :1]
        return made._replace(mean=torch.where(whole, made.mean, torch.nan))


class CountsItsCalls(Agrees):
    def predict(self, state, elapsed, **changes):
        after = super().predict(state, elapsed, **changes)
        return after._replace(mean=after.mean + 1e-6 * len(elapsed) * (elapsed > 0)[:, None])


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (DriftsWhileStanding, r"predict\(0\) changes nothing"),
        (IgnoresMasks, "rows with mask False keep their state"),
        (SaysItUsedWhatItDidNot, "their `used` is True"),
        (WritesIntoItsState, "leaves the state it was given alone|keep their state"),
        (MixesTheBatch, "do not see the others|batch order|alone"),
        (ThrowsDice, "bit-equal"),
        (TakesHolesForZeros, "NaN is refused or not measured"),
        (TakesAnyTime, "refuses -1.0 seconds"),
        (CountsPredictions, "two predictions == one of both times"),
        (BurstsAfterAnHour, "finite after an hour's pause"),
        (LosesItsCovariance, "in float32|the input is not positive-definite"),
        (TwistsItsCovariance, "mirror each other"),
        (CutsGradients, "has none"),
        (BreaksGradients, "gradients are finite"),
        (NeedsAllStreams, "stream .* alone|is not finite"),
        (CountsItsCalls, "alone == in a batch"),
    ],
)
def test_a_broken_estimator_is_found(fault, law):
    with pytest.raises((AssertionError, torch.linalg.LinAlgError), match=law):
        check_estimator(lambda: straight(fault))


def test_the_honest_one_passes():
    check_estimator(lambda: straight(Agrees))


def test_a_lost_covariance_is_found_by_its_own_law():
    filter_ = straight(TwistsItsCovariance).float()
    with torch.no_grad(), pytest.raises(AssertionError, match="in float32"):
        check_covariances(filter_, 4, 2, seed=0, scale=1.0)
