"""Long work of a library, done so that Ctrl-C need not wait for its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sensorium.processors.shortage import can_have

T = TypeVar("T")

LONG_WORK = 2**21
"""Pixels that a decoder is through in a few hundredths of a second."""


_FOR_A_THREAD = 2**26  # bytes; one that cannot even begin is waited for for ever (CPython's Thread.start)


def interruptibly(function: Callable[[], T], work: int) -> T:
    """Returns `function()`, on the main thread as soon as that is interrupted.

    The main thread alone is interrupted, and not before the library that it is in returns: so it waits for another.

    Args:
        function: what to do.
        work: how much that is, in pixels that are gone through.
    """
    if work < LONG_WORK or threading.current_thread() is not threading.main_thread() or not can_have(_FOR_A_THREAD):
        return function()
    future: Future[T] = Future()
    threading.Thread(target=_fulfil, args=(future, function), name="sensorium-decode", daemon=True).start()
    return future.result()


def _fulfil(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        future.set_exception(error)
