"""Modules that are built for weights which a checkpoint holds: they are not filled first, and share its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLS = frozenset(
    """
    add_ bernoulli_ clamp_ constant_ div_ erfinv_ exponential_ fill_ kaiming_normal_ kaiming_uniform_ mul_ normal_ ones_
    sub_ trunc_normal_ uniform_ xavier_normal_ xavier_uniform_ zero_ zeros_
    """.split()  # noqa: SIM905 - a list of words
)
"""What gives a new module's weights their first values, as a method of tensors or in `torch.nn.init`."""


class Unfilled(TorchFunctionMode):
    """Within it, weights that a library builds keep no values, and take a stored tensor's memory where it copies it.

    For a library that fills weights with random numbers, and copies the checkpoint's over them from a state that it has
    copied before: that takes a hundred times as long as to map a file, and twice the model's memory. All weights have
    to be in the checkpoint, which is for the caller to see to. Buffers are filled and copied as ever.

    Args:
        stored: tensors of the checkpoint, which are not copied with what holds them.
    """

    def __init__(self, stored: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._stored = {id(tensor): tensor for tensor in stored}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Leaves out fills of weights, and copies of stored tensors."""
        kwargs = kwargs or {}
        name, target = getattr(func, "__name__", ""), args[0] if args else kwargs.get("tensor")
        if name == "__deepcopy__" and id(target) in self._stored:
            return target
        if isinstance(target, nn.Parameter):
            if name in _FILLS:
                return target
            if name == "copy_" and args[1].shape == target.shape:
                take(target, args[1])
                return target
        return func(*args, **kwargs)


def take(weight: Tensor, stored: Tensor) -> None:
    """Gives a weight or a buffer the values of a stored tensor of its shape.

    A weight that lies on the CPU shares the tensor's memory where both have one dtype.
    """
    if isinstance(weight, nn.Parameter):
        weight.data = stored.detach().to(device=weight.device, dtype=weight.dtype).contiguous()
    else:
        weight.copy_(stored)
