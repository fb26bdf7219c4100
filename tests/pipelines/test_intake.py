"""Inputs that are submitted one by one, by many callers. Events, not clocks, say when."""

from __future__ import annotations

import concurrent.futures
import gc
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from sensorium.errors import ClosedError, InputError, QueueFullError
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.settings import Settings
from tests.pipelines.made_up import TotalScoring, WholeScoring, WindowScoring, expected
from tests.pipelines.test_engine import raw

LONG_S = 60
"""A wait that ends a test which would hang; as a delay, one that never ends by itself."""


class Gate:
    """Holds a model back until it is opened.

    Attributes:
        reached: set once the model is asked.
    """

    def __init__(self, model):
        self.reached, self._opened = threading.Event(), threading.Event()
        model.register_forward_pre_hook(self._wait)

    def _wait(self, *_):
        self.reached.set()
        assert self._opened.wait(LONG_S)

    def open(self):
        self._opened.set()


@pytest.fixture
def engine_of(request):
    def build(task, **settings):
        queued = {"most_queued": settings.pop("most_queued")} if "most_queued" in settings else {}
        engine = Engine(task, Settings(**{"compile": False, "num_workers": 2, **settings}), **queued)
        request.addfinalizer(engine.close)
        return engine

    return build


def let_split(engine):
    """Returns once all that was being split is done, but for what one of two workers may still have in hand."""
    for other in [engine._pool.submit(pow, 2, 2) for _ in range(8)]:
        other.result(LONG_S)


def result_of(future):
    return future.result(LONG_S)


def test_many_callers_of_mixed_options_and_sizes_share_batches(engine_of):
    """64 at once, of two lengths and two options: four kinds that cannot share a batch, 16 of each."""
    task = WholeScoring()
    engine = engine_of(task, batch_size=16)
    rows = [raw((5, 30)[n % 2], question=n % 8, start=n) for n in range(64)]
    scales = [(1.0, 3.0)[n // 32] for n in range(64)]
    together = threading.Barrier(64)
    results: dict[int, object] = {}

    def call(n):
        together.wait(LONG_S)
        results[n] = result_of(engine.submit(rows[n], task.options(scale=scales[n]), max_delay_s=LONG_S))

    callers = [threading.Thread(target=call, args=(n,)) for n in range(64)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG_S)
    stats = engine.stats()
    assert stats["mean_batch"] == 16
    assert (stats["inputs"], stats["batches"], stats["queued"]) == (64, 4, 0)
    for n, one in enumerate(rows):
        ((_, alone),) = engine.run([one], task.options(scale=scales[n]), total=1)
        assert results[n].value == pytest.approx(alone.value, rel=1e-5, abs=1e-5)
        assert results[n].value == pytest.approx(expected(one, scales[n]), rel=1e-4, abs=1e-3)
        assert results[n].index == 0


def test_what_comes_while_the_model_runs_shares_the_next_batch(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=32)
    gate = Gate(task.model)
    futures = [engine.submit(raw(4), task.options(), max_delay_s=0)]
    assert gate.reached.wait(LONG_S)
    futures += [engine.submit(raw(4, start=i), task.options(), max_delay_s=0) for i in range(32)]
    let_split(engine)
    gate.open()
    for future in futures:
        result_of(future)
    assert task.model.calls[0] == 1
    assert task.model.calls[1] >= 31


def test_a_batch_starts_when_it_is_full_or_its_first_unit_has_waited(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=4)
    full = [engine.submit(raw(4, start=i), task.options(), max_delay_s=LONG_S) for i in range(4)]
    for i, future in enumerate(full):
        assert result_of(future).value == pytest.approx(expected(raw(4, start=i)))
    assert task.model.calls == [4]
    patient = engine.submit(raw(4), task.options(), max_delay_s=LONG_S)
    hasty = engine.submit(raw(4), task.options(), max_delay_s=0)  # takes the patient one with it, if that is split
    result_of(hasty)
    result_of(engine.submit(raw(4), task.options(), max_delay_s=0))
    result_of(patient)
    assert sum(task.model.calls) == 7


@dataclass(frozen=True)
class ListOptions(WindowScoring.options):
    names: list = field(default_factory=list)


@dataclass(frozen=True)
class TensorOptions(WindowScoring.options):
    names: object = None


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ([WindowScoring.options(), WindowScoring.options()], [2]),
        ([WindowScoring.options(scale=1.0), WindowScoring.options(scale=2.0)], [1, 1]),
        ([ListOptions(names=["a"]), ListOptions(names=["a"])], [2]),
        ([ListOptions(names=["a"]), ListOptions(names=["b"])], [1, 1]),
        ([TensorOptions(names=torch.ones(3)), TensorOptions(names=torch.ones(3))], [1, 1]),
        ([TensorOptions(names=torch.ones(3))] * 2, [2]),
    ],
    ids=["equal", "different", "equal lists", "different lists", "cannot say", "the same"],
)
def test_units_share_a_batch_where_their_options_are_equal(engine_of, options, sizes):
    task = WindowScoring()
    engine = engine_of(task, batch_size=2)
    gate = Gate(task.model)
    first = engine.submit(raw(4), task.options(scale=9.0), max_delay_s=0)
    assert gate.reached.wait(LONG_S)
    futures = [engine.submit(raw(4), one, max_delay_s=0.0 if sizes == [1, 1] else LONG_S) for one in options]
    gate.open()
    for one, future in zip(options, futures, strict=True):
        assert result_of(future).value == pytest.approx(expected(raw(4), one.scale))
    result_of(first)
    assert task.model.calls == [1, *sizes]


