"""Every task on two copies of its model, on the CPU: its results on one, in order, and its errors."""

from __future__ import annotations

import pytest

from sensorium.errors import InputError
from tests.test_contract import TASKS, assert_alike, contract_of
from tests.test_pretend_contracts import FEW, LONG, seldom

SEARCHES = {"audio-retrieval", "image-retrieval", "retrieval"}
"""What an index has its encoder for, which is on one device."""


@pytest.mark.parametrize("name", seldom([name for name in TASKS if name not in SEARCHES], LONG))
def test_every_task_on_two_equals_one(name):
    contract = contract_of(name)
    inputs = list(contract.inputs())[: FEW.get(name)]
    mixed = [*inputs, contract.bad[0], *inputs]
    with (
        contract.build(device="cpu", batch_size=2, compile=False) as one,
        contract.build(device=["cpu", "cpu"], batch_size=2, compile=False) as two,
    ):
        assert len(two.devices) == 2
        for options in ({}, *contract.options):
            want, got = one(inputs, **options), two(inputs, **options)
            streamed = list(two.stream(iter(inputs), **options))
            submitted = [future.result(300) for future in [two.submit(raw, **options) for raw in inputs]]
            assert [r.index for r in got] == [r.index for r in streamed] == list(range(len(inputs)))
            for expected, *others in zip(want, got, streamed, submitted, strict=True):
                for other in others:
                    assert_alike(other.to_dict(), expected.to_dict(), contract)
        returned = two(mixed, on_error="return")
        assert [isinstance(each, InputError) for each in returned] == [i == len(inputs) for i in range(len(mixed))]
        assert [each.index for each in returned] == list(range(len(mixed)))
        assert two.stats()["failures"] == 1
        if contract.opened is not None and contract.opened.build is None:
            open_one = two._engine.sessions.open
            with open_one(contract.opened.raw()) as first, open_one(contract.opened.raw()) as second:
                for session in (first, second):  # each on a copy of its own
                    assert_alike(contract.opened.ask(session, two), contract.opened.call(one), contract)
