"""The threads that split inputs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch


class SplitPool:
    """The threads that split the inputs of an engine; they start with the first input. Safe to use from any thread.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ThreadPoolExecutor | None = None
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
            pool.shutdown(wait=False, cancel_futures=True)


def automatic_workers() -> int:
    """One thread for each core that this process may use, at most 16."""
    return min(16, _cores())


def start_pool(workers: int) -> ThreadPoolExecutor:
    """A pool whose threads run side by side: each does its tensor work alone instead of starting a team of its own.

    `torch.set_num_threads` is for the calling thread, and for all threads that have not worked with torch yet, the one
    that runs the model among them. So all workers start here, and the others' number is set back.
    """
    with _starting:
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(workers, "sensorium-split", initializer=_work_alone)
        ready = threading.Barrier(workers)
        try:
            for started in [pool.submit(ready.wait) for _ in range(workers)]:
                started.result()
        except BaseException:
            ready.abort()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(threads)
        return pool


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work_alone() -> None:
    torch.get_num_threads()  # torch sets a thread up at its first question, and would overwrite what follows
    torch.set_num_threads(1)


_starting = threading.Lock()
