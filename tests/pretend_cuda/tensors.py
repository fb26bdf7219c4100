"""Tensors that say they lie on a CUDA device, and what happens when an operation meets them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from . import copies
from .operations import BOUNDED, Operation, check_devices, operation_of, waits_for
from .trees import leaves_of, replace, tensors_in

if TYPE_CHECKING:
    from .machine import PretendCuda
    from .memory import Memory
    from .streams import Stream

CPU = torch.device("cpu")
PINNING = {torch.ops.aten.is_pinned.default, torch.ops.aten.pin_memory.default, torch.ops.aten._pin_memory.default}


class PretendTensor(torch.Tensor):
    """A tensor on a pretend device.

    Attributes:
        inner: its values, on the CPU.
        memory: what it lies in, together with its views.
    """

    inner: torch.Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device, memory: Memory) -> PretendTensor:
        with torch._C._InferenceMode(False):  # or a view of a weight in inference_mode could not be made
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.size(),
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                layout=inner.layout,
                device=device,
                requires_grad=False,
            )
        made.inner, made.memory = inner, memory
        return made

    def __repr__(self) -> str:
        return f"PretendTensor({self.inner!r}, device={self.device})"

    def __deepcopy__(self, memo: Any) -> PretendTensor:
        cuda = self.memory.home.cuda
        inner = self.inner.clone()
        memory = cuda.allocator.allocate(cuda.stream(self.device), inner.untyped_storage().nbytes())
        return PretendTensor(inner, self.device, memory)

    def record_stream(self, stream: Stream) -> None:
        """Tells the allocator that the stream uses it."""
        self.memory.recorded.add(stream.number)

    def is_pinned(self, *_: Any) -> bool:
        """No: that is for CPU tensors."""
        return False

    def tolist(self) -> Any:
        """Copies it to the host, which waits."""
        return self.cpu().tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation that one of them takes part in."""
        leaves = leaves_of((args, kwargs))
        cuda = next(leaf.memory.home.cuda for leaf in leaves if isinstance(leaf, PretendTensor))
        return dispatch(cuda, func, args, kwargs or {})


class Mode(TorchDispatchMode):
    """Sees all operations of a thread, so that new tensors can be on the pretend device."""

    def __init__(self, cuda: PretendCuda) -> None:
        super().__init__()
        self._cuda = cuda

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is traced here, and to say so each time takes as long as an operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation; at once if it is one of the CPU alone."""
        plain = not types and not kwargs and not self._cuda.pinned and func not in PINNING
        if plain and not any(type(value) is torch.device for value in args):
            return func(*args)
        return dispatch(self._cuda, func, args, kwargs or {})


def dispatch(cuda: PretendCuda, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an operation, on the host or on the pretend device."""
    operation = operation_of(func)
    leaves = leaves_of((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, PretendTensor)]
    others = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, PretendTensor)]
    device = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    if func in PINNING:
        return _pin(cuda, operation, args[0])
    if not tensors and (device is None or device.type != "cuda"):
        return _on_the_host(cuda, func, operation, args, kwargs, others)
    if operation.composite:  # under inference_mode they arrive whole
        with Mode(cuda):
            return operation.parts(*args, **kwargs)
    if operation.base == "_fused_sdp_choice":
        return 0
    for place in [tensor.device for tensor in tensors] + ([] if device is None else [device]):
        cuda.check_context(None if place.type != "cuda" else cuda.index_of(place))
    cuda.allocator.passes("operation")
    cuda.counts["operations"] += 1
    if operation.base == "_to_copy" and device is not None and (not tensors or args[0].device != _full(cuda, device)):
        return copies.move(cuda, func, args[0], kwargs, _full(cuda, device))
    if operation.base == "copy_" and args[0].device != args[1].device:
        return copies.fill(cuda, func, *args, **kwargs)
    check_devices(operation, args, tensors, others)
    return _Launch(cuda, func, operation, args, kwargs, tensors, device).run()


def _full(cuda: PretendCuda, device: torch.device) -> torch.device:
    return device if device.type in ("cpu", "meta") else torch.device("cuda", cuda.index_of(device))


def _pin(cuda: PretendCuda, operation: Operation, tensor: torch.Tensor) -> Any:
    if operation.base == "is_pinned":
        return cuda.pinned.holds(tensor)
    if tensor.device.type != "cpu":
        raise RuntimeError(f"cannot pin a tensor on {tensor.device}; only dense CPU tensors can be pinned")
    return tensor if cuda.pinned.holds(tensor) else cuda.pinned.add(tensor.clone())


def _on_the_host(
    cuda: PretendCuda, func: Any, operation: Operation, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor]
) -> Any:
    if kwargs.get("pin_memory"):
        cuda.check_context()
        return cuda.pinned.add(func(*args, **{**kwargs, "pin_memory": False}))
    if cuda.pinned and not operation.view:
        written = {id(tensor) for tensor in operation.written(args, kwargs)}
        for tensor in tensors:
            cuda.pinned.touched(tensor, write=id(tensor) in written, name=operation.base)
    return func(*args, **kwargs)


