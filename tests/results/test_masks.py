"""Masks: what they hold, select, write and draw."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from sensorium.results import Masks, Result, rle


def squares():
    """Three squares on a picture of 20 by 30 px, the second over the edge of the first, the third empty."""
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 2:8, 3:9] = True
    masks[1, 6:16, 8:28] = True
    return masks


def made(**changes):
    return Masks(squares(), [0.5, 0.9, 0.7], **{"objects": [1, 0, 1], "index": 4, **changes})


@settings(deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12)))
def test_boxes_and_areas_are_the_masks_own(masks):
    result = Masks(masks, np.zeros(len(masks)))
    np.testing.assert_array_equal(result.masks, masks)
    assert result.areas.tolist() == [int(mask.sum()) for mask in masks]
    for mask, box in zip(masks, result.boxes.tolist(), strict=True):
        y, x = np.nonzero(mask)
        assert box == ([x.min(), y.min(), x.max(), y.max()] if len(x) else [0, 0, 0, 0])
    assert Masks(result.rle, result.scores) == result


def test_it_is_a_result():
    result = made()
    assert isinstance(result, Result)
    assert (len(result), result.size, result.index) == (3, (20, 30), 4)
    assert result.boxes.tolist() == [[3, 2, 8, 7], [8, 6, 27, 15], [0, 0, 0, 0]]
    assert result.stability.tolist() == [1, 1, 1]
    assert repr(result) == "Masks(3 of 30x20 px, index=4)"
    assert result != made(objects=[0, 0, 0])
    assert result != [1]


def test_one_item_and_the_dict_of_the_pipeline():
    result = made()
    assert set(result[1]) == {"mask", "score"}
    np.testing.assert_array_equal(result[1]["mask"], squares()[1])
    assert result[-1]["score"] == pytest.approx(0.7)
    assert [row["score"] for row in result] == pytest.approx([0.5, 0.9, 0.7])
    np.testing.assert_array_equal(result["masks"], squares())
    np.testing.assert_array_equal(result["scores"], result.scores)
    np.testing.assert_array_equal(result["bounding_boxes"], result.boxes)
    assert "rle_mask" in result
    assert result["rle_mask"][2] == {"size": [20, 30], "counts": [600]}
    with pytest.raises(KeyError, match="label"):
        result["label"]
    with pytest.raises(IndexError):
        result[3]


def named():
    return made(objects=[0, 0, 1], labels=["dog", "dog", "yellow taxi"], pred_boxes=[[3, 2, 8.5, 8]] * 3)


def test_masks_that_texts_asked_for_have_names():
    result = named()
    assert set(result[1]) == {"mask", "score", "label"}
    assert [row["label"] for row in result] == ["dog", "dog", "yellow taxi"]
    assert result.to_dict()["labels"] == result["labels"] == ["dog", "dog", "yellow taxi"]
    assert result["pred_boxes"][0] == [3, 2, 8.5, 8]
    assert not {"labels", "pred_boxes"} & set(made().to_dict())
    part = result[result.labels == "dog"]
    assert part.labels.tolist() == ["dog", "dog"]
    assert part.pred_boxes.shape == (2, 4)
    assert result.best().labels.tolist() == ["dog", "yellow taxi"]
    assert pickle.loads(pickle.dumps(result)) == result
    assert result.lines()[0] == "dog 0.5000, 36 px, 3,2 to 8,7"
    assert result.records()[0]["label"] == "dog"
    assert result.records()[2]["pred_xmax"] == 8.5
    assert result != made(objects=[0, 0, 1])


def test_names_go_where_people_go_on():
    result = named()
    assert [row["category_id"] for row in result.to_coco()] == [0, 0, 1]
    assert result.to_yolo(categories={4: "dog", 7: "yellow taxi"}).split()[0] == "4"
    assert result.to_label_studio("x.jpg")["predictions"][0]["result"][0]["value"]["polygonlabels"] == ["dog"]


def test_selection():
    result = made(stability=[0.1, 0.2, 0.3])
    for key in (result.areas > 40, [1], slice(1, 2), np.array([1])):
        part = result[key]
        assert isinstance(part, Masks)
        assert part.index == 4
        assert part.objects.tolist() == [0]
        assert part.stability.tolist() == pytest.approx([0.2])
        np.testing.assert_array_equal(part.masks, squares()[1:2])
    assert len(result[result.scores > 2]) == 0
    assert result[result.scores > 2].masks.shape == (0, 20, 30)


def test_the_best_of_each_object():
    best = made().best()
    assert best.objects.tolist() == [0, 1]
    assert best.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(Masks([], [], size=(3, 4)).best()) == 0


def test_plain_json_and_pickle(tmp_path):
    result = made()
    assert len(result.masks) == 3  # unpacked, which is not pickled
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again.index == 4
    assert len(pickle.dumps(result)) < 1500
    result.save(tmp_path / "masks.json")
    written = json.loads((tmp_path / "masks.json").read_text(encoding="utf-8"))
    assert written == result.to_dict()
    np.testing.assert_array_equal(rle.decode(written["masks"][1]), squares()[1])
    assert written["areas"] == [36, 200, 0]


def test_a_result_keeps_its_own_numbers():
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    result = Masks(squares(), scores)
    scores[:] = 0
    assert result.scores[1] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.zeros((3, 4), bool), "scores": []}, r"masks are \(N, H, W\), got shape \(3, 4\)"),
        ({"masks": [np.zeros(3, bool)], "scores": [1]}, r"\(H, W\) array, got shape \(3,\)"),
        ({"masks": [], "scores": []}, "have one where there are none"),
        ({"masks": [np.zeros((2, 3)), np.zeros((3, 2))], "scores": [1, 1]}, "must be of one size"),
        ({"masks": squares(), "scores": [1, 1, 1], "size": (3, 3)}, "must be of one size"),
        ({"masks": squares(), "scores": [1, 1]}, "3 masks need as many scores"),
        ({"masks": squares(), "scores": [1, 1, 1], "boxes": [[0, 0, 1, 1]]}, "3 masks need as many scores"),
        ({"masks": squares(), "scores": [1, 1, 1], "objects": [0]}, "3 masks need as many scores"),
        ({"masks": squares(), "scores": [1, 1, 1], "labels": ["dog"]}, "3 masks need as many scores"),
        ({"masks": squares(), "scores": [1, 1, 1], "pred_boxes": [[0, 0, 1, 1]]}, "3 masks need as many scores"),
        ({"masks": [{"size": [2, 2], "counts": [3]}], "scores": [1]}, "do not fill"),
    ],
)
def test_refuses_what_does_not_agree(arguments, message):
    arguments = dict(arguments)
    with pytest.raises(ValueError, match=message):
        Masks(arguments.pop("masks"), arguments.pop("scores"), **arguments)


def test_runs_that_do_not_fill_the_picture():
    with pytest.raises(ValueError, match="runs of 5 px do not fill a mask of 2 x 3 px"):
        Masks.from_runs([np.array([5])], (2, 3), [1.0])


def test_plot_colours_the_masks_alone():
    result = made()
    drawn = result.plot(Image.new("RGB", (30, 20), (100, 100, 100)))
    changed = (np.asarray(drawn) != 100).any(-1)
    np.testing.assert_array_equal(changed, squares().any(0))
    assert (np.asarray(drawn)[4, 4] != np.asarray(drawn)[12, 20]).any(), "each has a colour of its own"
    assert (np.asarray(drawn)[7, 8] == np.asarray(drawn)[2, 3]).all(), (
        "the smaller lies over the larger, its contour on top"
    )
    with pytest.raises(ValueError, match="30x20 px"):
        result.plot(Image.new("RGB", (20, 30)))
    assert Masks([], [], size=(20, 30)).plot(np.zeros((20, 30, 3), np.uint8)).size == (30, 20)


def test_a_name_does_not_hide_a_low_mask():
    canvas, masks = Image.new("RGB", (300, 200), (100, 100, 100)), np.zeros((1, 200, 300), bool)
    masks[0, 90:110, 30:270] = True
    plain, told = (Masks(masks, [0.9], labels=labels).plot(canvas) for labels in (None, ["dog"]))
    changed = (np.asarray(plain) != np.asarray(told)).any(-1)
    assert changed.any()
    assert not (changed & masks[0]).any()


def test_plot_names_them():
    canvas = Image.new("RGB", (300, 200), (100, 100, 100))
    masks = np.zeros((1, 200, 300), bool)
    masks[0, 20:180, 30:270] = True
    plain, told = (Masks(masks, [0.9], labels=labels).plot(canvas) for labels in (None, ["dog"]))
    changed = (np.asarray(plain) != np.asarray(told)).any(-1)
    y, x = np.nonzero(changed)
    assert changed.any()
    assert masks[0, y.min() : y.max(), x.min() : x.max()].all(), "in the middle of the mask"
