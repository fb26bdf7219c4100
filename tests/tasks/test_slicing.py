"""`slice_px=`, `overlap=`: large pictures in windows, against what was planted and against one pass."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import sensorium
from sensorium.errors import OptionError
from sensorium.tasks.slicing.grouping import Match, grouped
from sensorium.tasks.slicing.windows import Area, ImageWindow, SlicedOptions, image_windows, neighbours
from tests import planted, tiny_detection, tiny_grounding, tiny_segmentation
from tests.media import make_image

SIZE = (230, 310)
OBJECTS = [
    (1, 4, 4, 40, 30),  # in one window
    (2, 80, 20, 112, 44),  # across a border, in both windows' common part
    (1, 60, 90, 200, 110),  # wider than a window
    (3, 210, 60, 225, 225),  # higher than two windows
    (2, 240, 90, 305, 130),  # across the corner of four windows
    (2, 244, 140, 300, 160),  # beside one of its class
    (1, 100, 100, 104, 104),  # small, where windows meet
    (0, 0, 200, 30, 230),  # at the picture's edges
]


def ours(task, model, processor=None, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline(task, model, processor=processor, **settings)


def options(slice_px, overlap=0.2):
    return SlicedOptions(slice_px=slice_px, overlap=overlap)


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("size", [(230, 310), (100, 101), (100, 100), (1, 5000), (99, 1234)])
def test_windows_cover_the_picture_with_so_much_in_common(size, overlap):
    windows = list(image_windows(size, options(100, overlap)))
    owned = np.zeros(size, int)
    for window in windows:
        assert window.size == tuple(min(side, 100) for side in size)
        assert window.area.common(window.cell) == window.cell
        owned[window.cell.within(Area(0, 0, size[1], size[0]))] += 1
    assert (owned == 1).all()
    for first, second in itertools.pairwise(windows):
        if first.area.top == second.area.top:
            assert first.area.right - second.area.left >= round(100 * overlap)
    shared = {(i, j) for i in range(len(windows)) for j in range(i) if windows[i].area.common(windows[j].area)}
    assert {(j, i) for i, j, _ in neighbours(windows)} == shared


def test_a_picture_that_fits_is_one_window():
    for size in ((100, 100), (3, 100), (1, 1)):
        whole = Area(0, 0, size[1], size[0])
        assert list(image_windows(size, options(100))) == [ImageWindow(size, whole, whole)]
    assert len(list(image_windows((5000, 7000), options(None)))) == 1


def test_an_object_has_one_find_in_a_window():
    matches = [Match(0.6, 0, 2), Match(0.9, 1, 2), Match(0.7, 2, 3)]
    assert grouped([0, 0, 1, 2], matches) == [[0], [1, 2, 3]]
    assert grouped([0, 1, 0], [Match(0.9, 0, 1), Match(0.8, 1, 2)]) == [[0, 1], [2]]
    assert grouped([], []) == []


@pytest.mark.parametrize(("slice_px", "overlap"), [(100, 0.3), (64, 0.6)])
def test_planted_objects_are_found_once_and_whole(slice_px, overlap):
    picture = planted.scene(SIZE, OBJECTS)
    model, seen = planted.detector()
    with ours("object-detection", model, planted.processor()) as detect:
        whole = detect(picture)
        found = detect(picture, slice_px=slice_px, overlap=overlap)
        assert set(seen.sizes) == {SIZE, (slice_px, slice_px)}
        assert found.size == whole.size == SIZE
        assert (found.scores[:-1] >= found.scores[1:]).all()
        assert rows_of(found) == rows_of(whole)
        best = detect(picture, slice_px=slice_px, overlap=overlap, top_k=3)
        assert best == found[:3]
    assert len(whole) == len(OBJECTS)


def rows_of(found):
    return sorted((label, *box) for label, box in zip(found.labels.tolist(), found.xyxy.round(2).tolist(), strict=True))


def test_a_box_that_is_cut_is_joined_where_it_sees_less():
    """Behind a pillar: a window shows the object up to it, the next one from its border on."""
    picture = planted.scene((60, 180), [(1, 20, 10, 160, 40), (2, 84, 0, 100, 60)])
    with ours("object-detection", planted.detector()[0], planted.processor()) as detect:
        found = detect(picture, slice_px=100, overlap=0.2)
        assert rows_of(found) == rows_of(detect(picture))


def test_without_overlap_objects_stay_cut():
    with ours("object-detection", planted.detector()[0], planted.processor()) as detect:
        found = detect(planted.scene((100, 200), [(1, 80, 10, 120, 30)]), slice_px=100, overlap=0)
        assert rows_of(found) == [("class 1", 80, 10, 100, 30), ("class 1", 100, 10, 120, 30)]
        assert len(detect(planted.scene((100, 200), []), slice_px=100)) == 0


@pytest.mark.parametrize("subtask", ["instance", "panoptic"])
def test_planted_segments_are_one_each(subtask):
    picture = planted.scene(SIZE, OBJECTS)
    with ours("image-segmentation", planted.finder_of_segments()[0], planted.processor()) as segment:
        whole = segment(picture, subtask=subtask)
        found = segment(picture, subtask=subtask, slice_px=100, overlap=0.3)
        assert found.size == whole.size == SIZE
        assert len(found) == len(whole) == len(OBJECTS) + 1
        assert masks_of(found) == masks_of(whole)
        assert np.unique(found.segmentation).tolist() == found.values.tolist()
        empty = segment(planted.scene(SIZE, []), subtask=subtask, slice_px=100)
        assert empty.areas.tolist() == [SIZE[0] * SIZE[1]]


def masks_of(found):
    return {(label, mask.tobytes()) for label, mask in zip(found.labels.tolist(), found.masks, strict=True)}


def test_a_planted_map_is_that_of_one_pass():
    picture = planted.scene(SIZE, OBJECTS)
    with ours("image-segmentation", planted.reader_of_classes()[0], planted.processor()) as segment:
        for overlap in (0, 0.3):
            found = segment([picture, picture[:90, :90]], slice_px=100, overlap=overlap)
            np.testing.assert_array_equal(found[0].segmentation, picture[..., 1])
            np.testing.assert_array_equal(found[1].segmentation, picture[:90, :90, 1])
            assert found[0].segmentation.dtype == np.uint8


@pytest.mark.parametrize("architecture", ["detr", "rt_detr"])
def test_a_picture_that_fits_is_detected_as_in_one_pass(architecture):
    images = [make_image(120, 90), make_image(64, 200)]
    with ours("object-detection", tiny_detection.folder(architecture)) as detect:
        for more in ({}, {"top_k": 4}):
            one = detect(images, threshold=0.2, **more)
            assert one == detect(images, threshold=0.2, slice_px=200, **more)
            assert all(len(each) for each in one)
        sliced = detect(images, threshold=0.2, slice_px=64, top_k=5)
        assert [each.size for each in sliced] == [(90, 120), (200, 64)]
        assert all((each.xyxy[:, ::2] < 130).all() for each in sliced)


def test_zero_shot_pictures_that_fit_are_as_in_one_pass():
    architecture = next(iter(tiny_grounding.ARCHITECTURES))
    with ours("zero-shot-object-detection", tiny_grounding.folder(architecture)) as detect:
        asked = {"candidate_labels": ["cat", "dog"], "threshold": 0.0}
        images = [make_image(60, 90), make_image(64, 64)]
        one = detect(images, **asked, top_k=7)
        assert one == detect(images, **asked, top_k=7, slice_px=90)
        assert len(one[0]) == 7
        sliced = detect(images[0], **asked, slice_px=50, overlap=0.3)
        assert sliced.size == (90, 60)
        assert (sliced.scores[:-1] >= sliced.scores[1:]).all()


@pytest.mark.parametrize("architecture", ["segformer", "maskformer"])
def test_segments_of_pictures_that_fit_are_as_in_one_pass(architecture):
    with ours("image-segmentation", tiny_segmentation.folder(architecture)) as segment:
        image = make_image(120, 90)
        asked = {} if architecture == "segformer" else {"threshold": 0.0}
        assert segment(image, **asked) == segment(image, **asked, slice_px=120)
        assert segment(image, **asked, slice_px=64).size == (90, 120)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"slice_px": 0}, "slice_px is a whole number of px from 1, or None for the whole picture at once"),
        ({"slice_px": 64.5}, "slice_px is a whole number"),
        ({"slice_px": 64, "overlap": 0.95}, "overlap is a number from 0 to 0.9"),
        ({"slice_px": 64, "overlap": -0.1}, "overlap is a number from 0 to 0.9"),
        ({"overlap": 0.5}, "overlap is that of windows, which slice_px=640 makes"),
    ],
)
def test_options_are_checked(given, told):
    with ours("object-detection", planted.detector()[0], planted.processor()) as detect:
        with pytest.raises(OptionError) as caught:
            detect("nowhere.jpg", **given)
        assert told in str(caught.value)


def test_overlapping_masks_are_not_for_windows():
    with (
        ours("image-segmentation", planted.finder_of_segments()[0], planted.processor()) as segment,
        pytest.raises(OptionError, match="leave out slice_px or overlapping"),
    ):
        segment("nowhere.jpg", subtask="instance", overlapping=True, slice_px=64)


def test_windows_of_a_stream_are_fitted_as_the_model_takes_them():
    """A picture of many windows is never many fitted windows at once."""
    live, most, made = 0, 0, 0
    with ours("object-detection", planted.detector()[0], planted.processor(), batch_size=2) as detect:
        split, decode = detect.task.split, detect.task.decode

        def counted(raw, options):
            nonlocal live, most, made
            for unit in split(raw, options):
                live, made = live + 1, made + 1
                most = max(most, live)
                yield unit

        def done(outputs, metas, options):
            nonlocal live
            live -= len(metas)
            return decode(outputs, metas, options)

        detect.task.split, detect.task.decode = counted, done
        found = detect(torch.zeros(3, 160, 200, dtype=torch.uint8), slice_px=10, overlap=0)
    assert len(found) == 0
    assert made == 320
    assert most < 100
