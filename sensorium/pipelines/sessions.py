"""The sessions of a pipeline: opened, given the device a step at a time, counted, and closed when nobody uses them."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sensorium.errors import OptionError
from sensorium.pipelines.finiteness import Finiteness, not_finite
from sensorium.pipelines.forwarding import Forwarder
from sensorium.pipelines.remaking import OneProcess
from sensorium.tasks.base import Batch, Call, Session, Unit

Clock = Callable[[], float]
"""Gives seconds since some moment."""


class Sessions:
    """Opens sessions of one task, and knows those that are open. Each stays on one device: that with the fewest.

    Args:
        forwarders: the task on each of its devices.
        clock: by which they are found to be idle.
        process: the one in which its pipeline is used.
    """

    def __init__(
        self, forwarders: Sequence[Forwarder], *, clock: Clock = time.monotonic, process: OneProcess | None = None
    ) -> None:
        self._process = process or OneProcess()
        self._forwarders, self.clock = forwarders, clock
        self._changed = threading.Condition()
        self._open: set[SessionRunner] = set()
        self._watch: threading.Thread | None = None
        self._counts = dict.fromkeys(("opened", "timed_out", "steps"), 0)

    def open(self, raw: Any, *, timeout_s: float | None = None) -> Session:
        """Encodes one input.

        Args:
            raw: the input.
            timeout_s: seconds above 0 without a step after which the session is closed; None for never.

        Raises:
            OptionError: the task keeps nothing of an input, or the timeout is no such number.
            InputError: the input cannot be processed.
        """
        if timeout_s is not None and not (_is_number(timeout_s) and timeout_s > 0):
            raise OptionError(f"timeout_s is a number of seconds above 0, or None, got {timeout_s!r}")
        self._process.use()
        forwarder = self._freest()
        runner = SessionRunner(self, forwarder, timeout_s)
        try:
            session = forwarder.task.open(raw, runner)
        except BaseException:
            runner.close()
            raise
        weakref.finalize(session, runner.close).atexit = False
        with self._changed:
            self._counts["opened"] += 1
            self._open.add(runner)
            if timeout_s is not None and self._watch is None:
                self._watch = threading.Thread(target=self._expire, daemon=True, name="sensorium-sessions")
                self._watch.start()
            self._changed.notify_all()
        return session

    def pieces(self, raw: Any, options: Any) -> Iterator[str]:
        """The text of one input, piece by piece; its session ends with it.

        Raises:
            OptionError, InputError: as in `open` and `Session.pieces`.
        """
        session = self.open(raw)
        try:
            return session.pieces(options, then=session.close)
        except BaseException:
            session.close()
            raise

    def counts(self) -> dict[str, int]:
        """`opened`, `open` (at the moment), `timed_out` and `steps`."""
        with self._changed:
            return {"opened": self._counts["opened"], "open": len(self._open), **self._counts}

    def reset(self) -> None:
        """Starts counting anew; what is open stays open."""
        with self._changed:
            self._counts = dict.fromkeys(self._counts, 0)

    def count(self, name: str) -> None:
        """Counts an event of a session."""
        with self._changed:
            self._counts[name] += 1

    def closed(self, runner: SessionRunner) -> None:
        """Notes that a session was closed."""
        with self._changed:
            self._open.discard(runner)
            self._changed.notify_all()

    def _freest(self) -> Forwarder:
        """The device for another session."""
        with self._changed:
            numbers = Counter(runner.forwarder for runner in self._open)
        alive = [each for each in self._forwarders if each.lost is None] or self._forwarders
        return min(alive, key=numbers.__getitem__)

    def _expire(self) -> None:
        """Closes idle sessions, on a thread of its own, for as long as there are any that may become idle."""
        while True:
            with self._changed:
                left = {runner: runner.left_s() for runner in list(self._open)}
                timed = {runner: seconds for runner, seconds in left.items() if seconds is not None}
                if not timed:
                    self._watch = None
                    return
                idle = [runner for runner, seconds in timed.items() if seconds <= 0]
                if not idle:
                    self._changed.wait(min(*timed.values(), threading.TIMEOUT_MAX))
            for runner in idle:
                runner.expire()


class SessionRunner:
    """Runs the steps of one session: `Runner`, with what the pipeline has to know of it."""

    def __init__(self, sessions: Sessions, forwarder: Forwarder, timeout_s: float | None) -> None:
        self._sessions, self._timeout_s, self.forwarder = sessions, timeout_s, forwarder
        self._task, self._runtime = forwarder.task, forwarder.runtime
        self._in_stream = self._runtime.keep_stream()  # one for all steps: so each finds done what it builds upon
        self._state = threading.Condition()
        self._used = sessions.clock()
        self._wanted = 0
        self._running: list[int] = []
        self._end: str | None = None
        self._release: weakref.WeakMethod[Any] | None = None

    @property
    def closed(self) -> bool:
        """Whether no step may begin any more."""
        return self._end is not None

    @contextmanager
    def step(self) -> Iterator[Call]:
        """The device for one step."""
        self.expire()  # before a thread that watches has come to it
        with self._wanting(), self._runtime.running(), torch.inference_mode(), self._in_stream():
            self._begin()
            try:
                yield self._runtime.call
            finally:
                with self._state:
                    self._running.remove(threading.get_ident())
                    self._state.notify_all()

    def upload(self, units: Sequence[Unit]) -> Batch:
        """The units as one batch on the device, in the course of a step."""
        return self._runtime.upload(self._task, units)

    def forward(self, units: Sequence[Unit], options: Any) -> Any:
        """One step of the task's forward."""
        with self.step() as call:
            return self._task.forward(self.upload(units), options, call)

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """One step of the task's decode."""
        with self.step():
            finiteness = Finiteness(outputs, len(metas), self._runtime.device)
            parts = self._task.decode(outputs, metas, options)
        if finiteness.failed() is not None:  # decode has waited for the outputs, and so for this
            raise not_finite()
        return parts

    def pause(self) -> None:
        """Lets others have the device between two steps."""
        self._runtime.turns.give_way()
        self._check()
        self._sessions.count("steps")

    def at_close(self, release: Callable[[], object]) -> None:
        """Has a bound method called when the session is closed."""
        self._release = weakref.WeakMethod(release)

    def close(self) -> None:
        """Ends the session; waits for the step under way, unless it is the calling thread's own."""
        self._close("the session was closed, and what it kept on the device was released; open it again")

    def left_s(self) -> float | None:
        """Seconds until the session has been idle for too long; None where it may be so for ever, or is closed."""
        if self._timeout_s is None or self._end is not None:
            return None
        return self._timeout_s if self._wanted else self._used + self._timeout_s - self._sessions.clock()

    def expire(self) -> None:
        """Closes the session if it has been idle for too long."""
        with self._state:
            left = self.left_s()
            if left is None or left > 0:
                return
            self._end = (
                f"the session was not used for {self._timeout_s:g} s (timeout_s), so it was closed and what it kept on "
                "the device was released; open it again"
            )
        self._sessions.count("timed_out")
        self._close(self._end)

    def _close(self, end: str) -> None:
        with self._state:
            self._end = self._end or end
            while any(thread != threading.get_ident() for thread in self._running):
                self._state.wait()
            method = None if self._release is None else self._release()
            self._release = None
            if method is not None:
                method()
        self._sessions.closed(self)

    @contextmanager
    def _wanting(self) -> Iterator[None]:
        """While a step runs, or waits for its turn, the session is not idle."""
        with self._state:
            self._wanted += 1
        try:
            yield
        finally:
            with self._state:
                self._wanted -= 1
                self._used = self._sessions.clock()

    def _begin(self) -> None:
        with self._state:
            self._check()
            self._running.append(threading.get_ident())
        self._sessions.count("steps")

    def _check(self) -> None:
        if self._end is not None:
            raise OptionError(self._end)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
