"""The threads of an engine: those that split inputs, and the one that runs what was submitted."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import torch

from sensorium.pipelines.cores import usable_cores
from sensorium.pipelines.threads import ThreadPool
from sensorium.processors.jpeg_on_device import JpegDecoder


class SplitPool:
    """The threads that split the inputs of an engine; they start with the first input. Safe to use from any thread.

    Args:
        workers: how many there are.
        decoder: decodes the JPEGs among the inputs; None for the CPU's.
    """

    def __init__(self, workers: int, decoder: JpegDecoder | None = None) -> None:
        self.workers, self.decoder = workers, decoder
        self._pool: ThreadPool | None = None
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Runs a function on one of the threads."""
        with self._lock:
            if self._pool is None:
                self._pool = start_pool(self.workers)
            return self._pool.submit(function, *args)

    def close(self) -> None:
        """Ends the threads; a later `submit` starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


class SerialThread:
    """A thread that runs functions one after the other; it starts with the first, and ends with this object.

    It keeps nothing alive while it is idle, and does not keep the interpreter from ending.

    Args:
        name: of the thread.
        threads: how many torch may use for work on it; None for as many as it does.
    """

    def __init__(self, name: str, *, threads: int | None = None) -> None:
        self._name, self._threads = name, threads
        self._functions: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.close = weakref.finalize(self, self._functions.put, None)
        """Ends the thread after what it was given; does not wait for it."""

    def start(self) -> None:
        """Starts the thread, if it has not. Not to be called by two threads at once."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=_serve, args=(self._functions,), name=self._name, daemon=True)
        if self._threads is None:
            self._thread.start()
            return
        ready = threading.Event()
        self._functions.put(partial(_work_with, self._threads, ready))
        with _starting:  # as in start_pool
            threads = torch.get_num_threads()
            self._thread.start()
            ready.wait()
            torch.set_num_threads(threads)

    def submit(self, function: Callable[[], None]) -> None:
        """Runs a function, which must not raise. Not to be called by two threads at once."""
        self.start()
        self._functions.put(function)

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended, or for so long."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)


def automatic_workers(*, isolated: bool = False) -> int:
    """One thread for each core that this process may use, at most 16; two where pictures are isolated.

    Those wait, for about half of the time, for helpers that decode.
    """
    return min(16, usable_cores()) * (2 if isolated else 1)


def start_pool(workers: int) -> ThreadPool:
    """A pool whose threads run side by side: each does its tensor work alone instead of starting a team of its own.

    `torch.set_num_threads` is for the calling thread, and for all threads that have not worked with torch yet, the one
    that runs the model among them. So all workers start here, and the others' number is set back.
    """
    with _starting:
        threads = torch.get_num_threads()
        pool = ThreadPool(workers, "sensorium-split", _work_alone)
        ready = threading.Barrier(workers)
        try:
            for started in [pool.submit(ready.wait) for _ in range(workers)]:
                started.result()
        except BaseException:
            ready.abort()
            pool.shutdown()
            raise
        finally:
            torch.set_num_threads(threads)
        return pool


def _serve(functions: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (function := functions.get()) is not None:
        function()
        del function


def _work_alone() -> None:
    torch.get_num_threads()  # torch sets a thread up at its first question, and would overwrite what follows
    torch.set_num_threads(1)


def _work_with(threads: int, ready: threading.Event) -> None:
    torch.get_num_threads()
    torch.set_num_threads(threads)
    ready.set()


_starting = threading.Lock()