def test_one_input_of_many_units_is_merged_in_order(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=3)
    long, short = (engine.submit(raw(n, question=2), task.options(), max_delay_s=0) for n in (403, 4))
    assert result_of(long).windows == 101
    assert result_of(long).value == pytest.approx(expected(raw(403, question=2)), rel=1e-5)
    assert result_of(short).value == pytest.approx(expected(raw(4, question=2)), rel=1e-5)
    assert result_of(engine.submit(raw(0), task.options(), max_delay_s=0)).windows == 0


def test_a_bad_input_costs_no_good_one(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=8)
    task.model.fails_on = -5.0
    rows = [raw(4, start=i) for i in range(8)]
    rows[2], rows[5] = {"series": [float("nan")], "question": 0}, {"series": [-5.0], "question": 0}
    futures = [engine.submit(one, task.options(), max_delay_s=0) for one in rows]
    assert futures[2].exception(LONG_S).code == "not-finite"
    assert futures[5].exception(LONG_S).code == "model-failed"
    assert str(futures[2].exception()) == "input 0: series must be finite", "as a call of this one would say"
    for i in {*range(8)} - {2, 5}:
        assert result_of(futures[i]).value == pytest.approx(expected(rows[i]), rel=1e-5)
    assert (engine.stats()["inputs"], engine.stats()["failures"]) == (8, 2)


def test_out_of_memory_halves_the_batch(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=16)
    task.model.fits_rows = 3
    futures = [engine.submit(raw(4, start=i), task.options(), max_delay_s=LONG_S) for i in range(16)]
    for i, future in enumerate(futures):
        assert result_of(future).value == pytest.approx(expected(raw(4, start=i)), rel=1e-5)
    assert engine.stats()["batch_size"] == 2
    assert engine.stats()["out_of_memory"] == 3


def test_a_fault_of_the_engine_itself_leaves_nobody_waiting(engine_of):
    class Faulty(WindowScoring):
        faulty = True

        def cost(self, unit):
            if self.faulty:
                raise ZeroDivisionError("of no unit's making")
            return 1.0

    task = Faulty()
    engine = engine_of(task, batch_size="auto")
    assert isinstance(engine.submit(raw(4), task.options(), max_delay_s=0).exception(LONG_S), ZeroDivisionError)
    task.faulty = False
    result_of(engine.submit(raw(4), task.options(), max_delay_s=0))


def test_a_full_queue_says_so(engine_of):
    task = WindowScoring()
    engine = engine_of(task, most_queued=3)
    gate = Gate(task.model)
    futures = [engine.submit(raw(4), task.options(), max_delay_s=0) for _ in range(3)]
    with pytest.raises(QueueFullError, match="3 inputs are waiting or under way"):
        engine.submit(raw(4), task.options(), max_delay_s=0)
    assert (engine.stats()["queued"], engine.stats()["refused"]) == (3, 1)
    gate.open()
    for future in futures:
        result_of(future)
    result_of(engine.submit(raw(4), task.options(), max_delay_s=0))
    assert engine.stats()["queued"] == 0


def test_a_cancelled_input_costs_no_forward(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=4, most_queued=3)
    gate = Gate(task.model)
    running = engine.submit(raw(4), task.options(), max_delay_s=0)
    assert gate.reached.wait(LONG_S)
    others = [engine.submit(raw(4, start=i), task.options(), max_delay_s=0) for i in range(2)]
    assert others[0].cancel()
    done, _ = concurrent.futures.wait(others[:1], LONG_S)
    assert done == {others[0]}, "who waits for it among others is told"
    third = engine.submit(raw(4), task.options(), max_delay_s=0)  # there is room again
    gate.open()
    for future in (running, others[1], third):
        result_of(future)
    assert sum(task.model.calls) == 3
    assert engine.stats()["cancelled"] == 1


def test_cancelling_while_the_model_runs_drops_the_result(engine_of):
    task = WindowScoring()
    engine = engine_of(task)
    gate = Gate(task.model)
    future = engine.submit(raw(4), task.options(), max_delay_s=0)
    assert gate.reached.wait(LONG_S)
    assert future.cancel()
    gate.open()
    assert result_of(engine.submit(raw(4), task.options(), max_delay_s=0)).value == pytest.approx(expected(raw(4)))
    assert future.cancelled()
    assert not result_of(engine.submit(raw(4), task.options(), max_delay_s=0)).index
    assert engine.stats()["inputs"] == 2


