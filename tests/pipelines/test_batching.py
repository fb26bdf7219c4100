"""Which units go into a batch, by number and by what they cost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.pipelines.batching import BatchSizer, Buckets, padded_rows
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.settings import Settings
from tests.pipelines.made_up import WholeScoring, expected

CPU = torch.device("cpu")


class Weighed(WholeScoring):
    """A series of the usual size has 32 values."""

    def cost(self, unit):
        return self.padded["window"].length(len(unit.inputs["window"])) / 32


def raw(length):
    return {"series": [float(i % 7) for i in range(length)], "question": 1}


def results(task, lengths, **settings):
    engine = Engine(task, Settings(compile=False, num_workers=2, **settings))
    try:
        return [outcome for _, outcome in engine.run([raw(n) for n in lengths], task.options(), total=len(lengths))]
    finally:
        engine.close()


@given(
    entries=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.125, 0.5, 1.0, 1.125, 3.0])), max_size=60),
    size=st.integers(1, 6),
)
def test_buckets_give_every_entry_once_in_order_and_no_batch_costs_too_much(entries, size):
    cost_of_group = {0: 0.125, 1: 1.0, 2: 1.125, 3: 3.0}
    buckets: Buckets[tuple[int, int]] = Buckets()
    taken = []
    for i, (group, _) in enumerate(entries):
        buckets.add(group, (group, i), cost_of_group[group])
        if (batch := buckets.take_full(size)) is not None:
            assert len(batch) == max(1, int(size / cost_of_group[batch[0][0]])), "a full batch is as full as can be"
            taken.append(batch)
    while len(buckets):
        taken.append(buckets.take_oldest(size))
    assert sorted(i for batch in taken for _, i in batch) == list(range(len(entries)))
    for batch in taken:
        assert len({group for group, _ in batch}) == 1
        assert len(batch) == 1 or len(batch) * cost_of_group[batch[0][0]] <= size
    for group in cost_of_group:
        order = [i for batch in taken for g, i in batch if g == group]
        assert order == sorted(order)


def test_a_batch_of_an_automatic_size_holds_more_of_the_small_ones():
    task = Weighed()
    found = results(task, [8] * 64 + [32] * 16 + [64] * 8, steady=True)
    assert [one.value for one in found] == pytest.approx(
        [expected(raw(n)) for n in [8] * 64 + [32] * 16 + [64] * 8], rel=1e-4
    )
    assert task.model.calls == [(32, 8)] * 2 + [(8, 32)] * 2 + [(4, 64)] * 2  # 8 of the usual size


def test_a_batch_size_that_is_a_number_counts_units():
    task = Weighed()
    results(task, [8] * 8 + [64] * 8, batch_size=4)
    assert task.model.calls == [(4, 8)] * 2 + [(4, 64)] * 2


def test_steady_batches_are_the_same_again():
    lengths = [(i * 37) % 90 + 8 for i in range(150)]
    runs = []
    for _ in range(3):
        task = Weighed()
        results(task, lengths, steady=True)
        runs.append(task.model.calls)
    assert runs[0] == runs[1] == runs[2]


def test_short_units_fill_their_batches_though_they_come_mixed():
    """As many inputs are taken ahead as cheap units need."""
    task = Weighed()
    results(task, [8, 12] * 256, steady=True)
    full = [rows for rows, length in task.model.calls if rows == int(8 / (length / 32))]
    assert len(full) >= len(task.model.calls) - 2


def test_out_of_memory_halves_what_a_batch_may_cost():
    task = Weighed()
    plain = task.forward

    def forward(batch, options, call):
        if batch["window"].numel() > 128:
            raise torch.OutOfMemoryError("no room")
        return plain(batch, options, call)

    task.forward = forward
    found = results(task, [8] * 64 + [32] * 8, steady=True)
    assert [one.value for one in found] == pytest.approx([expected(raw(n)) for n in [8] * 64 + [32] * 8], rel=1e-4)


def test_the_size_grows_while_full_batches_get_cheaper():
    sizer = BatchSizer("auto", CPU)
    for _ in range(3):
        sizer.record(4, 1.0, 4)
    assert sizer.size == 8
    for _ in range(3):
        sizer.record(8, 2.0, 8)
    assert sizer.size == 4
    assert sizer.settled
    assert BatchSizer("auto", CPU, grows=False).settled


def test_padded_rows():
    assert [padded_rows(n, 8) for n in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]
    assert padded_rows(5, 6) == 6
    assert padded_rows(1, 0) == 1
