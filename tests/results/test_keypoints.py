"""Keypoints: schema, validation, filtering, saving, drawing."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sensorium.results import Keypoints, Result


def interesting():
    return Keypoints([[1.5, 2], [30, 4], [5, 26]], [0.5, 0.25, 1], descriptors=np.eye(3, 4), index=2)


def named():
    return Keypoints([[1.5, 2], [30, 4]], [0.5, 0.25], ["nose", "left eye"])


def test_the_schema():
    assert interesting()[0] == {"x": 1.5, "y": 2.0, "score": 0.5}
    assert named()[1] == {"x": 30.0, "y": 4.0, "score": 0.25, "label": "left eye"}
    assert list(named()) == named().to_dict() == named()
    assert [type(value) for value in named()[0].values()] == [float, float, float, str]
    assert json.loads(json.dumps(interesting().to_dict()))[2]["y"] == 26
    assert isinstance(named(), Result)


def test_filtering_keeps_all_arrays_together():
    best = interesting()[interesting().scores > 0.3]
    assert isinstance(best, Keypoints)
    assert best.xy.tolist() == [[1.5, 2], [5, 26]]
    assert best.descriptors.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert best.index == 2
    assert named()[::-1].labels.tolist() == ["left eye", "nose"]
    assert named()[np.array([1])].xy.tolist() == [[30, 4]]
    assert len(interesting()[:0]) == 0
    assert interesting()[:0].descriptors.shape == (0, 4)
    with pytest.raises(IndexError):
        named()[2]


def test_equal_by_value():
    assert interesting() == interesting()
    assert interesting() != interesting()[:2]
    assert interesting() != Keypoints(interesting().xy, interesting().scores, descriptors=np.ones((3, 4)))
    assert named() != "points"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1, 2], [0.5]), r"\(N, 2\).*\(2,\)"),
        (([[1, 2, 3]], [0.5]), r"\(N, 2\).*\(1, 3\)"),
        (([[1, 2]], [0.5, 0.2]), r"1 points came with scores \(2,\)"),
        (([[1, 2]], [0.5], ["a", "b"]), r"labels \(2,\)"),
        (([[1, 2]], [0.5], None, [[1.0], [2.0]]), r"descriptors \(2, 1\)"),
        (([], [0.5]), "0 points"),
    ],
)
def test_disagreeing_shapes_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        Keypoints(*arrays)


def test_no_points():
    empty = Keypoints([], [])
    assert len(empty) == 0
    assert empty.xy.shape == (0, 2)
    assert empty.to_dict() == []
    assert "0 points" in repr(empty)
    assert np.array_equal(empty.plot(Image.new("RGB", (9, 9))), np.zeros((9, 9, 3)))


def test_it_holds_its_own_memory_and_pickles():
    batch = np.arange(12, dtype=np.float32).reshape(6, 2)
    points = Keypoints(batch[:2], batch[:2, 0])
    batch[:] = 0
    assert points.xy.tolist() == [[0, 1], [2, 3]]
    assert points.xy.base is None
    assert pickle.loads(pickle.dumps(interesting())) == interesting()


def test_the_repr_is_short_and_safe():
    many = Keypoints(np.zeros((500, 2)), np.zeros(500), ["x" * 500] * 500)
    assert len(repr(many)) < 500
    assert "500 points" in repr(many)
    assert "\n" not in repr(Keypoints([[0, 0]], [0], ["a\nb"]))


def test_saving(tmp_path):
    interesting().save(tmp_path / "points.json")
    assert json.loads((tmp_path / "points.json").read_text()) == interesting().to_dict()
    interesting().save(tmp_path / "points.npz")
    with np.load(tmp_path / "points.npz") as archive:
        assert sorted(archive) == ["descriptors", "scores", "xy"]
        np.testing.assert_array_equal(archive["descriptors"], interesting().descriptors)
    with pytest.raises(ValueError, match=r"\.json or \.npz"):
        interesting().save(tmp_path / "points.txt")


def test_dots_lie_on_their_points():
    image = Image.new("RGB", (120, 80))
    drawn = np.asarray(Keypoints([[20, 30], [100, 60]], [1.0, 0.1]).plot(image)).astype(int)
    assert np.asarray(image).max() == 0, "the picture itself stays"
    red, blue = drawn[30, 20], drawn[60, 100]
    assert red[0] > 180 > red[2]
    assert blue[2] > 150 > blue[0]
    ys, xs = np.nonzero(drawn.any(-1))
    for x, y in zip(xs, ys, strict=True):
        assert min(np.hypot(x - 20, y - 30), np.hypot(x - 100, y - 60)) < 5


def test_names_are_written_beside_their_points():
    image = Image.new("RGB", (200, 100))
    points = Keypoints([[50, 50], [150, 50], [199, 0]], [0.9, 0.8, 0.7], ["a", "b\n", "c"])
    assert np.asarray(points.plot(image)).any(-1).sum() > 4 * np.asarray(points.plot(image, tags=False)).any(-1).sum()


def test_lines_for_a_terminal():
    assert interesting().lines() == ["3 points", "best 1.0000 at 5.0, 26.0"]
    assert named().lines() == ["nose 0.5000 at 1.5, 2.0", "left eye 0.2500 at 30.0, 4.0"]
    assert Keypoints([], []).lines() == ["no points"]
