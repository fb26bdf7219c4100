"""Threads that a long-lasting decoder keeps busy do not keep the interpreter from ending."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest

from sensorium.pipelines.threads import ThreadPool


def started(workers=2):
    return ThreadPool(workers, "test-pool", lambda: None)


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("test-pool")]


def test_it_runs_functions():
    pool = started()
    assert [future.result() for future in [pool.submit(divmod, 7, n) for n in (2, 3)]] == [(3, 1), (2, 1)]
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 7, 0).result()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(divmod, 7, 2)
    for thread in alive():
        thread.join()


def test_what_was_not_begun_is_cancelled():
    pool, begun, go_on = started(1), threading.Event(), threading.Event()
    first = pool.submit(lambda: (begun.set(), go_on.wait()))
    begun.wait()
    second = pool.submit(divmod, 7, 2)
    pool.shutdown()
    assert second.cancelled()
    go_on.set()
    first.result()


def test_its_threads_end_with_it():
    pool = started()
    pool.submit(divmod, 7, 2).result()
    threads = alive()
    del pool
    gc.collect()
    for thread in threads:
        thread.join()


def test_the_interpreter_ends_without_them():
    code = """
import threading
from sensorium.pipelines.threads import ThreadPool
pool, begun = ThreadPool(2, "x", lambda: None), threading.Event()
pool.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
raise KeyboardInterrupt
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "KeyboardInterrupt" in ended.stderr
