"""What is known of an operation beforehand: which arguments it writes, when the host waits for it, what it may mix."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .trees import tensors_in

INDEXING = {"aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default", "aten._index_put_impl_.default"}

BOUNDED = {"embedding", "gather", "index", "index_put", "index_put_", "_index_put_impl_", "index_select", "take"}
BOUNDED |= {
    "index_add",
    "index_add_",
    "index_copy",
    "index_copy_",
    "index_fill",
    "index_fill_",
    "scatter",
    "scatter_",
    "scatter_add",
    "scatter_add_",
}
"""Take indices that a kernel asserts to be in range."""

WHOLE = {"linear", "matmul", "layer_norm", "conv1d", "conv2d", "scaled_dot_product_attention", "softmax", "log_softmax"}
"""Made up of others that need not be looked at one by one: they wait for nothing, and their results are new."""

WAITING = {
    "aten._linalg_check_errors.default",
    "aten._local_scalar_dense.default",
    "aten._unique2.default",
    "aten.bincount.default",
    "aten.equal.default",
    "aten.histc.default",
    "aten.is_nonzero.default",
    "aten.masked_select.default",
    "aten.nonzero.default",
    "aten.unique_consecutive.default",
    "aten.unique_dim.default",
    "torchvision.nms.default",
}
"""Their result, or its shape, is something that the host has to know."""

ELEMENTWISE = {"where", "masked_fill", "fill", "clamp", "lerp", "addcmul", "addcdiv", "full_like", "index_fill", "copy"}
ELEMENTWISE |= {"floor_divide", "bitwise_and", "bitwise_or", "remainder", "pow", "baddbmm"}
"""Take a CPU tensor without axes for a number, beside those that torch tags as pointwise."""


@dataclass(frozen=True)
class Operation:
    """An operator of torch.

    Attributes:
        name: as in "aten.add.Tensor".
        base: as in "add".
        view: whether its results only look at what is there.
        composite: whether it is made up of others, and runs as them.
        reshapes: whether it changes the shape of its argument.
        elementwise: whether it takes CPU tensors without axes beside CUDA tensors.
        random: whether it draws random numbers.
        writes: the positions and names of the arguments that it writes.
        parts: runs the others that it is made up of.
    """

    name: str
    base: str
    view: bool
    composite: bool
    reshapes: bool
    elementwise: bool
    random: bool
    writes: tuple[tuple[int, str], ...]
    parts: Callable[..., Any]

    def written(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterable[torch.Tensor]:
        """The tensors among the arguments that it writes."""
        for position, name in self.writes:
            value = args[position] if position < len(args) else kwargs.get(name)
            yield from tensors_in(value)


@functools.cache
def operation_of(func: Any) -> Operation:
    """What is known of an overload."""
    name, schema = str(func), func._schema
    base = name.split(".")[1]
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return Operation(
        name=name,
        base=base,
        view=bool(schema.returns)
        and all(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns),
        composite=base not in WHOLE
        and (key in func.py_kernels or torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key.name)),
        reshapes=torch.Tag.inplace_view in func.tags,
        elementwise=torch.Tag.pointwise in func.tags or base.rstrip("_") in ELEMENTWISE,
        random=torch.Tag.nondeterministic_seeded in func.tags,
        writes=tuple(
            (i, argument.name)
            for i, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ),
        parts=func.py_kernels.get(key) or functools.partial(func._op_dk, key),
    )


def check_devices(
    operation: Operation, args: Sequence[Any], tensors: Sequence[torch.Tensor], others: Sequence[torch.Tensor]
) -> None:
    """Refuses tensors of several devices in one operation, but for what CUDA takes.

    Args:
        operation: which.
        args: its positional arguments.
        tensors: those among its arguments that lie on CUDA devices; at least one if there are others.
        others: those on the CPU.

    Raises:
        RuntimeError: as torch does.
    """
    where = {tensor.device for tensor in tensors}
    if len(where) == 1:
        if not others:
            return
        if operation.elementwise and all(tensor.dim() == 0 for tensor in others):
            return
        if operation.name in INDEXING and args[0].device.type == "cuda":
            indices = [tensor for tensor in args[1] if tensor is not None]
            if all(tensor.dim() == 0 or any(tensor is index for index in indices) for tensor in others):
                return
    if not where:
        return
    devices = sorted({str(tensor.device) for tensor in (*tensors, *others)})
    shapes = [(str(tensor.device), tuple(tensor.shape), tensor.dtype) for tensor in (*tensors, *others)][:6]
    raise RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{' and '.join(devices)}! ({operation.name} of {shapes})"
    )


def waits_for(operation: Operation, args: Sequence[Any], kwargs: dict[str, Any]) -> str | None:
    """Why the host waits until an operation on CUDA tensors is over, if it does."""
    if operation.name in WAITING:
        return operation.base
    if operation.name == "aten.repeat_interleave.Tensor" and kwargs.get("output_size") is None:
        return "repeat_interleave without output_size"
    if operation.name == "aten.where.self" and any(_on_cpu(value) for value in args):
        return "where with a CPU number, which is copied to the device"
    if operation.base in ("masked_fill", "masked_fill_") and isinstance(args[2], torch.Tensor) and not _on_cpu(args[2]):
        return "masked_fill with a number on the device"
    return _indexing_waits_for(args) if operation.name in INDEXING else None


def _indexing_waits_for(args: Sequence[Any]) -> str | None:
    indices = [index for index in args[1] if index is not None]
    masks = [index for index in indices if index.dtype in (torch.bool, torch.uint8) and not _on_cpu(index)]
    value = args[2] if len(args) > 2 else None
    if value is not None and _on_cpu(value) and value.numel() == 1 and len(masks) == len(indices) == 1:
        return None  # torch runs masked_fill_
    if masks:
        return "index with a mask"
    if any(_on_cpu(index) for index in indices):
        return "index with CPU indices, which are copied to the device"
    return (
        "index_put with a CPU number, which is copied to the device" if value is not None and _on_cpu(value) else None
    )


def _on_cpu(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"
