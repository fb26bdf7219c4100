"""Chains: what one pipeline finds is what the next one is given, and all comes back to the picture."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest

import sensorium
from sensorium.errors import InputError, OptionError
from sensorium.pipelines.chains import Crops, ImageParts
from sensorium.results import Crop, Detections, Keypoints, Labels, Masks, Poses, Segments
from tests import tiny, tiny_detection, tiny_keypoints, tiny_sam
from tests.contract import assert_close
from tests.media import make_image, make_images

SETTINGS = {"device": "cpu", "dtype": "float32", "compile": False}
ALL = {"threshold": 0.0, "top_k": 3}


@pytest.fixture(scope="module")
def detect():
    with sensorium.pipeline("object-detection", tiny_detection.folder("detr"), **SETTINGS) as pipe:
        yield pipe


@pytest.fixture(scope="module")
def classify():
    with sensorium.pipeline("image-classification", tiny.folder("vit"), batch_size=4, **SETTINGS) as pipe:
        yield pipe


def boxes(*rows, index=0):
    return Detections(rows, np.linspace(0.9, 0.5, len(rows)), [f"thing {i}" for i in range(len(rows))], index=index)


def test_parts_of_many_pictures_share_batches_and_come_back_picture_by_picture(detect, classify):
    images = make_images()
    pictures = list(detect.crop(images, **ALL).through(classify, top_k=2))
    classify.reset_stats()
    classify(list(detect.crop(images, **ALL)))
    assert classify.stats()["batches"] == 5, "three parts of six pictures, in batches of four"
    for index, (image, picture) in enumerate(zip(images, pictures, strict=True)):
        assert isinstance(picture, ImageParts)
        assert (picture.index, len(picture)) == (index, 3)
        np.testing.assert_allclose(picture.found.xyxy, detect(image, **ALL).xyxy, atol=1e-3)
        pixels = np.asarray(image)
        for crop, labels in picture:
            x0, y0, x1, y1 = crop.box
            np.testing.assert_array_equal(crop.pixels, pixels[y0:y1, x0:x1])
            left, top, right, bottom = picture.found.xyxy[crop.number].clip(0, pixels.shape[1::-1] * 2)
            assert (x0, y0, x1, y1) == (int(left), int(top), np.ceil(right), np.ceil(bottom))
            assert isinstance(labels, Labels)
            assert labels.index == index
            assert_close(labels.to_dict(), classify(np.ascontiguousarray(pixels[y0:y1, x0:x1]), top_k=2).to_dict())


def test_failures_keep_their_place_and_cost_no_neighbour(detect, classify, tmp_path):
    make_image(64, 48, 1).save(tmp_path / "a.png")
    stream = io.BytesIO()
    make_image(64, 48, 2).save(stream, "PNG")
    stream.seek(0)
    images = [tmp_path / "a.png", "nowhere.jpg", stream, b"no picture", make_image(40, 40, 3)]

    def chain(**more):
        stream.seek(0)
        return list(detect.crop(images, **ALL).through(classify, **more))

    first, lost, second, none, last = chain(on_error="return")
    assert [len(each) for each in (first, second, last)] == [3, 3, 3]
    assert (lost.code, lost.index, none.index) == ("missing-file", 1, 3)
    assert isinstance(none, InputError)
    assert first.source == first.results[0].source == str(tmp_path / "a.png")
    assert [picture.index for picture in chain(on_error="skip")] == [0, 2, 4]
    with pytest.raises(InputError, match="input 1"):
        chain()
    # the same failures, where the parts go through a stream of the caller's own
    stream.seek(0)
    outcomes = list(classify.stream(detect.crop(images, **ALL), on_error="return"))
    assert [isinstance(each, InputError) for each in outcomes] == [0] * 3 + [1] + [0] * 3 + [1] + [0] * 3


def test_a_part_that_fails_keeps_its_place(classify):
    images, found = [make_image(64, 48)], [boxes((0, 0, 20, 20), (5, 5, 40, 40))]
    make = lambda crop: "nowhere.jpg" if crop.number == 0 else crop  # noqa: E731
    (picture,) = Crops(images, found).through(classify, make=make, on_error="return")
    failed, good = picture.results
    assert (failed.code, failed.index) == ("missing-file", 0)
    assert isinstance(good, Labels)
    (picture,) = Crops(images, found).through(classify, make=make, on_error="skip")
    assert [crop.number for crop in picture.crops] == [1]
    with pytest.raises(InputError, match="nowhere"):
        list(Crops(images, found).through(classify, make=make))


def test_pictures_without_parts_come_in_their_order_and_do_not_wait_for_others(detect, classify):
    images = make_images()
    pictures = detect.crop(itertools.cycle(images), keep=lambda row: False, **ALL).through(classify)
    assert [next(pictures).index for _ in range(50)] == list(range(50))
    pictures.close()
    counts = [len(p) for p in detect.crop(images, keep=lambda row: row["label"] == "thing 3", **ALL).through(classify)]
    assert counts == [int((each.labels == "thing 3").sum()) for each in detect(images, **ALL)]


def test_one_picture_a_table_of_rows_and_a_folder(detect, tmp_path):
    for i, image in enumerate(make_images()):
        image.save(tmp_path / f"{i}.png")
    expected = [len(crop.pixels) for image in make_images() for crop in detect.crop(image, **ALL)]
    assert len(expected) == 18
    assert [len(crop.pixels) for crop in detect.crop(tmp_path, **ALL)] == expected
    rows = [{"image": tmp_path / f"{i}.png", "label": i} for i in range(6)]
    assert [len(crop.pixels) for crop in detect.crop(iter(rows), **ALL)] == expected


def test_boxes_go_along_as_prompts(classify):
    image, found = make_image(96, 64, 1), boxes((10, 10, 50, 40), (30, 5, 90, 60))
    with sensorium.pipeline("mask-generation", tiny_sam.folder("sam"), **SETTINGS) as segment:
        make = lambda crop: {"image": crop, "boxes": [crop.inner]}  # noqa: E731
        (picture,) = Crops([image], [found], margin=0.25).through(segment, make=make)
        for crop, masks in picture:
            assert isinstance(masks, Masks)
            assert masks.size == (64, 96)
            own = segment(np.ascontiguousarray(crop.pixels), boxes=[crop.inner])
            x0, y0, x1, y1 = crop.box
            np.testing.assert_array_equal(masks.masks[:, y0:y1, x0:x1], own.masks)
            assert masks.areas.tolist() == own.areas.tolist(), "and nothing outside of the part"
            for box, mask in zip(masks.boxes, masks.masks, strict=True):
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                if len(rows):
                    assert box.tolist() == [columns[0], rows[0], columns[-1], rows[-1]]
        # a third stage, of what the second has found, brought back
        masks = picture.results[0]
        parts = list(Crops([image], [masks], background=(0, 255, 0)))
        assert all((part.pixels.reshape(-1, 3) == (0, 255, 0)).all(1).any() or part.found.mask(part.number).all()
                   for part in parts if masks.areas[part.number] < part.pixels[..., 0].size)  # fmt: skip
        assert len(list(Crops([image], [masks]).through(classify))) == 1


def test_points_of_a_part_are_points_of_the_picture():
    image, found = make_image(160, 128, 1), boxes((40, 30, 150, 120))
    with sensorium.pipeline("keypoint-detection", tiny_keypoints.superpoint(), **SETTINGS) as points:
        ((crop, moved),) = next(iter(Crops([image], [found]).through(points)))
        own = points(np.ascontiguousarray(crop.pixels))
    assert len(own) > 0
    np.testing.assert_allclose(moved.xy, own.xy + np.array([40, 30]), atol=1e-3)


def part(found=None):
    at = {"inner": (1, 1, 9, 9), "size": (50, 60), "found": found or boxes(index=4), "number": 0}
    return Crop(np.zeros((20, 30, 3), np.uint8), (5, 7, 35, 27), **at)


def test_each_kind_of_result_is_brought_back():
    crop = part()
    assert crop.bring_back(boxes((1, 2, 3, 4))).xyxy.tolist() == [[6, 9, 8, 11]]
    assert crop.bring_back(Keypoints([[1, 2]], [1])).xy.tolist() == [[6, 9]]
    poses = crop.bring_back(Poses([[[1, 2]]], [[1]], [[0, 0, 9, 9]], ["nose"]))
    assert (poses.xy.tolist(), poses.boxes.tolist()) == ([[[6, 9]]], [[5, 7, 14, 16]])
    labels = Labels(["a"], [1], index=9)
    back = crop.bring_back(labels)
    assert (back, back.index, labels.index) == (labels, 4, 9)
    found = Segments(np.arange(600).reshape(20, 30) // 300, [1], ["a"], [0.5])
    back = crop.bring_back(found)
    assert back.size == (50, 60)
    assert back.mask(0).sum() == 300
    np.testing.assert_array_equal(back.mask(0)[7:27, 5:35], found.mask(0))
    overlapping = Segments.from_masks(np.ones((2, 20, 30), bool), ["a", "b"])
    assert crop.bring_back(overlapping).mask(1).sum() == 600
    masks = Masks(np.stack([np.ones((20, 30), bool), np.zeros((20, 30), bool)]), [1, 0])
    assert crop.bring_back(masks).boxes.tolist() == [[5, 7, 34, 26], [0, 0, 0, 0]]
    named = Masks(masks.masks, [1, 0], labels=["owl", "owl"], pred_boxes=[[0, 1, 9.5, 9], [0, 0, 1, 1]])
    back = crop.bring_back(named)
    assert back.labels.tolist() == ["owl", "owl"]
    assert back.pred_boxes[0].tolist() == [5, 8, 14.5, 16]


def test_what_is_cut_out():
    image = np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)
    rows = [(10, 10, 20, 30), (-9, -9, 4.2, 3), (60, 5, 70, 9), (5, 5, 5, 9), (45, 35, 99, 99), (np.nan, 0, 9, 9)]
    crops = list(Crops([image], [boxes(*rows)], margin=0.5))
    assert [crop.number for crop in crops] == [0, 1, 4]
    assert [crop.box for crop in crops[:3]] == [(5, 0, 25, 40), (0, 0, 11, 9), (18, 3, 50, 40)]
    assert crops[0].inner == (5, 10, 15, 30)
    assert crops[0].row["label"] == "thing 0"
    np.testing.assert_array_equal(np.asarray(crops[0]), image[0:40, 5:25])
    assert len(list(Crops([image], [boxes(*rows)], keep=lambda row: row["score"] > 0.8))) == 2


@pytest.mark.parametrize("margin", [-0.1, np.nan, "0.1", True])
def test_margins_that_are_none(margin):
    with pytest.raises(OptionError, match="margin is a number from 0"):
        Crops([], [], margin=margin)


def test_what_has_no_parts(classify, detect):
    with pytest.raises(TypeError, match="a Labels has no boxes"):
        list(Crops([make_image()], [Labels(["a"], [1])]))
    with pytest.raises(TypeError, match="background is for masks"):
        list(Crops([make_image()], [boxes((0, 0, 9, 9))], background=(0, 0, 0)))
    with pytest.raises(OptionError, match="on_error is"):
        Crops([], []).through(classify, on_error="ignore")
    with pytest.raises(sensorium.UnknownNameError, match="top_n"):
        detect.crop([make_image()], top_n=3)


def test_an_error_among_inputs_keeps_its_place(classify):
    error = InputError("lost before", code="lost", index=7)
    first, second = classify([make_image(), error], on_error="return")
    assert isinstance(first, Labels)
    assert second is error
    assert second.index == 7
