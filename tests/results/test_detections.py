"""Detections: Transformers' schema, validation, filtering, drawing."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sensorium.results import Detections, Result


def found(index=3):
    xyxy = [[1.9, 2.5, 30.2, 40.99], [-3.7, -0.2, 10.0, 12.0], [20.0, 5.0, 90.5, 60.0]]
    return Detections(xyxy, [0.9, 0.5, 0.75], ["cat", "dog", "cat"], [7, 2, 7], index=index)


def test_the_schema_is_transformers_with_sides_cut_off():
    assert found().to_dict()[:2] == [
        {"score": pytest.approx(0.9), "label": "cat", "box": {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}},
        {"score": 0.5, "label": "dog", "box": {"xmin": -3, "ymin": 0, "xmax": 10, "ymax": 12}},
    ]
    assert list(found()[0]) == ["score", "label", "box"]
    assert list(found()) == found().to_dict()
    assert json.loads(json.dumps(found().to_dict())) == found().to_dict()


def test_arrays_keep_fractions():
    result = found()
    assert (result.xyxy.dtype, result.scores.dtype, result.ids.dtype) == (np.float32, np.float32, np.int64)
    np.testing.assert_allclose(result.xyxy[0], [1.9, 2.5, 30.2, 40.99], rtol=1e-6)
    np.testing.assert_allclose(result.area, [28.3 * 38.49, 13.7 * 12.2, 70.5 * 55], rtol=1e-5)
    assert Detections([[5, 5, 1, 9]], [1], ["x"]).area.tolist() == [0]


@pytest.mark.parametrize("key", [np.array([True, False, True]), slice(0, 3, 2), np.array([0, 2])])
def test_filtering_keeps_the_type_and_the_index(key):
    kept = found()[key]
    assert isinstance(kept, Detections)
    assert (kept.labels.tolist(), kept.ids.tolist(), kept.index) == (["cat", "cat"], [7, 7], 3)
    np.testing.assert_array_equal(kept.xyxy, found().xyxy[[0, 2]])
    assert kept[1] == found()[2] == found()[-1]


def test_what_was_filtered_shares_no_memory():
    result = found()
    result[:2].xyxy[:] = 0
    assert result == found()
    assert result.xyxy[:1].base is result.xyxy


def test_nothing_found():
    for nothing in (Detections([], [], []), found()[found().scores > 1], Detections(np.zeros((0, 4)), [], [])):
        assert len(nothing) == 0
        assert nothing.xyxy.shape == (0, 4)
        assert nothing.to_dict() == []
        assert nothing.area.shape == (0,)
        assert nothing.plot(Image.new("RGB", (20, 10))).size == (20, 10)


@pytest.mark.parametrize(
    "given",
    [
        ([[1, 2, 3]], [1.0], ["a"]),
        ([1, 2, 3, 4], [1.0], ["a"]),
        ([[1, 2, 3, 4]], [1.0, 0.5], ["a"]),
        ([[1, 2, 3, 4]], [1.0], ["a", "b"]),
        ([[1, 2, 3, 4]], [1.0], ["a"], [1, 2]),
        ([], [1.0], ["a"]),
    ],
)
def test_shapes_are_checked(given):
    with pytest.raises(ValueError, match=r"xyxy is \(N, 4\)"):
        Detections(*given)


def test_result_protocol_equality_pickle_repr():
    result = found()
    assert isinstance(result, Result)
    assert pickle.loads(pickle.dumps(result)) == result
    assert pickle.loads(pickle.dumps(result)).index == 3
    assert result == result.to_dict()
    assert result != result[:2]
    assert repr(result) == "Detections([cat 0.900, dog 0.500, cat 0.750], index=3)"
    assert repr(Detections(np.zeros((9, 4)), np.ones(9), ["x"] * 9)).endswith("and 1 more], index=0)")


def test_lines():
    assert found().lines()[:2] == ["cat 0.9000 at 1,2 to 30,40", "dog 0.5000 at -3,0 to 10,12"]
    assert Detections([], [], []).lines() == []


def test_save(tmp_path):
    found().save(tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == found().to_dict()


def test_plot_draws_each_box_in_its_class_s_colour_and_leaves_the_picture():
    image = Image.new("RGB", (100, 80), "white")
    drawn = found().plot(image)
    assert drawn.size == image.size
    assert np.asarray(image).min() == 255, "the picture itself was drawn into"
    pixels = np.asarray(drawn).astype(int)
    cat, dog = pixels[30, 30], pixels[6, 10]
    assert (cat != 255).any()
    assert (dog != 255).any()
    assert (pixels[30, 90] == cat).all()
    assert (cat != dog).any()


def test_plot_takes_arrays_turned_boxes_and_untrusted_labels():
    boxes = [[50, 60, 10, 20], [-500, -500, 900, 900], [np.float32(1e9), 0, 2e9, 5]]
    result = Detections(boxes, [0.1, 0.2, 0.3], ["\x1b[31m", "x" * 500, "ünï\n"])
    drawn = result.plot(np.full((80, 100, 3), 255, np.uint8))
    assert np.asarray(drawn).std() > 10
