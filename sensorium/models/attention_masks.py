"""Attention masks of Transformers' models on a device, made without asking it what is in them.

Where no token is padding, Transformers makes no mask, as the fastest kernels take none. To know it, it asks the device
for a value in each forward pass, and for each token that is written: the host waits until all that was queued is done,
and the device then waits for the host.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def unread_masks(device: torch.device, *, full: bool = False) -> AbstractContextManager[Any]:
    """Within it this thread's models do not look into masks; on the CPU, and while compiling, nothing changes.

    Args:
        device: where the model runs.
        full: whether it is known that the masks have no padding; they are left out then. Else each is applied.
    """
    if device.type == "cpu" or torch.compiler.is_compiling():
        return nullcontext()
    _watch()
    return _Unread(full)


class _State(threading.local):
    full: bool | None = None


_state = _State()


class _Unread:
    def __init__(self, full: bool) -> None:
        self._full, self._before = full, _state.full

    def __enter__(self) -> None:
        self._before, _state.full = _state.full, self._full

    def __exit__(self, *_: object) -> None:
        _state.full = self._before


@functools.cache
def _watch() -> None:
    """Puts a function before those of Transformers that make masks; outside of `unread_masks` it changes nothing."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    for name in ("sdpa", "eager"):
        ALL_MASK_ATTENTION_FUNCTIONS.register(name, _unlooking(ALL_MASK_ATTENTION_FUNCTIONS[name]))


def _unlooking(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def mask(*args: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling() or _state.full is None or not isinstance(named.get("attention_mask"), Tensor):
            return make(*args, **named)
        if _state.full:
            return make(*args, **{**named, "attention_mask": None})
        return make(*args, **{**named, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})

    return mask
