"""Helper processes that read hostile files in place of this one, as many as threads ask at once."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import SensoriumError
from sensorium.isolation.forking import ASKED, IS_MEMORY, KEPT_BYTES, LONGEST_S, READY, TOLD, SharedFile, received
from sensorium.isolation.starting import command_of, start

T = TypeVar("T")

_SLACK_S = 10.0  # for which a helper is waited for beyond its time, which it keeps itself
_START_S = 600.0  # for what helpers need to be imported, from a slow disk too


class HelperEndedError(Exception):
    """A helper has ended without an answer."""


class HelperTooSlowError(HelperEndedError):
    """It has not answered within the time that it had."""


class HelperFullError(Exception):
    """A helper's memory did not suffice."""


class Helper:
    """One helper process, by its socket and the file through which data pass; it ends with this object.

    Attributes:
        file: where data are put before an answer is asked for.

    Args:
        orders: to the process that forks it.

    Raises:
        OSError: that process is no more.
    """

    def __init__(self, orders: socket.socket) -> None:
        self._line, theirs = socket.socketpair()
        self._line.setblocking(True)  # whatever the default may be
        self._waits_s = 0.0
        self._descriptor = os.memfd_create("sensorium-helper") if IS_MEMORY else _on_disk()
        os.ftruncate(self._descriptor, KEPT_BYTES)  # takes no room before there are data
        self.file = SharedFile(self._descriptor)
        self._kept = np.frombuffer(self.file.read(KEPT_BYTES), np.uint8)
        try:
            with theirs:
                socket.send_fds(orders, [b"+"], [theirs.fileno(), self._descriptor])
        except OSError:
            self.close()
            raise

    def ask(self, request: bytes, seconds: float) -> bytes:
        """The answer to a request.

        Raises:
            HelperEndedError: there is none.
            HelperFullError: the memory did not suffice.
        """
        try:
            self._wait_for(min(seconds, LONGEST_S) + _SLACK_S)
            self._line.sendall(ASKED.pack(len(request), seconds) + request)
            message = received(self._line, TOLD)
        except OSError as error:  # it has ended, or does not even keep to its time
            raise HelperEndedError from error
        if message is None:
            raise HelperEndedError
        if not message[1]:
            raise HelperFullError
        return message[1]

    def get(self, count: int) -> NDArray[np.uint8]:
        """A copy of the first bytes of the file, after what was asked for.

        Raises:
            EOFError: there are not so many.
        """
        if count <= KEPT_BYTES:
            return self._kept[:count].copy()  # lets other threads run
        data = np.empty(count, np.uint8)
        left, at = data.data, 0
        while left:
            read = os.preadv(self._descriptor, [left], at)
            if not read:
                raise EOFError
            left, at = left[read:], at + read
        return data

    def trim(self) -> None:
        """Gives back the room that large data have taken."""
        if os.fstat(self._descriptor).st_size > KEPT_BYTES:
            os.ftruncate(self._descriptor, KEPT_BYTES)

    def lives(self) -> bool:
        """Whether a helper that nobody has asked yet is there to be asked."""
        try:
            self._line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Ends the process, once it has answered."""
        self._line.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _wait_for(self, seconds: float) -> None:
        """Sets how long an answer is waited for: by the kernel, which needs no further call for each."""
        if seconds != self._waits_s:
            whole = int(seconds)
            timeval = struct.pack("ll", whole, int(1e6 * (seconds - whole)))
            self._line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            self._waits_s = seconds


class HelperPool:
    """Helpers, and the process that forks them. Safe to use from any thread, and in forked processes.

    Args:
        module: what the forking process runs.
        settings: what is added to its environment.
    """

    def __init__(self, module: str, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._module, self._settings = module, settings
        self._lock = threading.Lock()
        self._idle: list[Helper] = []
        self._spare: list[Helper] = []  # that have not worked yet
        self._all: weakref.WeakSet[Helper] = weakref.WeakSet()
        self._forker: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._ready = False
        _POOLS.add(self)

    def run(self, work: Callable[[Helper], T], seconds: float) -> T:
        """Has a helper work.

        One that ends is replaced, and the work done once more by one that has not worked before: not every end is the
        fault of what it read last.

        Args:
            work: with the helper that it is given, and no longer.
            seconds: after which an end is for want of time.

        Raises:
            HelperEndedError: two helpers have.
            HelperTooSlowError: one has taken too long.
            HelperFullError: a helper's memory did not suffice.
            SensoriumError: no helper starts.
        """
        for last in (False, True):
            helper = self._take(fresh=last)
            begun = time.monotonic()
            try:
                result = work(helper)
            except HelperEndedError as error:
                helper.close()
                if time.monotonic() - begun >= seconds:
                    raise HelperTooSlowError from error
                if last:
                    self._prepare()
                    raise
                continue
            except BaseException:  # Ctrl-C: the answer would be taken for the next; memory: it may be full still
                helper.close()
                raise
            helper.trim()
            with self._lock:
                self._idle.append(helper)
            return result
        raise AssertionError

    def close(self) -> None:
        """Ends all processes."""
        if self._forker is not None:
            self._forker.kill()  # first, as somebody may wait for it with the lock
        with self._lock:
            idle = self._idle + self._spare
            self._idle, self._spare = [], []
            self._stop()
        for helper in idle:
            helper.close()

    def forget(self) -> None:
        """Closes this process's copies of what belongs to the one that it was forked from, and begins anew."""
        for helper in self._all:
            helper.close()
        if self._orders is not None:
            self._orders.close()
        if self._forker is not None:
            self._forker.returncode = 0  # another process's child is not waited for
        self._lock, self._idle, self._spare, self._all = threading.Lock(), [], [], weakref.WeakSet()
        self._forker, self._orders, self._ready = None, None, False

    def _take(self, *, fresh: bool) -> Helper:
        with self._lock:
            if self._idle and not fresh:
                return self._idle.pop()
            while self._spare:
                helper = self._spare.pop()
                if helper.lives():
                    return helper
                helper.close()
            return self._new()

    def _prepare(self) -> None:
        """Has two helpers forked, since two have ended, for whoever comes next, who then need not wait."""
        with self._lock:
            self._spare += [self._new(), self._new()]

    def _new(self) -> Helper:
        for _ in range(2):  # the forking process may have been ended, as by a system that is short of memory
            orders = self._forking()
            with contextlib.suppress(OSError):
                self._ready = self._ready or orders.recv(1) == READY
                if self._ready:
                    helper = Helper(orders)
                    self._all.add(helper)
                    return helper
            self._stop()
        raise SensoriumError(
            f"expected a process that reads files in place of this one, but it does not start. See what this says: "
            f"{' '.join(command_of(self._module))} 0"
        )

    def _forking(self) -> socket.socket:
        """Where the forking process takes orders; it is started if there is none."""
        if self._orders is None:
            orders, theirs = socket.socketpair()
            orders.settimeout(_START_S)
            with theirs:
                descriptor = theirs.fileno()
                quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
                self._forker = start(
                    self._module, str(descriptor), settings=self._settings, pass_fds=(descriptor,), **quiet
                )
            self._orders = orders
        return self._orders

    def _stop(self) -> None:
        forker, self._forker = self._forker, None
        orders, self._orders, self._ready = self._orders, None, False
        if orders is not None:
            orders.close()
        if forker is not None:
            forker.kill()
            forker.wait()


_POOLS: weakref.WeakSet[HelperPool] = weakref.WeakSet()


def _on_disk() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _forked() -> None:
    for pool in list(_POOLS):
        pool.forget()


@atexit.register
def _end() -> None:
    for pool in list(_POOLS):
        pool.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
