import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.series import Rigid
from mambats_datasets.synthetic.geodesy import E2, A, degrees_per_metre, local_to_geodetic
from mambats_datasets.synthetic.gnss import Gnss
from mambats_datasets.synthetic.trajectory import random_trajectory

QUIET = Gnss(noise=(0.0, 0.0), wander=(0.0, 0.0), outage=(0.0, 1.0), multipath=(0.0, 0.0))


def drives(kind="car", batch=1, duration=60.0):
    return random_trajectory(kind, batch, duration, torch.Generator().manual_seed(0))


def read(gnss, trajectory):
    return gnss.read(trajectory, torch.Generator().manual_seed(1))


def test_without_errors_a_fix_is_where_the_antenna_was():
    trajectory = drives()
    gnss = replace(QUIET, mount=Rigid("base_link", "gnss", (1.0, 0.5, 1.5)))
    reading = read(gnss, trajectory)
    motion = trajectory(reading.ticks.time)
    arm = motion.rotation @ torch.tensor([1.0, 0.5, 1.5]).double()
    assert torch.allclose(reading.values, motion.position + arm, rtol=0, atol=1e-12)
    assert torch.allclose(
        reading.ticks.stamp - reading.ticks.time, torch.tensor(0.1, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert reading.ticks.present.all()


def test_errors_are_as_large_as_the_deviations_say():
    trajectory = drives(batch=400)
    gnss = replace(QUIET, noise=(0.5, 1.0), wander=(1.5, 3.0))
    reading = read(gnss, trajectory)
    error = reading.values - trajectory(reading.ticks.time).position
    assert torch.allclose(error.std((0, 1)), torch.tensor(gnss.deviations).double(), rtol=0.05)
    step = error.diff(dim=1).std((0, 1))  # in 0.2 s the slow part hardly moves: two white errors and a little
    slow = 2 * 1.5**2 * (1 - math.exp(-0.2 / 60))
    assert math.isclose(float(step[0]), math.sqrt(2 * 0.5**2 + slow), rel_tol=0.02)


def test_reflections_spoil_their_share_and_are_marked():
    trajectory = drives(batch=200)
    reading = read(replace(QUIET, multipath=(0.05, 10.0)), trajectory)
    error = (reading.values - trajectory(reading.ticks.time).position).norm(dim=-1)
    bounced = reading.truth["multipath"][..., 0] == 1
    assert abs(float(bounced.double().mean()) - 0.05) < 0.005
    assert (error[bounced] > 0.1).double().mean() > 0.99 and error[~bounced].max() < 1e-12


def test_outages_take_fixes_away():
    reading = read(replace(QUIET, outage=(0.3, 4.0)), drives(batch=200))
    assert abs(1 - float(reading.ticks.present.double().mean()) - 0.3) < 0.04


@given(
    latitude=st.floats(-89, 89),
    longitude=st.floats(-179, 179),
    altitude=st.floats(-100, 5000),
    place=st.tuples(*[st.floats(-5000, 5000)] * 3),
)
def test_geodetic_positions_are_the_same_points_of_the_earth(latitude, longitude, altitude, place):
    """Both ways through earth-centred coordinates, with scipy's rotations instead of our sines."""
    from scipy.spatial.transform import Rotation

    def centred(degrees, height):
        lat, lon = np.radians(degrees)
        radius = A / math.sqrt(1 - E2 * math.sin(lat) ** 2)
        flat = (radius + height) * math.cos(lat)
        return np.array([flat * math.cos(lon), flat * math.sin(lon), (radius * (1 - E2) + height) * math.sin(lat)])

    found = local_to_geodetic(torch.tensor([place], dtype=torch.float64), (latitude, longitude, altitude))[0].numpy()
    axes = Rotation.from_euler("ZX", [longitude + 90, 90 - latitude], degrees=True)
    expected = centred((latitude, longitude), altitude) + axes.apply(place)
    assert np.abs(centred(found[:2], found[2]) - expected).max() < 2e-8


def test_geodetic_fixes_have_units_and_deviations_of_their_own():
    zurich = (47.37, 8.54, 400.0)
    gnss = replace(QUIET, origin=zurich, noise=(1.0, 2.0))
    assert gnss.channels == ("latitude", "longitude", "altitude") and gnss.units == ("deg", "deg", "m")
    north, east = degrees_per_metre(47.37)
    assert gnss.deviations == pytest.approx((north, east, 2.0))
    metres = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    moved = local_to_geodetic(metres, zurich) - torch.tensor(zurich, dtype=torch.float64)
    assert float(moved[0, 1]) == pytest.approx(east, rel=1e-3) and float(moved[1, 0]) == pytest.approx(north, rel=1e-3)
    reading = read(gnss, drives())
    assert abs(float(reading.values[0, 0, 0]) - 47.37) < 1e-3
