"""Inputs of a run that are the same as earlier ones: what came of the first is used again."""

from __future__ import annotations

import copy
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sensorium.processors.folders import media_kind
from sensorium.tasks.base import Task

MOST_KEPT = 16_384
"""Inputs that are remembered at once; the one that was not met again for longest goes first."""

MOST_BYTES = 256 * 2**20
"""Bytes of what came of them, about."""


@dataclass(slots=True, eq=False)
class Original:
    """The first of some inputs that are the same.

    Attributes:
        key: what makes others the same.
        parts: what came of its units, once all have come; shared by nobody.
        nbytes: their size, about.
        failed: whether nothing will come of it.
    """

    key: Hashable
    parts: list[Any] | None = None
    nbytes: int = 0
    failed: bool = False


class Originals:
    """The originals of one run, as many as fit; safe to use from the thread that reads inputs beside the run's own."""

    def __init__(self, *, most_kept: int = MOST_KEPT, most_bytes: int = MOST_BYTES) -> None:
        self._most_kept, self._most_bytes = most_kept, most_bytes
        self._known: OrderedDict[Hashable, Original] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def meet(self, key: Hashable) -> tuple[Original, bool]:
        """The original of a key, and whether it was known before; if not it is from now on."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known, True
            original = self._known[key] = Original(key)
            self._shrink()
            return original, False

    def settle(self, original: Original, parts: list[Any]) -> None:
        """Keeps a copy of what came of an original, for as long as there is room or an input waits for it."""
        with self._lock:
            original.parts, original.nbytes = copy.deepcopy(parts), _size(parts)
            if self._known.get(original.key) is original:
                self._nbytes += original.nbytes
                self._shrink()

    def fail(self, original: Original) -> None:
        """Forgets an original that came to nothing, so that the next of its kind is tried for itself."""
        with self._lock:
            original.failed, original.parts = True, None
            if self._known.get(original.key) is original:
                self._nbytes -= self._known.pop(original.key).nbytes

    def _shrink(self) -> None:
        while self._known and (len(self._known) > self._most_kept or self._nbytes > self._most_bytes):
            self._nbytes -= self._known.popitem(last=False)[1].nbytes


def identity(raw: Any, task: Task) -> Hashable | None:
    """What two inputs have in common only if they are the same; None for one of which that is not told cheaply.

    Files are the same by their path, time of change and size, texts, bytes and arrays by what they hold. URLs are not:
    a camera's shows another picture each time; nor are PIL images and open files.

    Args:
        raw: the input.
        task: says what its inputs are.
    """
    if isinstance(raw, Mapping):
        return _of_items(raw)
    medium = media_kind(task.inputs[0]) or getattr(task, "modality", None)
    return _of(raw, "text" if medium is None else medium)


def _of(value: Any, medium: str) -> Hashable | None:
    if isinstance(value, str) and medium != "text" and value[:5].lower() != "data:":
        return _of_file(value)
    if isinstance(value, os.PathLike):
        return _of_file(value)
    if isinstance(value, str):
        return "str", _digest(value.encode("utf-8", "surrogatepass"))
    if medium == "video" and isinstance(value, int):  # a camera
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return type(value), repr(value)
    if isinstance(value, (bytes, bytearray)):
        return "bytes", _digest(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return _of_array(value)
    if isinstance(value, (list, tuple)):
        each = tuple(_of(one, medium) for one in value)
        return None if any(key is None for key in each) else (type(value), each)
    return _of_items(value) if isinstance(value, Mapping) else None


def _of_items(values: Mapping[Any, Any]) -> Hashable | None:
    """Of several inputs by their names, all."""
    items = tuple((name, _of(value, _medium(name))) for name, value in values.items())
    return None if any(key is None for _, key in items) else frozenset(items)


def _medium(name: Any) -> str:
    if name == "path":  # of a sound or picture as `datasets` has it
        return "file"
    return (media_kind(name) if isinstance(name, str) else None) or "text"


def _of_file(path: str | os.PathLike[str]) -> Hashable | None:
    try:
        told = os.stat(path)  # noqa: PTH116 - of strings that may be anything
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(told.st_mode):
        return None
    return "file", told.st_dev, told.st_ino, os.path.abspath(path), told.st_mtime_ns, told.st_size  # noqa: PTH100


def _of_array(array: np.ndarray | torch.Tensor) -> Hashable | None:
    if isinstance(array, torch.Tensor):
        if array.device.type != "cpu" or array.layout != torch.strided or array.dtype == torch.bfloat16:
            return None
        array = array.detach().resolve_conj().resolve_neg().numpy()
    if array.dtype.hasobject or type(array) is not np.ndarray:
        return None
    return "array", array.dtype.str, array.shape, _digest(np.ascontiguousarray(array).data.cast("B"))


def _digest(data: bytes | bytearray | memoryview) -> tuple[int, bytes]:
    return len(data), hashlib.blake2b(data, digest_size=32).digest()


def _size(parts: Any) -> int:
    """Bytes that a task's parts take, about."""
    if isinstance(parts, (np.ndarray, torch.Tensor)):
        return int(parts.nbytes) + 100
    if isinstance(parts, (str, bytes)):
        return len(parts) + 50
    if isinstance(parts, Mapping):
        return 100 + sum(_size(key) + _size(value) for key, value in parts.items())
    if isinstance(parts, (list, tuple, set, frozenset)):
        return 60 + sum(map(_size, parts))
    named = getattr(parts, "__dict__", None) or {
        name: getattr(parts, name, None) for name in getattr(type(parts), "__slots__", ())
    }
    return 50 + sum(map(_size, named.values()))
