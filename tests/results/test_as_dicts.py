"""Results as people use them who know Transformers': by keys, as JSON, as tables, in notebooks."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import types

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.results import (
    AlphaMatte,
    Answers,
    CitedAnswers,
    DepthMap,
    Detections,
    Embedding,
    FrameMasks,
    Hits,
    Keypoints,
    Labels,
    Masks,
    Matches,
    NormalMap,
    OutputImage,
    Poses,
    Ranking,
    SearchResults,
    Segments,
    Transcript,
    VideoMasks,
    to_pandas,
    to_polars,
    to_records,
)
from sensorium.results.result import put_source

PASSAGE = {"id": np.int64(3), "text": "Faust", "title": "", "year": np.datetime64("1808-01-01"), "tags": ("a", "b")}
MASK = np.eye(3, dtype=bool)[None]

MAKERS = {
    "answers": lambda: Answers(["a", "b"], [0.5, 0.25], [1, 2], [3, 4]),
    "answer": lambda: Answers(["a"], [0.5], [1], [3], single=True),
    "cited": lambda: CitedAnswers(["a"], [[1]], [PASSAGE], scores=[0.5], starts=[0], ends=[1]),
    "depth": lambda: DepthMap(np.array([[1, 2.5], [0, 4]]), True, 50.5, 2.25),
    "detections": lambda: Detections([[1, 2, 3, 4.5], [0, 0, 5, 5]], [0.5, 0.25], ["cat", "dog"]),
    "embedding": lambda: Embedding(np.arange(3, dtype=np.float32)),
    "frame masks": lambda: FrameMasks([np.array([0, 1])], (1, 1), ["cat"], [0.5], [0.25], frame=3),
    "hits": lambda: Hits([3], [0.5], [PASSAGE], query="who?"),
    "keypoints": lambda: Keypoints([[1, 2]], [0.5], ["nose"]),
    "labels": lambda: Labels(["cat", "dog"], [0.75, 0.25]),
    "masks": lambda: Masks(MASK, [0.5]),
    "matches": lambda: Matches([[1, 2]], [[3, 4]], [0.5]),
    "matte": lambda: AlphaMatte([[0, 0.5], [0.25, 1]]),
    "normals": lambda: NormalMap([[[0, 0, 1], [0, -1, 0]]]),
    "output image": lambda: OutputImage(np.full((3, 4, 4), 7, np.uint16)),
    "poses": lambda: Poses([[[1, 2], [3, 4.5]]], [[0.5, 0.25]], [[0, 0, 9, 9]], ["nose", "eye"], [[0, 1]]),
    "ranking": lambda: Ranking([1, 0], [0.5, 0.25], ["x", "y"]),
    "ranked": lambda: Ranking([0], [0.5], ["x"], single=True),
    "segments": lambda: Segments(np.eye(3, dtype=int), [1], ["cat"], [0.5]),
    "timed": lambda: Transcript("a b", ["a", "b"], [0, 1], [1, None]),
    "transcript": lambda: Transcript("a b"),
    "video masks": lambda: VideoMasks([FrameMasks([np.array([0, 1])], (1, 1), ["cat"], [0.5], [0.25], frame=3)]),
}
ROWS = sorted(set(MAKERS) - {"depth", "embedding", "matte", "normals", "output image", "transcript", "video masks"})
DICTS = ["answer", "cited", "frame masks", "masks", "ranked", "timed", "transcript"]
every = pytest.mark.parametrize("name", sorted(MAKERS))


@every
def test_json_holds_what_the_dict_holds(name):
    result = MAKERS[name]()
    told = json.loads(result.to_json())
    assert told == json.loads(json.dumps(result.to_dict()))
    assert json.loads(json.dumps({"it": result}, default=lambda each: each.to_dict())) == {"it": told}
    assert list(_types(result.to_dict())) and _types(result.to_dict()) <= {str, int, float, bool, type(None)}


@every
def test_equal_where_type_and_values_are_and_not_by_index_or_source(name):
    one, other = MAKERS[name](), MAKERS[name]()
    other.index = 5
    assert (one == other) is True
    assert (one != other) is False
    for each in (*sorted(MAKERS), None):
        if each != name:
            assert (one == (MAKERS[each]() if each else each)) is False, each
    for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert copied == one
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_equality_sees_each_value():
    assert Embedding(np.zeros(3)) != Embedding(np.ones(3))
    assert Embedding(np.zeros(3)) != Embedding(np.zeros(3), [np.zeros((1, 2, 2))], ["a"])
    assert Hits([3], [0.5], [PASSAGE]) != Hits([3], [0.25], [PASSAGE])

    def found(score):
        hits = [Hits([3], [score], [PASSAGE])]
        return SearchResults(np.array([[3]]), np.array([[score]]), np.array([[0]]), hits)

    assert found(1) == found(1) != found(2)
    assert found(1).to_dict() == [found(1)[0].to_dict()]
    assert json.loads(found(1).to_json()) == found(1).to_dict()


@pytest.mark.parametrize("name", DICTS)
def test_what_is_one_dict_can_be_used_as_one(name):
    result = MAKERS[name]()
    keys = list(result.to_dict())
    assert result.keys() == list(dict(result)) == list({**result}) == [key for key, _ in result.items()] == keys
    for key in keys:
        assert key in result
        if name != "masks":  # whose masks are arrays by their key, as in Transformers
            assert json.loads(json.dumps(result[key])) == json.loads(json.dumps(result.to_dict()[key]))
    assert result.get("nothing", 3) == 3
    assert "nothing" not in result
    with pytest.raises(KeyError, match=f"(?s)'nothing'.*{keys[0]}"):
        result["nothing"]


@pytest.mark.parametrize("name", sorted(set(ROWS) - set(DICTS)))
def test_a_list_of_rows_says_so(name):
    result = MAKERS[name]()
    key = next(iter(result[0]))
    with pytest.raises(KeyError, match=rf"{key}.*list of rows: result\[0\]\['{key}'\]"):
        result[key]
    for use in (result.keys, result.items, lambda: dict(result), lambda: {**result}, lambda: result.get("x")):
        with pytest.raises(TypeError, match="a list of rows"):
            use()


def test_transformers_keys():
    said, answer = MAKERS["timed"](), MAKERS["answer"]()
    assert said["text"] == "a b"
    assert said["chunks"][1] == {"text": "b", "timestamp": (1.0, None)} == said[1]
    assert (answer["answer"], answer["score"], answer["start"], answer["end"]) == ("a", 0.5, 1, 3)
    assert Transcript("x"), "what was said counts, without times, too"
    assert not Transcript("")


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_dicts_that_refuse_to_be_written(name):
    result = MAKERS[name]()
    row = result[0]
    assert isinstance(row, dict)
    assert type(next(iter(result))) is type(row)
    for write in (
        lambda: row.__setitem__("file", "a.jpg"),
        lambda: row.update(file="a.jpg"),
        lambda: row.setdefault("file", "a.jpg"),
        lambda: row.pop("score"),
        lambda: row.__ior__({"file": "a.jpg"}),
        row.clear,
        row.popitem,
    ):
        with pytest.raises(TypeError, match=r"dict\(row, name=value\)"):
            write()
    with pytest.raises(TypeError, match="read-only"):
        result["file"] = "a.jpg"
    assert dict(row, file="a.jpg")["file"] == (row | {"file": "a.jpg"})["file"] == "a.jpg"
    assert type(row.copy()) is dict
    if name not in ("masks", "segments"):
        for copied in (copy.deepcopy(row), pickle.loads(pickle.dumps(row))):
            assert copied == row and type(copied) is type(row)


def test_what_lies_in_a_row_is_read_only_too():
    with pytest.raises(TypeError, match="read-only"):
        MAKERS["detections"]()[0]["box"]["xmin"] = 3
    assert json.dumps(MAKERS["detections"]()[0]).startswith('{"score": 0.5')


def test_a_slice_keeps_where_its_result_came_from():
    for name in ROWS:
        result = MAKERS[name]()
        put_source(result, "a.jpg")
        assert result[:1].source == pickle.loads(pickle.dumps(result)).source == "a.jpg"


def test_records_are_flat_and_of_the_same_keys():
    assert MAKERS["detections"]().records()[0] == {
        "score": 0.5, "label": "cat", "box_xmin": 1, "box_ymin": 2, "box_xmax": 3, "box_ymax": 4,
    }  # fmt: skip
    assert MAKERS["timed"]().records()[1] == {"text": "b", "start": 1.0, "end": None}
    assert MAKERS["transcript"]().records() == [{"text": "a b"}]
    assert MAKERS["masks"]().records()[0].keys() >= {"score", "area", "xmin", "rle"}
    assert MAKERS["hits"]().records()[0]["tags"] == ["a", "b"]
    failed = InputError("no such file", code="missing-file", source="x.jpg", index=2)
    labels = Labels(["cat"], [0.5], index=1)
    rows = to_records(iter([labels, None, failed]))
    assert rows == [
        {"index": 1, "source": None, "label": "cat", "score": 0.5, "error_code": None, "error_message": None},
        {
            "index": 2, "source": "x.jpg", "label": None, "score": None,
            "error_code": "missing-file", "error_message": "no such file",
        },
    ]  # fmt: skip
    hits = Hits([0], [0.5], [{"text": "a", "index": 99, "source": "a.txt"}], index=3)
    (row,) = to_records(hits)
    assert (row["index"], row["result_index"], row["result_source"]) == (3, 99, "a.txt")
    with pytest.raises(TypeError, match="results of a pipeline are expected, got str"):
        to_records(["a.jpg"])


@every
def test_tables_hold_the_records(name, monkeypatch):
    result = MAKERS[name]()
    pandas, polars = types.ModuleType("pandas"), types.ModuleType("polars")
    pandas.DataFrame = lambda rows: ("pandas", rows)
    polars.DataFrame = lambda rows, infer_schema_length: ("polars", rows, infer_schema_length)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    monkeypatch.setitem(sys.modules, "polars", polars)
    assert result.to_pandas() == to_pandas([result]) == ("pandas", to_records(result))
    assert result.to_polars() == to_polars([result]) == ("polars", to_records(result), None)
    assert _types([list(row.values()) for row in to_records(result)]) <= {str, int, float, bool, type(None)}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_missing_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"pip install {library}.*to_records"):
        getattr(MAKERS["labels"](), f"to_{library}")()


@every
def test_a_notebook_shows_a_table(name):
    shown = MAKERS[name]()._repr_html_()
    assert shown.count("<tr>") == 1 + len(MAKERS[name]().records())


def test_a_notebook_shows_no_markup_of_others_and_not_everything():
    many = Labels(["<script>"] * 30, [0.5] * 30)
    put_source(many, "<b>.jpg")
    shown = many._repr_html_()
    assert "<script>" not in shown and "<b>" not in shown and "&lt;script&gt;" in shown
    assert shown.count("<tr>") == 21 and "and 10 more" in shown


def _types(value):
    if isinstance(value, dict):
        return {str}.union(*(_types(each) for each in value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*(_types(each) for each in value))
    return {type(value)}
