"""Results in typed columns: through a Parquet file, and back as the very objects."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sensorium.results import Answers, CitedAnswers, Embedding, Hits, Keypoints, Labels, result_type, to_table
from tests.results.test_as_dicts import MAKERS

FURTHER = {
    "answers without": lambda: Answers(["a"]),
    "no answers": lambda: Answers([]),
    "no answers, scored": lambda: Answers([], [], [], []),
    "no citations": CitedAnswers,
    "points with descriptors": lambda: Keypoints([[1, 2]], [0.5], None, np.full((1, 8), 0.1)),
    "no points": lambda: Keypoints([], [], None, np.zeros((0, 8))),
    "tokens": lambda: Embedding(np.full((2, 3), 0.1, np.float32), [np.ones((1, 2, 2), np.float32)], ["stage1"]),
    "tensor": lambda: Embedding(torch.full((3,), 0.1)),
    "no hits": lambda: Hits([], [], []),
    "no labels": lambda: Labels([], []),
}
RESULTS = MAKERS | FURTHER


def through_parquet(table):
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    read = pq.read_table(io.BytesIO(file.getvalue()))
    assert read.schema == table.schema
    return read


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_result_comes_back_from_a_file(name):
    result = RESULTS[name]()
    rows = through_parquet(to_table([result, result])).to_pylist()
    again = result_type(type(result).__name__).from_row(rows[1])
    assert again == result
    assert again.to_dict() == result.to_dict()
