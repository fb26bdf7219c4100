"""Folders, globs, columns, tables and rows as inputs, without the libraries that columns and tables come from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sensorium import pipeline
from sensorium.errors import InputError
from sensorium.pipelines.tables import of_row
from tests import tiny


@pytest.fixture(scope="module")
def pipe():
    with pipeline("image-classification", tiny.folder("vit"), device="cpu", dtype="float32", compile=False) as made:
        yield made


@pytest.fixture
def paths(tmp_path):
    """Two pictures in a folder, and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.docx").touch()
    return [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


class Series:
    """What a pandas Series has."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype=object)

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return iter(self._values)

    def to_list(self):
        return list(self._values)


class Table:
    """What a pandas DataFrame has; going through it gives the names of its columns."""

    iloc = None

    def __init__(self, rows):
        self._rows, self.columns, self.shape = rows, list(rows[0]), (len(rows), len(rows[0]))

    def __iter__(self):
        return iter(self.columns)

    def to_dict(self, orient):
        assert orient == "records"
        return self._rows


class Dataset:
    """What a `datasets.Dataset` has: rows by number, and a length."""

    def __init__(self, rows):
        self._rows = rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, at):
        return self._rows[at]


def scores(results):
    return [result.scores.tolist() for result in results]


def test_columns_tables_and_rows_give_what_their_paths_give(pipe, paths):
    wanted = scores(pipe(paths))
    rows = [{"label": i, "image": path} for i, path in enumerate(paths)]
    for inputs in (
        Series(paths), np.array(paths), np.array(paths, dtype=object), pa.array(paths), Table(rows), rows,
        pa.table({"image": paths, "label": [0, 1]}), [{"path": path, "bytes": None} for path in paths],
        Dataset(rows),
        np.array([Image.open(path) for path in paths] + [None], dtype=object)[:2],
    ):  # fmt: skip
        assert scores(pipe(inputs)) == wanted, type(inputs)
        assert scores(pipe.stream(inputs)) == wanted, type(inputs)
    assert scores(pipe(image=Series(paths))) == wanted
    alone = pytest.approx(np.array(wanted[:1]), abs=1e-6)  # a batch of one may be computed in another order
    assert np.array(scores([pipe(rows[0])])) == alone
    assert np.array(scores([pipe.submit(rows[0]).result()])) == alone
    assert rows[0] == {"label": 0, "image": paths[0]}


def test_a_folder_and_a_glob_are_their_pictures(pipe, paths, tmp_path):
    wanted = scores(pipe(paths))
    for folder in (str(tmp_path), tmp_path):
        for call in (pipe, lambda inputs: list(pipe.stream(inputs))) if folder is tmp_path else (pipe,):
            with pytest.warns(UserWarning, match="skipped notes.docx") as told:
                assert scores(call(folder)) == wanted
            assert {each.filename for each in told} == {__file__}, "where the user's code stands"
    assert scores(pipe(str(tmp_path / "*.png"))) == wanted
    with pytest.raises(InputError, match="nothing"):
        pipe(str(tmp_path / "nothing*.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as failed:
        pipe(tmp_path / "empty")
    assert failed.value.code == "is-a-directory"
    assert "expected a folder with files of the kind 'image', found none" in str(failed.value)


def test_a_row_keeps_the_options_of_its_own_that_the_task_reads(pipe):
    class WithLabels(type(pipe.task)):
        own_options = ("candidate_labels",)

    row = {"image": "a.png", "label": 3, "candidate_labels": ["cat"]}
    assert of_row(pipe.task, row) == "a.png"
    kept = of_row(object.__new__(WithLabels), row)
    assert kept == {"image": "a.png", "candidate_labels": ["cat"]}
    assert of_row(object.__new__(WithLabels), kept) == kept
    assert of_row(object.__new__(WithLabels), {"image": "a.png", "candidate_labels": None}) == "a.png"


def test_a_row_without_the_input_says_so(pipe):
    with pytest.raises(InputError, match="expected the picture under 'image', got 'label', 'img'"):
        pipe({"label": 1, "img": "cat.jpg"})


def test_a_row_without_the_input_fails_alone(pipe, paths):
    outcomes = pipe([paths[0], {"img": "cat.jpg"}, {"image": paths[1]}], on_error="return")
    assert [type(each).__name__ for each in outcomes] == ["Labels", "InputError", "Labels"]
    assert (outcomes[1].code, outcomes[1].index) == ("unsupported-type", 1)
    with pytest.raises(InputError, match="under 'image'"):
        pipe.submit({"img": "cat.jpg"}).result()
