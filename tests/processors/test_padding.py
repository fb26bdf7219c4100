"""Sequences of different lengths in one batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.processors.padding import Padding, round_up


@given(st.integers(17, 10**7))
def test_rounding_costs_an_eighth_at_the_most_and_gives_few_lengths(length):
    assert length <= round_up(length) <= length * 9 / 8
    assert round_up(round_up(length)) == round_up(length)
    assert len({round_up(n) for n in range(1 << 10, (1 << 11) + 1)}) == 9


@pytest.mark.parametrize(("length", "rounded"), [(1, 8), (8, 8), (9, 9), (16, 16), (17, 18), (77, 80), (512, 512)])
def test_some_lengths(length, rounded):
    assert round_up(length) == rounded


@pytest.mark.parametrize(("length", "wanted"), [(70, 72), (74, 77), (77, 77), (90, 90)])
def test_never_longer_than_the_model_takes_unless_the_sequence_is(length, wanted):
    assert Padding(0, max_length=77).length(length) == wanted


@pytest.mark.parametrize("side", ["left", "right"])
def test_stacking(side):
    rows = [torch.arange(1, 12), torch.arange(1, 18)]
    batch = Padding(-1, side=side).stack(rows)
    assert batch.shape == (2, 18)
    assert batch.dtype == torch.int64
    for row, tensor in zip(batch, rows, strict=True):
        gap = 18 - len(tensor)
        real, filling = (row[gap:], row[:gap]) if side == "left" else (row[: len(tensor)], row[len(tensor) :])
        assert torch.equal(real, tensor)
        assert (filling == -1).all()


def test_only_the_last_axis_is_filled_and_the_given_memory_is_used():
    taken = []

    def empty(size, *, dtype):
        taken.append(torch.empty(size, dtype=dtype))
        return taken[-1]

    batch = Padding(0.5).stack([torch.ones(2, 3), torch.ones(2, 9)], empty)
    assert batch is taken[0]
    assert batch.shape == (2, 2, 9)
    assert batch[0, :, 3:].eq(0.5).all()
    assert batch[0, :, :3].eq(1).all()
