"""Outputs that are NaN or infinite cost the inputs that they belong to, and no others."""

from __future__ import annotations

import pytest
import torch

from sensorium.errors import InputError
from sensorium.pipelines.finiteness import Finiteness
from tests.pipelines.test_engine import build, expected, raw

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_rows_are_told_apart(dtype, value):
    outputs = {"logits": torch.zeros(4, 3, dtype=dtype), "boxes": [torch.zeros(4, 2, 2)], "ids": torch.zeros(2).long()}
    assert Finiteness(outputs, 4, CPU).failed() is None
    outputs["logits"][1, 2] = value
    outputs["boxes"][0][3, 1, 0] = value
    assert Finiteness(outputs, 4, CPU).failed().tolist() == [False, True, False, True]


def test_what_is_not_by_row_is_told_as_a_whole():
    outputs = {"masks": torch.zeros(7, 3), "scores": torch.zeros(4)}
    assert Finiteness(outputs, 4, CPU).failed() is None
    outputs["masks"][5, 0] = torch.nan
    assert Finiteness(outputs, 4, CPU).failed().shape == ()


def test_minus_infinity_means_never():
    scores = torch.tensor([[-torch.inf, 0.0], [-torch.inf, -torch.inf]])
    assert Finiteness([scores[:1], torch.zeros(0)], 1, CPU).failed() is None
    assert Finiteness([scores], 2, CPU).failed().tolist() == [False, True]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_input_that_overflows_costs_no_other(sign):
    with build(batch_size=8) as pipe:
        raws = [raw(4, start=i) for i in range(16)]
        raws[5] = {"series": [sign * 3e38] * 4, "question": 0}
        with torch.no_grad():
            pipe.model.embedding.weight.mul_(100)
        results = pipe(raws, on_error="return")
        calls = len(pipe.model.calls)
    assert [(r.index, r.code) for r in results if isinstance(r, InputError)] == [(5, "not-finite")]
    assert calls == 2  # nothing is run again
    assert results[4].value == pytest.approx(100 * expected(raws[4]), rel=1e-4)
