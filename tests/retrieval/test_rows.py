"""Rows of an index are checked before they are encoded: a bad one is its own error, and loses nothing of the others."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError
from sensorium.retrieval import Encoder, Index, Passage
from sensorium.retrieval.reading.passages import LARGEST_ID
from sensorium.retrieval.value_types import DEEPEST, MOST_FIELDS
from tests import tiny_embedding


@pytest.fixture(scope="module")
def encoder():
    return Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", device="cpu", dtype="float32")


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


CIRCLE: list = []
CIRCLE.append(CIRCLE)
ROUND: dict = {}
ROUND["again"] = ROUND
GOOD = {"text": "a mill", "year": 1808, "tags": ["a"], "part": {"a": 1}, "day": dt.date(2020, 1, 1), "mark": 0.5}


class Odd:
    def __repr__(self):
        return "an odd thing"


BAD = {
    "bad-id": [
        {"id": "x"}, {"id": 2**70}, {"id": -(2**70)}, {"id": 2**63 - 1}, {"id": LARGEST_ID + 1}, {"id": True},
        {"id": np.True_}, {"id": 1.0}, {"id": -1}, {"id": ""}, {"id": "a\0"}, {"id": "x" * 100_000}, {"id": b"x"},
        {"id": [1]},
    ],
    "bad-offsets": [{"start": 0, "end": 2**80}, {"start": -1, "end": 2}, {"start": 2**63, "end": 2**63}, {"start": 1}],
    "not-text": [{"text": "a \ud800"}, {"title": "\udfff"}, {"source": "\ud800"}, {"text": {"a": 1}}, {"text": b"a"}],
    "empty-text": [{"text": " "}],
    "bad-metadata": [
        {"year": "1808"}, {"year": True}, {"year": [1808]}, {"year": {"a": 1}}, {"year": 2**63}, {"year": 2**70},
        {"year": -(2**63) - 1}, {"mark": 2**60}, {"mark": "0.5"}, {"tags": "a"}, {"tags": [1]}, {"tags": ["a", 1]},
        {"tags": ["\ud800"]}, {"tags": [["a"]]}, {"part": {"a": "x"}}, {"part": {1: 2}}, {"part": {"\ud800": 1}},
        {"part": {"": 1}}, {"part": [1]}, {"part": {str(i): 1 for i in range(MOST_FIELDS)}}, {"new": "\ud800"},
        {"new": Odd()}, {"new": 1j}, {"new": nested(DEEPEST + 1)}, {"new": nested(50_000)}, {"new": CIRCLE},
        {"new": ROUND}, {"new": np.zeros((2, 2))}, {"new": Decimal("NaN")}, {"new": dt.timedelta.max},
        {"new": dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14)))}, {"new": (i for i in [1])},
        {"day": dt.datetime(2020, 1, 1, 5)}, {"day": "2020-01-01"}, {"day": b"2020"}, {"": 1}, {"\ud800": 1},
        {"n" * 100_000: 1}, {5: 1}, {"score": 1}, {"before": 1},
        {f"n{i}": 1 for i in range(MOST_FIELDS + 1)},
    ],
}  # fmt: skip
CASES = [(code, change) for code, changes in BAD.items() for change in changes]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("code", "change"), CASES, ids=[f"{code}-{i}" for i, (code, _) in enumerate(CASES)])
def test_a_bad_row_is_its_own_error_wherever_it_stands(code, change, place):
    vectors = np.eye(3, dtype=np.float32)
    told = checked([*[GOOD] * place, {**GOOD, **change}, *[GOOD] * (3 - place)])
    assert [error and error.code for error in told] == [code if i == place else None for i in range(4)]
    with pytest.raises(InputError) as caught:
        Index.from_vectors(vectors, passages=[GOOD, {**GOOD, **change}, GOOD])
    assert (caught.value.code, caught.value.index) == (code, 1) and len(str(caught.value)) < 1500


def checked(rows):
    """The error of each row."""
    from sensorium.retrieval.rows import RowIntake

    outcomes = [outcome for chunk in RowIntake("text").read(rows) for outcome in chunk]
    return [outcome if isinstance(outcome, InputError) else None for outcome in outcomes]


def test_hostile_rows_among_good_ones_lose_nothing(encoder, tmp_path):
    """Whatever they hold, the index is that of the others, which can be saved, read and added to."""
    told, rows = [], []
    for i, (_, change) in enumerate(CASES):
        rows += [{**GOOD, "text": f"a mill {i}"}, {**GOOD, **change}]
    index = Index.build(rows, encoder, on_error=told.append, kind="exact", device="cpu", lexical=True)
    assert sorted(error.index for error in told) == list(range(1, len(rows), 2))
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", encoder=encoder, device="cpu")
    assert [row["text"] for row in again.passages(again.ids)] == [row["text"] for row in rows[::2]]
    assert again.passages([0])[0] == {"id": 0, "title": "", "source": None, "start": None, "end": None, **rows[0]}
    encoded = []
    again.encoder.encode_batches, encode = lambda p: encoded.append(len(p)) or encode(p), again.encoder.encode_batches
    try:
        for code, change in CASES:
            with pytest.raises(InputError) as caught:
                again.add([{**GOOD, **change}])
            assert caught.value.code == code and not encoded, "nothing is encoded for it"
    finally:
        del again.encoder.encode_batches
    told.clear()
    added = again.add([{**GOOD, **change} for _, change in CASES] + [GOOD], on_error=told.append)
    assert len(told) == len(CASES) and added.tolist() == [len(CASES)]


def test_what_most_rows_have_decides_what_the_first_may_not():
    texts = [Passage("a", id=7), *(Passage("a", id=f"x{i}") for i in range(3))]
    assert [error is None for error in checked(texts)] == [False, True, True, True]
    numbers = [Passage("a", id="x"), *["b"] * 3]
    assert [error is None for error in checked(numbers)] == [False, True, True, True]
    years = [{"text": "a", "year": year} for year in ("x", 1, None, 2.5, "y", 3)]
    assert [error is None for error in checked(years)] == [False, True, True, True, False, True]


ODD = {
    "not numbers": [{"n": float("nan")}, {"n": float("inf")}, {"n": 1}],
    "numbers of NumPy": [{"n": np.int8(2)}, {"n": np.float32(0.5)}, {"n": 3}, {"n": np.int64(4)}],
    "times": [{"t": dt.datetime(2020, 1, 1)}, {"t": dt.datetime(2021, 1, 1, 5, 6, 7, 8)}, {"t": None}],
    "time zones": [
        {"t": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)},
        {"t": dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))},
    ],
    "decimals": [{"d": Decimal("1.5")}, {"d": Decimal("100.25")}, {"d": Decimal("7")}],
    "bytes": [{"b": b"\xff"}, {"b": b""}],
    "lists": [{"l": []}, {"l": [[1]]}, {"l": [[2.5], None]}, {"l": None}, {"l": ()}, {"l": ([3],)}],
    "mappings": [{"m": {}}, {"m": {"a": {"b": 1}}}, {"m": {"a": {"b": 0.5, "c": ["x"]}}}, {"m": {"z": True}}],
    "arrays": [{"a": np.arange(3)}, {"a": np.array([0.5])}, {"a": [1]}],
    "large whole numbers": [{"n": 2**63 - 1}, {"n": -(2**63)}, {"n": 0}],
    "unsigned ones": [{"n": np.uint64(2**63)}, {"n": np.uint64(1)}],
    "names": [{"a\0b": 1}, {"\u00e9": 1}, {"e\u0301": 2}, {"input_id": 3, "vector": 4, "status": "x"}],
}


@pytest.mark.parametrize("rows", ODD.values(), ids=ODD)
def test_odd_values_come_back_as_they_went_in(rows, tmp_path):
    vectors = np.eye(len(rows), dtype=np.float32)
    whole = Index.from_vectors(vectors, passages=[{"text": "a", **row} for row in rows])
    grown = Index.from_vectors(vectors[:1], passages=[{"text": "a", **rows[0]}])
    for i, row in enumerate(rows[1:], 1):
        grown.add([{"text": "a", **row}], vectors=vectors[i : i + 1])
    for index in (whole, grown):
        index.save(tmp_path / "index")
        got = Index.load(tmp_path / "index").passages(range(len(rows)))
        for row, passage in zip(rows, got, strict=True):
            for name, value in row.items():
                assert holds(passage[name], value), (name, value, passage[name])


def holds(got, given):
    """Whether a value is what was given, as lists and mappings come back."""
    if isinstance(given, dict):
        return (got is None and not given) or all(holds(got[name], value) for name, value in given.items())
    if isinstance(given, (list, tuple, np.ndarray)):
        return len(got) == len(given) and all(map(holds, got, given))
    return got == given or (got != got and given != given)


def test_ids_that_are_the_same_but_for_their_normal_form_are_two():
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    index = Index.from_vectors(np.eye(2, dtype=np.float32), passages=[Passage(f"of {id}", id=id) for id in forms])
    assert [index.passages([each])[0]["id"] for each in forms] == forms and index.delete(forms[:1]) == 1
    with pytest.raises(InputError, match="used twice"):
        index.add([Passage("again", id=forms[1])], vectors=np.ones((1, 2)))


def test_numbers_go_on_after_the_largest_id():
    index = Index.from_vectors(np.eye(2, dtype=np.float32), passages=[Passage("a", id=LARGEST_ID), "b"])
    assert index.ids.tolist() == [LARGEST_ID, LARGEST_ID + 1]
    assert index.add(["c"], vectors=np.ones((1, 2))).tolist() == [LARGEST_ID + 2]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
    | st.dates() | st.datetimes() | st.decimals(allow_infinity=True) | st.times() | st.timedeltas() | st.uuids()
    | st.complex_numbers() | st.characters(categories=["Cs"])
    | st.sampled_from([np.int8(1), np.uint64(2**63), np.float16(1), np.longdouble(1), np.str_("a")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
    | st.tuples(inner) | st.frozensets(st.integers(0, 3)),
    max_leaves=5,
)  # fmt: skip


@example([{"a": [None, None]}], 1)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=6), st.integers(1, 6))
def test_whatever_rows_hold_those_that_are_taken_make_a_table(rows, at_once):
    """So that nothing is found out after the encoding."""
    from sensorium.retrieval.passage_table import PassageTable
    from sensorium.retrieval.rows import IndexItem, RowIntake

    intake, tables, seen = RowIntake("text"), [], 0
    for chunk in intake.read([{"text": "a", **row} for row in rows], at_once):
        seen += len(chunk)
        taken = [outcome.row for outcome in chunk if isinstance(outcome, IndexItem)]
        tables.append(PassageTable.of(taken, intake.columns.types))
    table = PassageTable.stacked(tables, intake.columns.types).numbered(0)
    assert seen == len(rows) and len(table.take(np.arange(len(table)))) == sum(map(len, tables))
    later = RowIntake("text", stored=table.table)
    for chunk in later.read([{"text": "a", **row} for row in rows], at_once):
        taken = [outcome.row for outcome in chunk if isinstance(outcome, IndexItem)]
        table = table.append(PassageTable.of(taken, later.columns.types))


def test_a_row_of_json_has_no_infinity(tmp_path):
    from sensorium.retrieval import read_passages

    lines = ['{"text": "a", "n": 1e999}', '{"text": "b", "n": [-1e400]}', '{"text": "c", "n": 1e300}', '{"text": "d"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    outcomes = list(read_passages(tmp_path / "rows.jsonl", on_error="return"))
    assert [getattr(each, "code", None) for each in outcomes] == ["bad-row", "bad-row", None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        json.dumps(outcomes[2].to_dict(), allow_nan=False)
