"""Pictures: Pillow's pixels, exact inverses, and a camera that keeps seeing the same points."""

import numpy as np
import pytest
import torch

from mambats.preprocess.image import Camera, CropPad, ImageSteps, Normalise, Resize, Undistort
from mambats.series import ImageStream

K = np.array([[458.654, 0, 367.215], [0, 457.296, 248.375], [0, 0, 1.0]])
LENS = (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05)  # EuRoC's cam0
MAKES = [np.asarray, torch.as_tensor]


def picture(height=60, width=80, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), dtype=np.uint8))


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("size", [(30, 40), (17, 23), (120, 160), (60, 33), (131, 40)])
def test_resized_pictures_are_pillows_to_one_level(make, size):
    image = pytest.importorskip("PIL.Image")
    given = np.stack([picture(), picture(seed=1)])
    made = Resize(*size)(make(given))
    assert made.shape == (2, *size, 3) and made.dtype == make(given).dtype
    for ours, source in zip(np.asarray(made), given, strict=True):
        wanted = np.asarray(image.fromarray(source).resize(size[::-1], image.Resampling.BILINEAR))
        assert np.abs(ours.astype(int) - wanted).max() <= 1
    floats = np.asarray(Resize(*size)(make(given.astype(np.float32))))
    assert np.abs(floats - np.asarray(made)).max() <= 1.5
    labels = np.asarray(Resize(*size, "nearest")(make(given)))
    assert set(np.unique(labels)) <= set(np.unique(given))


def test_normalising_learns_and_flat_channels_keep_their_scale():
    images = np.stack([picture(), picture(seed=1)])
    images[..., 2] = 7
    made = Normalise.fit(images)(images)
    np.testing.assert_allclose(made.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(made.std((0, 2, 3)), [1, 1, 0], atol=1e-5)


def project(intrinsics, points):
    pixels = points @ intrinsics.T
    return pixels[:, :2] / pixels[:, 2:]


def spot(image):
    """Centre of brightness, x then y, in pixels."""
    weight = image[..., 0].astype(float)
    down, right = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * right).sum(), (weight * down).sum()]) / weight.sum()


@pytest.mark.parametrize(
    "step", [Resize(240, 376), Resize(700, 900), CropPad(100, 200, 200, 300), CropPad(-20, -30, 600, 900)]
)
def test_the_camera_follows_the_picture(step):
    point = np.array([[0.1, -0.05, 1.0]])
    down, right = np.mgrid[:480, :752]
    x, y = project(K, point)[0]
    image = (255 * np.exp(-((right - x) ** 2 + (down - y) ** 2) / 200))[..., None]
    camera = step.camera(Camera(K, (), (480, 752)))
    made = step(image)
    assert made.shape[:2] == camera.size
    np.testing.assert_allclose(spot(made), project(camera.intrinsics, point)[0], atol=0.02)
    assert step.camera(Camera(None, (), (480, 752))).intrinsics is None


@pytest.mark.parametrize("make", MAKES)
def test_windows_crop_and_pad_and_go_back(make):
    image = picture()
    inside = CropPad(5, 7, 20, 30)
    np.testing.assert_array_equal(inside(make(image)), image[5:25, 7:37])
    beyond = CropPad(-5, -7, 100, 120, fill=9)
    padded = np.asarray(beyond(make(image)))
    np.testing.assert_array_equal(padded[5:65, 7:87], image)
    assert (padded[:5] == 9).all() and (padded[65:] == 9).all()
    np.testing.assert_array_equal(beyond.inverse(make(padded), 60, 80), image)
    back = np.asarray(inside.inverse(inside(make(image)), 60, 80))
    np.testing.assert_array_equal(back[5:25, 7:37], image[5:25, 7:37])
    assert (np.asarray(CropPad(200, 0, 4, 4, fill=3)(make(image))) == 3).all()


