"""Sessions: opened, given the device a step at a time, closed by hand, by their time limit or unused, and counted."""

from __future__ import annotations

import gc
import math
import threading
import weakref

import pytest
import torch

from sensorium.errors import InputError, OptionError
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.tasks.base import Session, Unit
from tests.pipelines.made_up import WindowScoring, expected

CPU = Placement(torch.device("cpu"), torch.float32)
RELEASED = "what it kept on the device was released"


class Question(Session):
    """A question whose embedding is kept, and asked of windows; each window is a step, or all are one with pauses."""

    def __init__(self, task, question, runner):
        super().__init__(runner)
        self.kept = question
        self.released = 0
        with runner.step() as call:
            self.kept = call(task.model.embedding, torch.tensor([question]))
        self.task, self.between = task, lambda: None

    def score(self, window):
        with self._runner.step():
            return float((torch.tensor(window) * self.kept).sum())

    def scores(self, windows):
        found = []
        with self._runner.step():
            for window in windows:
                found.append(float((torch.tensor(window) * self.kept).sum()))
                self.between()
                self._runner.pause()
        return found

    def whole(self, window):
        unit = Unit({"window": torch.tensor(window), "question": torch.tensor(1)}, meta=0)
        options = self.task.options()
        return self._runner.decode(self._runner.forward([unit], options), [0], options)

    def release(self):
        self.kept = None
        self.released += 1


class Asking(WindowScoring):
    """The made-up task, which opens sessions."""

    def open(self, raw, runner):
        if not isinstance(raw, int):
            raise InputError("a question is a number", code="no-question")
        return Question(self, raw, runner)


