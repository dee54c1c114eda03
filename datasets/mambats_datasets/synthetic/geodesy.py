"""Positions near an origin as latitude, longitude and altitude on the WGS 84 ellipsoid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

A = 6378137.0  # m, semi-major axis of WGS 84
F = 1 / 298.257223563  # its flattening
E2 = F * (2 - F)


def local_to_geodetic(position: Tensor, origin: tuple[float, float, float]) -> Tensor:
    """Turn east, north, up in metres (..., 3) into latitude and longitude in degrees and altitude in metres.

    Exact to rounding: through earth-centred coordinates, back by Bowring's iteration (three rounds: under 1e-9 m).

    Args:
        position: In the tangent plane at the origin, float64.
        origin: Latitude, longitude (degrees) and altitude (m) of the plane's origin.

    Source: Bowring, The accuracy of geodetic latitude and height equations, Survey Review 28, 1985.
    """
    latitude, longitude = math.radians(origin[0]), math.radians(origin[1])
    (sp, cp), (sl, cl) = ((math.sin(angle), math.cos(angle)) for angle in (latitude, longitude))
    east, north, up = position.unbind(-1)
    radius = A / math.sqrt(1 - E2 * sp * sp)
    out = (radius + origin[2]) * cp + up * cp - north * sp
    x, y = out * cl - east * sl, out * sl + east * cl
    z = (radius * (1 - E2) + origin[2]) * sp + up * sp + north * cp
    return _geodetic(x.hypot(y), z, y.atan2(x))


def degrees_per_metre(latitude: float) -> tuple[float, float]:
    """Degrees of latitude per metre to the north, and of longitude per metre to the east, at sea level."""
    sine = math.sin(math.radians(latitude))
    across = A / math.sqrt(1 - E2 * sine * sine)
    along = across * (1 - E2) / (1 - E2 * sine * sine)
    return math.degrees(1 / along), math.degrees(1 / (across * math.cos(math.radians(latitude))))


def _geodetic(flat: Tensor, z: Tensor, longitude: Tensor) -> Tensor:
    """Geodetic coordinates of points at distance `flat` from the axis."""
    minor = A * (1 - F)
    reduced = torch.atan2(z * A, flat * minor)
    latitude = reduced
    for _ in range(3):
        latitude = torch.atan2(z + E2 / (1 - E2) * minor * reduced.sin().pow(3), flat - E2 * A * reduced.cos().pow(3))
        reduced = torch.atan2((1 - F) * latitude.sin(), latitude.cos())
    radius = A / (1 - E2 * latitude.sin().square()).sqrt()
    altitude = flat * latitude.cos() + z * latitude.sin() - A * A / radius
    return torch.stack([latitude.rad2deg(), longitude.rad2deg(), altitude], -1)
