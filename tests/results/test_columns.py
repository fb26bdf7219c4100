"""Results in typed columns: through a Parquet file, and back as the very objects."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sensorium.errors import InputError, UnknownNameError
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
    Result,
    Segments,
    Transcript,
    VideoMasks,
    result_type,
    to_table,
)
from sensorium.results.columns import TAKEN, Arrays, Field, Scalar, Structs
from sensorium.results.kinds import FLOAT64, INT64, TEXT
from sensorium.results.result import put_source
from tests.contract import assert_same_object

STRANGE = ["Ünïcode ☃ 😀", "in\0side", "a\nb\r\n\tc", "half \ud83d", "\udcff.jpg", "\U0010ffff", "\U0010ffffd83d", ""]
PASSAGE = {
    "id": 7,
    "text": "Faust",
    "title": "",
    "source": None,
    "start": 3,
    "end": 8,
    "year": 1808,
    "tags": ["a", "b"],
}
DRAWN = np.random.default_rng(0)


def floats(*shape):
    return DRAWN.random(shape).astype(np.float32)


def numbered(count):
    return [f"{text}{i}" for i, text in zip(range(count), STRANGE * count, strict=False)]


RUNS = [np.array([3, 4, 13]), np.array([20])]
FEW = range(500)
MAKERS = {
    "answer": lambda: Answers(["a"], [0.1], [1], [3], single=True),
    "answers": lambda: Answers(STRANGE),
    "answers, none": lambda: Answers([]),
    "answers, none with scores": lambda: Answers([], [], [], []),
    "answers, none scored": lambda: Answers(["a", "b"], None, [1, 2], [3, 4]),
    "answers, many": lambda: Answers(numbered(2000), floats(2000), range(2000), range(2000)),
    "cited": lambda: CitedAnswers(["a", "b"], [[1], []], [PASSAGE], scores=[0.1, 0.2], starts=[0, -1], ends=[1, -1]),
    "cited, none": CitedAnswers,
    "cited, none scored": lambda: CitedAnswers(scores=[], span_scores=[], starts=[], ends=[]),
    "cited, refused": lambda: CitedAnswers(passages=[PASSAGE, {"text": STRANGE[3]}, {}], refused=True),
    "cited, many": lambda: CitedAnswers(numbered(2000), [[1, 2]] * 2000, [PASSAGE] * 2, relevance_scores=floats(2000)),
    "frame masks": lambda: FrameMasks(RUNS, (4, 5), STRANGE[2:4], floats(2), [1.1, -0.1], frame=7, colours=[3, 1]),
    "frame masks, none": lambda: FrameMasks([], (4, 5), [], [], [], frame=0),
    "frame masks, many": lambda: FrameMasks(RUNS * 999, (4, 5), numbered(1998), floats(1998), floats(1998), frame=2),
    "video masks": lambda: VideoMasks([FrameMasks(RUNS, (4, 5), ["a", "b"], floats(2), floats(2), frame=7)]),
    "video masks, many": lambda: VideoMasks([FrameMasks(RUNS, (4, 5), "ab", floats(2), [1, 1], frame=i) for i in FEW]),
    "depth": lambda: DepthMap(floats(9, 7)),
    "depth, metric": lambda: DepthMap(floats(9, 7) * 80, True, 54.1, 1034.7),
    "depth, no picture": lambda: DepthMap(floats(0, 7), True),
    "detections": lambda: Detections([[0.1, 2, 3, 4.7], [-5, 0, 5, 5]], [0.1, 0.25], ["cat", "dog"], [3, 1]),
    "detections, none": lambda: Detections([], [], []),
    "detections, many": lambda: Detections(floats(2000, 4) * 999, floats(2000), numbered(2000)),
    "embedding": lambda: Embedding(floats(512)),
    "embedding, tokens": lambda: Embedding(floats(7, 16)),
    "embedding, no tokens": lambda: Embedding(floats(0, 16)),
    "embedding, map": lambda: Embedding(floats(4, 3, 2), [floats(2, 3, 4), floats(1, 0, 2)], ["stage1", STRANGE[3]]),
    "embedding, transposed": lambda: Embedding(floats(3, 4).T),
    "embedding, torch": lambda: Embedding(torch.rand(3, 4), [torch.rand(2, 2, 2)], ["stage1"]),
    "hits": lambda: Hits([7, 8], [0.1, 0.2], [PASSAGE, PASSAGE | {"id": 8, "score": 3.5}], query=STRANGE[3]),
    "hits, none": lambda: Hits(np.zeros(0, np.int64), [], []),
    "hits, none of a list": lambda: Hits([], [], []),
    "hits by names": lambda: Hits(STRANGE[:5], floats(5), [PASSAGE | {"id": name} for name in STRANGE[:5]]),
    "hits, many": lambda: Hits(range(2000), floats(2000), [PASSAGE] * 2000),
    "keypoints": lambda: Keypoints([[0.1, 2], [3, 4]], [0.1, 0.2], STRANGE[3:5]),
    "keypoints, described": lambda: Keypoints(floats(2, 2), floats(2), None, floats(2, 16)),
    "keypoints, none": lambda: Keypoints([], []),
    "keypoints, none named": lambda: Keypoints([], [], [], floats(0, 16)),
    "keypoints, many": lambda: Keypoints(floats(2000, 2), floats(2000), None, floats(2000, 16)),
    "labels": lambda: Labels(["cat", "dog"], [0.1, 0.2], [7, 3]),
    "labels, strange": lambda: Labels(STRANGE, floats(8)),
    "labels, none": lambda: Labels([], []),
    "labels, many": lambda: Labels(numbered(2000), floats(2000)),
    "masks": lambda: Masks(floats(3, 9, 7) > 0.5, floats(3), stability=floats(3), objects=[5, 5, 2]),
    "masks, named": lambda: Masks(
        floats(3, 9, 7) > 0.5, floats(3), objects=[0, 0, 1], labels=["a", "a", "猫"], pred_boxes=floats(3, 4)
    ),
    "masks, empty": lambda: Masks(np.zeros((2, 4, 5), bool), [1.1, -0.1]),
    "masks, none": lambda: Masks([], [], size=(4, 5)),
    "masks, many": lambda: Masks(floats(2000, 9, 7) > 0.5, floats(2000)),
    "matches": lambda: Matches([[0.1, 2]], [[3, 4]], [0.1]),
    "matches, none": lambda: Matches([], [], []),
    "matches, many": lambda: Matches(floats(2000, 2), floats(2000, 2), floats(2000)),
    "matte": lambda: AlphaMatte(floats(9, 7)),
    "matte, with colours": lambda: AlphaMatte(floats(9, 7), floats(9, 7, 3)),
    "normals": lambda: NormalMap((drawn := floats(9, 7, 3)) / np.linalg.norm(drawn, axis=2, keepdims=True)),
    "output image": lambda: OutputImage(DRAWN.integers(0, 256, (9, 7, 3), np.uint8)),
    "output image, 16 bit": lambda: OutputImage(DRAWN.integers(0, 65536, (9, 7), np.uint16)),
    "output image, transposed": lambda: OutputImage(DRAWN.integers(0, 65536, (4, 9, 7), np.uint16).transpose(1, 2, 0)),
    "poses": lambda: Poses(floats(2, 3, 2), floats(2, 3), floats(2, 4), STRANGE[2:5], [[0, 2]], box_scores=floats(2)),
    "poses, some joints": lambda: Poses([[[1, 2], [np.nan, np.nan]]], floats(1, 2), [[0, 0, 9, 9]], ["a", "b"]),
    "poses, no people": lambda: Poses([], [], [], ["nose", "eye"], [[0, 1]]),
    "poses, no people found": lambda: Poses([], [], [], ["nose", "eye"], box_scores=[]),
    "poses, no joints": lambda: Poses(floats(2, 0, 2), floats(2, 0), floats(2, 4), []),
    "poses, many": lambda: Poses(floats(99, 20, 2), floats(99, 20), floats(99, 4), numbered(20)),
    "ranking": lambda: Ranking([1, 0], [0.1, -3], ["x", STRANGE[3]]),
    "ranking, single": lambda: Ranking([0], [0.1], ["x"], single=True),
    "ranking, none": lambda: Ranking([], [], []),
    "ranking, many": lambda: Ranking(range(2000), floats(2000), numbered(2000)),
    "segments": lambda: Segments(DRAWN.integers(0, 5, (9, 7), np.int32), [1, 3, 9], STRANGE[2:5], floats(3), [4, 4, 2]),
    "segments, semantic": lambda: Segments(DRAWN.integers(0, 3, (9, 7), np.uint8), [0, 1, 2], ["a", "b", "c"]),
    "segments, none": lambda: Segments(np.full((9, 7), -1), [], []),
    "segments, none scored": lambda: Segments(np.zeros((9, 7), int), [], [], []),
    "segments, no picture": lambda: Segments(np.zeros((0, 7), int), [], []),
    "segments, overlapping": lambda: Segments.from_masks(floats(3, 9, 7) > 0.5, ["a", "b", "c"], floats(3)),
    "segments, overlapping, some": lambda: Segments.from_masks(floats(3, 9, 7) > 0.5, ["a", "b", "c"])[[2, 0]],
    "segments, overlapping, none": lambda: Segments.from_masks(np.zeros((0, 9, 7)), []),
    "segments, many": lambda: Segments(np.arange(2000).reshape(40, 50), range(2000), numbered(2000)),
    "transcript": lambda: Transcript(STRANGE[3] + "\0\n"),
    "transcript, timed": lambda: Transcript("a b", ["a", STRANGE[3]], [0.1, 1], [1, None]),
    "transcript, timed, empty": lambda: Transcript("", timed=True),
    "transcript, languages": lambda: Transcript("a b", ["a", "b"], [0, 1], [1, 2], languages=["german", None]),
    "transcript, no languages": lambda: Transcript("", languages=[]),
    "transcript, many": lambda: Transcript("x", numbered(2000), range(2000), range(2000)),
}
every = pytest.mark.parametrize("name", sorted(MAKERS))


def through_parquet(table):
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    read = pq.read_table(io.BytesIO(file.getvalue()))
    assert read.schema == table.schema
    return read.to_pylist()


def as_pandas_has_it(row):
    """Lists are arrays, and where there is no value it is NaN, as in `to_dict("records")` of a `pandas.DataFrame`."""
    made = {}
    for name, cell in row.items():
        if isinstance(cell, list):
            structs = bool(cell) and isinstance(cell[0], dict)
            array = np.empty(len(cell), object) if structs else np.array(cell)
            array[:] = [as_pandas_has_it(each) if structs else each for each in cell]
            array.flags.writeable = False
            made[name] = array
        else:
            made[name] = cell
    return made


def without_values(row):
    return {name: np.nan if cell is None else cell for name, cell in as_pandas_has_it(row).items()}


@every
def test_a_result_comes_back_from_a_file(name):
    result = MAKERS[name]()
    result.index = 3
    put_source(result, f"folder/{STRANGE[4]}")
    table = to_table([result, InputError("it is broken", index=4), result])
    assert table.schema.names[:5] == ["input_id", "source", "status", "error_code", "error_message"]
    rows = through_parquet(table)
    for row in (rows[0], as_pandas_has_it(rows[0]), without_values(rows[2]), rows[2] | {"carried_x": 1, "more": None}):
        again = result_type(type(result).__name__).from_row(row)
        assert_same_object(again, result)
        assert again.schema() == result.schema()
    assert rows[1]["status"] == "failed"
    assert set(list(rows[1].values())[5:]) == {None}


@every
def test_its_row_is_what_pyarrow_takes_and_has_nothing_of_a_job_s(name):
    result = MAKERS[name]()
    schema, row = result.schema(), result.to_row()
    assert list(row) == schema.names
    assert not set(row) & set(TAKEN)
    assert not [column for column in row if column.startswith("carried_")]
    assert_same_object(type(result).from_row(pa.Table.from_pylist([row], schema=schema).to_pylist()[0]), result)
    assert_same_object(type(result).from_row(row), result)


@every
def test_a_missing_column_is_named(name):
    row = MAKERS[name]().to_row()
    kind = type(MAKERS[name]())
    for column in row:
        rest = {other: cell for other, cell in row.items() if other != column}
        with pytest.raises(ValueError, match=f"a {kind.__name__} is made of a row with the column {column!r}"):
            kind.from_row(rest)
    with pytest.raises(ValueError, match="which this one lacks; it has none"):
        kind.from_row({})


def test_a_missing_field_and_a_null_are_named():
    row = Detections([[1, 2, 3, 4]], [0.5], ["cat"]).to_row()
    del row["detections"][0]["ymin"]
    with pytest.raises(
        ValueError, match="a Detections is made of 'detections' with the field 'ymin', which is lacking"
    ):
        Detections.from_row(row)
    for nothing in (None, np.nan):
        with pytest.raises(ValueError, match="this row has no Labels: its column 'labels' is null"):
            Labels.from_row({"labels": nothing})
    with pytest.raises(ValueError, match="this row has no Labels: its input failed, truncated: it ends too early"):
        Labels.from_row({"labels": None, "error_code": "truncated", "error_message": "it ends too early"})
    with pytest.raises(ValueError, match="this row has no Answers: its column 'single' is null"):
        Answers.from_row({"answers": [], "single": None, "given": []})


def test_columns_are_typed_and_the_same_for_none_and_some():
    labels = "list<struct<label: string, score: float, id: int64>>"
    assert str(Labels([], []).schema().field("labels").type).replace("item: ", "") == labels
    assert Embedding(floats(8)).schema().field("vector").type == pa.list_(pa.float32(), 8)
    assert Embedding(floats(2, 8)).schema().field("vector").type == pa.list_(pa.float32())
    boxes = Detections([], [], []).schema().field("detections").type.value_type
    assert [boxes.field(side).type for side in ("xmin", "ymin", "xmax", "ymax")] == [pa.float32()] * 4
    groups = {}
    for name, make in MAKERS.items():
        if not isinstance(make(), Embedding):  # whose width is its model's
            groups.setdefault(type(make()), []).append((name, make().schema()))
    for several in groups.values():
        assert all(schema == several[0][1] for _, schema in several), several
    assert len(groups) == 18, "every type but one is here"


def test_values_are_readable_as_they_are(tmp_path):
    """By whoever has never heard of this package: names, px, offsets and COCO's masks are plain values."""
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    results = [Masks(mask[None], [0.1])] * 3
    pq.write_table(to_table(results), tmp_path / "masks.parquet", compression="zstd")
    table = pyarrow.dataset.dataset(tmp_path).to_table(filter=pyarrow.dataset.field("input_id") == 0)
    assert len(table) == 3
    row = table.to_pylist()[0]
    told = {"rle": results[0].rle[0]["counts"], "score": pytest.approx(0.1), "stability": 1.0, "area": 6, "object": 0}
    told |= dict.fromkeys(["label", "pred_xmin", "pred_ymin", "pred_xmax", "pred_ymax"])
    assert row["masks"] == [told | {"xmin": 2, "ymin": 1, "xmax": 4, "ymax": 2}]
    assert (row["height"], row["width"]) == (4, 6)
    row = Transcript("a b", ["a", "b"], [0, 1], [1, None]).to_row()
    assert row["chunks"][1] == {"text": "b", "start": 1.0, "end": None, "language": None}
    row = Hits([7], [0.5], [PASSAGE], query="who?").to_row()
    typed = {"id": "7", "text": "Faust", "title": "", "source": None, "start": 3, "end": 8}
    more = '{"id": 7, "year": 1808, "tags": ["a", "b"]}'
    assert row["hits"] == [{"id": "7", "score": 0.5, "passage": typed | {"more": more}}]


