"""Transformers' bars and reports while it loads or saves weights, kept out of the user's terminal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils.logging import set_tqdm_hook

_LOGGERS = ("transformers.modeling_utils", "transformers.distributed.tensor_parallel")


@contextmanager
def quiet_loading(*, progress: bool = False) -> Iterator[None]:
    """Hides what Transformers would print meanwhile on this thread: "Loading weights", "Writing model shards".

    What it logs about missing and unused weights is hidden, too; who loads checks them. Loads may overlap on several
    threads, and be nested; after the last of them Transformers is as it was. Bars of other threads are not touched.

    Args:
        progress: shows the bars all the same.
    """
    with _QUIET.on_this_thread(bars=progress):
        yield


class _Quiet:
    """Transformers' one hook for bars and its loggers, shared by all loads under way."""

    def __init__(self) -> None:
        self._lock, self._loads = threading.Lock(), 0
        self._here = threading.local()
        self._levels: list[int] = []
        self._former: Callable[..., Any] | None = None
        self._hook = self._make_bar  # one object, to be known again

    @contextmanager
    def on_this_thread(self, *, bars: bool) -> Iterator[None]:
        before = getattr(self._here, "hidden", False)
        self._begin()
        self._here.hidden = not bars
        try:
            yield
        finally:
            self._here.hidden = before
            self._end()

    def _begin(self) -> None:
        with self._lock:
            self._loads += 1
            if self._loads > 1:
                return
            self._former = set_tqdm_hook(self._hook)
            for logger in map(logging.getLogger, _LOGGERS):
                self._levels.append(logger.level)
                logger.setLevel(logging.ERROR)

    def _end(self) -> None:
        with self._lock:
            self._loads -= 1
            if self._loads:
                return
            installed = set_tqdm_hook(self._former)
            if installed is not self._hook:  # somebody else has set one meanwhile, and keeps it
                set_tqdm_hook(installed)
            for logger in map(logging.getLogger, _LOGGERS):
                logger.setLevel(self._levels.pop(0))

    def _make_bar(self, factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A bar as Transformers asks for it, or one that is not shown."""
        if getattr(self._here, "hidden", False):
            return factory(*args, **{**kwargs, "disable": True})
        former = self._former
        return factory(*args, **kwargs) if former is None else former(factory, args, kwargs)


_QUIET = _Quiet()
