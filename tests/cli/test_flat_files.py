"""Results as flat tables: what their rows hold, and that no input is missing."""

from __future__ import annotations

import csv

import numpy as np
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


def test_values_of_several_kinds_and_names_that_are_taken(tmp_path):
    class Mixed(Labels):
        def to_dict(self):
            return [{"value": 1, "source": "inside"}, {"value": "one", "source": "inside"}, {"value": [1]}]

    write(tmp_path / "x.csv", Mixed([], []))
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["value"] for row in rows] == ["1", "one", "[1]"]
    assert [row["result_source"] for row in rows] == ["inside", "inside", ""]


def test_a_table_of_nothing_has_its_columns(tmp_path):
    write(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == "index,source,error_code,error_message\n"


def test_the_command_line_writes_them(classify, broken, tmp_path):
    target = tmp_path / "results.csv"
    got = classify(broken, "--output", target, "--top-k", 2)
    assert got.exit_code == 1
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
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
    write(tmp_path / "x.csv", said, Embedding(np.ones(3, np.float32)))
    table = list(csv.DictReader((tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["index"], row["text"], row["start"]) for row in table] == [
        ("0", "a", "0.0"),
        ("0", "b", "1.0"),
        ("1", "", ""),
    ]
    assert set(said.records()[0]) | set(Embedding(np.ones(3, np.float32)).records()[0]) <= set(table[0])
