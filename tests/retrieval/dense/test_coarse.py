"""The bounds of coarse products against products in float64, and that what is rounded can be kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import OptionError
from sensorium.retrieval.dense import coarse
from sensorium.retrieval.dense.coarse import CoarseQueries, coarse_copy
from sensorium.retrieval.dense.rounding import GROUP

CPU = torch.device("cpu")
DTYPES = [torch.int8, torch.bfloat16, torch.float32]


def vectors(kind, rows, width, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)).astype(np.float32)
    if kind == "outliers":
        x[:, 0] *= 30
    if kind == "zeros":
        x[rng.random(rows) < 0.7] = 0
    if kind == "huge and tiny":
        x *= 10.0 ** rng.integers(-18, 15, (rows, 1)).astype(np.float32)
    if kind == "denormal":
        x *= np.float32(1e-40)
    return x


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(["normal", "outliers", "zeros", "huge and tiny", "denormal"]),
    st.integers(1, 100),
    st.integers(2, 200),
    st.sampled_from(DTYPES),
    st.integers(0, 2**16),
)
def test_no_product_is_farther_off_than_its_bound(kind, rows, width, dtype, seed):
    x, q = vectors(kind, rows, width, seed), vectors("normal", 5, width, seed + 1)
    rounded, asked = coarse_copy(x, dtype=dtype), CoarseQueries.of(torch.from_numpy(q), dtype, CPU)
    group = torch.arange(rows) // GROUP
    scale = rounded.scales[group].double() * asked.scales[:, None].double()
    products = asked.values.double() @ rounded.values.double().T * scale
    bound = asked.of_left_over[:, None] * rounded.left_over[group] + asked.of_longest[:, None] * rounded.longest[group]
    bound += asked.always[:, None]
    off = np.abs(products.numpy() - q.astype(np.float64) @ x.astype(np.float64).T)
    assert (off <= bound.double().numpy()).all()
    if kind == "normal" and width > 50:  # and it is no larger than it has to be
        length = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1).max()
        assert (bound.numpy() <= length * {torch.int8: 0.03, torch.bfloat16: 0.01, torch.float32: 1e-4}[dtype]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("before", [5, coarse.BLOCK, coarse.BLOCK + 40])
def test_rows_that_are_added_are_rounded_as_all_at_once(dtype, before):
    x = vectors("huge and tiny", 2 * coarse.BLOCK + 9, 8, 0)
    known = coarse_copy(x[:before], dtype=dtype)
    known.values[0] = 0 if dtype != torch.float32 else known.values[0]
    grown, anew = coarse_copy(x, previous=known), coarse_copy(x, dtype=dtype)
    assert grown.values.dtype == dtype and torch.equal(grown.values[1:], anew.values[1:])
    assert torch.equal(grown.bounds, anew.bounds)
    if dtype != torch.float32 and before >= coarse.BLOCK:
        assert (grown.values[0] == 0).all(), "what is known is not rounded again"


def test_the_dtype_is_that_of_the_machine_and_the_vectors(monkeypatch):
    x, outliers = vectors("normal", 3000, 400, 0), vectors("outliers", 3000, 400, 0)
    for int8, bfloat16, expected in [
        (True, True, [torch.int8, torch.bfloat16]),
        (True, False, [torch.int8, torch.float32]),
        (False, True, [torch.bfloat16] * 2),
        (False, False, [torch.float32] * 2),
    ]:
        monkeypatch.setattr(coarse, "multiplies_int8", lambda yes=int8: yes)
        monkeypatch.setattr(coarse, "multiplies_bfloat16", lambda device, yes=bfloat16: yes)
        assert [coarse_copy(each).values.dtype for each in (x, outliers)] == expected


def test_int8_is_refused_where_its_products_would_be_wrong():
    with pytest.raises(OptionError, match="dimensions"):
        coarse_copy(np.ones((3, 1), np.float32), dtype=torch.int8)
    assert coarse_copy(np.ones((3, 1), np.float32)).values.dtype != torch.int8


def test_a_cpu_that_saturates_is_found_out(monkeypatch):
    monkeypatch.setattr(coarse, "cpu_features", lambda: frozenset({"avx512_vnni"}))
    coarse.multiplies_int8.cache_clear()
    right = torch._int_mm
    try:
        monkeypatch.setattr(torch, "_int_mm", lambda a, b: right(a, b).clamp(-(2**21), 2**21))
        assert not coarse.multiplies_int8()
    finally:
        coarse.multiplies_int8.cache_clear()
