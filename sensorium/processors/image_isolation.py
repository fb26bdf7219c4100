"""Untrusted pictures, decoded by helper processes: a hostile file can crash a decoder, or keep it busy for ever."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

from sensorium.errors import InputError, LimitError, OptionError, SensoriumError
from sensorium.isolation.starting import command_of, start
from sensorium.processors.image_helper import LONGEST_S, READY
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from torch import Tensor

_HELPER = "sensorium.processors.image_helper"
_SLACK_S = 10.0  # for which a helper is waited for beyond its time, which it keeps itself
_KEPT_BYTES = 64 * 2**20  # of pixels that a helper keeps room for
_OUT_OF_MEMORY = "memory"
_KEEPING_MEMORY = {  # from picture to picture: to ask the system for it anew costs as much as copying it does
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
    "PILLOW_BLOCKS_MAX": "4",
}


def decode_apart(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Tensor:
    """Decode an encoded picture in a helper process; as `image_decoding.decode` otherwise.

    Safe to call from several threads: each has a helper to itself while it waits.

    Raises:
        InputError: as `image_decoding.decode`; `crashed`, where the picture ends two helpers.
        LimitError: as there; `decoding-timeout`, `too-much-memory`.
    """
    stream.seek(0)
    return _helpers().decode(stream.read(), name, limits)


class _Helper:
    """One helper process, by its socket and the file through which pictures pass; it ends with this object."""

    def __init__(self, orders: socket.socket) -> None:
        self._line, theirs = socket.socketpair()
        self._file: IO[bytes] = tempfile.TemporaryFile() if sys.platform != "linux" else _in_memory()  # noqa: SIM115
        try:
            with theirs:
                socket.send_fds(orders, [b"+"], [theirs.fileno(), self._file.fileno()])
        except OSError:
            self.close()
            raise

    def ask(self, data: bytes, name: str, limits: MediaLimits) -> dict[str, Any] | None:
        """The helper's answer about a picture, or None if it ended without one."""
        _write(self._file.fileno(), data)
        request = {"name": name, "bytes": len(data), "limits": _described(limits)}
        self._line.settimeout(min(limits.decode_s, LONGEST_S) + _SLACK_S)
        answer = b""
        try:
            self._line.sendall(json.dumps(request).encode() + b"\n")
            while not answer.endswith(b"\n"):
                piece = self._line.recv(2**16)
                if not piece:
                    return None
                answer += piece
        except OSError:  # it ended, or does not even keep to its time
            return None
        told: dict[str, Any] = json.loads(answer)
        return told

    def pixels(self, width: int, height: int) -> Tensor:
        """`(3, H, W)` uint8, channels-last in memory: what the helper has decoded."""
        import torch

        pixels = torch.empty((height, width, 3), dtype=torch.uint8)
        into = pixels.numpy().data.cast("B")
        at = len(f"P6\n{width} {height}\n255\n")
        while len(into):
            count = os.preadv(self._file.fileno(), [into], at)
            if not count:
                raise EOFError
            into, at = into[count:], at + count
        if at > _KEPT_BYTES:
            os.ftruncate(self._file.fileno(), 0)
        return pixels.permute(2, 0, 1)

    def close(self) -> None:
        self._line.close()
        self._file.close()


