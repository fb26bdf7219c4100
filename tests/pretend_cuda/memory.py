"""The allocator: how much is alive on each device, private pools of graphs, and running out of it."""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

from .clocks import Uses

if TYPE_CHECKING:
    from .machine import PretendCuda
    from .streams import Stream

BLOCK = 512
"""Bytes that the caching allocator rounds up to."""

Handle = tuple[int, int]
Stage = Literal["allocation", "copy", "operation"]


class Memory:
    """A piece of device memory; it lives as long as any tensor that lies in it.

    Attributes:
        home: the stream that it was allocated on, which may use it again as soon as it is let go.
        recorded: the streams that `record_stream` has told the allocator of.
        pool: the pool of graphs that it came from.
        born: the number of the capture, within the pool, that allocated it; 0 for none.
    """

    __slots__ = ("__weakref__", "born", "home", "nbytes", "pool", "recorded", "uses")

    def __init__(self, home: Stream, nbytes: int, pool: Pool | None) -> None:
        self.home, self.nbytes, self.pool = home, nbytes, pool
        self.uses = Uses(home.number)
        self.recorded: set[int] = set()
        self.born = home.recording.number if pool is not None and home.recording is not None else 0

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):  # at the end of the interpreter
            self.home.cuda.allocator.let_go(self)


class Pool:
    """The private memory of graphs: what they have taken at most stays taken while one of them lives.

    A graph that is replayed writes over what was allocated for graphs captured after it, where that took over memory
    which the earlier one had let go.
    """

    def __init__(self) -> None:
        self.references = self.captures = 0
        self.alive = self.most = 0
        self.uses = Uses()
        self.members: weakref.WeakSet[Memory] = weakref.WeakSet()
        self._replays = 0
        self._last: dict[int, int] = {}

    @property
    def idle(self) -> int:
        """Bytes that are kept for the next replay."""
        return self.most - self.alive if self.references > 0 else 0

    def replayed(self, capture: int) -> None:
        """Notes that the graph of this number was replayed."""
        self._replays += 1
        self._last[capture] = self._replays

    def stale(self, memory: Memory) -> str | None:
        """Why what lies in this memory is not what its graph has given, if so."""
        mine = self._last.get(memory.born, 0)
        if not memory.born:
            return None
        if not mine:
            return "before the graph that gives it was replayed"
        later = [capture for capture, at in self._last.items() if capture < memory.born and at > mine]
        return f"after graph {later[0]} of the same pool, captured before, was replayed" if later else None


class Allocator:
    """The caching allocator of all devices.

    Args:
        cuda: the machine.
        limit: bytes of each device.
    """

    def __init__(self, cuda: PretendCuda, limit: int) -> None:
        self._cuda, self.limit = cuda, limit
        self.allocated: Counter[int] = Counter()
        self.most: Counter[int] = Counter()
        self._deferred: Counter[int] = Counter()
        self._pools: dict[tuple[int, Handle], Pool] = {}
        self._open: dict[tuple[int, Handle], Callable[[Stream], bool]] = {}
        self._countdown: dict[Stage, int] = {}
        self.ran_out = 0

    def alive(self, device: int) -> int:
        """Bytes that cannot be used for anything new: tensors, frees that are put off, and what graphs keep."""
        idle = sum(pool.idle for (where, _), pool in self._pools.items() if where == device)
        return self.allocated[device] + self._deferred[device] + idle

    def allocate(self, stream: Stream, nbytes: int) -> Memory:
        """New memory, of the pool that the stream's capture allocates from if it captures."""
        self.passes("allocation")
        nbytes = -(-nbytes // BLOCK) * BLOCK
        device = stream.device.index
        with self._cuda.lock:
            pool = self._pool_of(stream)
            free = self.limit - self.alive(device) + (pool.idle if pool is not None else 0)
            if nbytes > free:
                self._run_out(
                    f"Tried to allocate {nbytes} bytes. GPU {device} has {self.limit}, of which {free} are free"
                )
            memory = Memory(stream, nbytes, pool)
            self.allocated[device] += nbytes
            self.most[device] = max(self.most[device], self.allocated[device])
            if pool is not None:
                pool.members.add(memory)
                pool.alive += nbytes
                pool.most = max(pool.most, pool.alive)
        return memory

    def let_go(self, memory: Memory) -> None:
        """Takes memory back; streams other than its own that used it must be recorded, or waited for."""
        device = memory.home.device.index
        with self._cuda.lock:
            self.allocated[device] -= memory.nbytes
            if memory.pool is not None:
                memory.pool.alive -= memory.nbytes
                return
            if memory.recorded and self._defers(device):
                self._deferred[device] += memory.nbytes
            known = memory.home.known()
            using = memory.uses.by_others(memory.home.number, known) - memory.recorded
        for stream in sorted(using):
            self._cuda.fault(
                "free", f"memory of stream {memory.home.number} is let go while stream {stream} may use it"
            )

    def fail_at(self, nth: int, stage: Stage) -> None:
        """Lets the nth allocation, copy between host and device, or operation from now on run out of memory."""
        self._countdown[stage] = nth

    def passes(self, stage: Stage) -> None:
        """Raises torch.OutOfMemoryError if this one is to."""
        if stage in self._countdown:
            self._countdown[stage] -= 1
            if self._countdown[stage] == 0:
                self._run_out(f"This {stage} was chosen to fail")

    def begin(self, device: int, handle: Handle, takes: Callable[[Stream], bool] = lambda stream: True) -> Pool:
        """`torch._C._cuda_beginAllocateToPool`; `takes` says whether what a stream allocates goes there."""
        key = (device, tuple(handle))
        if key in self._open:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        pool = self._pools.setdefault(key, Pool())
        pool.references += 1
        self._open[key] = takes
        return pool

    def end(self, device: int, handle: Handle) -> None:
        """`torch._C._cuda_endAllocateToPool`."""
        key = (device, tuple(handle))
        if key not in self._open:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        del self._open[key]
        self.settle(device)

    def settle(self, device: int) -> None:
        """Frees what was put off, if nothing is captured any more."""
        if not self._defers(device):
            self._deferred[device] = 0

    def release(self, device: int, handle: Handle) -> None:
        """`torch._C._cuda_releasePool`."""
        pool = self._pools.get((device, tuple(handle)))
        if pool is None or pool.references < 1:
            raise RuntimeError(f"releasePool: nothing refers to pool {tuple(handle)} of device {device}")
        pool.references -= 1

    @property
    def pools_open(self) -> int:
        """How many pools are allocated to at the moment."""
        return len(self._open)

    def _pool_of(self, stream: Stream) -> Pool | None:
        for key, takes in self._open.items():
            if key[0] == stream.device.index and takes(stream):
                return self._pools[key]
        return None

    def _defers(self, device: int) -> bool:
        """Whether memory that other streams have used stays taken until a capture has ended.

        An event of theirs would have to be asked for, which is not allowed meanwhile.
        """
        if self._cuda.torch_version >= (2, 13):
            return any(recording.device == device for recording in self._cuda.recordings)
        return any(where == device for where, _ in self._open)

    def _run_out(self, text: str) -> None:
        self.ran_out += 1
        raise torch.OutOfMemoryError(f"CUDA out of memory. {text}.")
