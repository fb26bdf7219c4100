"""Threads that do not keep the interpreter from ending, however long what they do takes."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

EXIT_S = 1.0
"""Seconds for which the interpreter's end waits for what threads are doing; a decoder may need minutes."""

_Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class ThreadPool:
    """Threads that run functions, each with a future of its own; they end with this object, or with `shutdown`.

    Those of `concurrent.futures` are waited for when the interpreter ends, after Ctrl-C too.

    Args:
        workers: how many there are.
        name: what theirs begin with.
        initializer: run on each of them first.
    """

    def __init__(self, workers: int, name: str, initializer: Callable[[], None]) -> None:
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._workers, self._lock, self._ended = workers, threading.Lock(), False
        for number in range(workers):
            arguments = (self._queue, initializer)
            threading.Thread(target=_serve, args=arguments, name=f"{name}_{number}", daemon=True).start()
        self._finish = weakref.finalize(self, _end, self._queue, workers)
        self._finish.atexit = False  # `_let_go` is for that

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Runs a function on one of the threads.

        Raises:
            RuntimeError: the pool was shut down.
        """
        with self._lock:
            if self._ended:
                raise RuntimeError("the pool was shut down")
            future: Future[Any] = Future()
            self._queue.put((future, function, args))
            return future

    def shutdown(self) -> None:
        """Ends the threads after what they are doing; cancels what they have not begun."""
        with self._lock:
            self._ended = True
            try:
                while (work := self._queue.get_nowait()) is not None:
                    work[0].cancel()
            except queue.Empty:
                pass
        self._finish()


def _serve(works: queue.SimpleQueue[_Work | None], initializer: Callable[[], None]) -> None:
    initializer()
    while (work := works.get()) is not None:
        future, function, args = work
        if future.set_running_or_notify_cancel():
            _RUNNING.add(future)
            try:
                result = function(*args)
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            _RUNNING.discard(future)
        del work, future, function, args


def _end(works: queue.SimpleQueue[_Work | None], workers: int) -> None:
    for _ in range(workers):
        works.put(None)


_RUNNING: set[Future[Any]] = set()


@atexit.register
def _let_go() -> None:
    """A thread that comes back into the interpreter while that ends would be stopped amid a library's code."""
    wait(list(_RUNNING), EXIT_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_RUNNING.clear)
