"""Sources that are slower than the model: nothing that can be done waits for them. Events, not clocks, say when."""

from __future__ import annotations

import contextvars
import gc
import itertools
import threading
import weakref

import pytest
import torch

from sensorium.pipelines import sources
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.settings import Settings
from tests.pipelines.made_up import TotalScoring, WindowScoring, expected
from tests.pipelines.test_engine import CPU, build, raw

LONG_S = 60
"""A wait that ends a test which would hang."""


def one_by_one(count, given_out):
    """Makes each input only after the result of the one before has been given out."""
    for i in range(count):
        yield raw(9, question=i % 8, start=i)
        assert given_out[i].wait(LONG_S), f"input {i} was kept waiting for further ones"


@pytest.mark.parametrize("task", [WindowScoring, TotalScoring])
def test_each_result_comes_before_the_next_input(task):
    given_out = [threading.Event() for _ in range(6)]
    with Pipeline(task(), CPU, compile=False, batch_size=16, num_workers=2) as pipe:
        for result in pipe.stream(one_by_one(6, given_out)):
            if task is WindowScoring:
                assert result.value == pytest.approx(expected(raw(9, question=result.index % 8, start=result.index)))
            given_out[result.index].set()
    assert all(event.is_set() for event in given_out)


def test_a_failure_comes_before_the_next_input():
    given_out = threading.Event()

    def source():
        yield {"series": [float("nan")], "question": 0}
        assert given_out.wait(LONG_S)

    with build(batch_size=16) as pipe:
        for outcome in pipe.stream(source(), on_error="return"):
            assert outcome.code == "not-finite"
            given_out.set()
    assert given_out.is_set()


def test_what_comes_while_the_model_runs_makes_full_batches():
    total, size = 100, 8
    taken = 0
    read = threading.Condition()

    def source():
        nonlocal taken
        for i in range(total):
            yield raw(4, start=i)
            with read:
                taken = i + 1
                read.notify_all()

    def wait_for_the_source(*_):
        done = sum(pipe.model.calls) + 1  # at least
        with read:
            assert read.wait_for(lambda: taken >= min(total, done + 2 * size), LONG_S)

    with build(batch_size=size) as pipe:
        pipe.model.register_forward_pre_hook(wait_for_the_source)
        results = list(pipe.stream(source()))
    assert [r.index for r in results] == list(range(total))
    assert set(pipe.model.calls[1:-1]) == {size}, "only the first and the last may be smaller"


def test_a_source_is_read_no_further_ahead_than_there_is_room():
    reached = threading.Condition()
    taken = 0

    def endless():
        nonlocal taken
        for i in itertools.count():
            with reached:
                taken += 1
                reached.notify_all()
            yield raw(4, start=i)

    with build(batch_size=4, num_workers=2) as pipe:
        stream = pipe.stream(endless())
        assert taken == 0, "before the first result is asked for"
        for _ in range(30):
            next(stream)
        stream.close()
    ahead = 2 * 4 + 2
    assert taken <= 30 + 8 * 4 + ahead + 1


def test_a_source_sees_the_caller_s_context_and_modes():
    name = contextvars.ContextVar("name", default="")
    name.set("the caller's")
    seen = []

    def source():
        seen.append((name.get(), torch.is_grad_enabled(), threading.current_thread().name))
        name.set("the source's")
        yield raw(4)

    with build() as pipe, torch.no_grad():
        list(pipe.stream(source()))
    assert seen == [("the caller's", False, "sensorium-source")]
    assert name.get() == "the caller's"


def test_lists_are_read_without_a_thread():
    class Rows(list):
        def __iter__(self):
            threads.append(threading.current_thread())
            return super().__iter__()

    threads: list[threading.Thread] = []
    with build() as pipe:
        pipe(Rows([raw(4), raw(5)]))
        list(pipe.stream(Rows([raw(4), raw(5)])))
    assert threads == [threading.current_thread()] * 2


def test_leaving_a_stream_ends_its_source():
    closed = threading.Event()

    def source():
        try:
            for i in itertools.count():
                yield raw(4, start=i)
        finally:
            closed.set()

    with build(batch_size=2) as pipe:
        for _ in pipe.stream(source()):
            break
        assert closed.wait(LONG_S)
        assert not [t for t in threading.enumerate() if t.name == "sensorium-source"]

        mine = source()
        stream = pipe.stream(mine)
        next(stream)
        stream.close()
        following = next(mine)  # is not being read by anybody else any more
        assert following["series"][0] >= 1


def test_leaving_a_stream_does_not_wait_for_a_source_that_gives_nothing(monkeypatch):
    monkeypatch.setattr(sources, "LEAVE_S", 0.01)
    go_on, rest = threading.Event(), []

    def source():
        yield raw(4)
        go_on.wait(LONG_S)
        yield raw(4)
        rest.append("asked again")

    def reading():
        return [t for t in threading.enumerate() if t.name == "sensorium-source"]

    with build(batch_size=2) as pipe:
        stream = pipe.stream(source())
        assert next(stream).index == 0
        del stream
        gc.collect()
        (thread,) = reading()
        before = list(pipe.model.calls)
        go_on.set()
        thread.join(LONG_S)
        assert not thread.is_alive()
        assert not rest
        assert pipe.model.calls == before, "what the source gave too late is not run"
        assert pipe(raw(4)).value == pytest.approx(expected(raw(4)))


def test_a_stream_that_was_left_keeps_nothing_of_its_source():
    class Rows:
        def __iter__(self):
            return (raw(4, start=i) for i in range(100))

    rows = Rows()
    gone = weakref.ref(rows)
    with build(batch_size=2) as pipe:
        stream = pipe.stream(rows)
        next(stream)
        stream.close()
        del rows, stream
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("batch_size", [4, "auto"])
def test_a_steady_engine_makes_the_same_batches_however_its_source_falters(batch_size):
    def batches(falters):
        task = WindowScoring()
        engine = Engine(task, Settings(compile=False, num_workers=2, steady=True, batch_size=batch_size))
        threads = set()

        def source():
            for i in range(37):
                threads.add(threading.current_thread())
                if i in falters:
                    others = [engine._pool.submit(pow, i, 2) for _ in range(8)]
                    assert [other.result() for other in others] == [i * i] * 8  # what was being split is done by now
                yield raw(1 + 5 * i % 23, start=i)

        outcomes = list(engine.run(source(), task.options()))
        engine.close()
        assert threads == {threading.current_thread()}
        assert [index for index, _ in outcomes] == list(range(37))
        return task.model.calls

    assert batches(set()) == batches({0, 1, 2, 3, 20}) == batches(set(range(37)))


def test_a_source_that_cannot_be_iterated_says_so():
    class Rows:
        def __iter__(self):
            raise OSError("no such table")

    with build() as pipe, pytest.raises(OSError, match="no such table"):
        list(pipe.stream(Rows()))
