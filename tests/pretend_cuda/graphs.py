"""Graphs: captured operations, and their replay."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch.utils._python_dispatch import _disable_current_modes

from .trees import tensors_in

if TYPE_CHECKING:
    from .machine import PretendCuda
    from .memory import Handle, Memory, Pool
    from .streams import Stream


class Recording:
    """A capture under way: the operations launched on one stream, which do not run but make up a graph.

    Here they run once, so that their results have shapes; what they write in place is put back in the end.

    Attributes:
        number: which one of its pool's.
        refused: CUDA's word for why it gives no graph.
    """

    def __init__(self, cuda: PretendCuda, stream: Stream, mode: str, pool: Pool) -> None:
        self._cuda, self.stream, self.mode, self.pool = cuda, stream, mode, pool
        self.device, self.thread = stream.device.index, threading.get_ident()
        pool.captures += 1
        self.number = pool.captures
        self.refused: str | None = None
        self.operations: list[tuple[Callable[[], Any], list[torch.Tensor]]] = []
        self.used: dict[int, tuple[weakref.ref[Memory], bool]] = {}
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def refuse(self, why: str) -> NoReturn:
        """Ends it without a graph, and raises CUDA's error."""
        self.refused = why
        raise self._cuda.error(why)

    def made(self, memory: Memory) -> bool:
        """Whether memory was allocated by what is captured."""
        return memory.pool is self.pool and memory.born == self.number

    def keep(self, memory: Memory, inner: torch.Tensor) -> None:
        """Keeps what lies in memory that an operation is going to write."""
        if not self.made(memory):
            storage = inner.untyped_storage()
            self._before.setdefault(id(memory), (storage, storage.clone()))

    def note(self, launch: Callable[[], Any], outs: list[torch.Tensor], uses: Iterable[tuple[Memory, bool]]) -> None:
        """Takes an operation in.

        Args:
            launch: does it again.
            outs: where its results lie.
            uses: what memory it reads, or writes (True).
        """
        self.operations.append((launch, outs))
        for memory, write in uses:
            if self.made(memory):
                continue
            _, written = self.used.get(id(memory), (None, False))
            self.used[id(memory)] = (weakref.ref(memory), write or written)

    def put_back(self) -> None:
        """Undoes what its operations wrote into memory that was there before."""
        for storage, before in self._before.values():
            storage.copy_(before)


class CUDAGraph:
    """A `torch.cuda.CUDAGraph`."""

    def __init__(self, keep_graph: bool = False) -> None:
        from .machine import active

        self._cuda = active()
        self._recording: Recording | None = None
        self._captured: Recording | None = None
        self._handle: Handle = (0, 0)

    def capture_begin(
        self, pool: Handle | None = None, capture_error_mode: str = "global", check_input_liveness: bool = False
    ) -> None:
        """Begins to capture what this thread launches on its current stream."""
        cuda, stream = self._cuda, self._cuda.stream()
        cuda.check_context()
        if self._captured is not None:
            raise RuntimeError(
                "This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance."
            )
        if stream.is_default:
            raise RuntimeError(
                "CUDA graphs must be captured on a non-default stream. "
                "(However, after capture, it's ok to replay them on the default stream.)"
            )
        if stream.recording is not None:
            stream.recording.refuse("operation not permitted when stream is capturing")
        self._handle = tuple(pool) if pool is not None else (cuda.next_number(), 0)
        memory = cuda.allocator.begin(stream.device.index, self._handle, self._takes)
        self._recording = stream.recording = Recording(cuda, stream, capture_error_mode, memory)
        cuda.recordings.append(self._recording)

    def capture_end(self) -> None:
        """Ends the capture; raises CUDA's error if it was refused, and leaves behind what torch leaves behind."""
        cuda, recording = self._cuda, self._recording
        if recording is None:
            raise RuntimeError("capture_end() called before capture_begin().")
        if cuda.stream() is not recording.stream:
            raise RuntimeError("Capture must end on the same stream it began on.")
        self._recording = recording.stream.recording = None
        cuda.recordings.remove(recording)
        recording.put_back()
        if recording.refused is None or cuda.torch_version >= (2, 13):
            cuda.allocator.end(recording.device, self._handle)
        if recording.refused is not None:
            torch.cuda.default_generators[recording.device].capturing = cuda.torch_version < (2, 13)
            cuda.counts["refused captures"] += 1
            raise cuda.error("operation failed due to a previous error during capture")
        self._captured = recording
        cuda.counts["captures"] += 1
        if not recording.operations:
            warnings.warn(
                "The CUDA Graph is empty. This usually means that the graph was attempted to be captured on wrong "
                "device or stream.",
                UserWarning,
                stacklevel=2,
            )

    def replay(self) -> None:
        """Launches all that was captured, on the current stream of the device that it was captured on."""
        recording, cuda = self._captured, self._cuda
        cuda.check_context()
        if recording is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        stream = cuda.stream(recording.device)
        if stream.recording is not None:
            raise NotImplementedError("a pretend graph cannot be replayed while another one is captured")
        cuda.allocator.passes("operation")
        if not recording.operations:
            cuda.fault("graph", "an empty graph is replayed: what was to be captured ran on another stream or device")
        with cuda.lock:
            self._use(stream, recording)
        cuda.counts["replays"] += 1
        with _disable_current_modes(), torch.inference_mode():
            for launch, outs in recording.operations:
                for out, new in zip(outs, tensors_in(launch()), strict=True):
                    if out is not new and out.data_ptr() != new.data_ptr():
                        out.copy_(new)

    def pool(self) -> Handle:
        """The handle of the pool that it allocates from."""
        if self._captured is None:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return self._handle

    def reset(self) -> None:
        """Lets the graph go, and its hold on the pool; not that of a capture which gave none."""
        captured, self._captured = getattr(self, "_captured", None), None
        if captured is not None:
            self._cuda.allocator.release(captured.device, self._handle)

    def __del__(self) -> None:
        self.reset()

    def _takes(self, stream: Stream) -> bool:
        return self._recording is not None and stream.recording is self._recording

    def _use(self, stream: Stream, recording: Recording) -> None:
        pool = recording.pool
        pool.replayed(recording.number)
        stream.use(pool.uses, write=True, name="a graph's replay")
        for reference, write in recording.used.values():
            memory = reference()
            if memory is not None:
                stream.use(memory.uses, write=write, name="a graph's replay")
            else:
                self._cuda.fault("graph", "a graph uses memory that was let go since it was captured")
        for memory in list(pool.members):
            if memory.born >= recording.number:  # its own results, and what took over memory that it uses meanwhile
                stream.use(memory.uses, write=True, name="a graph's replay")
