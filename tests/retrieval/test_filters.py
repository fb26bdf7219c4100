"""Filters: how values compare, whatever the width of their column, and what is refused."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.retrieval import Index, Passage
from sensorium.retrieval.columns import joined
from sensorium.retrieval.filters import rows_that_meet
from tests import tiny_text

BIG = 2**53 + 1  # no float64 is that number
DAY, NOON = datetime.date(2020, 5, 1), datetime.datetime(2020, 5, 1, 12)
TABLE = pa.table(
    {
        "year": pa.array([2004, 2005, None, 2006]),
        "small": pa.array([1, 2, None, 127], pa.int8()),
        "large": pa.array([0, 2**63, None, BIG], pa.uint64()),
        "weight": pa.array([0.5, 2005.0, None, math.nan]),
        "short": pa.array([0.1, 2005.0, None, 2.0**24], pa.float32()),
        "name": pa.array(["b", "2005", None, ""]),
        "good": pa.array([True, False, None, True]),
        "tags": pa.array([["a", "b"], [], None, ["a"]]),
        "ranks": pa.array([[1, 2], [2005], None, []], pa.list_(pa.int32())),
        "day": pa.array([DAY, DAY + datetime.timedelta(1), None, datetime.date(1999, 1, 1)]),
        "at": pa.array([NOON, NOON + datetime.timedelta(1), None, datetime.datetime(1999, 1, 1)]),
        "hour": pa.array([datetime.time(12), datetime.time(13, 30), None, datetime.time(9)]),
        "nothing": pa.nulls(4),
        "parts": pa.array([{"a": 1}, {"a": 2}, None, {"a": 1}]),
    }
)


def met(**condition):
    return np.flatnonzero(rows_that_meet(TABLE, condition)).tolist()


@pytest.mark.parametrize(
    ("column", "wanted", "rows"),
    [
        ("year", 2005, [1]),
        ("year", 2005.0, [1]),
        ("year", np.float32(2005), [1]),
        ("year", 2005.5, []),
        ("year", [2005.5, 2006.0, None], [2, 3]),
        ("year", np.array([2004, 2006]), [0, 3]),
        ("year", range(2000, 2006), [0, 1]),
        ("year", [], []),
        ("year", 10**30, []),
        ("year", None, [2]),
        ("year", {"!=": 2005}, [0, 2, 3]),
        ("year", {"!=": [2005, 2006]}, [0, 2]),
        ("year", {"!=": None}, [0, 1, 3]),
        ("year", {"!=": [None, 2005]}, [0, 3]),
        ("year", {"<": 2005.5}, [0, 1]),
        ("year", {"<=": 2005.0}, [0, 1]),
        ("year", {">": 2004.5, "<": 2006}, [1]),
        ("year", {">=": 2004.5}, [1, 3]),
        ("year", {"<": math.inf}, [0, 1, 3]),
        ("year", {">": math.inf}, []),
        ("year", {">=": -(10**30)}, [0, 1, 3]),
        ("small", {"<": 300}, [0, 1, 3]),
        ("small", 300, []),
        ("small", 127.0, [3]),
        ("large", 2.0**63, [1]),
        ("large", {">": BIG - 1}, [1, 3]),
        ("large", -1, []),
        ("large", {">": -1}, [0, 1, 3]),
        ("weight", 2005, [1]),
        ("weight", {"<": 2005}, [0]),
        ("weight", {"!=": 2005}, [0, 2, 3]),
        ("weight", 10**400, []),
        ("weight", {"<": 10**400}, [0, 1]),
        ("short", 0.1, [0]),
        ("short", {">": 0.1}, [1, 3]),
        ("short", 2**24, [3]),
        ("short", 2**24 + 1, []),
        ("name", "2005", [1]),
        ("name", "", [3]),
        ("name", {"<": "a"}, [1, 3]),
        ("name", np.str_("b"), [0]),
        ("good", True, [0, 3]),
        ("good", np.bool_(False), [1]),
        ("good", {"!=": True}, [1, 2]),
        ("tags", "a", [0, 3]),
        ("tags", ["b", "c"], [0]),
        ("tags", {"!=": "a"}, [1, 2]),
        ("tags", None, [2]),
        ("ranks", 2005.0, [1]),
        ("ranks", [1, 2005], [0, 1]),
        ("day", DAY, [0]),
        ("day", {">=": "2020-05-01"}, [0, 1]),
        ("at", NOON, [0]),
        ("at", {">": "2020-05-01T12:00"}, [1]),
        ("at", {">=": DAY}, [0, 1]),
        ("hour", "12:00", [0]),
        ("hour", {"<": datetime.time(13)}, [0, 3]),
        ("nothing", "a", []),
        ("nothing", None, [0, 1, 2, 3]),
        ("nothing", {"!=": 7}, [0, 1, 2, 3]),
        ("parts", None, [2]),
    ],
)  # fmt: skip
def test_values_compare(column, wanted, rows):
    assert met(**{column: wanted}) == rows


@pytest.mark.parametrize(
    ("column", "wanted", "said"),
    [
        ("year", "2005", r"year holds whole numbers, got '2005' \(str\)"),
        ("year", True, "year holds whole numbers, got True"),
        ("year", [2005, "x"], "year holds whole numbers, got 'x'"),
        ("year", {"<": [1, 2]}, "year < compares with one value, got 2"),
        ("year", {"<": None}, "year < None has no meaning"),
        ("year", {}, "compared with nothing"),
        ("year", math.nan, "NaN"),
        ("weight", "0.5", "weight holds numbers, got '0.5'"),
        ("weight", False, "weight holds numbers, got False"),
        ("name", 2005, r"name holds texts, got 2005 \(int\)"),
        ("name", b"b", "name holds texts, got b'b'"),
        ("good", 1, "good holds True or False, got 1"),
        ("good", {"<": True}, "no order"),
        ("tags", 1, "holds texts, got 1"),
        ("tags", {"<": "a"}, "tags holds lists of texts, got < 'a'"),
        ("day", 2020, "got 2020"),
        ("day", NOON, "expected one of that kind"),
        ("day", "May 2020", "ISO 8601"),
        ("at", NOON.replace(tzinfo=datetime.UTC), "time zone"),
        ("hour", "noon", "ISO 8601"),
        ("name", "\ud800", "name holds texts"),
        ("parts", "a", "mappings cannot be asked"),
    ],
)
def test_what_does_not_compare_is_refused(column, wanted, said):
    for table in (TABLE, TABLE.slice(0, 0)):
        with pytest.raises(OptionError, match=said):
            rows_that_meet(table, {column: wanted})


def test_names_are_told():
    with pytest.raises(OptionError, match="year is compared by one of =, !=, <, <=, >, >=, got '=>'"):
        met(year={"=>": 2005})
    with pytest.raises(UnknownNameError, match="Did you mean 'year'"):
        met(yaer={">=": 2005})
    with pytest.raises(OptionError, match=r'where is a mapping such as .*">="'):
        rows_that_meet(TABLE, [("year", 2005)])


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.integers(2**53 - 2, 2**53 + 2)
FLOATS = st.floats(allow_nan=False) | st.integers(-6, 6).map(lambda n: n / 2) | st.sampled_from([2.0**53, 2.0**63])


@given(st.lists(NUMBERS), NUMBERS | FLOATS | st.integers())
def test_whole_numbers_compare_as_python_s(values, wanted):
    table = pa.table({"n": pa.array(values, pa.int64())})
    _check_as_python_has_it(table, values, wanted)


@given(st.lists(FLOATS), NUMBERS | FLOATS | st.integers())
def test_floats_compare_as_python_s(values, wanted):
    table = pa.table({"n": pa.array(values, pa.float64())})
    _check_as_python_has_it(table, values, wanted)


def _check_as_python_has_it(table, values, wanted):
    for operator, compare in {
        "=": lambda v: v == wanted, "!=": lambda v: v != wanted, "<": lambda v: v < wanted,
        "<=": lambda v: v <= wanted, ">": lambda v: v > wanted, ">=": lambda v: v >= wanted,
    }.items():  # fmt: skip
        assert rows_that_meet(table, {"n": {operator: wanted}}).tolist() == [compare(v) for v in values], operator


def index(*metadata):
    rows = [Passage(f"text {i}", metadata=each) for i, each in enumerate(metadata)]
    return Index.from_vectors(np.eye(len(rows), dtype=np.float32), passages=rows)


def test_a_column_takes_what_comes_later():
    one = index({"n": 1, "tags": [1], "late": None, "part": {"a": 1}}, {"n": np.int8(2)})
    vectors = np.ones((1, 2), np.float32)
    one.add([Passage("b", metadata={"n": 2.5, "tags": [0.5], "late": "x", "part": {"b": "y"}})], vectors=vectors)
    one.add([Passage("c", metadata={"n": 3, "new": [True]})], vectors=vectors)
    got = one.passages([0, 1, 2, 3])
    assert [row["n"] for row in got] == [1, 2, 2.5, 3] and [row["tags"] for row in got] == [[1], None, [0.5], None]
    assert got[2]["part"] == {"a": None, "b": "y"} and got[3]["new"] == [True]
    assert one.search(vectors, where={"n": {">": 2}}).ids[0, :3].tolist() == [2, 3, -1]
    assert one.search(vectors, where={"late": "x", "tags": 0.5}).ids[0, 0] == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, "x"),
        (1, True),
        (True, 1),
        ("x", 1.5),
        (BIG, 0.5),
        (0.5, BIG),
        ([1], 1),
        ([1], ["x"]),
        (np.uint64(2**63), -1),
    ],
)
def test_a_column_of_two_kinds_is_refused_and_nothing_is_added(before, after, tmp_path):
    one = index({"n": before})
    one.save(tmp_path / "i")
    with pytest.raises(InputError, match="the metadata 'n' holds") as caught:
        one.add([Passage("b", metadata={"n": after})], vectors=np.ones((1, 1), np.float32))
    assert caught.value.code == "bad-metadata" and len(one) == 1 and one.passages([0])[0]["n"] == before
    with pytest.raises(InputError, match="'n'"):
        index({"n": before}, {"n": after})


def test_columns_of_large_texts_and_texts_are_one_kind():
    together = joined(pa.table({"s": pa.array(["a"])}), pa.table({"s": pa.array(["b"], pa.large_string())}))
    assert together["s"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("name", ["score", "before", "id", "text", "title", "source", "start", "end"])
def test_names_that_a_hit_has_itself(name):
    with pytest.raises(InputError, match=f"which a hit has itself, got '{name}'"):
        Passage("a", metadata={name: 1})
    if name == "score":
        vector = np.ones((1, 2), np.float32)
        for rows in ([{"text": "a", "score": 3}], [{"image": "a.png", "score": 3}]):
            with pytest.raises(InputError, match="score"):
                Index.from_vectors(vector, passages=rows)


def test_metadata_of_media_is_checked_as_that_of_texts():
    from sensorium.retrieval.rows import RowIntake

    for wrong in ({"score": 1}, {5: 1}, {"title": 3}, {"id": 1.5}, {"start": 1}):
        ((error,),) = RowIntake("image").read([{"image": "a.png", **wrong}])
        assert isinstance(error, InputError) and error.index == 0
    ((item,),) = RowIntake("image").read([{"image": "a.png", "id": 3, "title": "An owl", "year": 1999}])
    assert item.row == {"id": 3, "text": "", "title": "An owl", "source": "a.png", "start": None, "end": None,
                        "year": 1999}  # fmt: skip
    assert item.read == {"image": "a.png"}


def test_a_hit_s_score_is_the_search_s_also_in_an_index_of_old():
    """Which may have metadata of that name; it stays with the passage."""
    from sensorium.results import Hits

    hits = Hits([7], [0.5], [{"id": 7, "text": tiny_text.words(3), "score": 99}])
    assert hits[0]["score"] == 0.5 and hits.to_dict()[0]["score"] == 0.5 and hits.passages[0]["score"] == 99
