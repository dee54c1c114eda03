"""What an inertial filter refuses, and the sizes it is built of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mambats.estimators.models import Noise
from mambats.series import SensorRows

#: Sizes of the noises that a filter may be given.
SIZES = {"imu": 4, "gnss": 3, "wheel": 2, "rolling": 2, "still": 3, "barometer": 1, "scale": 2, "wander": 3}
EXTRAS = ("scale", "wander")  # in the order of the state


def extras_of(noise: Mapping[str, Noise]) -> dict[str, slice]:
    """Return where each extra stands among the extras."""
    made, start = dict[str, slice](), 0
    for name in EXTRAS:
        if name in noise:
            made[name] = slice(start, start + SIZES[name])
            start += SIZES[name]
    return made


def needs_noises(noise: Mapping[str, Any]) -> None:
    """Refuse noises of unknown names or other sizes."""
    if unknown := [name for name in noise if name not in SIZES]:
        raise ValueError(f"noise names {unknown}: known are {list(SIZES)}.")
    if "imu" not in noise:
        raise ValueError(f"noise names {list(noise)}: an inertial filter needs `imu` among them.")
    if ("scale" in noise and "wheel" not in noise) or ("wander" in noise and "gnss" not in noise):
        raise ValueError(
            f"noise names {list(noise)}: `scale` is an error of `wheel`, `wander` of `gnss`; name them too."
        )
    for name, one in noise.items():
        if one.size != SIZES[name]:
            raise ValueError(f"noise of {name!r} has {one.size} numbers: need {SIZES[name]}.")


def needs_rows(rows: Mapping[str, SensorRows], streams: Mapping[str, int], length_ns: int) -> None:
    """Refuse rows of a window that lack the inertial unit, name an unknown stream or reach beyond the window."""
    if "imu" not in rows:
        raise ValueError(f"rows are of {list(rows)}: the inertial unit's (`imu`) move the state and are needed.")
    for name, one in rows.items():
        width = one.values.shape[-1]
        if name not in streams and width:
            raise ValueError(f"rows name {name!r}: this filter has {list(streams)}; name its noise to add one.")
        if width not in (0, streams.get(name, 0)):
            raise ValueError(f"rows of {name!r} have {width} channels: need {streams[name]}.")
        if one.mask.any() and int(one.stamps[one.mask].max()) > length_ns:
            raise ValueError(f"rows of {name!r} reach beyond the window of {length_ns} ns: cut them first.")