class _Helpers:
    """Helper processes, as many as threads ask at once, and the process that forks them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: deque[_Helper] = deque()
        self._forker: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._started = False

    def decode(self, data: bytes, name: str, limits: MediaLimits) -> Tensor:
        """Has a helper decode a picture.

        One that ends is replaced, and asked once more: not every end is the picture's fault.
        """
        for last in (False, True):
            helper = self._take(fresh=last)
            begun = time.monotonic()
            try:
                answer = helper.ask(data, name, limits)
                if answer is not None and "size" in answer:
                    width, height = answer["size"]
                    limits.check_size(width, height, name=name)
                    pixels = helper.pixels(width, height)
            except BaseException:  # Ctrl-C: the answer would be taken for the next picture's
                helper.close()
                raise
            if answer is None:
                helper.close()
                if time.monotonic() - begun >= limits.decode_s:
                    raise _timed_out(name, limits)
                if last:
                    self._prepare()
                    raise _crashed(name)
                continue
            if _OUT_OF_MEMORY in answer:
                helper.close()  # what has filled it may be there still
                raise _too_large(name)
            self._give_back(helper)
            if "size" in answer:
                return pixels
            raise _told(answer, name)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Ends all processes."""
        with self._lock:
            idle, self._idle = self._idle, deque()
            self._stop()
        for helper in idle:
            helper.close()

    def forget(self) -> None:
        """Closes this process's copies of what belongs to the one that it was forked from."""
        self._lock = threading.Lock()
        for helper in self._idle:
            helper.close()
        if self._orders is not None:
            self._orders.close()
        if self._forker is not None:
            self._forker.returncode = 0  # another process's child is not waited for

    def _take(self, *, fresh: bool) -> _Helper:
        with self._lock:
            return self._idle.popleft() if self._idle and not fresh else self._start()

    def _give_back(self, helper: _Helper) -> None:
        with self._lock:
            self._idle.append(helper)

    def _prepare(self) -> None:
        """Has a helper started for whoever comes next, who then need not wait for it.

        Raises:
            SensoriumError: no helper starts at all.
        """
        with self._lock:
            if not self._has_started():
                raise _not_started()
            self._idle.append(self._start())

    def _start(self) -> _Helper:
        for _ in range(2):  # the forking process may have been ended, as by a system that is short of memory
            if self._orders is None:
                self._orders, theirs = socket.socketpair()
                self._started = False
                with theirs:
                    descriptor = theirs.fileno()
                    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
                    self._forker = start(
                        _HELPER, str(descriptor), settings=_KEEPING_MEMORY, pass_fds=(descriptor,), **quiet
                    )
            try:
                return _Helper(self._orders)
            except OSError:
                self._stop()
        raise _not_started()

    def _has_started(self) -> bool:
        """Whether the forking process has ever been ready to fork."""
        if not self._started and self._orders is not None:
            with contextlib.suppress(OSError):
                self._started = self._orders.recv(1, socket.MSG_DONTWAIT) == READY
        return self._started

    def _stop(self) -> None:
        forker, self._forker = self._forker, None
        orders, self._orders = self._orders, None
        if orders is not None:
            orders.close()
        if forker is not None:
            forker.kill()
            forker.wait()


def _in_memory() -> IO[bytes]:
    return open(os.memfd_create("sensorium-picture"), "r+b", buffering=0)  # noqa: PTH123


def _write(descriptor: int, data: bytes) -> None:
    view, at = memoryview(data), 0
    while at < len(view):
        at += os.pwrite(descriptor, view[at:], at)


@functools.lru_cache(16)
def _described(limits: MediaLimits) -> str:
    return json.dumps(asdict(limits))


def _told(answer: dict[str, Any], name: str) -> Exception:
    if answer["kind"] == "option":
        return OptionError(answer["message"])
    refusal = LimitError if answer["kind"] == "limit" else InputError
    return refusal(answer["message"], code=answer["code"], source=name)


def _timed_out(name: str, limits: MediaLimits) -> LimitError:
    return LimitError(
        f"{name}: expected a picture that is decoded in {limits.decode_s:g} s, got one that takes longer. Convert it, "
        f"or raise MediaLimits.decode_s if you trust it.",
        code="decoding-timeout",
        source=name,
    )


def _too_large(name: str) -> LimitError:
    return LimitError(
        f"{name}: expected a picture that is decoded in the memory that MediaLimits.max_pixels stands for, got one "
        f"that needs more, or a machine that has no more. Convert it, or pass MediaLimits(isolate=False) if you trust "
        f"it.",
        code="too-much-memory",
        source=name,
    )


def _not_started() -> SensoriumError:
    return SensoriumError(
        f"expected a process that decodes pictures, but it does not start. See what this says: "
        f"{' '.join(command_of(_HELPER))} 0"
    )


def _crashed(name: str) -> InputError:
    return InputError(
        f"{name}: expected a picture, got one that ends the process that decodes it, twice. Write or fetch it again, "
        f"and check whether the machine ran out of memory.",
        code="crashed",
        source=name,
    )


_shared: _Helpers | None = None
_starting = threading.Lock()


def _helpers() -> _Helpers:
    """The helpers of this process."""
    global _shared  # noqa: PLW0603 - they serve all pipelines of a process
    with _starting:
        if _shared is None:
            if not hasattr(os, "fork"):
                raise OptionError(
                    "MediaLimits.isolate needs a system that forks processes, which this one does not. Pass "
                    "MediaLimits(isolate=False), and decode untrusted pictures in a process of your own."
                )
            _shared = _Helpers()
        return _shared


def _forked() -> None:
    global _shared, _starting
    shared, _shared, _starting = _shared, None, threading.Lock()
    if shared is not None:
        shared.forget()


@atexit.register
def _end() -> None:
    if _shared is not None:
        _shared.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