def test_the_page_names_every_column():
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    for kind in {type(make()) for make in MAKERS.values()}:
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{kind.__name__}` |"))
        names = [
            name for column in kind.columns for name in (column.name, *(f.name for f in getattr(column, "fields", ())))
        ]
        assert [name for name in names if f"`{name}`" not in line] == []


def test_it_is_drawn_as_before():
    image = Image.new("RGB", (7, 9))
    for name in ("segments", "segments, overlapping", "masks", "keypoints", "matches", "detections", "labels"):
        result = MAKERS[name]()
        again = type(result).from_row(through_parquet(to_table(result))[0])
        assert np.array_equal(np.asarray(again.plot(image)), np.asarray(result.plot(image)))


texts = st.text(st.characters(exclude_categories=()), max_size=8)  # halves of surrogate pairs among them
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
keys = st.sampled_from(["id", "text", "title", "source", "start", "end"]) | texts


@given(st.dictionaries(keys, values | st.lists(values, max_size=3)), texts)
def test_any_passage_and_any_text_come_back(passage, query):
    result = Hits([0], [0.5], [passage], query=query)
    again = Hits.from_row(through_parquet(to_table(result))[0])
    assert again.query == query
    assert list(again.passages[0].items()) == list(passage.items())
    assert [type(value) for value in again.passages[0].values()] == [type(value) for value in passage.values()]


def test_what_json_does_not_know_in_a_passage_comes_back_as_its_dict_has_it():
    passage = {"id": np.int64(3), "text": "Faust", "year": np.datetime64("1808-01-01"), "tags": ("a", "b")}
    result = CitedAnswers(["a"], [[1]], [passage])
    again = CitedAnswers.from_row(through_parquet(to_table(result))[0])
    assert again == result
    assert again.passages == [{"id": 3, "text": "Faust", "year": "1808-01-01", "tags": ["a", "b"]}]


@given(
    st.lists(st.lists(st.integers(-2, 4), min_size=3, max_size=3), min_size=1, max_size=5), st.sets(st.integers(-2, 4))
)
def test_any_map_of_segments_comes_back(rows, values):
    result = Segments(np.array(rows, np.int16), sorted(values), [str(value) for value in sorted(values)])
    assert_same_object(Segments.from_row(through_parquet(to_table(result))[0]), result)


def test_every_float_comes_back_to_the_bit():
    strange = np.float32([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38, 0.1])
    for result, name in ((Embedding(strange), "vector"), (Labels(list("abcdefg"), strange), "scores")):
        again = type(result).from_row(through_parquet(to_table(result))[0])
        assert getattr(again, name).tobytes() == strange.tobytes()


def test_what_would_be_rounded_is_refused():
    with pytest.raises(ValueError, match="holds float32 exactly, got an array of float64; convert it with astype"):
        Embedding(np.zeros(3)).to_row()


def test_a_table_has_results_of_one_type():
    assert to_table([]).num_rows == 0
    assert to_table([None, InputError("no", index=1)]).to_pylist()[0]["error_code"] == "bad-input"
    assert to_table(Labels(["a"], [1])).num_rows == 1
    with pytest.raises(ValueError, match="a table has results of one type, got Embedding, Labels; make one of each"):
        to_table([Labels([], []), Embedding(floats(2))])
    with pytest.raises(ValueError, match="expected 2 but got array of size 3"):
        to_table([Embedding(floats(2)), Embedding(floats(3))])
    with pytest.raises(TypeError, match="results of a pipeline are expected, got dict"):
        to_table([{"label": "cat"}])


def test_types_by_their_names():
    assert result_type("Labels") is Labels
    assert {result_type(type(make()).__name__) for make in MAKERS.values()} == {
        type(make()) for make in MAKERS.values()
    }
    with pytest.raises(UnknownNameError, match=r"unknown type of results 'Label'\. Did you mean 'Labels'"):
        result_type("Label")
    with pytest.raises(UnknownNameError, match="unknown type of results 'Rows'"):
        result_type("Rows")


@dataclass
class Height(Result):
    """One of a task of one's own."""

    metres: float
    floors: int | None
    outputs: dict
    index: int = 0

    columns = (Scalar("metres", FLOAT64), Scalar("floors", INT64, nullable=True), Arrays("outputs"))

    def to_dict(self):
        return {"metres": self.metres, "floors": self.floors}


@dataclass
class Untold(Result):
    """One that names no columns."""

    metres: float
    index: int = 0

    def to_dict(self):
        return {"metres": self.metres}


@pytest.mark.parametrize("metres", [0.1, float("nan"), float("inf")])
def test_a_result_of_your_own_names_its_columns(metres):
    arrays = {"ids": np.arange(3), STRANGE[3]: floats(2, 3), "mask": np.array([[True], [False]]), "none": floats(0, 2)}
    for outputs in (arrays, {}, {"x": np.float16([0.1])}):
        for floors in (None, 3):
            result = Height(metres, floors, outputs)
            for row in (through_parquet(to_table(result))[0], result.to_row()):
                again = result_type("Height").from_row(row)
                assert str(again.metres) == str(metres)
                assert again.floors == floors
                assert type(again.floors) is type(floors)
                assert again.outputs.keys() == outputs.keys()
                for name, array in outputs.items():
                    assert again.outputs[name].dtype == array.dtype
                    assert np.array_equal(again.outputs[name], array)
                    assert again.outputs[name].shape == array.shape
    with pytest.raises(ValueError, match="arrays whose numbers float64 does not hold exactly, 'ids' for one"):
        Height(metres, 1, {"x": floats(2), "ids": np.array([2**60 + 1])}).to_row()


def test_one_that_names_none_is_its_json():
    row = through_parquet(to_table(Untold(2.5)))[0]
    assert row["result"] == '{"metres": 2.5}'
    with pytest.raises(ValueError, match="a Untold is not made of a row, since its class names no columns"):
        Untold.from_row(row)


@pytest.mark.parametrize("name", [*TAKEN, "given", "carried_x"])
def test_names_of_a_job_s_columns_are_refused(name):
    with pytest.raises(ValueError, match=f"a result's column cannot be called {name!r}"):
        Structs(name, Field("label", TEXT, "labels"))


def test_neither_the_package_nor_its_results_need_pyarrow():
    script = """
import sys
import sensorium, sensorium.results as results
result = results.Labels(["cat"], [0.5])
assert results.Labels.from_row(result.to_row()) == result
assert "pyarrow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
