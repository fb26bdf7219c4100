"""Copies between the host and the devices, and from one device to another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .machine import PretendCuda
    from .streams import Stream
    from .tensors import PretendTensor


def move(cuda: PretendCuda, func: Any, source: torch.Tensor, kwargs: dict[str, Any], device: torch.device) -> Any:
    """`aten._to_copy` to another device."""
    kwargs = {name: value for name, value in kwargs.items() if name not in ("device", "pin_memory")}
    waits = not kwargs.pop("non_blocking", False)
    if device.type == "meta":  # a shape: no memory anywhere
        return func(source.inner, device=device, **kwargs)
    if source.device.type == "cpu":
        return _up(cuda, partial(func, source, **kwargs), source, device, waits=waits)
    if device.type == "cpu":
        out = func(source.inner, **kwargs)
        if not waits:
            cuda.pinned.add(out)  # torch copies without waiting into page-locked memory
        _down(cuda, source, out, waits=waits)
        return out
    return _across(cuda, partial(func, source.inner, **kwargs), source, device)


def fill(
    cuda: PretendCuda, func: Any, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False
) -> torch.Tensor:
    """`aten.copy_` from another device."""
    if source.device.type == "cpu":
        stream = cuda.stream(target.device)
        _begin_up(cuda, stream, source, waits=not non_blocking)
        if stream.recording is None:
            stream.use(target.memory.uses, write=True, name="copy_")
        else:
            stream.recording.keep(target.memory, target.inner)
            launch = partial(func, target.inner, source)
            stream.recording.note(launch, [target.inner], [(target.memory, True)])
        func(target.inner, source)
        _end_up(cuda, stream, source, waits=not non_blocking)
    elif target.device.type == "cpu":
        # CUDA comes back from a copy into pageable memory only when it is over
        _down(cuda, source, target, waits=not (non_blocking and cuda.pinned.holds(target)))
        func(target, source.inner)
    else:
        _between(cuda, source, cuda.stream(target.device))
        cuda.stream(target.device).use(target.memory.uses, write=True, name="copy_")
        func(target.inner, source.inner)
    return target


def _up(cuda: PretendCuda, copy: Any, source: torch.Tensor, device: torch.device, *, waits: bool) -> PretendTensor:
    from .tensors import PretendTensor, allocate

    stream = cuda.stream(device)
    _begin_up(cuda, stream, source, waits=waits)
    out = copy()
    if out.untyped_storage().data_ptr() == source.untyped_storage().data_ptr():
        out = source.clone()
    memory = allocate(cuda, stream, out)
    if stream.recording is not None:
        stream.recording.note(copy, [out], [(memory, True)])
    _end_up(cuda, stream, source, waits=waits)
    return PretendTensor(out, device, memory)


def _begin_up(cuda: PretendCuda, stream: Stream, source: torch.Tensor, *, waits: bool) -> None:
    cuda.allocator.passes("copy")
    cuda.counts["copies"] += 1
    pinned = cuda.pinned.holds(source)
    _check_capture(stream, pinned=pinned)
    if waits:
        cuda.may_wait("a copy to the device", stream=stream)
    elif not pinned:
        cuda.counts["pageable copies"] += 1
    cuda.pinned.touched(source, write=False, name="a copy to the device")


def _end_up(cuda: PretendCuda, stream: Stream, source: torch.Tensor, *, waits: bool) -> None:
    if waits:
        cuda.wait("a copy to the device", stream.known(), always=True, stream=stream)
    elif stream.recording is None:
        cuda.pinned.copies(source, stream, write=False)


def _down(cuda: PretendCuda, source: PretendTensor, target: torch.Tensor, *, waits: bool) -> None:
    cuda.allocator.passes("copy")
    cuda.counts["copies"] += 1
    stream = cuda.stream(source.device)
    _check_capture(stream, pinned=cuda.pinned.holds(target))
    stream.use(source.memory.uses, write=False, name="a copy to the host")
    _check_stale(cuda, source)
    if waits:
        cuda.wait("a copy to the host", stream.known(), always=True, stream=stream)
    elif stream.recording is not None:
        raise NotImplementedError("a pretend graph copies nothing to the host")
    cuda.pinned.touched(target, write=True, name="a copy to the host")
    if not waits:
        cuda.pinned.copies(target, stream, write=True)


def _across(cuda: PretendCuda, copy: Any, source: PretendTensor, device: torch.device) -> PretendTensor:
    from .tensors import PretendTensor, allocate

    stream = cuda.stream(device)
    _between(cuda, source, stream)
    out = copy()
    if out is source.inner:
        out = out.clone()
    return PretendTensor(out, device, allocate(cuda, stream, out))


def _between(cuda: PretendCuda, source: PretendTensor, after: Stream) -> None:
    """A copy from device to device runs on the source's current stream; that of the target waits for it."""
    stream = cuda.stream(source.device)
    if stream.recording is not None or after.recording is not None:
        raise NotImplementedError("a pretend graph is of one device")
    _check_stale(cuda, source)
    with cuda.lock:
        stream.clock.join(after.known())
        stream.use(source.memory.uses, write=False, name="a copy to another device")
        after.clock.join(stream.clock)


def _check_capture(stream: Stream, *, pinned: bool) -> None:
    if stream.recording is not None and not pinned:
        raise RuntimeError(
            "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned. "
            "Please use tensor.pin_memory() or allocate the tensor with pin_memory=True."
        )


def _check_stale(cuda: PretendCuda, source: PretendTensor) -> None:
    stale = source.memory.pool.stale(source.memory) if source.memory.pool is not None else None
    if stale is not None:
        cuda.fault("graph", f"a copy reads what a graph gives {stale}")
