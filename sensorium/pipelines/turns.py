"""Turns: a lock that goes to whoever has waited longest, so that a long run can let others in between its steps."""

from __future__ import annotations

import threading
from collections import deque
from typing import Self


class Turns:
    """A lock that its owner may take several times, and that is handed over in the order of asking.

    A plain lock would not do: who releases it and takes it again at once is faster than those who have to wake up.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[_Place] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait for their turn."""
        return len(self._waiting)

    def acquire(self) -> None:
        """Waits for the turn of the calling thread."""
        thread = threading.get_ident()
        with self._guard:
            if self._owner == thread:
                self._depth += 1
                return
            if self._owner is None:  # then nobody waits: a turn that ends is handed over
                self._owner, self._depth = thread, 1
                return
            place = self._queue(thread)
        try:
            place.called.acquire()
        except BaseException:  # an interrupt: what comes after must not wait for this thread
            with self._guard:
                called = place not in self._waiting
                if not called:
                    self._waiting.remove(place)
            if called:
                self.release()
            raise

    def release(self) -> None:
        """Ends the turn, or the innermost of several of the same thread.

        Raises:
            RuntimeError: it is not the calling thread's turn.
        """
        with self._guard:
            self._check()
            self._depth -= 1
            if self._depth == 0:
                self._hand_over()

    def give_way(self) -> None:
        """Lets every thread that waits have a turn, then goes on; at once where nobody waits.

        Raises:
            RuntimeError: it is not the calling thread's turn.
        """
        with self._guard:
            self._check()
            if not self._waiting:
                return
            depth, place = self._depth, self._queue(threading.get_ident())
            self._hand_over()
        try:
            place.called.acquire()
        except BaseException:
            place.called.acquire()  # as with a condition, an interrupt comes out with the lock held
            raise
        finally:
            self._depth = depth

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _check(self) -> None:
        if self._owner != threading.get_ident():
            raise RuntimeError("it is another thread's turn")

    def _queue(self, thread: int) -> _Place:
        place = _Place(thread)
        self._waiting.append(place)
        return place

    def _hand_over(self) -> None:
        if not self._waiting:
            self._owner = None
            return
        place = self._waiting.popleft()
        self._owner, self._depth = place.thread, 1
        place.called.release()


class _Place:
    """A thread's place among those that wait."""

    __slots__ = ("called", "thread")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.called = threading.Lock()
        self.called.acquire()
