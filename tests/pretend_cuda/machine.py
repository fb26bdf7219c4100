"""The pretend machine: its devices, what has gone wrong on them, and how often the host has waited."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

import pytest
import torch

import sensorium
from sensorium.models import on_device, relative_places

from .clocks import Clock
from .graphs import Recording
from .memory import Allocator, Stage
from .pinned import PinnedMemory
from .streams import Event, Stream
from .surface import Surface

PACKAGE = str(Path(sensorium.__file__).parent)
HERE = str(Path(__file__).parent)
DEVICE_ERROR: type[RuntimeError] = getattr(torch, "AcceleratorError", RuntimeError)


class Fault(NamedTuple):
    """What would go wrong on a card, now and then.

    Attributes:
        kind: "race", "free", "pinned" or "graph".
        text: what happened.
        where: the lines of Sensorium that did it, innermost first.
    """

    kind: str
    text: str
    where: str


class Wait(NamedTuple):
    """A place where the host waits for the device.

    Attributes:
        what: the operation.
        where: the lines of Sensorium that it stands in, innermost first.
    """

    what: str
    where: str


class _Thread(threading.local):
    """Each thread's own device and current streams, and whether it runs a compiled function."""

    def __init__(self) -> None:
        self.device, self.compiled = 0, False
        self.streams: dict[int, Stream] = {}


