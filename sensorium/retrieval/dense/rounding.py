"""A block of vectors in few bits, with what is known of its rounding: scales, and norms of what it left over."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32
"""Rows that share a scale and bounds."""

SMALLEST = 2.0**-100
"""Smaller magnitudes are rounded to nothing by int8 and float16, lest scales vanish."""

FLOAT32 = 2.0**-24
"""What rounding to float32 changes at most, relative to the value."""


def rounded(vectors: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rounds a block of vectors, where they lie.

    Args:
        vectors: `(T, D)` float32, finite.
        dtype: int8, float16, bfloat16 or float32.

    Returns:
        `(T, D)` values in that dtype, but for int8 in float32; and `(3, G)` float32 for each 32 rows: the scale, the
        largest norm of what is left over, and of what is not.
    """
    if dtype == torch.int8:
        return _int8(vectors)
    return _float16(vectors) if dtype == torch.float16 else _float(vectors, dtype)


def powers_below(values: Tensor) -> Tensor:
    """The largest powers of two that are no larger than these positive, normal float32 numbers; exact."""
    return (values.view(torch.int32) & 0x7F800000).view(torch.float32)


def _float16(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Scales are powers of two by which the largest magnitudes are from 1 to 2: nothing overflows, divisions are exact.

    Values below 2⁻¹⁴ of the largest have fewer bits, which their group's norm of what is left over tells.
    """
    count, width = vectors.shape
    groups = torch.nn.functional.pad(vectors, (0, 0, 0, -count % GROUP)).view(-1, GROUP * width)
    scales = powers_below(groups.abs().amax(1).clamp_(min=SMALLEST))
    scaled = groups / scales[:, None]
    values = scaled.half()
    kept = values.float()
    left, long = ((each.view(-1, GROUP, width).norm(dim=2).amax(1)) for each in (scaled.sub_(kept), kept))
    # numbers of 2⁻²⁵ and more, whose squares do not vanish; quotients too small for float32 are less than 2⁻¹²⁵
    more = 1 + (width + 8) * FLOAT32
    left = left * more + width**0.5 * 2.0**-100
    return values.view(-1, width)[:count], torch.stack([scales, left * scales * more, long * more * scales * more])


def _int8(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """`(T, D)` values, and `(3, G)` scales, norms of what is left over, and norms of what is not."""
    count, width = vectors.shape
    groups = torch.nn.functional.pad(vectors, (0, 0, 0, -count % GROUP)).view(-1, GROUP * width)
    lowest, highest = groups.aminmax(dim=1)
    scales = (torch.maximum(highest, -lowest) / 127).clamp_(min=SMALLEST / 127)
    scaled = groups / scales[:, None]
    values = scaled.round()
    # the norms are taken of numbers between 2⁻¹ and 127, whose squares neither vanish nor overflow
    more = 1 + (width + 8) * FLOAT32
    left = scaled.sub_(values).view(-1, GROUP, width).norm(dim=2).amax(1) * more + width**0.5 * 2.0**-16
    long = values.view(-1, GROUP, width).norm(dim=2).amax(1) * more
    return values.view(-1, width)[:count], torch.stack([scales, left * scales * more, long * scales * more])


def _float(vectors: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same for floating-point types."""
    values = vectors.to(dtype)
    if dtype == torch.float32:
        left, long = vectors.new_zeros(len(vectors)), _norms(vectors)
    else:
        kept = values.float()
        left, long = _norms(vectors - kept), _norms(kept)
    largest = [torch.nn.functional.pad(n, (0, -len(n) % GROUP)).view(-1, GROUP).amax(1) for n in (left, long)]
    return values, torch.stack([torch.ones_like(largest[0]), *largest])


def _norms(vectors: Tensor) -> Tensor:
    """`(T,)`, no less than the norms of vectors; their squares neither vanish nor overflow."""
    largest = vectors.abs().amax(1).clamp_(min=SMALLEST)
    norms: Tensor = (vectors / largest[:, None]).norm(dim=1) * largest
    return norms * (1 + (vectors.shape[1] + 8) * FLOAT32)