class Clock:
    """Tells the time that a test gives it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def build():
    pipe = Pipeline(Asking(), CPU, compile=False, num_workers=1)
    sessions = pipe._engine.sessions
    sessions.clock = Clock()
    return pipe, sessions


WINDOWS = [[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, -1.0, 2.0], [3.0, 3.0, 3.0, 3.0]]


def want(window):
    return pytest.approx(expected({"series": window, "question": 1}), rel=1e-5)


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def wait_for_line(pipe, count):
    """Waits until so many threads stand in line for the device."""
    turns, never = pipe._engine.runtime.turns, threading.Event()
    while turns.waiting < count:
        never.wait(0.001)


def test_a_session_answers_as_calls_do():
    pipe, _ = build()
    with pipe.image(1) as question:
        for window in WINDOWS:
            assert question.score(window) == want(window)
            assert question.whole(window) == [(0, want(window))]
        assert question.scores(WINDOWS) == [want(window) for window in WINDOWS]


def test_steps_have_no_gradients_and_run_eagerly():
    pipe, _ = build()
    with pipe.image(1) as question:
        assert question.kept.is_inference()


def test_it_is_counted():
    pipe, sessions = build()
    assert pipe.stats()["sessions"] == {"opened": 0, "open": 0, "timed_out": 0, "steps": 0}
    with pipe.image(1) as one, pipe.image(2):
        assert pipe.stats()["sessions"] == {"opened": 2, "open": 2, "timed_out": 0, "steps": 2}
        one.score(WINDOWS[0])
        one.scores(WINDOWS)
        assert pipe.stats()["sessions"]["steps"] == 2 + 1 + 1 + len(WINDOWS)
        pipe.reset_stats()
        assert pipe.stats()["sessions"] == {"opened": 0, "open": 2, "timed_out": 0, "steps": 0}
    assert pipe.stats()["sessions"] == {"opened": 0, "open": 0, "timed_out": 0, "steps": 0}
    with pytest.raises(InputError, match="a question is a number"), pipe.image("who?"):
        pass
    assert sessions.counts() == {"opened": 0, "open": 0, "timed_out": 0, "steps": 0}


def test_closing_releases_once_and_a_use_afterwards_says_so():
    pipe, _ = build()
    with pipe.image(1) as question:
        held = weakref.ref(question.kept)
        assert not question.closed
        question.close()
        assert question.closed
        assert held() is None
        question.close()
        for use in (lambda: question.score(WINDOWS[0]), lambda: question.scores(WINDOWS)):
            with pytest.raises(OptionError, match=f"was closed, and {RELEASED}; open it again"):
                use()
    assert question.released == 1


def test_closing_from_another_thread_waits_for_the_step_and_ends_at_the_next():
    pipe, _ = build()
    with pipe.image(1) as question:
        closers, steps = [], []

        def between():
            steps.append(question.kept is not None)
            if not closers:
                closers.append(in_thread(question.close))
                never = threading.Event()
                while not question.closed:
                    never.wait(0.001)

        question.between = between
        with pytest.raises(OptionError, match=RELEASED):
            question.scores(WINDOWS)
        closers[0].join()
    assert steps == [True], "what a step uses is not released under it, and no further step begins"
    assert (question.kept, question.released) == (None, 1)


def test_closing_within_a_step_does_not_wait_for_it():
    pipe, _ = build()
    with pipe.image(1) as question:
        question.between = question.close
        with pytest.raises(OptionError, match=RELEASED):
            question.scores(WINDOWS)


def test_a_session_that_nobody_holds_is_closed():
    pipe, sessions = build()
    question = sessions.open(1)
    held = weakref.ref(question.kept)
    del question
    gc.collect()
    assert held() is None
    assert pipe.stats()["sessions"]["open"] == 0


# ---- others at the device


def test_a_batch_gets_on_the_device_between_two_steps():
    pipe, _ = build()
    with pipe.image(1) as question:
        results, at, calls = [], [], []

        def between():
            at.append(len(results))
            if not calls:
                calls.append(in_thread(lambda: results.append(pipe({"series": WINDOWS[0], "question": 1}))))
                wait_for_line(pipe, 1)

        question.between = between
        found = question.scores(WINDOWS)
        calls[0].join()
    assert len(pipe.model.calls) == 1
    assert at[0] == 0
    assert results[0].value == want(WINDOWS[0])
    assert found == [want(window) for window in WINDOWS]


def test_two_sessions_take_turns():
    pipe, _ = build()
    with pipe.image(1) as one, pipe.image(2) as two:
        said, ready = [], threading.Event()

        def first():
            said.append(1)
            if not ready.is_set():
                ready.set()
                wait_for_line(pipe, 1)

        one.between, two.between = first, lambda: said.append(2)
        threads = [in_thread(lambda: one.scores(WINDOWS))]
        ready.wait()
        threads.append(in_thread(lambda: two.scores(WINDOWS)))
        for thread in threads:
            thread.join()
    assert said == [1, 2, 1, 2, 1, 2]


def test_threads_share_a_session_beside_calls():
    pipe, _ = build()
    with pipe.image(1) as question:
        wrong = []

        def ask():
            for window in WINDOWS * 5:
                if question.score(window) != want(window):
                    wrong.append(window)

        def call():
            for window in WINDOWS * 5:
                if pipe({"series": window, "question": 1}).value != want(window):
                    wrong.append(window)

        for thread in [in_thread(work) for work in (ask, call, ask, call)]:
            thread.join()
    assert wrong == []
    assert pipe.model.most_inside == 1


# ---- time limits, by a clock that the test sets


def test_an_idle_session_is_closed_and_a_use_says_why():
    pipe, sessions = build()
    with pipe.image(1, timeout_s=30) as question:
        for now in (29, 58, 87):
            sessions.clock.now = now
            assert question.score(WINDOWS[0]) == want(WINDOWS[0])
        sessions.clock.now = 117
        with pytest.raises(OptionError, match=rf"not used for 30 s \(timeout_s\), so it was closed and {RELEASED}"):
            question.score(WINDOWS[0])
        assert (question.closed, question.kept, question.released) == (True, None, 1)
        counts = pipe.stats()["sessions"]
    assert (counts["open"], counts["timed_out"]) == (0, 1)
    assert question.released == 1


def test_the_watching_thread_closes_what_nobody_asks_any_more():
    pipe, sessions = build()
    gone = threading.Event()
    with pipe.image(1, timeout_s=30) as idle, pipe.image(1) as unlimited:
        weakref.finalize(idle.kept, gone.set)
        sessions.clock.now = 31
        with pipe.image(1, timeout_s=30):  # it looks at the clock at every change; else after 30 s of a real one
            gone.wait()
            assert idle.closed
            assert not unlimited.closed
        watch = next((t for t in threading.enumerate() if t.name == "sensorium-sessions"), None)
        if watch is not None:
            watch.join()  # it ends with the last session that it has to watch
        assert pipe.stats()["sessions"]["timed_out"] == 1


def test_a_session_at_work_or_in_line_is_not_idle():
    pipe, sessions = build()
    with pipe.image(1, timeout_s=30) as question:
        question.between = lambda: setattr(sessions.clock, "now", sessions.clock.now + 100)
        assert len(question.scores(WINDOWS)) == len(WINDOWS)
        got = []
        with pipe._engine.runtime.turns:
            thread = in_thread(lambda: got.append(question.score(WINDOWS[0])))
            wait_for_line(pipe, 1)
            sessions.clock.now += 100
        thread.join()
        assert got == [want(WINDOWS[0])]


@pytest.mark.parametrize("wrong", [0, -1, math.nan, True, "60"])
def test_a_time_limit_is_a_number_above_0(wrong):
    pipe, _ = build()
    with pytest.raises(OptionError, match="timeout_s is a number of seconds above 0"), pipe.image(1, timeout_s=wrong):
        pass


# ---- tasks without


def test_a_task_without_sessions_says_so():
    pipe = Pipeline(WindowScoring(), CPU, compile=False, num_workers=1)
    with pytest.raises(OptionError, match="window-scoring keeps nothing of an input"), pipe.image(1):
        pass


def test_a_session_that_writes_nothing_says_so():
    pipe, sessions = build()
    with pytest.raises(OptionError, match="Question writes no text"):
        sessions.pieces(1, pipe.task.options())
    assert sessions.counts()["open"] == 0
