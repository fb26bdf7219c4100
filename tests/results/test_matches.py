"""Matches: the schema of Transformers' pipeline, validation, filtering, saving, drawing."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sensorium.results import Matches, Result


def matches():
    return Matches([[1, 2], [30, 4.5]], [[5, 6], [7, 8]], [0.75, 0.25], index=3)


def test_the_schema():
    assert matches()[1] == {
        "keypoint_image_0": {"x": 30.0, "y": 4.5},
        "keypoint_image_1": {"x": 7.0, "y": 8.0},
        "score": 0.25,
    }
    assert list(matches()) == matches().to_dict() == matches()
    assert json.loads(json.dumps(matches().to_dict()))[0]["score"] == 0.75
    assert isinstance(matches(), Result)


def test_filtering():
    sure = matches()[matches().scores > 0.5]
    assert isinstance(sure, Matches)
    assert (sure.xy0.tolist(), sure.xy1.tolist(), sure.index) == ([[1, 2]], [[5, 6]], 3)
    assert matches()[::-1].scores.tolist() == [0.25, 0.75]
    assert len(matches()[:0]) == 0
    with pytest.raises(IndexError):
        matches()[2]


def test_equal_by_value():
    assert matches() == matches()
    assert matches() != matches()[:1]
    assert matches() != 3


@pytest.mark.parametrize(
    "arrays",
    [
        ([[1, 2]], [[1, 2]], [0.1, 0.2]),
        ([[1, 2]], [[1, 2], [3, 4]], [0.1]),
        ([[1, 2, 3]], [[1, 2, 3]], [0.1]),
        ([[1, 2]], [[1, 2]], 0.1),
    ],
)
def test_disagreeing_shapes_are_refused(arrays):
    with pytest.raises(ValueError, match=r"\(M, 2\), \(M, 2\) and \(M,\), got the shapes"):
        Matches(*arrays)


def test_no_matches():
    for empty in (Matches([], [], []), Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))):
        assert empty.xy0.shape == empty.xy1.shape == (0, 2)
        assert empty.to_dict() == []
        assert "0 pairs" in repr(empty)


def test_it_holds_its_own_memory_and_pickles():
    batch = np.arange(12, dtype=np.float32).reshape(6, 2)
    found = Matches(batch[:2], batch[2:4], batch[:2, 0])
    batch[:] = 0
    assert found.xy1.tolist() == [[4, 5], [6, 7]]
    assert found.xy0.base is None
    assert pickle.loads(pickle.dumps(matches())) == matches()
    assert pickle.loads(pickle.dumps(matches())).index == 3
    assert len(repr(Matches(np.zeros((500, 2)), np.zeros((500, 2)), np.zeros(500)))) < 300


def test_saving(tmp_path):
    matches().save(tmp_path / "matches.json")
    assert json.loads((tmp_path / "matches.json").read_text()) == matches().to_dict()
    matches().save(tmp_path / "matches.npz")
    with np.load(tmp_path / "matches.npz") as archive:
        np.testing.assert_array_equal(archive["xy1"], matches().xy1)
    with pytest.raises(ValueError, match=r"\.json or \.npz"):
        matches().save(tmp_path / "matches.csv")


def test_lines_join_the_two_pictures():
    left, right = Image.new("RGB", (100, 60)), Image.new("L", (80, 90))
    found = Matches([[10, 20], [50, 50]], [[30, 20], [5, 80]], [1.0, 0.1])
    drawn = np.asarray(found.plot(left, right)).astype(int)
    assert drawn.shape == (90, 180, 3)
    line = drawn[20, 20:120]  # the surest is level, and red all along
    assert (line[:, 0] > 150).all()
    assert (line[:, 2] < 100).all()
    assert not drawn[5].any()
    only_best = np.asarray(found.plot(left, right, most=1)).astype(int)
    assert not only_best[80, 100:].any()
    assert drawn[80, 100:].any()
    alone = np.asarray(found.plot(left)).astype(int)
    assert alone.shape == (60, 100, 3)
    assert alone[20, 10].any()
    assert not alone[20, 30:].any()


def test_lines_for_a_terminal():
    assert matches().lines() == ["2 matches", "best 0.7500: 1.0, 2.0 and 5.0, 6.0"]
    assert Matches([], [], []).lines() == ["no matches"]
