"""One run at a time in a folder on an object store, where no kernel keeps a lock.

A run holds the folder by the object `job.lock.N` with the highest number N that is there. To create it, one has to be
the first: whoever comes second learns it from the store. The holder writes it anew every few seconds, with a count that
goes up; whoever wants the folder watches it. One that has not changed for `LEASE_S` seconds of the watcher's own clock
is of a run that has ended; its successor creates the next number. No clock of another machine is ever believed.

A run whose lease was taken over, as after it was suspended for long, learns it by the next number at its next beat, and
ends. What it writes before it knows does no harm: parts of one job are equal, and the rest is written after a look.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from sensorium.errors import JobError, JobStoppedError
from sensorium.jobs.stores.store import LOCK, Lock

BEAT_S = 5.0
"""Seconds between two signs of life of a run."""

LEASE_S = 60.0
"""Seconds without one after which a run is taken to have ended."""

LOST_S = 30.0
"""Seconds for which a run works on although its signs of life do not arrive; less than the lease, by far."""

_NUMBERED = re.compile(re.escape(LOCK) + r"\.(\d+)")


class Objects(Protocol):
    """What a lease needs of a store."""

    address: str

    def names(self, folder: str = "") -> list[str]:
        """What it holds."""

    def read(self, name: str) -> bytes:
        """The content of one."""

    def put(self, name: str, content: bytes) -> None:
        """Replaces one."""

    def create(self, name: str, content: bytes) -> bool:
        """Creates one, if this call is the first."""

    def delete(self, name: str) -> None:
        """Removes one."""


class Lease(Lock):
    """The right to work in a folder, until it is given back, or not shown to be used.

    Args:
        store: of the folder.
        number: of the object.
        owner: what the holder is called in it.
    """

    def __init__(self, store: Objects, number: int, owner: dict[str, Any]) -> None:
        self._store, self._number, self._owner = store, number, owner
        self._beats, self._taken = 0, False
        self._shown = _now()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._live, name="sensorium-lease", daemon=True)
        self._heart.start()

    def check(self) -> None:
        """Makes sure that no other run can have taken it, from what the last beat has shown.

        Raises:
            JobStoppedError: another has, or may have.
        """
        silent = _now() - self._shown
        if self._taken or silent > LOST_S:
            why = "another run has taken it over" if self._taken else f"it was out of reach for {silent:.0f} s"
            raise JobStoppedError(
                f"{self._store.address} is not held by this run any more: {why}. What was done is kept; the same call "
                "goes on"
            )

    def confirm(self) -> None:
        """Asks the store whether it is still this run's.

        Raises:
            JobStoppedError: it is not.
            OSError: the store does not answer.
        """
        self.beat()
        self.check()

    def beat(self) -> None:
        """Shows that the run lives, and looks whether the lease is still its own."""
        began = _now()
        self._beats += 1
        if _highest(self._store) != self._number:
            self._taken = True
            return
        self._store.put(_name(self._number), _content(self._owner, self._beats))
        self._shown = began  # nobody has seen it as unchanged for longer

    def end(self) -> None:
        """Gives it back."""
        self._ended.set()
        self._heart.join()
        if not self._taken:
            with suppress(OSError):  # it runs out by itself
                self._store.put(_name(self._number), _content(None, self._beats + 1))

    def _live(self) -> None:
        while not self._ended.wait(BEAT_S) and not self._taken:
            with suppress(OSError):  # what lasts is seen by the check
                self.beat()


@contextlib.contextmanager
def leased(store: Objects, *, wait_s: float) -> Iterator[Lease]:
    """Holds a folder against every other run.

    Args:
        store: of the folder.
        wait_s: seconds to wait for a run that lives to end; for one that shows no life, it is `LEASE_S`.

    Raises:
        JobError: another run has it; names it.
    """
    owner = {"token": secrets.token_hex(16), "host": socket.gethostname(), "pid": os.getpid()}
    number = _acquired(store, owner, wait_s)
    lease = Lease(store, number, owner)
    try:
        yield lease
    finally:
        lease.end()


def _acquired(store: Objects, owner: dict[str, Any], wait_s: float) -> int:
    """The number under which a run has got the folder."""
    began = since = _now()
    seen: tuple[int, bytes] | None = None
    alive = False
    while True:
        asked = _now()  # before the answer: whoever is suspended here has not seen what came meanwhile
        number = _highest(store)
        content = _read(store, number)
        if seen != (number, content):
            alive = seen is not None
            seen, since = (number, content), _now()
        if _is_free(content) or asked - since > LEASE_S:
            if (taken := _take(store, number + 1, owner)) is not None:
                return taken
        elif alive and asked - began >= wait_s:
            raise JobError(
                f"{store.address} is in use by another run ({_told(content)}). Wait for it, or end it: the same call "
                "then goes on"
            )
        else:
            _wait(min(1.0, BEAT_S / 5))


def _take(store: Objects, number: int, owner: dict[str, Any]) -> int | None:
    """Creates the object of a number, and removes those that came before; None if another was first."""
    if not store.create(_name(number), _content(owner, 0)):
        return None
    if _highest(store) != number:  # the number was free only because later runs had removed it
        store.delete(_name(number))
        return None
    for other in _numbers(store):
        if other < number:
            store.delete(_name(other))
    return number


def _now() -> float:
    """Seconds on this machine's own clock, those for which it slept among them where the kernel counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _numbers(store: Objects) -> list[int]:
    return [int(found[1]) for name in store.names() if (found := _NUMBERED.fullmatch(name))]


def _highest(store: Objects) -> int:
    return max(_numbers(store), default=0)


def _name(number: int) -> str:
    return f"{LOCK}.{number:06}"


def _content(owner: dict[str, Any] | None, beats: int) -> bytes:
    return json.dumps({"owner": owner, "beats": beats}).encode()


def _read(store: Objects, number: int) -> bytes:
    """What the holder has written; nothing where there is none."""
    try:
        return store.read(_name(number)) if number else b""
    except FileNotFoundError:
        return b""


def _is_free(content: bytes) -> bool:
    return not content or _owner(content) is None


def _owner(content: bytes) -> Any:
    try:
        return json.loads(content)["owner"]
    except (ValueError, KeyError, TypeError):
        return "?"  # of nobody that is known, and held until it is seen not to change


def _told(content: bytes) -> str:
    owner = _owner(content)
    try:
        return f"process {int(owner['pid'])} on {str(owner['host'])!r}"
    except (ValueError, KeyError, TypeError):
        return "which has not said who it is"
