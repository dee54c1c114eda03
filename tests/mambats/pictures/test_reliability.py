import numpy as np
import pytest
import torch
from PIL import Image

from mambats.encoders.fusion import StreamFusion
from mambats.pictures.reliability import draw_reliability
from mambats.testing import draw_streams


def test_the_trust_in_streams_is_drawn(tmp_path):
    torch.manual_seed(0)
    encoder = StreamFusion({"imu": 2, "gnss": 3}, 8, 1, period_ns=10**7).eval()
    given = draw_streams(0, encoder.streams, rows=12, dtype=torch.float32)
    with torch.no_grad():
        trust = encoder.reliability(given.rows, given.length_ns)["imu"][0]
    imu = given.rows["imu"]
    kept = imu.mask[0]
    measured = {name: rows.stamps[0][rows.mask[0]].numpy() for name, rows in given.rows.items()}
    path = draw_reliability(
        trust[kept].double().numpy(), imu.stamps[0][kept].numpy(), list(encoder.streams), tmp_path / "a/trust.png",
        measured=measured, title="imu",
    )  # fmt: skip
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - colour).sum(2) < 30).sum() > 50, "both streams have a line"


def test_weights_of_other_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one series"):
        draw_reliability(np.zeros((3, 2)), np.arange(4), ["a", "b"], tmp_path / "x.png")
