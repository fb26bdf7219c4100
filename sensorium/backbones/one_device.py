"""Transformers' loading of a model onto one device, tensor by tensor, without accelerate."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HERE = threading.local()
_LOCK = threading.Lock()
_loads: int = 0
_is_available: Any = None


@contextmanager
def one_device(device: Any) -> Iterator[None]:
    """Lets this thread load by `device_map={"": device}`: for more than one device alone is accelerate needed.

    Transformers asks for it whatever the map says, though it calls none of it for such a one. Loads may overlap on
    several threads; after the last of them Transformers is as it was, and other threads are not touched.

    Args:
        device: where to; None changes nothing.
    """
    if device is None:
        yield
        return
    from transformers.integrations import accelerate

    global _loads, _is_available  # noqa: PLW0603 - Transformers' function is one for all threads
    with _LOCK:
        if not _loads:
            _is_available, accelerate.is_accelerate_available = accelerate.is_accelerate_available, _answer
        _loads += 1
    _HERE.loads = getattr(_HERE, "loads", 0) + 1
    try:
        yield
    finally:
        _HERE.loads -= 1
        with _LOCK:
            _loads -= 1
            if not _loads:
                accelerate.is_accelerate_available = _is_available


def _answer(*args: Any, **kwargs: Any) -> bool:
    return getattr(_HERE, "loads", 0) > 0 or bool(_is_available(*args, **kwargs))
