"""The written-out attention against torch's, in float32 and in bfloat16, with every kind of mask."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F

from sensorium.pipelines import attention
from sensorium.pipelines.attention import WrittenOut, applies, written_out
from sensorium.pipelines.compiling import Compiler
from sensorium.pipelines.statistics import Statistics

QUERIES = 130


def made(batch=2, heads=3, queries=QUERIES, keys=150, width=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, heads, queries, width), (batch, heads, keys, width), (batch, heads, keys, width)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def masks(batch, heads, queries, keys):
    generator = torch.Generator().manual_seed(1)
    yield None
    for shape in ((batch, 1, 1, keys), (batch, heads, queries, keys), (1, heads, queries, keys), (queries, keys)):
        take_part = torch.rand(shape, generator=generator) > 0.3
        yield take_part
        yield torch.zeros(shape).masked_fill(~take_part, -torch.inf)
    yield torch.randn(batch, heads, queries, keys, generator=generator)


@pytest.mark.parametrize("block", [1, 2 * QUERIES * 150, 2**21])
def test_equals_torchs_in_float32(monkeypatch, block):
    monkeypatch.setattr(attention, "BLOCK", block)
    query, key, value = made()
    for mask in masks(2, 3, QUERIES, 150):
        expected = F.scaled_dot_product_attention(query, key, value, mask, scale=0.3)
        found = written_out(query, key, value, mask, 0.3)
        assert torch.allclose(found, expected, atol=1e-6)


def test_a_query_that_may_look_at_nothing_gives_numbers():
    query, key, value = made(dtype=torch.bfloat16)
    for nothing in (torch.zeros(QUERIES, 150, dtype=torch.bool), torch.full((QUERIES, 150), -torch.inf)):
        assert written_out(query, key, value, nothing, 0.3).isfinite().all()


def test_bfloat16_drifts_as_rounding_does():
    query, key, value = made(dtype=torch.bfloat16)
    with WrittenOut() as mode:
        found = F.scaled_dot_product_attention(query, key, value)
    assert mode.replaced == 1
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.02


@pytest.mark.parametrize(
    "dtype, settings, shape",
    [
        (torch.float32, {}, {}),
        (torch.bfloat16, {"is_causal": True}, {"keys": QUERIES}),
        (torch.bfloat16, {}, {"queries": 1}),
        (torch.bfloat16, {"enable_gqa": True}, {}),
    ],
)
def test_all_else_is_torchs(monkeypatch, dtype, settings, shape):
    monkeypatch.setattr(attention, "written_out", None)
    query, key, value = made(dtype=dtype, **shape)
    expected = F.scaled_dot_product_attention(query, key, value, **settings)
    with WrittenOut():
        assert torch.equal(F.scaled_dot_product_attention(query, key, value, **settings), expected)


def test_is_for_this_thread_and_only_while_it_is_on(monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "written_out", lambda *args: calls.append(args) or args[0])
    query, key, value = made(dtype=torch.bfloat16, keys=QUERIES)
    F.scaled_dot_product_attention(query, key, value)
    with WrittenOut():
        F.scaled_dot_product_attention(query, key, value, scale=0.5)
        other = threading.Thread(target=F.scaled_dot_product_attention, args=(query, key, value))
        other.start()
        other.join()
    F.scaled_dot_product_attention(query, key, value)
    assert [args[4] for args in calls] == [0.5]


@pytest.mark.parametrize(
    "device, features, dtype, expected",
    [
        ("cpu", {"avx512_bf16"}, torch.bfloat16, True),
        ("cpu", {"avx512_bf16"}, torch.float32, False),
        ("cpu", {"avx512_bf16", "amx_bf16"}, torch.bfloat16, False),
        ("cpu", set(), torch.bfloat16, False),
        ("cuda", {"avx512_bf16"}, torch.bfloat16, False),
    ],
)
def test_where_it_is_on(monkeypatch, device, features, dtype, expected):
    monkeypatch.setattr(attention, "cpu_features", lambda: frozenset(features))
    assert applies(torch.device(device), dtype) == expected


def test_a_function_without_long_attention_is_watched_once_a_shape(monkeypatch):
    monkeypatch.setattr(attention, "cpu_features", lambda: frozenset({"avx512_bf16"}))
    entered = []
    enter = WrittenOut.__enter__
    monkeypatch.setattr(WrittenOut, "__enter__", lambda mode: entered.append(mode) or enter(mode))
    compiler = Compiler(False, torch.device("cpu"), Statistics(), torch.bfloat16)

    def attend(x):
        return F.scaled_dot_product_attention(x, x, x)

    short, long = (torch.ones(1, 1, length, 8, dtype=torch.bfloat16) for length in (5, 200))
    for x in (short, short, long, long, short):
        assert torch.allclose(compiler.eager(attend, x), x)
    assert [mode.replaced for mode in entered] == [0, 1, 1]
