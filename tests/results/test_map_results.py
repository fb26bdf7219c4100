"""AlphaMatte and NormalMap: numbers for each pixel of a picture, checked, drawn and saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sensorium.processors.layers import load_layers
from sensorium.results import AlphaMatte, NormalMap
from tests.media import make_image

DRAWN = np.random.default_rng(0)
VECTORS = DRAWN.normal(size=(6, 9, 3)).astype(np.float32)
NORMALS = NormalMap(VECTORS / np.linalg.norm(VECTORS, axis=2, keepdims=True), index=3)
ALPHA = DRAWN.random((6, 9), np.float32)
ALPHA[0, :4], ALPHA[1, :5] = 1, 0
MATTE = AlphaMatte(ALPHA, ALPHA[..., None] * DRAWN.random((6, 9, 3), np.float32))
IMAGE = make_image(9, 6)


@pytest.mark.parametrize("result", [MATTE, NORMALS], ids=["matte", "normals"])
def test_npz_and_json_hold_them_exactly(result, tmp_path):
    result.save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert dict(file).keys() == result.arrays().keys()
        assert all(np.array_equal(file[name], array) for name, array in result.arrays().items())
    result.save(tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == result.to_dict()
    for name, bits in (("x.npz", 8), ("x.json", 8), ("x.png", 12)):
        with pytest.raises(ValueError, match="bits is 8 or 16"):
            result.save(tmp_path / name, bits=bits)


@pytest.mark.parametrize("bits", [8, 16])
def test_pngs_come_back_to_half_a_level(bits, tmp_path):
    most = 2**bits - 1
    MATTE.save(tmp_path / "x.png", bits=bits)
    levels = load_layers(tmp_path / "x.png")
    assert levels.dtype == f"uint{bits}"
    assert np.abs(levels[..., 0] / most - MATTE.alpha).max() <= 0.5 / most + 1e-6
    NORMALS.save(tmp_path / "y.png", bits=bits)
    levels = load_layers(tmp_path / "y.png")
    assert np.abs(levels / most * 2 - 1 - NORMALS.normals).max() <= 1 / most + 1e-6
    if bits == 8:
        assert np.array_equal(levels, np.asarray(NORMALS.image))


def test_the_usual_colours():
    facing = NormalMap([[[0, 0, 1], [1, 0, 0], [0, -1, 0], [0, 0, 0]]])
    assert np.asarray(facing.image).tolist() == [[[128, 128, 255], [255, 128, 128], [128, 0, 128], [128, 128, 128]]]


def test_a_cutout_has_the_picture_s_colours_and_alpha():
    cut = MATTE.cutout(IMAGE)
    assert cut.mode == "RGBA"
    pixels = np.asarray(cut)
    assert np.array_equal(pixels[..., :3], np.asarray(IMAGE))
    assert np.array_equal(pixels[..., 3], np.rint(MATTE.alpha * 255))
    assert IMAGE.mode == "RGB", "the picture itself stays as it is"


def test_drawings_show_the_picture_and_what_was_found():
    gap = 2
    drawn = np.asarray(NORMALS.plot(IMAGE))
    assert np.array_equal(drawn[:, :9], np.asarray(IMAGE))
    assert np.array_equal(drawn[:, 9 + gap :], np.asarray(NORMALS.image))
    drawn = np.asarray(MATTE.plot(IMAGE))[:, 9 + gap :]
    assert np.array_equal(drawn[MATTE.alpha == 1], np.asarray(IMAGE)[MATTE.alpha == 1])
    behind = drawn[MATTE.alpha == 0]
    assert set(behind.ravel().tolist()) == {195, 235}
    tall = np.asarray(NormalMap(np.tile(NORMALS.normals, (1, 3, 1))).plot(make_image(27, 6)))
    assert tall.shape == (6 + gap + 6, 27, 3)
    for result in (MATTE, NORMALS):
        with pytest.raises(ValueError, match="9x6 px, got a picture of 6x9 px"):
            result.plot(Image.new("RGB", (6, 9)))


@pytest.mark.parametrize(
    "normals", [np.ones((4, 3)), np.ones((4, 5, 2)), np.ones((0, 5, 3)), np.ones((4, 5, 3)), np.full((1, 1, 3), np.nan)]
)
def test_what_is_no_normal_map_is_refused(normals):
    with pytest.raises(ValueError, match="a normal map"):
        NormalMap(normals)


@pytest.mark.parametrize(
    ("alpha", "foreground"),
    [
        (np.ones((2, 3, 1)), None),
        (np.ones((0, 3)), None),
        (np.full((2, 3), 1.01), None),
        (np.full((2, 3), np.nan), None),
        (np.ones((2, 3)), np.ones((3, 2, 3))),
        (np.ones((2, 3)), np.full((2, 3, 3), -0.1)),
    ],
)
def test_what_is_no_matte_is_refused(alpha, foreground):
    with pytest.raises(ValueError, match=r"in \[0, 1\]|as alpha"):
        AlphaMatte(alpha, foreground)


def test_they_compare_by_value_and_say_what_they_hold():
    assert AlphaMatte(MATTE.alpha.copy(), MATTE.foreground.copy(), index=9) == MATTE
    assert AlphaMatte(MATTE.alpha) != MATTE
    assert AlphaMatte(MATTE.alpha) == AlphaMatte(MATTE.alpha)
    assert NormalMap(NORMALS.normals.copy()) == NORMALS
    assert MATTE != NORMALS
    assert np.array_equal(np.asarray(MATTE), MATTE.alpha)
    assert np.array_equal(NORMALS.torch().numpy(), NORMALS.normals)
    assert repr(AlphaMatte([[0, 1, 0.5, 0.5]])) == "AlphaMatte(4x1 px, 25.0% in front, 50.0% between, index=0)"
    told = {"width": 4, "height": 1, "in_front": 0.25, "behind": 0.25, "between": 0.5}
    assert AlphaMatte([[0, 1, 0.5, 0.5]]).records() == [told]
    facing = NormalMap([[[0, 0, 1], [0, 0, 1], [0, -1, 0], [0, 1, 0]]])
    assert repr(facing) == "NormalMap(4x1 px, mean (0.00, 0.00, 0.50), index=0)"
    assert facing.records() == [{"width": 4, "height": 1, "mean_x": 0.0, "mean_y": 0.0, "mean_z": 0.5}]
