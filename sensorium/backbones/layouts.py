"""How the hidden states of a vision model lie in memory, read from their shapes, and how to make maps of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from sensorium.errors import CheckpointError

# The last words of the names that models give to learned tokens which stand for no position.
_PREFIX_NAMES = ("cls_token", "class_token", "class_embedding", "distillation_token", "register_tokens")
_NO_PART = ("mask_token", "mask_tokens")  # put in the place of positions, in training


@dataclass(frozen=True)
class Layout:
    """Where the positions of one hidden state are.

    Attributes:
        kind: `(B, C, H, W)`, `(B, H, W, C)` or `(B, N, C)`.
        stride: height and width in px of the input that one position stands for.
        prefix: for tokens, how many come before the first position.
    """

    kind: Literal["channels-first", "channels-last", "tokens"]
    stride: tuple[int, int]
    prefix: int = 0

    def to_map(self, state: Tensor, size: tuple[int, int]) -> Tensor:
        """`(B, C, H, W)` from a hidden state of a picture of `size` (height, width) px."""
        if self.kind == "channels-first":
            return state
        if self.kind == "channels-last":
            return state.permute(0, 3, 1, 2).contiguous()
        positions = state[:, self.prefix :].transpose(1, 2)
        for rounded in (math.ceil, math.floor):  # convolutions of stages round up, those of patches down
            height, width = (rounded(length / step) for length, step in zip(size, self.stride, strict=True))
            if height * width == positions.shape[2]:
                return positions.reshape(state.shape[0], state.shape[2], height, width)
        raise CheckpointError(f"{positions.shape[2]} positions are no map of a picture of {size} px at {self.stride}.")

    def to_tokens(self, state: Tensor) -> Tensor:
        """`(B, N, C)` from a hidden state, positions row by row after the prefix tokens."""
        if self.kind == "channels-first":
            return state.flatten(2).transpose(1, 2)
        return state.flatten(1, 2) if self.kind == "channels-last" else state


def read_layout(
    shape: Sequence[int], size: tuple[int, int], *, prefix: int, patch: tuple[int, int] | None = None
) -> Layout:
    """Finds out the layout of a hidden state of this shape, for a picture of `size` (height, width) px.

    Args:
        shape: that of the hidden state.
        size: of the picture that it came from.
        prefix: the prefix tokens that the model adds, if the state is tokens.
        patch: height and width in px of the model's patches, where it says so: of the strides that fit, that one.

    Raises:
        CheckpointError: no layout fits, or more than one could.
    """
    if len(shape) == 4:
        first, last = _stride(size, shape[2], shape[3]), _stride(size, shape[1], shape[2])
        if first and last and first != last:
            raise CheckpointError(
                f"a hidden state of shape {tuple(shape)} could be laid out in two ways for {size} px."
            )
        if first:
            return Layout("channels-first", first)
        if last:
            return Layout("channels-last", last)
    if len(shape) == 3:
        fitting = [
            Layout("tokens", (step, step), before) for before in {prefix, 0} for step in _steps(size, shape[1] - before)
        ]
        of_patches = [layout for layout in fitting if layout.stride == patch]
        if len(fitting) == 1 or of_patches:
            return (of_patches or fitting)[0]
    raise CheckpointError(
        f"a hidden state of shape {tuple(shape)} with {prefix} prefix tokens is no map of a picture of {size} px."
    )


def count_prefix_tokens(model: nn.Module) -> int:
    """How many learned tokens a model puts before the positions: class, distillation and register tokens.

    Raises:
        CheckpointError: the model has learned tokens of another kind, whose place is not known.
    """
    count = 0
    for path, parameter in model.named_parameters():
        name = path.rpartition(".")[2]
        if name in _PREFIX_NAMES:
            count += parameter.shape[-2] if parameter.ndim > 1 else 1
        elif name.endswith(("_token", "_tokens")) and name not in _NO_PART:
            raise CheckpointError(f"its learned {path!r} are neither prefix tokens nor masks of positions")
    return count


def stride_of(length: int, cells: int) -> int:
    """The px that one cell of a map stands for, where `cells` of them cover `length` px.

    Where it does not divide evenly, convolutions have rounded: of the steps that could have given this many cells,
    the one divisible by the highest power of two is meant (176 px in 6 cells: 32, not 29).
    """
    if length % cells == 0:
        return length // cells
    steps = [step for step in range(1, length + 1) if cells in (length // step, -(-length // step))]
    return max(steps, key=lambda step: (step & -step, step)) if steps else round(length / cells)


def _steps(size: tuple[int, int], positions: int) -> list[int]:
    """The strides with which a picture has this many positions: dividing it evenly, or powers of two, rounded up."""
    return [
        step
        for step in range(1, max(size) + 1)
        if math.ceil(size[0] / step) * math.ceil(size[1] / step) == positions
        and (size[0] % step == size[1] % step == 0 or step & (step - 1) == 0)
    ]


def _stride(size: tuple[int, int], height: int, width: int) -> tuple[int, int] | None:
    """The stride of a map of this height and width, None if it would not be the same both ways."""
    if not (0 < height <= size[0] and 0 < width <= size[1]):
        return None
    steps = stride_of(size[0], height), stride_of(size[1], width)
    fits = steps[0] == steps[1] and all(
        abs(length / step - cells) <= 1 for length, step, cells in zip(size, steps, (height, width), strict=True)
    )
    return steps if fits else None
