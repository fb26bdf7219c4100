"""What of torch is another while the pretend device is there: `torch.cuda`, and a little beside it."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._device import _device_constructors

from .graphs import CUDAGraph
from .pinned import checked
from .streams import Event, Stream
from .tensors import Mode, PretendTensor

if TYPE_CHECKING:
    from .machine import PretendCuda

GIVEN_BACK = object()


class Properties:
    """A `torch.cuda.get_device_properties()`."""

    name, major, minor, multi_processor_count, warp_size, gcnArchName = "Pretend", 9, 0, 132, 32, ""

    def __init__(self, total_memory: int) -> None:
        self.total_memory = total_memory


class Generator:
    """One of `torch.cuda.default_generators`.

    Attributes:
        capturing: whether its state waits for the end of a capture; before 2.13 a refused one leaves it so.
    """

    def __init__(self) -> None:
        self.capturing = False

    def clone_state(self) -> Generator:
        """The same state, but that of no capture."""
        return Generator()

    def graphsafe_set_state(self, state: Generator) -> None:
        """Takes another state."""
        self.capturing = state.capturing


class Surface:
    """Puts the pretend device in torch's place, and torch back in its own."""

    def __init__(self, cuda: PretendCuda, *, compiles: bool) -> None:
        self._cuda, self._compiles = cuda, compiles
        self._saved: list[tuple[Any, str, Any]] = []
        self._mode = Mode(cuda)

    def install(self) -> None:
        """From here on there are CUDA devices, in this thread and in those that start now."""
        for name, value in {**_devices(self._cuda), **_streams(self._cuda), **_memory(self._cuda)}.items():
            self._put(torch.cuda, name, value)
        for name, value in _private(self._cuda).items():
            self._put(torch._C, name, value)
        self._put(torch.cuda.graph, "default_capture_stream", None)
        self._put(torch.Tensor, "record_stream", _no_cpu_kernel)
        for name in ("numpy", "tolist", "__array__"):
            self._put(torch.Tensor, name, checked(self._cuda, getattr(torch.Tensor, name), name))
        _device_constructors()  # which `with torch.device(…)` tells apart once and for all: by their own names
        self._put(torch, "tensor", _of_numbers(torch.tensor))
        if not self._compiles:
            self._put(torch, "compile", partial(_compile, self._cuda))
            for name in ("is_compiling", "is_dynamo_compiling"):
                self._put(torch.compiler, name, lambda: self._cuda.thread.compiled)
        self._put(threading.Thread, "run", _in_mode(self._cuda, threading.Thread.run))
        self._cudnn = torch._C._get_cudnn_enabled()
        torch._C._set_cudnn_enabled(False)  # its kernels are for CUDA alone
        torch._C._ensureCUDADeviceGuardSet()  # C++ asks a guard that does nothing, as under FakeTensorMode
        self._lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self._overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._mode.__enter__()

    def remove(self) -> None:
        """From here on torch is as it was."""
        self._mode.__exit__(None, None, None)
        torch._C._set_only_lift_cpu_tensors(self._lifts)
        torch._C._set_cudnn_enabled(self._cudnn)
        torch.__future__.set_overwrite_module_params_on_conversion(self._overwrites)
        for place, name, value in reversed(self._saved):
            if value is GIVEN_BACK:
                delattr(place, name)
            else:
                setattr(place, name, value)
        self._saved.clear()

    def _put(self, place: Any, name: str, value: Any) -> None:
        # what a class inherits goes back by being deleted
        own = vars(place).get(name, GIVEN_BACK)
        self._saved.append((place, name, own))
        setattr(place, name, value)


def _devices(cuda: PretendCuda) -> dict[str, Any]:
    def exchange(device: int) -> int:
        before = cuda.thread.device
        if device >= 0:
            cuda.thread.device = device
        return before

    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: cuda.devices,
        "current_device": lambda: cuda.thread.device,
        "set_device": lambda device: exchange(cuda.index_of(device)),
        "_exchange_device": exchange,
        "_maybe_exchange_device": exchange,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: Properties.name,
        "get_device_properties": lambda device=None: Properties(cuda.limit_bytes),
        "is_bf16_supported": lambda including_emulation=True: True,
        # what is random is drawn by the CPU's generator, whose state goes and comes beside
        "default_generators": tuple(Generator() for _ in range(cuda.devices)),
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device="cuda": torch.get_rng_state(),
        "set_rng_state": lambda state, device="cuda": None,
    }


def _streams(cuda: PretendCuda) -> dict[str, Any]:
    def set_stream(stream: Stream | None) -> None:
        if stream is not None:
            cuda.thread.streams[stream.device.index] = stream
            cuda.thread.device = stream.device.index

    return {
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": CUDAGraph,
        "current_stream": cuda.stream,
        "default_stream": cuda.default_stream,
        "set_stream": set_stream,
        "synchronize": cuda.synchronize,
        "is_current_stream_capturing": lambda: cuda.stream().recording is not None,
        "graph_pool_handle": lambda: (0, cuda.next_number()),
    }


def _memory(cuda: PretendCuda) -> dict[str, Any]:
    def of(count: Counter[int], device: Any = None) -> int:
        return count[cuda.index_of(device)]

    def alive(device: Any = None) -> int:
        return cuda.bytes_alive(cuda.index_of(device))

    def reset_peak(device: Any = None) -> None:
        index = cuda.index_of(device)
        cuda.allocator.most[index] = cuda.allocator.allocated[index]

    return {
        "empty_cache": cuda.check_context,
        "memory_allocated": partial(of, cuda.allocator.allocated),
        "max_memory_allocated": partial(of, cuda.allocator.most),
        "reset_peak_memory_stats": reset_peak,
        "memory_reserved": alive,
        "mem_get_info": lambda device=None: (cuda.limit_bytes - alive(device), cuda.limit_bytes),
    }


def _private(cuda: PretendCuda) -> dict[str, Any]:
    return {
        "_cuda_beginAllocateToPool": cuda.allocator.begin,
        "_cuda_endAllocateToPool": cuda.allocator.end,
        "_cuda_releasePool": cuda.allocator.release,
        "_host_emptyCache": lambda: None,
    }


def _compile(cuda: PretendCuda, model: Any = None, **_: Any) -> Any:
    """A `torch.compile` whose functions run as they are, but for what they do where they are compiled."""
    if model is None:
        return partial(_compile, cuda)

    def compiled(*args: Any, **kwargs: Any) -> Any:
        before, cuda.thread.compiled = cuda.thread.compiled, True
        try:
            return model(*args, **kwargs)
        finally:
            cuda.thread.compiled = before

    return compiled


def _of_numbers(make: Any) -> Any:
    """`torch.tensor`, which asks the device for each tensor among its numbers, in C++ and by the real one's kernels."""

    def tensor(data: Any, **kwargs: Any) -> torch.Tensor:
        if isinstance(data, list | tuple):
            data = pytree.tree_map_only(PretendTensor, lambda each: each.item(), data)
        return make(data, **kwargs)

    return tensor


def _no_cpu_kernel(tensor: torch.Tensor, stream: Any) -> None:
    raise NotImplementedError("Could not run 'aten::record_stream' with arguments from the 'CPU' backend.")


def _in_mode(cuda: PretendCuda, run: Any) -> Any:
    """`threading.Thread.run` for threads that know of the pretend device."""

    def run_in_mode(thread: threading.Thread) -> None:
        with Mode(cuda):
            torch._C._set_only_lift_cpu_tensors(True)
            run(thread)

    return run_in_mode
