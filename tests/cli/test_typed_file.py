"""`--output x.parquet` and `x.csv`: a row for each input, from which the results come back."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensorium.cli.typed_file import TypedFile
from sensorium.errors import InputError
from sensorium.results import Embedding, Labels, to_table

TOLD = ["input_id", "source", "status", "error_code", "error_message"]


def write(path, outcomes):
    sink = TypedFile(str(path))
    for i, outcome in enumerate(outcomes):
        outcome.index = i
        sink.add(f"{i}\udcff.jpg", outcome)
    sink.finish()
    sink.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return pq.read_table(path)


@pytest.mark.parametrize("failed_first", [1, 1500])
def test_every_input_has_one_row_and_every_result_comes_back(tmp_path, failed_first):
    outcomes = [InputError("no", code="bad") for _ in range(failed_first)]
    outcomes += [Labels(["cat", "dog"], [1 / (i + 3), 0.1]) for i in range(1100)]
    table = write(tmp_path / "x.parquet", outcomes)
    assert table.column_names == [*TOLD, "labels"]
    assert table.schema.field("labels").type == Labels([], []).schema().field("labels").type
    rows = table.to_pylist()
    assert [row["input_id"] for row in rows] == list(range(len(outcomes)))
    assert [row["status"] for row in rows] == ["failed"] * failed_first + ["ok"] * 1100
    assert [row["labels"] is None for row in rows] == [True] * failed_first + [False] * 1100
    for row, outcome in zip(rows[failed_first:], outcomes[failed_first:], strict=True):
        again = Labels.from_row(row)
        assert again == outcome
        assert (again.index, again.source) == (outcome.index, f"{outcome.index}\udcff.jpg")


def test_a_table_of_no_inputs_and_of_failures_alone(tmp_path):
    assert write(tmp_path / "x.parquet", []).schema == to_table([]).schema
    (tmp_path / "x.parquet").unlink()
    table = write(tmp_path / "x.parquet", [InputError("no", code="bad")])
    assert table.column_names == TOLD
    assert table["error_message"].to_pylist() == ["no"]


def test_pooled_vectors_are_of_one_width(tmp_path):
    table = write(tmp_path / "x.parquet", [Embedding(row) for row in np.ones((2, 3), np.float32)])
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 3)


def test_the_command_line_writes_them(classify, broken, tmp_path):
    target = tmp_path / "results.parquet"
    got = classify(broken, "--output", target, "--top-k", 2)
    assert got.exit_code == 1
    rows = pq.read_table(target).to_pylist()
    assert [row["input_id"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["error_code"] for row in rows if row["status"] == "failed"] == ["not-a-picture", "empty-file"]
    assert {len(Labels.from_row(row)) for row in rows if row["status"] == "ok"} == {2}


def test_a_csv_has_the_same_rows_with_lists_as_json(classify, broken, tmp_path):
    for name in ("x.csv", "x.parquet"):
        assert classify(broken, "--output", tmp_path / name, "--top-k", 2).exit_code == 1
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    typed = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert list(rows[0]) == [*TOLD, "labels"]
    assert [json.loads(row["labels"] or "null") for row in rows] == [row["labels"] for row in typed]
    for name in TOLD:
        assert [row[name] for row in rows] == ["" if row[name] is None else str(row[name]) for row in typed]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_what_cannot_be_written_is_told_before_any_work(classify, images, tmp_path, suffix):
    name = "x" * (255 - len(suffix)) + suffix  # with what stands in its place until then, too long for a file
    got = classify(images, "--output", tmp_path / name)
    assert got.exit_code == 2
    assert "--output takes a file that can be written" in got.stderr
    assert not [*tmp_path.glob("*.part")]


def test_without_pyarrow_it_is_refused_before_any_work(classify, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    got = classify(images, "--output", tmp_path / "x.parquet")
    assert got.exit_code == 2
    assert "pip install pyarrow" in got.stderr
