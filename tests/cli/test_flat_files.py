"""Results as flat tables: what their rows hold, and that no input is missing."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from sensorium.cli.flat_files import FlatFile
from sensorium.errors import InputError
from sensorium.results import Detections, Embedding, Labels, Transcript


def found(boxes):
    count = len(boxes)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(count, 0.5), ["cat"] * count)


def write(path, *outcomes):
    sink = FlatFile(str(path))
    for i, outcome in enumerate(outcomes):
        outcome.index = i
        sink.add(f"{i}.jpg", outcome)
    sink.finish()
    sink.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_csv_has_a_row_for_each_thing_and_for_each_input(tmp_path):
    path = tmp_path / "x.csv"
    write(path, found([[1, 2, 3, 4], [5, 6, 7, 8]]), InputError('no "box", é', code="bad"), found([]))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    boxes = ["box_xmin", "box_ymin", "box_xmax", "box_ymax"]
    assert list(rows[0]) == ["index", "source", "score", "label", *boxes, "error_code", "error_message"]
    assert [(row["index"], row["source"]) for row in rows] == [("0", "0.jpg")] * 2 + [("1", "1.jpg"), ("2", "2.jpg")]
    assert [float(rows[1][name]) for name in boxes] == [5, 6, 7, 8]
    assert (rows[1]["label"], float(rows[1]["score"]), rows[1]["error_code"]) == ("cat", 0.5, "")
    assert (rows[2]["label"], rows[2]["error_code"], rows[2]["error_message"]) == ("", "bad", 'no "box", é')
    assert (rows[3]["label"], rows[3]["error_code"]) == ("", "")


def test_parquet_has_the_same_with_types(tmp_path):
    path = tmp_path / "x.parquet"
    write(path, found([[1, 2, 3, 4]]), InputError("no", code="bad"))
    table = pq.read_table(path)
    assert [str(table.schema.field(name).type) for name in ("index", "score", "error_code")] == [
        "int64", "double", "string",
    ]  # fmt: skip
    assert table.column("label").to_pylist() == ["cat", None]
    assert table.column("error_code").to_pylist() == [None, "bad"]


def test_parquet_of_nothing_and_of_mixed_values(tmp_path):
    class Mixed(Labels):
        def to_dict(self):
            return [{"value": 1, "source": "inside"}, {"value": "one", "source": "inside"}, {"value": [1]}]

    write(tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet").column_names == ["index", "source", "error_code", "error_message"]
    (tmp_path / "x.parquet").unlink()
    write(tmp_path / "x.parquet", Mixed([], []))
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column("value").to_pylist() == ["1", '"one"', "[1]"]
    assert table.column("result_source").to_pylist() == ["inside", "inside", None]


def test_without_pyarrow_parquet_is_refused_before_any_work(classify, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    got = classify(images, "--output", tmp_path / "x.parquet")
    assert got.exit_code == 2
    assert "pip install pyarrow" in got.stderr


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_command_line_writes_them(classify, broken, tmp_path, suffix):
    target = tmp_path / f"results{suffix}"
    got = classify(broken, "--output", target, "--top-k", 2)
    assert got.exit_code == 1
    if suffix == ".csv":
        rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    else:
        rows = pq.read_table(target).to_pylist()
    assert [int(row["index"]) for row in rows] == [0, 0, 1, 2, 2, 3, 4, 4]
    assert [row["error_code"] for row in rows if row["error_code"]] == ["not-a-picture", "empty-file"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_what_cannot_be_written_is_told_before_any_work(classify, images, tmp_path, suffix):
    name = "x" * (255 - len(suffix)) + suffix  # with what stands in its place until then, too long for a file
    got = classify(images, "--output", tmp_path / name)
    assert got.exit_code == 2
    assert "--output takes a file that can be written" in got.stderr
    assert not [*tmp_path.glob("*.part")]


def test_a_table_has_the_records_of_each_result(tmp_path):
    said = Transcript("a b", ["a", "b"], [0.0, 1.0], [1.0, 2.0], timed=True)
    write(tmp_path / "x.parquet", said, Embedding(np.ones(3, np.float32)))
    table = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [(row["index"], row["text"], row["start"]) for row in table] == [
        (0, "a", 0.0),
        (0, "b", 1.0),
        (1, None, None),
    ]
    assert set(said.records()[0]) | set(Embedding(np.ones(3, np.float32)).records()[0]) <= set(table[0])
