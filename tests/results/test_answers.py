"""Answers: the schemas of Transformers' two tasks, validation, filtering, drawing."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from sensorium.results import Answers, Result


def scored():
    return Answers(["two", "three", "a few"], [0.5, 0.25, 0.125], index=4)


def spans():
    return Answers(["Paris", "in Paris"], [0.5, 0.25], [10, 7], [15, 15], single=True)


def test_the_schema_follows_from_what_is_known():
    assert scored().to_dict()[:2] == [{"score": 0.5, "answer": "two"}, {"score": 0.25, "answer": "three"}]
    assert Answers(["a red bus"]).to_dict() == [{"answer": "a red bus"}]
    assert spans().to_dict()[0] == {"score": 0.5, "start": 10, "end": 15, "answer": "Paris"}
    assert list(spans()[0]) == ["score", "start", "end", "answer"]


def test_a_single_answer_stands_alone_only_where_asked_for():
    assert spans()[:1].to_dict() == {"score": 0.5, "start": 10, "end": 15, "answer": "Paris"}
    assert isinstance(spans().to_dict(), list)
    assert scored()[:1].to_dict() == [{"score": 0.5, "answer": "two"}]


def test_values_are_plain_python():
    row = spans()[0]
    assert [type(value) for value in row.values()] == [float, int, int, str]
    assert json.loads(json.dumps(spans().to_dict()))[1]["end"] == 15


def test_filtering_keeps_the_rest():
    likely = scored()[scored().scores > 0.2]
    assert isinstance(likely, Answers)
    assert likely.answers.tolist() == ["two", "three"]
    assert likely.index == 4
    assert spans()[np.array([1])].starts.tolist() == [7]
    assert len(scored()[::2]) == 2
    assert scored()[-1] == {"score": 0.125, "answer": "a few"}
    assert list(scored()) == scored().to_dict()
    with pytest.raises(IndexError):
        scored()[3]


def test_equal_by_value():
    assert scored() == scored()
    assert scored() == scored().to_dict()
    assert scored() != spans()
    assert Answers(["x"]) != Answers(["x"], [0.5])
    assert scored() != "two"


def test_disagreeing_lengths_are_refused():
    with pytest.raises(ValueError, match=r"one length.*\(1,\).*\(2,\)"):
        Answers(["a"], [0.1, 0.2])
    with pytest.raises(ValueError, match="starts and ends come together"):
        Answers(["a"], [0.1], [3])
    with pytest.raises(ValueError, match="one length"):
        Answers("a")


def test_no_answers():
    empty = Answers([])
    assert len(empty) == 0
    assert empty.to_dict() == []
    assert repr(empty) == "Answers({}, index=0)"


def test_it_holds_its_own_memory_and_pickles():
    batch = np.arange(12, dtype=np.float32).reshape(4, 3)
    answers = Answers(["a", "b", "c"], batch[1], index=1)
    assert answers.scores.base is None
    batch[:] = 0
    assert answers.scores.tolist() == [3, 4, 5]
    assert pickle.loads(pickle.dumps(spans())) == spans()
    assert pickle.loads(pickle.dumps(spans())).single
    assert isinstance(answers, Result)


def test_repr_is_short():
    assert repr(scored()) == "Answers({'two': 0.5, 'three': 0.25, 'a few': 0.125}, index=4)"
    assert repr(Answers(["word"])) == "Answers({'word'}, index=0)"
    assert len(repr(Answers(["long " * 1000] * 500))) < 1000
    assert "and 492 more" in repr(Answers(["x"] * 500))


def test_save(tmp_path):
    spans().save(tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == spans().to_dict()


def test_bars_are_as_long_as_the_scores():
    image = Image.new("RGB", (300, 100), "black")
    drawn = np.asarray(Answers(["", ""], [1.0, 0.5]).plot(image))
    assert drawn.shape[1] == 300
    assert (drawn[:100] == 0).all()
    rows = [(drawn[y] == (196, 222, 247)).all(-1).sum() for y in (107, 125)]
    assert rows[0] == pytest.approx(2 * rows[1], abs=2)
    assert scored().plot(image, most=2).height < scored().plot(image).height


def test_answers_without_scores_are_written_out():
    image = Image.new("RGB", (300, 100), "black")
    one, many = Answers(["a bus"]).plot(image), Answers(["a long story about a bus " * 8]).plot(image)
    assert one.height < many.height
    ink = np.asarray(one)[100:].min(-1) < 128
    assert ink.any()
    assert not ink[:, -10:].any()
    assert (np.asarray(many)[100:, -6:] == 255).all()
    unbroken = Answers(["x" * 400]).plot(image)
    assert (np.asarray(unbroken)[100:, -6:] == 255).all()
    assert Answers(["a\x1b[31m\nb"]).plot().width == 480
