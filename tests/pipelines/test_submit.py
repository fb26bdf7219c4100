"""`Pipeline.submit` and `acall`: what they take and refuse, and asyncio's side of it."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from sensorium.errors import ClosedError, InputError, OptionError, UnknownNameError
from tests.pipelines.made_up import expected
from tests.pipelines.test_engine import build, raw
from tests.pipelines.test_intake import LONG_S, Gate


def test_inputs_by_position_and_by_name():
    series, want = np.arange(9.0), pytest.approx(expected(raw(9, question=3), 2.0), rel=1e-5)
    with build() as pipe:
        futures = [
            pipe.submit(raw(9, question=3), scale=2.0),
            pipe.submit(series, 3, scale=2.0),
            pipe.submit(series, question=3, scale=2.0, max_delay_s=0),
        ]
        assert [future.result(LONG_S).value for future in futures] == [want] * 3


def test_what_is_wrong_fails_before_anything_is_queued():
    before = set(threading.enumerate())
    with build() as pipe:
        with pytest.raises(UnknownNameError, match="Did you mean 'scale'"):
            pipe.submit(raw(4), scael=2.0)
        with pytest.raises(UnknownNameError, match="Did you mean 'max_delay_s'"):
            pipe.submit(raw(4), max_delay=2.0)
        with pytest.raises(UnknownNameError, match="unknown option of window-scoring 'on_error'"):
            pipe.submit(raw(4), on_error="skip")
        with pytest.raises(OptionError, match="length is a whole number"):
            pipe.submit(raw(4), length=0)
        for several in ([raw(4)], (raw(4), raw(4)), iter([raw(4)])):
            with pytest.raises(OptionError, match="submit takes one input"):
                pipe.submit(several)
        with pytest.raises(OptionError, match="submit takes one input"):
            pipe.submit([[1.0], [2.0]], question=[1, 2])
        for delay in (-1, float("nan"), float("inf"), "soon", True, None):
            with pytest.raises(OptionError, match="max_delay_s is a number of seconds from 0"):
                pipe.submit(raw(4), max_delay_s=delay)
        assert pipe.stats()["queued"] == pipe.stats()["inputs"] == 0
        assert not [t for t in set(threading.enumerate()) - before if t.name == "sensorium-dispatch"]


def test_awaited_calls_share_batches():
    async def serve(pipe):
        return await asyncio.gather(
            *(pipe.acall(raw(4, question=i % 8, start=i), scale=2.0, max_delay_s=LONG_S) for i in range(16))
        )

    with build(batch_size=8) as pipe:
        for i, result in enumerate(asyncio.run(serve(pipe))):
            assert result.value == pytest.approx(expected(raw(4, question=i % 8, start=i), 2.0), rel=1e-5)
        assert pipe.model.calls == [8, 8]


def test_the_event_loop_goes_on_while_a_call_is_awaited():
    async def serve(pipe, gate):
        async def open_gate():
            while not gate.reached.is_set():
                await asyncio.sleep(0)
            gate.open()

        result, _ = await asyncio.gather(pipe.acall(raw(4)), open_gate())
        return result

    with build() as pipe:
        assert asyncio.run(serve(pipe, Gate(pipe.model))).value == pytest.approx(expected(raw(4)))


def test_cancelling_an_awaited_call_cancels_its_input():
    async def serve(pipe, gate):
        running = asyncio.ensure_future(pipe.acall(raw(4), max_delay_s=0))
        while not gate.reached.is_set():
            await asyncio.sleep(0)
        given_up = asyncio.ensure_future(pipe.acall(raw(4), max_delay_s=0))
        await asyncio.sleep(0)  # it has been submitted
        assert pipe.stats()["queued"] == 2
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert pipe.stats()["queued"] == 1
        gate.open()
        await running
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pipe.acall(raw(4), max_delay_s=LONG_S), 0.001)

    with build(batch_size=2) as pipe:
        asyncio.run(serve(pipe, Gate(pipe.model)))
        assert pipe.model.calls == [1]
        assert (pipe.stats()["cancelled"], pipe.stats()["queued"]) == (2, 0)


def test_errors_come_out_of_an_awaited_call():
    async def serve(pipe):
        with pytest.raises(InputError, match="series must be finite"):
            await pipe.acall({"series": [float("nan")], "question": 0})
        with pytest.raises(UnknownNameError):
            await pipe.acall(raw(4), scael=1)
        waiting = asyncio.ensure_future(pipe.acall(raw(4), max_delay_s=LONG_S))
        await asyncio.sleep(0)
        pipe.close()
        with pytest.raises(ClosedError):
            await waiting

    with build(batch_size=2) as pipe:
        asyncio.run(serve(pipe))
