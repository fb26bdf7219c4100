"""Other libraries read the files of `sensorium run` and of jobs without Sensorium, every kind of result in them."""

from __future__ import annotations

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from sensorium.cli.typed_file import TypedFile
from sensorium.errors import InputError
from sensorium.jobs.parts import write_part
from sensorium.results import to_table

from .test_as_dicts import MAKERS


def by_pandas(files, tmp_path):
    return pd.concat([pd.read_parquet(file) for file in files]).to_dict("records")


def by_polars(files, tmp_path):
    return pl.read_parquet(files).to_dicts()


def by_duckdb(files, tmp_path):
    with duckdb.connect() as connection:
        rows = connection.execute("select * from read_parquet($1)", [files])
        names = [column[0] for column in rows.description]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def by_datasets(files, tmp_path):
    return datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache")).to_list()


READERS = {"pandas": by_pandas, "polars": by_polars, "duckdb": by_duckdb, "datasets": by_datasets}


@pytest.fixture(scope="module", autouse=True)
def silent():
    datasets.disable_progress_bars()


def outcomes(name):
    made = [MAKERS[name](), InputError("not é \udcff", code="bad"), MAKERS[name]()]
    for i, outcome in enumerate(made):
        outcome.index = i
    return made


def written(how, made, folder):
    """The files: one of a run, or a part for each input of a job."""
    if how == "run":
        sink = TypedFile(str(folder / "x.parquet"))
        for outcome in made:
            sink.add(f"{outcome.index}.jpg", outcome)
        sink.finish()
        sink.close()
        return [str(folder / "x.parquet")]
    table = to_table(made)
    return [str(write_part(folder, table.slice(i, 1), "0" * 32, i, 0).path) for i in range(len(table))]


@pytest.mark.parametrize("how", ["run", "job"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_they_read_what_stands_there(name, reader, how, tmp_path):
    made = outcomes(name)
    files = written(how, made, tmp_path)
    rows = READERS[reader](files, tmp_path)
    expected = pq.read_table(files).to_pylist()
    assert [row["input_id"] for row in rows] == [0, 1, 2]
    for row, known in zip(rows, expected, strict=True):
        assert row.keys() == known.keys()
        assert row["status"] == known["status"]
        if row["status"] != "ok":
            assert (row["error_code"], row["error_message"]) == (known["error_code"], known["error_message"])
            continue
        assert type(made[0]).from_row(row) == made[row["input_id"]]
        for column, value in row.items():
            assert plain(value) == plain(known[column]), column


def plain(value):
    """A value as Python has it: lists for arrays and tuples, None for what pandas has instead."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value
