"""FrameMasks and VideoMasks: validation, selection, drawing and exports."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.errors import UnknownNameError
from sensorium.processors.video_frame import VideoFrame
from sensorium.results import FrameMasks, VideoMasks, rle

SIZE = (30, 40)


def masks_on(frame, left):
    mask = np.zeros(SIZE, bool)
    mask[5:15, left : left + 10] = True
    runs = [rle.runs(mask), rle.runs(np.zeros(SIZE, bool))]
    return FrameMasks(runs, SIZE, ["cat", "dog"], [0.9, 0.1], [0.8, 0.7], frame=frame, colours=[4, 1])


FILM = VideoMasks([masks_on(3, 4), masks_on(4, 8)])


def frame(number):
    return VideoFrame(torch.full((3, *SIZE), 128, dtype=torch.uint8), number, number / 10, None)


def test_boxes_and_areas_are_those_of_the_masks():
    one = FILM[1]
    assert one.boxes.tolist() == [[8, 5, 17, 14], [0, 0, 0, 0]]
    assert one.areas.tolist() == [100, 0]
    assert one.mask("cat")[5:15, 8:18].all()
    assert one.masks.sum((1, 2)).tolist() == [100, 0]
    assert one.lines() == ["frame 4: cat 0.9000, 100 px, 8,5 to 17,14", "frame 4: dog 0.1000, not in sight"]
    with pytest.raises(ValueError, match="cow"):
        one.mask("cow")


def test_what_is_left_keeps_its_colour():
    left = FILM[0][FILM[0].scores < 0.5]
    assert (left.object_ids, left.colours.tolist(), left.frame) == (["dog"], [1], 3)
    assert left[0]["object_id"] == "dog"


def test_lengths_and_objects_have_to_agree():
    with pytest.raises(ValueError, match="1 masks need as many"):
        FrameMasks([np.array([0, 1])], (1, 1), ["a", "b"], [0.5], [0.5], frame=0)
    with pytest.raises(ValueError, match="do not fill"):
        FrameMasks([np.array([0, 2])], (1, 1), ["a"], [0.5], [0.5], frame=0)
    with pytest.raises(ValueError, match="same objects"):
        VideoMasks([FILM[0], FILM[1][:1]])
    with pytest.raises(ValueError, match="one at least"):
        VideoMasks([])


def test_a_frame_of_the_film_is_drawn_with_its_own_masks():
    drawn = np.asarray(FILM.plot(frame(4)))
    assert np.array_equal(drawn, np.asarray(FILM[1].plot(frame(4))))
    assert not np.array_equal(drawn, np.asarray(FILM.plot(frame(4).pixels, frame=3)))
    with pytest.raises(ValueError, match="frames 3 to 4, got frame 5"):
        FILM.plot(frame(5))
    with pytest.raises(ValueError, match="40x30 px"):
        FILM.plot(np.zeros((9, 9, 3), np.uint8), frame=3)


def test_scores_by_name_and_rows_by_frame():
    assert FILM.scores_of("cat").tolist() == pytest.approx([0.9, 0.9])
    with pytest.raises(UnknownNameError, match="Did you mean 'cat'"):
        FILM.scores_of("cats")
    assert FILM.lines() == ["cat: in sight on 2 of 2 frames", "dog: in sight on 0 of 2 frames"]
    rows = FILM.to_coco()
    assert [(row["id"], row["image_id"], row["category_id"]) for row in rows] == [
        (1, 3, 4),
        (2, 3, 1),
        (3, 4, 4),
        (4, 4, 1),
    ]
    assert [row["frame"] for row in FILM.records()] == [3, 3, 4, 4]
    assert FILM[0:1] == [FILM.frames[0]]
