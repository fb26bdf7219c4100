"""What a job takes for inputs: files of any name, lists, tables of files and in memory; and what it refuses."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from sensorium.errors import JobError, OptionError, UnknownNameError
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.json_lines import JsonRows
from sensorium.jobs.listing import STAMP, Listing, write_listing
from sensorium.results.surrogates import as_they_were
from tests import tiny_answering

from .conftest import make_job, rows_of

pytestmark = pytest.mark.usefixtures("workers_in_process")


def listed(folder, given, *, inputs=("image",), optional=(), shard_size=4, **more):
    """What a listing of these inputs holds."""
    facts = {}
    batches = Inputs(given, **more).batches(inputs, optional, facts)
    write_listing(folder, batches, facts, shard_size=shard_size)
    listing = Listing(folder)
    rows = [row for shard in range(listing.shards) for row in listing.read(shard).to_pylist()]
    assert [row.pop("input_id") for row in rows] == list(range(listing.inputs))
    for row in rows:
        row.pop(STAMP, None)
    return rows, Listing(folder)


@pytest.fixture
def table():
    return pa.table({"path": ["a.jpg", "b.jpg", "c.jpg"], "id": ["007", "8", "9"], "label": [1, 2, None]})


def write(table, path):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    elif path.suffix == ".csv":
        rows = [",".join("" if v is None else str(v) for v in row.values()) for row in table.to_pylist()]
        path.write_text("\n".join([",".join(table.column_names), *rows]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


def test_files_of_any_name_are_listed_once_in_order(tmp_path):
    names = [b"a\nb.jpg", b"caf\xe9.jpg", "日本.jpg".encode(), b"x" * 200 + b".jpg", b"z.PNG"]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"")
    (folder / "notes.txt").write_text("")
    words = [str(folder), str(folder / "*.PNG"), "x" * 4000]
    rows, listing = listed(tmp_path, words)
    sources = as_they_were(row["source"] for row in rows)
    assert [os.fsencode(source).rpartition(b"/")[2] for source in sources] == [*sorted(names), b"x" * 4000]
    assert listing.facts["repeated"] == 1 and listing.facts["skipped"] == "notes.txt"
    assert (listing.inputs, listing.shards, listing.size(1)) == (6, 2, 2)


def test_a_file_names_an_input_a_line(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.jpg\r\ncaf\xe9.jpg\n\nhttps://example.org/b.jpg\n")
    rows, _ = listed(tmp_path, f"@{tmp_path}/list.txt")
    assert as_they_were(row["source"] for row in rows) == [
        "a.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "https://example.org/b.jpg",
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".arrow"])
def test_the_rows_of_a_table_are_inputs_and_columns_are_carried(tmp_path, table, suffix):
    path = write(table, tmp_path / f"table{suffix}")
    rows, listing = listed(tmp_path, path, columns={"image": "path"}, carry=("id", "label"), shard_size=2)
    assert [row["source"] for row in rows] == [row["input:image"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [row["id"] for row in rows] == ["007", "8", "9"]  # as it is written there
    labels = [row["label"] for row in rows]
    assert labels == (["1", "2", ""] if suffix == ".csv" else [1, 2, None])
    assert listing.shards == 2


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_last_line_of_a_table_may_lack_its_end(tmp_path, end, count):
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(f'{{"image": "{i}.jpg", "when": "2024-01-0{i + 1}"}}' for i in range(count)) + end)
    rows, _ = listed(tmp_path, path, carry=("when",))
    assert [row["source"] for row in rows] == [f"{i}.jpg" for i in range(count)]
    assert [row["when"] for row in rows] == [f"2024-01-0{i + 1}" for i in range(count)]  # the text that it is


NO_NUMBERS = {
    "1e999": "Number too big",
    "[1, -1e999]": "Number too big",
    "NaN": "row 1 that is none of JSON's",
    "-Infinity": "row 1 that is none of JSON's",
    "9" * 400: "row 1 that is none of JSON's",
    '{"a": [null, [{"b": NaN}]]}': "row 1 that is none of JSON's",
}


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["n", "image"])
def test_a_number_that_json_does_not_have_is_a_bad_row(tmp_path, value, name):
    path = tmp_path / "table.jsonl"
    fine = "0.5" if value[0] != "[" and value[0] != "{" else value.replace("NaN", "1e3").replace("-1e999", "1e308")
    path.write_text(f'{{"image": "a.jpg", "m": null, "n": null}}\n{{"{name}": {fine}}}\n'.replace('"a.jpg"', "null"))
    assert len(listed(tmp_path / "fine", path)[0]) == 2
    path.write_text(f'{{"image": null, "n": null}}\n{{"{name}": {value}}}\n')
    with pytest.raises(OptionError, match=NO_NUMBERS[value]):
        listed(tmp_path / "bad", path)


DEEP = {
    "objects": b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    "lists": b'{"image": "x", "a": ' + b"[" * 65 + b"]" * 65 + b"}",
    "over lines": b'{"a":\n' * 65 + b"1" + b"}" * 65,
    "behind texts of brackets": b'{"}}": {"\\"]]": ' * 40 + b"1" + b"}" * 80,
    "that do not end": b'{"a": [' * 40,
    "that end as something else": b'{"a": ' * 70 + b"]" * 70,
}


@pytest.mark.parametrize("data", DEEP.values(), ids=DEEP.keys())
def test_a_table_too_deep_for_its_parser_is_refused(tmp_path, data):
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'{"image": "%s"}\n' % (b"a" * 10_000) * 200 + data)  # beyond the first piece that is read
    with pytest.raises(OptionError, match="more than 64 objects and lists in each other"):
        listed(tmp_path, path)


def test_a_table_may_hold_brackets_in_texts_and_be_as_deep_as_any(tmp_path):
    path = tmp_path / "table.jsonl"
    row = json.dumps({"image": '{[{["', "a": "\\", "b": functools.reduce(lambda inner, _: [inner], range(60), 1)})
    path.write_text(f"{row}\n" * 2_000)
    assert len(listed(tmp_path, path)[0]) == 2_000


WIDE = b'{"image": "x"' + b"".join(b', "a%d": 1' % i for i in range(2_000)) + b"}\n"


@pytest.mark.parametrize(
    "data",
    [
        b"".join(b'{"image": "x", "a%d": 1}\n' % i for i in range(6_000)),
        b'{"image": "x", "of": [' + b",".join(b'{"a%d" : 1}' % i for i in range(6_000)) + b"]}\n",
        b"".join(b'{"image": "x", "of": {"\\"%d":\t1}}\n' % i for i in range(6_000)),
        WIDE + b'{"image": "x"}\n' * 9_000,
        WIDE + b'{"image":""}\n' * 200_000 + WIDE,
        b'{"image": "x", "of": ' + WIDE[:-1] + b"}\n" + b"{}\n" * 300_000,
    ],
    ids=["rows", "a list", "objects", "a first row", "further pieces", "a first row's object"],
)
def test_json_of_very_many_names_in_very_many_rows_is_refused(tmp_path, data):
    (tmp_path / "rows.jsonl").write_bytes(data)
    with pytest.raises(OptionError, match=r"objects close together, and .* names in them"):
        list(Inputs(str(tmp_path / "rows.jsonl")).batches(["image"], [], {}))


def test_a_wide_table_of_json_is_read(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(WIDE * 40)
    rows, _ = listed(tmp_path / "job", str(tmp_path / "rows.jsonl"))
    assert len(rows) == 40


@pytest.mark.parametrize("suffix", ["parquet", "feather", "arrow"])
def test_a_table_of_rows_beyond_its_bytes_is_refused(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("sensorium.jobs.tables.MAX_ROWS_OF_NOTHING", 1_000)
    path = tmp_path / f"table.{suffix}"
    for count in (1_000, 200_000):
        table = pa.table({"image": pa.nulls(count, pa.string())})
        pq.write_table(table, path) if suffix == "parquet" else pa.feather.write_feather(
            table, path, compression="zstd"
        )
        read = functools.partial(Inputs(str(path)).batches, ["image"], [], {})
        if count == 1_000:
            assert sum(map(len, read())) == count
        else:
            with pytest.raises(OptionError, match=r"200,000 rows in [\d,]+ bytes"):
                list(read())


def test_columns_that_are_not_asked_for_are_not_read(tmp_path):
    table = pa.table({"image": ["a.jpg"], "other": pa.array([b"\xff"]).view(pa.string())})
    pq.write_table(table, tmp_path / "table.parquet")
    (batch,) = Inputs(str(tmp_path / "table.parquet")).batches(["image"], [], {})
    assert batch.schema.names == ["source", "input:image"]


def test_tables_in_memory_and_rows_are_inputs(tmp_path, table):
    class Frame:  # what polars has
        columns = ("path",)

        def to_arrow(self):
            return table

    for given in (table, Frame(), table.to_pylist()):
        rows, _ = listed(tmp_path, given, columns={"image": "path"}, carry=("id",))
        assert [(row["source"], row["id"]) for row in rows] == [("a.jpg", "007"), ("b.jpg", "8"), ("c.jpg", "9")]


def test_tables_have_several_inputs_a_row_and_inputs_may_be_the_same_for_all(tmp_path):
    table = pa.table({"image": ["a.jpg"] * 2, "question": ["What?", "Who?"]})
    rows, _ = listed(tmp_path, table, inputs=("image", "question"))
    assert [row["input:question"] for row in rows] == ["What?", "Who?"]  # a picture may be asked twice
    rows, _ = listed(tmp_path, "a.jpg", inputs=("image", "question"), named={"question": "What?"})
    assert rows == [{"source": "a.jpg"}]


@pytest.mark.parametrize(
    ("given", "more", "error", "told"),
    [
        ("table.csv", {"columns": {"image": "pth"}}, UnknownNameError, r"'pth'.*Did you mean 'path'"),
        ("table.csv", {}, UnknownNameError, r"columns=\{'image': …\}"),
        ("table.csv", {"columns": {"image": "path"}, "carry": ("lable",)}, UnknownNameError, "label"),
        ("table.csv", {"columns": {"imge": "path"}}, UnknownNameError, "image"),
        ("ragged.csv", {"columns": {"image": "path"}}, OptionError, "Expected 3 columns, got 4"),
        ("cut.parquet", {"columns": {"image": "path"}}, OptionError, r"cut\.parquet cannot be read"),
        ("long.csv", {"columns": {"image": "path"}}, OptionError, r"long\.csv cannot be read"),
        ("empty.csv", {}, OptionError, "empty"),
        ("gone.csv", {}, OptionError, "does not exist"),
        ("@gone.txt", {}, OptionError, "input a line"),
        (["a.jpg", "table.csv"], {}, OptionError, "came together"),
        ([object()], {}, OptionError, "found again"),
        ("a.jpg", {"carry": ("id",)}, OptionError, "no table"),
    ],
)
def test_what_cannot_be_listed_is_refused_and_leaves_nothing(tmp_path, table, monkeypatch, given, more, error, told):
    monkeypatch.chdir(tmp_path)
    write(table, tmp_path / "table.csv")
    (tmp_path / "ragged.csv").write_text("path,id,label\na.jpg,1,2\nb.jpg,1,2,3\n")
    whole = write(table, tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "long.csv").write_text("x" * 200_000 + ",path\n1,a.jpg\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "out").mkdir()
    with pytest.raises(error, match=told):
        listed(tmp_path / "out", given, **more)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "rows", ["null", '\ufeffnull\n{"image": "a"}', '{"image": "a"}\n \tnull\n{"image": "b"}', "\n\r\n  null\r"]
)
def test_a_line_of_null_does_not_end_the_process(tmp_path, rows):
    (tmp_path / "x.jsonl").write_text(rows, newline="")
    with pytest.raises(OptionError, match="a line with null"):
        listed(tmp_path / "out", str(tmp_path / "x.jsonl"))


@over(
    st.lists(st.sampled_from([b"null", b"nu", b"ll", b"\n", b" ", b"\r", b"{}", b'"', b"x"]), max_size=12),
    st.integers(1, 5),
)
def test_lines_of_null_are_seen_wherever_a_piece_ends(parts, size):
    content = b"".join(parts)
    starts = any(line.strip(b" \t").startswith(b"null") for line in content.replace(b"\r", b"\n").split(b"\n"))
    rows = JsonRows(io.BytesIO(content))
    with pytest.raises(OptionError) if starts else contextlib.nullcontext():
        while rows.read(size):
            pass


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("more", [{}, {"columns": {"image": "path"}, "carry": ("image",)}])
def test_texts_that_are_not_utf_8_are_refused(tmp_path, suffix, more):
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        offsets = pa.py_buffer(np.array([0, 2], np.int32))
        texts = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xe9!")])
        pq.write_table(pa.table({"path": ["a"], "image": texts}), path)
    elif suffix == ".jsonl":
        path.write_bytes(b'{"path": "a", "image": "\xe9!"}\n')
    else:
        path.write_bytes(b"path,image\na,\xe9!\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(OptionError, match="cannot be read"):
        listed(tmp_path / "out", str(path), **more)
    assert not list((tmp_path / "out").iterdir())


def test_a_listing_that_was_changed_is_named(tmp_path):
    _, listing = listed(tmp_path, ["a.jpg", "b.jpg"])
    path = Path(listing.path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(JobError, match=r"inputs\.parquet cannot be read"):
        Listing(tmp_path)


def test_a_long_listing_is_never_in_memory_whole(tmp_path):
    class Words(list):
        def __iter__(self):
            return (f"pictures/of/a/long/name/{i:012}.jpg" for i in range(self[0]))

    def peak_of(count):
        tracemalloc.reset_peak()
        facts = {}
        write_listing(tmp_path, Inputs(Words([count])).batches(("image",), (), facts), facts, shard_size=512)
        assert Listing(tmp_path).inputs == count
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    peak_of(10)  # imports what it needs
    assert peak_of(40_000) - peak_of(10_000) < 2**18  # the names alone are 1.1 MB
    tracemalloc.stop()


def test_a_table_of_pictures_and_questions_is_answered_with_its_columns(pictures, tmp_path):
    paths = sorted(map(str, pictures.iterdir()))[:3]
    table = pa.table({"file": paths, "question": ["What is it?", "Who?", None], "id": [3, 5, 8]})
    job = make_job(
        table,
        tmp_path / "out",
        task="visual-question-answering",
        model=tiny_answering.vilt(),
        columns={"image": "file"},
        carry=["id"],
    )
    report = job.run()
    rows = rows_of(job)
    assert [row["id"] for row in rows] == [3, 5, 8] and [row["source"] for row in rows] == paths
    assert report.ok == 2 and [row["status"] for row in rows] == ["ok", "ok", "failed"]
    assert rows[0]["answers"]


def test_films_are_inputs_and_so_is_a_folder_of_frames(tmp_path):
    for name in ("films/a.mp4", "films/b.txt", "films/more/c.GIF", "frames/1.png", "frames/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found, _ = listed(tmp_path / "job", [tmp_path / "films", tmp_path / "frames"], inputs=("video",))
    assert [row["source"] for row in found] == [
        str(tmp_path / name) for name in ("films/a.mp4", "films/more/c.GIF", "frames")
    ]