class PretendCuda:
    """CUDA devices on the CPU while the context is open; see the package's docstring.

    Args:
        devices: how many.
        memory: bytes of each; `limit_bytes` sets it later.
        compiles: leaves `torch.compile` as it is, for what is compiled for the CPU beside; it cannot compile for the
            pretend device, on which compiled functions run eagerly.
        torch_version: whose `capture_end` it has; the installed one's unless given. From 2.13 on it ends the allocation
            to the graph's pool when it fails, too; before, it leaves that to whoever asked for the capture.

    Attributes:
        faults: what would have gone wrong.
        waits: how often the host has waited, by place.
        counts: "operations", "replays", "captures", "refused captures", "pageable copies", "copies".
        host: the operations that the host knows to be over.
        recordings: the captures that are under way.
        allocator: how much memory is alive.
    """

    def __init__(
        self,
        devices: int = 1,
        *,
        memory: int = 80 * 2**30,
        compiles: bool = False,
        torch_version: tuple[int, int] | None = None,
    ) -> None:
        installed = tuple(int(part) for part in torch.__version__.split(".")[:2])
        self.devices, self.torch_version = devices, torch_version or installed
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.waits: Counter[Wait] = Counter()
        self.counts: Counter[str] = Counter()
        self.host = Clock()
        self.recordings: list[Recording] = []
        self.allocator = Allocator(self, memory)
        self.pinned = PinnedMemory(self)
        self.thread = _Thread()
        self.dead: str | None = None
        self.lost: set[int] = set()
        self._numbers = itertools.count(1)
        self._defaults: dict[int, Stream] = {}
        self._streams: list[Stream] = []
        self._surface = Surface(self, compiles=compiles)

    def __enter__(self) -> Self:
        if _ACTIVE:
            raise RuntimeError("there is a pretend device already")
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device; tests/test_gpu.py is for it")
        _ACTIVE.append(self)
        self._surface.install()
        return self

    def __exit__(self, *_: object) -> None:
        self._surface.remove()
        _ACTIVE.clear()
        for cache in (on_device.kept, relative_places._places_kept, relative_places._index_kept):
            cache.cache_clear()  # or the next pretend device would be given tensors of this one

    def check(self) -> None:
        """Raises an AssertionError that lists the faults, if there were any."""
        if self.faults:
            lines = [
                f"{n}× {kind}: {text}\n      at {where}" for (kind, text, where), n in Counter(self.faults).items()
            ]
            more = [f"... and {len(lines) - 20} more"] if len(lines) > 20 else []
            raise AssertionError("\n  ".join([f"{len(self.faults)} faults on the pretend device:", *lines[:20], *more]))

    @property
    def limit_bytes(self) -> int:
        """Bytes of each device, beyond which an allocation raises torch.OutOfMemoryError."""
        return self.allocator.limit

    @limit_bytes.setter
    def limit_bytes(self, value: int) -> None:
        self.allocator.limit = value

    def bytes_alive(self, device: int = 0) -> int:
        """Bytes of a device that nothing else can have: tensors, frees that are put off, and what graphs keep."""
        return self.allocator.alive(device)

    def fail_at(self, nth: int, stage: Stage) -> None:
        """Lets the nth allocation, copy or operation from now on run out of memory.

        Args:
            nth: from 1; `ran_out` tells whether it came to that.
            stage: "allocation", "copy" (between host and device) or "operation".
        """
        self.allocator.fail_at(nth, stage)

    @property
    def ran_out(self) -> int:
        """How many times memory did not suffice."""
        return self.allocator.ran_out

    @property
    def graphs_captured(self) -> int:
        """How many captures have given a graph."""
        return self.counts["captures"]

    @property
    def graphs_replayed(self) -> int:
        """How many times a graph was replayed."""
        return self.counts["replays"]

    def waits_text(self) -> str:
        """The waits, most frequent first, for people."""
        return "\n".join(f"{n:6} {wait.what} at {wait.where}" for wait, n in self.waits.most_common())

    def next_number(self) -> int:
        """A number for a new stream, capture or pool."""
        return next(self._numbers)

    def index_of(self, device: Any) -> int:
        """The ordinal of a device given in any way; the current one for None."""
        if device is None:
            return self.thread.device
        if isinstance(device, int):
            return device if device >= 0 else self.thread.device
        index = torch.device(device).index
        return self.thread.device if index is None else index

    def stream(self, device: Any = None) -> Stream:
        """The calling thread's current stream of a device."""
        index = self.index_of(device)
        return self.thread.streams.get(index) or self.default_stream(index)

    def default_stream(self, device: Any = None) -> Stream:
        """A device's default stream."""
        index = self.index_of(device)
        with self.lock:
            if index not in self._defaults:
                if index >= self.devices:
                    raise self.error("invalid device ordinal")
                self._defaults[index] = Stream(index, default=True)
            return self._defaults[index]

    def add_stream(self, stream: Stream) -> None:
        """Takes a new stream among those that `synchronize` waits for."""
        self._streams.append(stream)

    def synchronize(self, device: Any = None) -> None:
        """Lets the host wait for all streams of a device."""
        index = self.index_of(device)
        self.check_context(index)
        known = Clock()
        with self.lock:
            for stream in self._streams:
                if stream.device.index == index:
                    known.join(stream.clock)
        self.wait("torch.cuda.synchronize", known, device=index)

    def wait(self, what: str, known: Clock, *, always: bool = False, **target: Any) -> None:
        """Lets the host wait until these operations are over; counts it, unless they are known to be or `always`."""
        self.check_context()
        self.may_wait(what, **target)
        with self.lock:
            if always or not self.host.covers(known):
                self.waits[Wait(what, self.location())] += 1
            self.host.join(known)

    def may_wait(
        self, what: str, *, stream: Stream | None = None, event: Event | None = None, device: int | None = None
    ) -> None:
        """Refuses to wait for what is being captured, and ends the capture as CUDA does."""
        mine = threading.get_ident()
        for recording in list(self.recordings):
            own = recording.thread == mine
            strict = recording.mode == "global" or (own and recording.mode == "thread_local")
            waited_for = stream is not None and stream.recording is recording
            waited_for |= event is not None and event.recording is recording
            waited_for |= device is not None and device == recording.device
            if strict or waited_for:
                recording.refuse(f"operation not permitted when stream is capturing ({what})")

    def fault(self, kind: str, text: str) -> None:
        """Notes what would go wrong on a card."""
        self.faults.append(Fault(kind, text, self.location()))

    def error(self, text: str) -> RuntimeError:
        """An error of CUDA's, to be raised."""
        return DEVICE_ERROR(f"CUDA error: {text}")

    def die(self, text: str) -> RuntimeError:
        """Ends the context for good: each later operation fails with this error, which is to be raised."""
        self.dead = text
        return self.error(text)

    def lose(self, device: int) -> None:
        """Ends one device for good, as a fault of its hardware does; the others go on."""
        self.lost.add(device)

    def check_context(self, device: int | None = None) -> None:
        """Raises the error that has ended the context, or this device, if one has."""
        if self.dead is not None:
            raise self.error(self.dead)
        if device in self.lost:
            raise self.error("unspecified launch failure")

    def location(self) -> str:
        """The innermost lines of Sensorium that are running, and the library's line that they called."""
        ours: list[str] = []
        library, other = "", ""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and len(ours) < 3:
            name = frame.f_code.co_filename
            if name.startswith(PACKAGE):
                ours.append(f"{name[len(PACKAGE) + 1 :]}:{frame.f_lineno}")
            elif "site-packages" in name:
                of_torch = "/torch/" in name or bool(ours)
                library = library or ("" if of_torch else f" [{name.split('site-packages/')[-1]}:{frame.f_lineno}]")
            elif not other:
                folder, _, file = name.rpartition("/")
                other = f"{file}:{frame.f_lineno}" if folder != HERE or file.startswith("test_") else ""
            frame = frame.f_back
        return (" < ".join(ours) or other) + library


def active() -> PretendCuda:
    """The machine that is there now."""
    if not _ACTIVE:
        raise RuntimeError("the pretend device is gone")
    return _ACTIVE[-1]


_ACTIVE: list[PretendCuda] = []