@pytest.mark.parametrize("make", MAKES)
def test_normalised_levels_come_back_exactly(make):
    levels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, -1)
    step = Normalise()
    made = step(make(levels[None]))
    assert made.shape == (1, 3, 16, 16) and np.asarray(made).dtype == np.float32
    wanted = (levels / 255 - np.array(step.mean)) / np.array(step.deviation)
    np.testing.assert_allclose(np.asarray(made)[0].transpose(1, 2, 0), wanted, atol=1e-6)
    np.testing.assert_array_equal(step.inverse(made), levels[None])
    np.testing.assert_array_equal(Normalise((0.5,), (0.5,)).inverse(Normalise((0.5,), (0.5,))(make(levels))), levels)
    with pytest.raises(ValueError, match="pictures have 1 channels, mean and deviation 3"):
        step(make(levels[..., :1].copy()))
    with pytest.raises(ValueError, match=r"images are torch.float64, needed uint8"):
        step(make(levels / 255))


@pytest.mark.parametrize("lens", [LENS, (*LENS, 0.01), (*LENS, 0.01, 0.02, 0.01, 0.001)])
def test_pixels_go_through_the_lens_and_back(lens):
    down, right = np.mgrid[0:480:40, 0:752:47]
    given = np.stack([right, down], -1).astype(float)
    step = Undistort(K, lens)
    straight = step.pixels(given)
    assert np.isfinite(straight).all() and np.abs(straight - given).max() > 20
    np.testing.assert_allclose(step.distort(straight), given, atol=1e-6)
    np.testing.assert_allclose(step.distort(torch.from_numpy(straight)), given, atol=1e-6)
    hopeless = Undistort(K, (-2.0, 0.0, 0.0, 0.0)).pixels(np.array([[700.0, 470.0], [367.0, 248.0]]))
    assert np.isnan(hopeless[0]).all() and np.isfinite(hopeless[1]).all()


def test_distortion_is_opencvs_formula():
    # The formula in OpenCV's documentation of projectPoints, written out once more.
    x, y = 0.3, -0.2
    rho = x * x + y * y
    k1, k2, p1, p2 = LENS
    radial = 1 + k1 * rho + k2 * rho**2
    wanted = [
        x * radial + 2 * p1 * x * y + p2 * (rho + 2 * x * x),
        y * radial + p1 * (rho + 2 * y * y) + 2 * p2 * x * y,
    ]
    made = Undistort(K, LENS).distort(project(K, np.array([[x, y, 1.0]])))
    np.testing.assert_allclose(made[0], [K[0, 0] * wanted[0] + K[0, 2], K[1, 1] * wanted[1] + K[1, 2]], atol=1e-9)


def test_a_picture_seen_through_the_lens_is_straightened():
    points = np.c_[np.linspace(-0.6, 0.6, 7), np.linspace(-0.3, 0.35, 7), np.ones(7)]
    step = Undistort(K, LENS)
    for straight in project(K, points):
        x, y = step.distort(straight[None])[0]
        down, right = np.mgrid[:480, :752]
        seen = np.exp(-((right - x) ** 2 + (down - y) ** 2) / 50)[..., None]
        np.testing.assert_allclose(spot(step(seen)), straight, atol=0.3)  # the lens stretches the spot unevenly
    assert step.camera(Camera(K, LENS, (480, 752))) == Camera(step.wanted, (), (480, 752))
    level = np.full((480, 752, 1), 100, np.uint8)
    assert step(level)[200:280, 300:400].min() == 100
    with pytest.raises(ValueError, match="there are 6 coefficients"):
        Undistort(K, (0.0,) * 6)


def test_steps_run_on_a_stream_when_a_picture_is_asked_for():
    stream = ImageStream(np.arange(3), [picture(seed=s) for s in range(3)], "camera_optical", K, LENS)
    steps = ImageSteps([Undistort(K, LENS), Resize(30, 40), CropPad(0, 4, 30, 32)])
    made = steps(stream)
    assert made.distortion == () and len(made.pictures) == 3
    np.testing.assert_allclose(made.intrinsics[0, 2], (K[0, 2] + 0.5) / 2 - 0.5 - 4)
    wanted = CropPad(0, 4, 30, 32)(Resize(30, 40)(Undistort(K, LENS)(picture(seed=1))))
    np.testing.assert_array_equal(made.image(1), wanted)
    grey = ImageStream(np.arange(1), [picture()[..., 0].copy()])
    assert ImageSteps([Resize(30, 40)])(grey).image(0).shape == (30, 40)
    with pytest.raises(ValueError, match=r"torch.uint8 of shape \(60, 80\), needed uint8 or floats \(..., H, W, C\)"):
        Resize(3, 4)(picture()[..., 0])