def test_closing_ends_what_is_under_way_with_an_error(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=2)
    gate = Gate(task.model)
    futures = [engine.submit(raw(4), task.options(), max_delay_s=0) for _ in range(50)]
    assert gate.reached.wait(LONG_S)
    engine.close()
    for future in futures:
        assert isinstance(future.exception(LONG_S), ClosedError)
    gate.open()
    assert result_of(engine.submit(raw(4), task.options(), max_delay_s=0)).value == pytest.approx(expected(raw(4)))
    assert sum(task.model.calls) <= 3, "nothing else is run for those who are gone"


def test_waiting_for_a_batch_ends_when_the_engine_is_closed(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=2)
    future = engine.submit(raw(4), task.options(), max_delay_s=LONG_S)
    engine.close()
    assert isinstance(future.exception(LONG_S), ClosedError)
    engine.close()


def test_an_engine_that_nobody_holds_is_let_go(engine_of):
    task = WindowScoring()
    engine = Engine(task, Settings(compile=False, num_workers=1))
    result_of(engine.submit(raw(4), task.options(), max_delay_s=0))
    (thread,) = [t for t in threading.enumerate() if t.name == "sensorium-dispatch"]
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    thread.join(LONG_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("delay_s", [0, 3600])
def test_the_interpreter_ends_whatever_is_under_way(delay_s):
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, str(delay_s)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["ended", "Total" if delay_s == 0 else "ClosedError"]
    assert done.stderr == ""


AT_THE_END = """
import sys
from tests.pipelines.made_up import WindowScoring
from tests.pipelines.test_engine import raw
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.settings import Settings

task = WindowScoring()
engine = Engine(task, Settings(compile=False, num_workers=2))
delay_s = float(sys.argv[1])
future = engine.submit(raw(4), task.options(), max_delay_s=delay_s)
if delay_s == 0:
    future.result()
print("ended")
future.add_done_callback(lambda f: print(type(f.exception() or f.result()).__name__))
"""


def test_an_input_that_no_thread_can_take_is_answered(engine_of, monkeypatch):
    """As at the end of the interpreter, when pools refuse what is given to them."""
    task = WindowScoring()
    engine = engine_of(task)

    def refuse(*_):
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr(engine._pool, "submit", refuse)
        error = engine.submit(raw(4), task.options(), max_delay_s=0).exception(LONG_S)
        assert isinstance(error, ClosedError)
        assert "interpreter shutdown" in str(error)
    assert result_of(engine.submit(raw(4), task.options(), max_delay_s=0)).windows == 1


def test_a_task_upstream_gives_the_inputs(engine_of):
    task = TotalScoring()
    engine = engine_of(task, batch_size=4)
    rows = [raw(4 + i, start=i) for i in range(12)]
    rows[2] = {"series": [float("nan")], "question": 0}  # fails upstream
    rows[5] = {"series": [1e9, 1e9], "question": 1}  # fails downstream
    options = task.options(scale=2.0)
    want = [outcome for _, outcome in engine.run(rows, options, total=len(rows))]
    futures = [engine.submit(one, options, max_delay_s=0) for one in rows]
    for future, outcome in zip(futures, want, strict=True):
        if isinstance(outcome, InputError):
            assert future.exception(LONG_S).code == outcome.code
        else:
            assert result_of(future).value == pytest.approx(outcome.value, rel=1e-5)
    assert engine.stats()["queued"] == engine.stats()["upstream"]["queued"] == 0


def test_cancelling_reaches_the_task_upstream(engine_of):
    task = TotalScoring()
    engine = engine_of(task, most_queued=2)
    gate = Gate(task.upstream.model)
    first = engine.submit(raw(4), task.options(), max_delay_s=0)
    assert gate.reached.wait(LONG_S)
    second = engine.submit(raw(4), task.options(), max_delay_s=0)
    with pytest.raises(QueueFullError):
        engine.submit(raw(4), task.options(), max_delay_s=0)
    assert engine.stats()["queued"] == 2
    assert second.cancel()
    gate.open()
    result_of(first)
    assert (sum(task.upstream.model.calls), sum(task.model.calls)) == (1, 1)
    assert engine.stats()["queued"] == engine.stats()["upstream"]["queued"] == 0


def test_a_run_and_submitted_inputs_go_side_by_side(engine_of):
    task = WindowScoring()
    engine = engine_of(task, batch_size=4)
    rows = [raw(4, start=i) for i in range(40)]
    futures = [engine.submit(one, task.options(), max_delay_s=0.001) for one in rows]
    listed = [outcome.value for _, outcome in engine.run(rows, task.options(), total=len(rows))]
    assert [result_of(future).value for future in futures] == pytest.approx(listed, rel=1e-5)
    assert task.model.most_inside == 1