class _Launch:
    """One operation on a pretend device."""

    def __init__(
        self,
        cuda: PretendCuda,
        func: Any,
        operation: Operation,
        args: Any,
        kwargs: dict[str, Any],
        tensors: list[PretendTensor],
        device: torch.device | None,
    ) -> None:
        self._cuda, self._func, self._operation = cuda, func, operation
        self._args, self._kwargs, self._tensors = args, kwargs, tensors
        index = tensors[0].device.index if tensors else cuda.index_of(device)
        self._device = torch.device("cuda", index)
        self._stream = cuda.stream(index)
        self._memories = {id(tensor.memory): tensor.memory for tensor in tensors}
        written = operation.written(args, kwargs) if operation.writes else ()
        self._written = {id(tensor.memory) for tensor in written if isinstance(tensor, PretendTensor)}

    def run(self) -> Any:
        """Checks and notes its uses of memory, and computes its results."""
        operation, recording = self._operation, self._stream.recording
        if operation.random and recording is None and torch.cuda.default_generators[self._device.index].capturing:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        wait = waits_for(operation, self._args, self._kwargs)
        if wait is not None:
            self._cuda.wait(wait, self._stream.known(), always=True, stream=self._stream)
        if not operation.view or self._written:
            self._use()
        launch = partial(_asserting, self._cuda, self._inner()) if operation.base in BOUNDED else self._inner()
        out = launch()
        result = self._wrap(out)
        if recording is not None and (not operation.view or self._written):
            made = {id(t.memory): t.memory for t in tensors_in(result) if isinstance(t, PretendTensor)}
            uses = [(memory, key in self._written) for key, memory in self._memories.items()]
            uses += [(memory, True) for key, memory in made.items() if key not in self._memories]
            recording.note(launch, tensors_in(out), uses)
        return out if operation.name in ("aten._local_scalar_dense.default", "aten.equal.default") else result

    def _use(self) -> None:
        recording, stream, name = self._stream.recording, self._stream, self._operation.base
        for key, memory in self._memories.items():
            write = key in self._written
            if memory.pool is not None and not write and (recording is None or not recording.made(memory)):
                stale = memory.pool.stale(memory)
                if stale is not None:
                    self._cuda.fault("graph", f"{name} reads what a graph gives {stale}")
            if recording is None:
                with self._cuda.lock:
                    stream.use(memory.uses, write=write, name=name)
            elif write:
                inner = next(tensor.inner for tensor in self._tensors if tensor.memory is memory)
                recording.keep(memory, inner)

    def _inner(self) -> Any:
        """What computes it on the CPU."""
        args, kwargs = replace(PretendTensor, lambda t: t.inner, (self._args, self._kwargs))
        kwargs.pop("pin_memory", None)
        if "device" in kwargs:
            kwargs["device"] = CPU
        if self._operation.name == "aten.mm.dtype":  # for CUDA alone
            return lambda: args[0].to(args[2]) @ args[1].to(args[2])
        return partial(self._func, *args, **kwargs)

    def _wrap(self, out: Any) -> Any:
        known = {id(tensor.inner): tensor for tensor in self._tensors}
        storages = {t.inner.untyped_storage().data_ptr(): t.memory for t in self._tensors if t.inner.numel()}

        def wrap(inner: torch.Tensor) -> torch.Tensor:
            old = known.get(id(inner))
            if old is not None:
                return self._again(old, inner)
            memory = storages.get(inner.untyped_storage().data_ptr()) if inner.numel() else None
            if memory is None:
                memory = allocate(self._cuda, self._stream, inner)
            return PretendTensor(inner, self._device, memory)

        return replace(torch.Tensor, wrap, out)

    def _again(self, old: PretendTensor, inner: torch.Tensor) -> PretendTensor:
        """The tensor that an operation in place gives back."""
        if self._operation.reshapes:
            with no_dispatch():  # its own shape and strides follow
                self._func(*self._args, **self._kwargs)
        if old.shape != inner.shape or old.stride() != inner.stride():
            raise NotImplementedError(f"{self._operation.name} changes a tensor's shape in place")
        return old


def _asserting(cuda: PretendCuda, launch: Callable[[], Any]) -> Any:
    """What takes indices: its kernel asserts that they are in range."""
    try:
        return launch()
    except (IndexError, RuntimeError) as error:
        if "out of range" in str(error) or "out of bounds" in str(error):
            raise cuda.die("device-side assert triggered") from error
        raise


def allocate(cuda: PretendCuda, stream: Stream, inner: torch.Tensor) -> Memory:
    """Memory for what an operation on a stream has computed."""
    memory = cuda.allocator.allocate(stream, inner.untyped_storage().nbytes())
    if stream.recording is None:
        stream.known()
        memory.uses.note(stream.number, stream.tick(), write=True)
    return memory
