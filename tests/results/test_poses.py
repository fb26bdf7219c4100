"""Poses: schema, validation, filtering, saving, drawing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sensorium.results import Keypoints, Poses

LABELS = ["nose", "left eye", "right eye"]
XY = [[[10, 10], [60, 10], [60, 50]], [[110, 10], [160, 12.5], [np.nan, np.nan]]]
SCORES = [[0.9, 0.8, 0.1], [0.7, 0.6, 0.2]]
BOXES = [[0, 0, 70, 60], [100, 0, 170, 60]]


def two(**given):
    return Poses(XY, SCORES, BOXES, LABELS, [[0, 1], [1, 2]], **given)


def test_reads_like_a_list_of_dicts():
    poses = two(box_scores=[0.5, 0.25])
    assert len(poses) == 2
    assert poses[1] == {
        "box": {"xmin": 100, "ymin": 0, "xmax": 170, "ymax": 60},
        "score": 0.25,
        "keypoints": [
            {"label": "nose", "x": 110, "y": 10, "score": pytest.approx(0.7)},
            {"label": "left eye", "x": 160, "y": 12.5, "score": pytest.approx(0.6)},
        ],
    }
    assert "score" not in two()[0]
    assert json.loads(poses.to_json())[0]["keypoints"][2]["label"] == "right eye"
    assert [row["person"] for row in poses.records()] == [0, 0, 0, 1, 1]
    assert poses.given.tolist() == [[True] * 3, [True, True, False]]
    assert poses.lines()[0] == "person at 0,0 to 70,60: 2 of 3 joints above 0.3, best nose 0.9000"
    assert poses[:0].lines() == ["no people"]


def test_some_of_the_people_and_one():
    poses = two(box_scores=[0.5, 0.25], index=3)
    best = poses[poses.box_scores > 0.3]
    assert isinstance(best, Poses)
    assert (len(best), best.index, best.edges.tolist()) == (1, 3, [[0, 1], [1, 2]])
    person = poses.person(1)
    assert isinstance(person, Keypoints)
    assert person.labels.tolist() == LABELS[:2]
    assert person.xy.tolist() == [[110, 10], [160, 12.5]]


@pytest.mark.parametrize(
    "given",
    [
        (np.zeros((2, 2, 2)), SCORES, BOXES, LABELS),
        (XY, np.zeros((2, 2)), BOXES, LABELS),
        (XY, SCORES, BOXES[:1], LABELS),
        (XY, SCORES, BOXES, LABELS, [[0, 3]]),
        (XY, SCORES, BOXES, LABELS, [[-1, 0]]),
    ],
)
def test_what_does_not_agree_is_refused(given):
    with pytest.raises(ValueError, match=r"people are|joints 0 to 2"):
        Poses(*given)


def test_drawing_shows_bones_between_joints_that_are_plain_to_see():
    image = Image.new("RGB", (200, 80), "black")
    drawn = np.asarray(two().plot(image)).astype(int).sum(-1)
    assert drawn[10, 35] > 0  # a bone of the first person
    assert drawn[11, 135] > 0  # one of the second
    assert drawn[30, 60] == 0  # one to a joint that scores 0.1
    assert drawn[10, 90] == 0  # nothing between people
    assert np.asarray(two().plot(image, min_score=0.05)).astype(int).sum(-1)[30, 60] > 0
    assert not np.asarray(two().plot(image, min_score=1)).any()
    assert not np.asarray(image).any(), "the picture itself stays as it is"


def test_arrays_are_saved(tmp_path):
    two(box_scores=[0.5, 0.25]).save(tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz") as arrays:
        np.testing.assert_array_equal(arrays["xy"], np.float32(XY))
        assert arrays["edges"].tolist() == [[0, 1], [1, 2]]
        assert arrays["labels"].tolist() == LABELS
    two().save(tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz") as arrays:
        assert "box_scores" not in arrays
