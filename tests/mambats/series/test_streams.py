import io

import numpy as np
import pytest
from PIL import Image

from mambats.series import ImageStream, RaggedStream, Recording, Stream

STAMPS = np.arange(3, dtype=np.int64)


def ragged(**changed):
    given = {"stamps": STAMPS, "splits": np.array([0, 2, 2, 3]), "values": np.ones((3, 2)), "channels": ("x", "t")}
    return RaggedStream(**{**given, **changed})


def test_tables_of_a_ragged_stream():
    sweeps = ragged(values=np.arange(6.0).reshape(3, 2))
    assert [len(sweeps.table(k)) for k in range(3)] == [2, 0, 1]
    assert np.shares_memory(sweeps.table(-1), sweeps.values)
    with pytest.raises(IndexError):
        sweeps.table(3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"splits": np.array([0, 2, 1, 3])}, "never falling"),
        ({"splits": np.array([0, 3])}, "needed int64 of shape"),
        ({"values": np.ones((3, 3))}, "one name a column"),
        ({"labels": {"kind": ("car",)}}, "labels name"),
        ({"unit": ("m",)}, "1 units for 2 channels"),
        ({"stamps": STAMPS[::-1].copy()}, "do not rise at row 1"),
    ],
)
def test_what_does_not_fit_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        ragged(**changed)


def test_units_and_covariances_of_a_stream():
    assert Stream(STAMPS, np.ones((3, 2)), ("a", "b"), unit="m").units == ("m", "m")
    assert Stream(STAMPS, np.ones((3, 2)), ("a", "b"), unit=("m", "s")).units == ("m", "s")
    with pytest.raises(ValueError, match="covariance has shape"):
        Stream(STAMPS, np.ones((3, 2)), ("a", "b"), covariance=np.eye(3))
    with pytest.raises(ValueError, match="int64 nanoseconds"):
        Stream(STAMPS / 1e9, np.ones((3, 2)), ("a", "b"))


def test_pictures_are_decoded_when_asked_for(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    camera = ImageStream(STAMPS, [tmp_path / "a.png", buffer.getvalue(), b"torn"])
    np.testing.assert_array_equal(camera.image(0), pixels)
    np.testing.assert_array_equal(camera.image(1), pixels)
    with pytest.raises(ValueError, match="picture 2 \\(4 bytes\\) cannot be decoded"):
        camera.image(2)


def test_names_are_unique_among_all_kinds():
    with pytest.raises(ValueError, match=r"two streams named \['lidar'\]"):
        Recording("a", {"lidar": Stream(STAMPS, np.ones((3, 1)), ("x",))}, ragged={"lidar": ragged()})
