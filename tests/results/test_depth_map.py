"""DepthMap: a number for each pixel, read like Transformers' dict."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.results import DepthMap
from sensorium.results.palette import SHADES, _lab, shades
from tests.media import make_image

WIDE, HIGH = 60, 40
RAMP = np.linspace(1, 9, WIDE, dtype=np.float32) * np.ones((HIGH, 1), np.float32)
FLAT = np.full((HIGH, WIDE), 3, np.float32)


def test_keys_are_transformers():
    result = DepthMap(RAMP)
    assert result.keys() == ["predicted_depth", "depth"] == list(dict(result))
    assert list(result) == [key for key, _ in result.items()] == result.keys()
    assert result.get("nothing", 3) == 3 and result.get("depth").size == (WIDE, HIGH)
    assert "depth" in result and "metric" not in result
    assert torch.equal(result["predicted_depth"], torch.from_numpy(RAMP))
    expected = ((RAMP - RAMP.min()) / (RAMP.max() - RAMP.min()) * 255).astype(np.uint8)
    assert result["depth"].mode == "L"
    assert np.array_equal(np.asarray(result["depth"]), expected)
    with pytest.raises(KeyError, match="predicted_depth"):
        result["predicted"]
    with pytest.raises(TypeError, match="read-only"):
        result["depth"] = 3


@pytest.mark.parametrize("depth", [FLAT, np.zeros((1, 1)), FLAT * -1e30, RAMP[:1], RAMP[:, :1]])
@pytest.mark.parametrize("metric", [False, True])
def test_a_flat_map_divides_by_nothing(depth, metric, tmp_path):
    result = DepthMap(depth, metric)
    height, width = depth.shape
    drawn = result.plot(make_image(width, height))
    assert drawn.mode == "RGB"
    assert result["depth"].size == (width, height)
    assert np.isfinite(result.nearness()).all()
    result.save(tmp_path / "x.png")
    if depth.min() == depth.max():
        assert not np.asarray(result["depth"]).any()
        assert not result.nearness().any()
        if not metric:
            assert not np.asarray(Image.open(tmp_path / "x.png")).any()


def test_a_map_without_pixels():
    result = DepthMap(np.zeros((0, 7)))
    assert result.lines() == ["no pixels"]
    assert result.records()[0]["min"] is None
    assert result.to_dict()["predicted_depth"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), r"\(H, W\)"),
        ((np.zeros((1, 2, 2)),), r"\(H, W\)"),
        ((np.full((2, 2), np.nan),), "finite"),
        ((np.full((2, 2), np.inf),), "finite"),
        ((RAMP, True, 50.0, 0.0), "focal_length is a number of px above 0"),
        ((RAMP, True, 50.0, -3.0), "focal_length"),
        ((RAMP, True, 50.0, np.inf), "focal_length"),
        ((RAMP, True, np.nan), "field_of_view"),
    ],
)
def test_what_is_no_map_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DepthMap(*arguments)


def test_equal_by_value():
    assert DepthMap(RAMP) == DepthMap(RAMP.copy(), index=3)
    assert DepthMap(RAMP) != DepthMap(RAMP, metric=True) != DepthMap(FLAT, metric=True)
    assert DepthMap(RAMP, True, 50.0) != DepthMap(RAMP, True, 51.0)
    result = DepthMap(RAMP, True, 50.0, 100.0, index=2)
    assert copy.deepcopy(result) == pickle.loads(pickle.dumps(result)) == result


def test_as_text():
    result = DepthMap(RAMP, True, 54.25, 1034.7, index=1)
    assert result.lines() == ["1 to 9 m", "field of view 54.2°", "focal length 1035 px"]
    assert repr(result) == "DepthMap(60x40 px, 1 to 9 m, field of view 54.2°, focal length 1035 px, index=1)"
    assert DepthMap(RAMP * 1234.5678, True).lines() == ["1,235 to 11,111 m"]
    assert DepthMap(RAMP).lines() == ["1 (far) to 9 (near)"]
    row = {"width": 60, "height": 40, "metric": True, "min": 1.0, "median": 5.0, "max": 9.0}
    assert result.records() == [row | {"field_of_view": 54.25, "focal_length": 1034.7}]
    assert json.loads(result.to_json())["predicted_depth"] == RAMP.tolist()
    assert "focal_length" in result._repr_html_()


def test_png_of_metres_has_millimetres(tmp_path):
    depth = np.array([[0.0, 0.0014, 1.2344], [65.535, 80.0, 1e4]], np.float32)
    DepthMap(depth, metric=True).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0, 1, 1234], [65535, 65535, 65535]]
        assert (float(image.text["scale"]), float(image.text["offset"])) == (0.001, 0.0)


@pytest.mark.parametrize("depth", [RAMP, -RAMP, FLAT, RAMP * 1e-6])
def test_png_of_relative_depths_is_read_back_by_its_texts(depth, tmp_path):
    DepthMap(depth).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        again = np.asarray(image) * float(image.text["scale"]) + float(image.text["offset"])
    assert np.abs(again - depth).max() <= np.ptp(depth) / 65535


def test_npz_is_exact(tmp_path):
    DepthMap(RAMP, True, 54.25, 100.5).save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["depth"].dtype == np.float32
        assert np.array_equal(file["depth"], RAMP)
        assert bool(file["metric"]) and float(file["field_of_view"]) == 54.25 and float(file["focal_length"]) == 100.5
    DepthMap(RAMP).save(tmp_path / "y.npz")
    assert set(np.load(tmp_path / "y.npz")) == {"depth", "metric"}


@pytest.mark.parametrize("metric", [False, True])
def test_what_is_near_is_bright(metric):
    drawn = np.asarray(DepthMap(RAMP, metric).plot(make_image(WIDE, HIGH)).convert("L")).astype(int)
    side = (drawn.shape[1] + 2 - (2 * WIDE + 2)) // 2 + WIDE
    lightness = drawn[HIGH // 2, side + 1 : side + WIDE - 1]
    steps = np.diff(lightness if not metric else lightness[::-1])
    assert (steps >= 0).all()
    assert np.ptp(lightness) > 150


def test_metres_are_told_apart_where_they_are_near():
    depth = np.array([[0.5, 1.0, 100.0, 10_000.0]], np.float32)
    near = DepthMap(depth, metric=True).nearness()[0]
    assert near[0] == 1
    assert near[1] == pytest.approx(0.5, abs=0.01)
    assert near[2] < 0.01
    assert near[3] == 0


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(ValueError, match="of 60x40 px"):
        DepthMap(RAMP).plot(make_image(40, 60))


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (700, 20), (20, 700), (4000, 3000)])
def test_the_drawing_holds_the_picture_and_the_map(size):
    width, height = size
    depth = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)
    drawn = DepthMap(depth).plot(make_image(*size))
    wide = width > 2 * height
    assert drawn.width >= (width if wide else 2 * width)
    assert drawn.height >= (2 * height if wide else height)
    assert drawn.width * drawn.height <= 4 * max(width * height, 100_000)


def test_shades_grow_lighter_in_even_steps():
    ramp = shades(np.linspace(0, 1, 256, dtype=np.float32))
    assert tuple(ramp[0]) == SHADES[0] and tuple(ramp[-1]) == SHADES[-1]
    steps = np.diff(_lab(ramp.astype(int))[16::16, 0])
    assert steps.min() > 5 and steps.max() < 1.5 * steps.min()
