"""Runtime: where a model runs, in which dtype, and how its functions are called."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.models.convolutions import widen_where_wrong
from sensorium.models.recorder import Recorder

LEFT_IN_FILE = 0.9
"""The share of a model's bytes above which weights stay in the file that they are read from as they are needed."""


class Runtime:
    """A module of torch, where its weights lie; the one place that asks them.

    Whatever else is to run a model (a replica on another device, another library's session) takes this class's place:
    tasks and the engine know no more of a model's whereabouts than is told here.

    Args:
        module: the model.

    Attributes:
        recorder: records steps that are done again and again; None where they run as they are.
    """

    recorder: Recorder | None = None

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._without_weights = torch.device("cpu")

    @property
    def device(self) -> torch.device:
        """Where batches go: to the first of the weights; for a module without any, where it was placed."""
        weight = next(self.module.parameters(), None)
        return self._without_weights if weight is None else weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's arithmetic: that of its first floating-point weight, or float32."""
        dtypes = (weight.dtype for weight in self.module.parameters() if weight.is_floating_point())
        return next(dtypes, torch.float32)

    def free_bytes(self) -> int | None:
        """How much more memory the device has for tensors now; None where it does not tell, as a CPU."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(free) + kept

    def place(self, device: torch.device, dtype: torch.dtype | None = None, *, spread: bool = False) -> None:
        """Moves the weights, in place, and lays convolutional nets out channels-last; the module is in evaluation mode.

        Args:
            device: where to.
            dtype: of floating-point weights; None for their own.
            spread: the weights were spread over devices by `device_map` or quantized, and stay where they are.
        """
        self._without_weights = device
        if not spread:
            if is_convolutional(self.module):
                self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.module.to(device=device, dtype=dtype)
            release_file(self.module)
            widen_where_wrong(self.module)
            if device.type == "cuda":  # what was done there was work of one stream, and others will use the weights
                torch.cuda.synchronize(device)
        self.module.eval()

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Returns `function(*args)`; the function may have been compiled."""
        return function(*args)


def copied_to(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy of a module whose weights go straight to a device, each by itself; those that are shared stay so."""
    weights = [*module.parameters(), *module.buffers()]
    made: dict[int, Any] = {}  # what `deepcopy` finds copied already
    with torch.no_grad():
        for weight in weights:
            there = weight.detach().to(device, copy=True)
            made[id(weight)] = nn.Parameter(there, weight.requires_grad) if isinstance(weight, nn.Parameter) else there
    return copy.deepcopy(module, made)


def is_convolutional(model: nn.Module) -> bool:
    """Whether convolutions other than a patch embedding make up a good part of the model."""
    return sum(isinstance(m, nn.Conv2d) and m.groups == 1 for m in model.modules()) > 4


def release_file(model: nn.Module) -> None:
    """Copies the weights that lie in a mapped file, where most have been copied from it to another layout or dtype.

    A file is mapped as a whole as long as one of its tensors is: a counter of 8 bytes would hold all weights once more.
    """
    weights = [*model.parameters(), *model.buffers()]
    borrowed = [weight for weight in weights if _is_borrowed(weight)]
    if sum(weight.nbytes for weight in borrowed) > LEFT_IN_FILE * sum(weight.nbytes for weight in weights):
        return
    copies: dict[tuple[Any, ...], Tensor] = {}  # weights that share memory go on sharing it

    def copied(weight: Tensor) -> Tensor:
        place = weight.data_ptr(), weight.dtype, weight.shape, weight.stride()
        if place not in copies:
            copies[place] = weight.detach().clone()
        return copies[place]

    for parameter in model.parameters():
        if _is_borrowed(parameter):
            parameter.data = copied(parameter)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if _is_borrowed(buffer):  # replaced, since a view would keep what it is a view of
                module._buffers[name] = copied(buffer)


def _is_borrowed(weight: Tensor) -> bool:
    """Whether a tensor lies in memory that torch has not allocated: a mapped file, or an array."""
    plain = weight.device.type == "cpu" and weight.layout == torch.strided and not weight.is_quantized
    return plain and type(weight) in (Tensor, nn.Parameter) and not weight.untyped_storage().resizable()
