"""OutputImage: a picture with its channels and bits, drawn and saved without loss."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sensorium.processors.layers import load_layers
from sensorium.results import OutputImage
from tests.media import make_image

DRAWN = np.random.default_rng(0)
SHAPES = {"L": (5, 7), "LA": (5, 7, 2), "RGB": (5, 7, 3), "RGBA": (5, 7, 4)}
ARRAYS = {
    (mode, bits): DRAWN.integers(0, 2**bits, shape, f"uint{bits}") for mode, shape in SHAPES.items() for bits in (8, 16)
}
every = pytest.mark.parametrize(("mode", "bits"), ARRAYS)


@every
def test_a_png_holds_it_exactly(mode, bits, tmp_path):
    result = OutputImage(ARRAYS[mode, bits])
    result.save(tmp_path / "x.png")
    assert np.array_equal(load_layers(tmp_path / "x.png").squeeze(), result.array)
    with Image.open(io.BytesIO((tmp_path / "x.png").read_bytes())) as image:
        assert image.size == (7, 5)
    assert (result.mode, result.bits, result.size) == (mode, bits, (5, 7))
    assert np.array_equal(load_layers(result.to_dict()["image"]).squeeze(), result.array)


@every
def test_pillow_s_image_is_the_array_where_it_has_the_mode(mode, bits):
    result = OutputImage(ARRAYS[mode, bits])
    if bits == 16 and mode != "L":
        assert result.image.mode == mode
        assert np.abs(np.asarray(result.image) * 257.0 - result.array).max() <= 129
    else:
        assert result.image.mode == ("I;16" if bits == 16 else mode)
        assert np.array_equal(np.asarray(result.image), result.array)


@every
def test_tiff_and_npz_hold_it_exactly(mode, bits, tmp_path):
    result = OutputImage(ARRAYS[mode, bits])
    result.save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert np.array_equal(file["array"], result.array)
    if bits == 16 and mode != "L":
        with pytest.raises(ValueError, match=r"saved as \.png"):
            result.save(tmp_path / "x.tif")
        assert not (tmp_path / "x.tif").exists()
    else:
        result.save(tmp_path / "x.tif")
        assert np.array_equal(load_layers(tmp_path / "x.tif").squeeze(), result.array)


@every
def test_before_and_after_are_drawn_side_by_side(mode, bits):
    before = make_image(7, 5)
    drawn = np.asarray(OutputImage(ARRAYS[mode, bits].repeat(2, 0).repeat(2, 1)).plot(before))
    assert drawn.shape == (10, 14 + 2 + 14, 3)
    assert np.array_equal(drawn[:, :14], np.asarray(before).repeat(2, 0).repeat(2, 1))
    colours = ARRAYS[mode, bits] if mode in ("L", "RGB") else ARRAYS[mode, bits][..., :-1]
    colours = np.broadcast_to(colours.reshape(5, 7, -1), (5, 7, 3))
    after = drawn[::2, 16::2].astype(float)
    assert np.abs(after - colours / (257 if bits == 16 else 1)).max() <= 1


def test_as_text():
    assert OutputImage(ARRAYS["LA", 16], index=2).lines() == ["7x5 px LA 16 bit"]
    assert repr(OutputImage(ARRAYS["RGB", 8])) == "OutputImage(7x5 px RGB, index=0)"
    assert OutputImage(ARRAYS["L", 8]).records() == [{"width": 7, "height": 5, "mode": "L", "bits": 8}]


@pytest.mark.parametrize(
    "array", [np.zeros((3, 4)), np.zeros((0, 4), np.uint8), np.zeros((3, 4, 5), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_picture_is_refused(array):
    with pytest.raises(ValueError, match="a picture is an"):
        OutputImage(array)
