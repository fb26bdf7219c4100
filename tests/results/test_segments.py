"""Segments: one map of small integers, masks made when they are looked at."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sensorium.results import Result, Segments
from sensorium.results.rle import decode
from tests.media import make_image

MAP = np.array([[7, 7, 2, 2, 0], [7, 7, 2, 2, 0], [7, 7, 7, 0, 0]], np.uint8)


def semantic(index=3):
    return Segments(MAP, [2, 7], ["road", "sky"], index=index)


def instances():
    return Segments(MAP, [2, 7], ["cat", "cat"], [0.9, 0.12345678], [5, 5])


def overlapping():
    masks = np.zeros((2, 3, 5), bool)
    masks[0, :2], masks[1, 1:, 2:] = True, True
    return Segments.from_masks(masks, ["cat", "dog"], [0.9, 0.8], [5, 6]), masks


def test_masks_are_made_of_the_map():
    segments = semantic()
    assert isinstance(segments, Result)
    assert len(segments) == 2
    assert segments.size == (3, 5)
    assert segments.masks.shape == (2, 3, 5)
    assert segments.masks.dtype == bool
    np.testing.assert_array_equal(segments.masks[0], MAP == 2)
    np.testing.assert_array_equal(segments.mask(-1), MAP == 7)
    assert segments.areas.tolist() == [4, 7]
    with pytest.raises(IndexError):
        segments.mask(2)


def test_an_item_has_the_schema_of_transformers():
    item = instances()[1]
    assert list(item) == ["score", "label", "mask"]
    assert item["score"] == 0.123457
    assert item["label"] == "cat"
    assert isinstance(item["mask"], Image.Image)
    assert item["mask"].mode == "L"
    np.testing.assert_array_equal(np.asarray(item["mask"]), (MAP == 7) * 255)
    assert semantic()[0]["score"] is None
    assert [each["label"] for each in semantic()] == ["road", "sky"]


def test_to_dict_is_plain_and_its_masks_are_rle():
    found = json.loads(json.dumps(instances().to_dict(), allow_nan=False))
    assert [set(each) for each in found] == [{"score", "label", "mask"}] * 2
    for each, mask in zip(found, instances().masks, strict=True):
        np.testing.assert_array_equal(decode(each["mask"]), mask)


def test_filtering_gives_segments():
    segments = instances()
    kept = segments[segments.scores > 0.5]
    assert isinstance(kept, Segments)
    assert kept.labels.tolist() == ["cat"]
    assert kept.values.tolist() == [2]
    np.testing.assert_array_equal(kept.masks[0], MAP == 2)
    assert [each.labels.tolist() for each in (segments[:0], segments[1:], segments[np.array([1, 0])])] == [
        [],
        ["cat"],
        ["cat", "cat"],
    ]
    assert semantic()[1:].index == 3
    assert semantic()[:0].masks.shape == (0, 3, 5)


def test_segments_may_overlap():
    segments, masks = overlapping()
    assert segments.segmentation is None
    np.testing.assert_array_equal(segments.masks, masks)
    np.testing.assert_array_equal(np.asarray(segments[1]["mask"]), masks[1] * 255)
    np.testing.assert_array_equal(segments[1:].masks, masks[1:])
    assert segments.areas.tolist() == masks.sum((1, 2)).tolist()
    assert [decode(each["mask"]).sum() for each in segments.to_dict()] == segments.areas.tolist()
    assert sum(mask.nbytes for mask in segments._bits) < masks.nbytes / 2
    assert len(Segments.from_masks(np.zeros((0, 4, 6)), [], [])) == 0


def test_a_copy_by_pickle_equals_and_a_different_one_does_not():
    for segments in (semantic(), instances(), overlapping()[0]):
        assert pickle.loads(pickle.dumps(segments)) == segments
    assert pickle.loads(pickle.dumps(semantic())).index == 3
    assert instances() != overlapping()[0]
    assert semantic() != semantic()[:1]


def test_no_more_is_held_than_the_map():
    batch = np.zeros((8, 30, 50), np.uint8)
    segments = Segments(batch[3], [0], ["wall"])
    assert segments.segmentation.base is None
    assert segments.segmentation.nbytes == 1500


@pytest.mark.parametrize(
    "arguments",
    [
        (MAP[None], [7], ["a"]),
        (MAP.astype(np.float32), [7], ["a"]),
        (MAP, [7], ["a", "b"]),
        (MAP, [7], ["a"], [0.1, 0.2]),
        (MAP, [7], ["a"], [0.1], [1, 2]),
        (MAP, [7, 7], ["a", "b"]),
    ],
)
def test_what_does_not_agree_is_refused(arguments):
    with pytest.raises(ValueError, match=r"got|one length"):
        Segments(*arguments)


def test_masks_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        Segments.from_masks(MAP, ["a"])
    with pytest.raises(ValueError, match="one length"):
        Segments.from_masks(MAP[None], ["a", "b"])


def test_repr_is_short():
    assert repr(semantic()) == "Segments([road, sky], size=(3, 5), index=3)"
    assert repr(instances()) == "Segments([cat 0.900, cat 0.123], size=(3, 5), index=0)"
    many = Segments(np.arange(300).reshape(15, 20), range(300), [f"thing {i}" for i in range(300)])
    assert len(repr(many)) < 300


def test_the_plot_colours_each_segment_and_writes_its_label():
    image = make_image(90, 60)
    values = np.zeros((60, 90), np.uint8)
    values[10:50, 30:] = 4
    plain, drawn = np.asarray(image), np.asarray(Segments(values, [4], ["tree\x1b[31m"]).plot(image))
    assert drawn.shape == plain.shape
    np.testing.assert_array_equal(drawn[:8], plain[:8])
    assert (drawn[45, 31:89] != plain[45, 31:89]).any(-1).all()
    assert len(np.unique(drawn[12:49, 31:89].reshape(-1, 3), axis=0)) > 50  # the picture shows through
    grey = np.asarray(overlapping()[0].plot(np.zeros((3, 5), np.uint8)))
    assert grey.shape == (3, 5, 3)
    with pytest.raises(ValueError, match="90x60"):
        Segments(values, [4], ["tree"]).plot(make_image(60, 90))


def test_saving(tmp_path):
    semantic().save(tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == semantic().to_dict()
    semantic().save(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), MAP)
    large = MAP.astype(np.int32) * 1000
    Segments(large, [7000], ["sky"]).save(tmp_path / "y.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "y.png")), large)
    for unfit in (overlapping()[0], Segments(large - 1, [6999], ["sky"]), Segments(large * 100, [0], ["sky"])):
        with pytest.raises(ValueError, match="JSON"):
            unfit.save(tmp_path / "z.png")
