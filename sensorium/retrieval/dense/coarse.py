"""Vectors in few bits, and how far their products can be from those of the vectors themselves.

By Cauchy and Schwarz |q·x - q'·x'| ≤ |q|·|x - x'| + |q - q'|·|x'|, where q' and x' are what rounding made of q and x.
The norms of what rounding left over are known, so that the bound is exact and not a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import OptionError
from sensorium.models.on_device import sent
from sensorium.pipelines.placement import cpu_features, multiplies_bfloat16
from sensorium.retrieval.dense.rounding import FLOAT32, GROUP, SMALLEST, powers_below, rounded

BLOCK = 32 * GROUP
"""Rows that are rounded at once on a CPU, and a divisor of those on a GPU."""

BLOCK_VALUES = 2**24
"""Values that are rounded at once on a GPU, about."""

MOST_LEFT_OVER = 0.03
"""Of a vector's length, what rounding to int8 may leave over; normal vectors of 768 dimensions leave 0.01."""

INT8_WIDTHS = range(2, 65_537)
"""Dimensions for which a sum of products of int8 stays below 2³⁰; of a single one torch's product is wrong."""

VANISHING = 2.0**-126
"""Below this a processor may treat a number as zero."""


@dataclass(frozen=True)
class Coarse:
    """Vectors as they are scanned.

    Attributes:
        values: `(N, D)` int8, float16, bfloat16 or float32.
        scales: `(G,)` float32, by which the values of each 32 rows are multiplied; ones but for int8 and float16.
        left_over: `(G,)` float32, the largest norm of vector - scale · value of each 32 rows; zeros for float32.
        longest: `(G,)` float32, the largest norm of scale · value of each 32 rows.
    """

    values: Tensor
    scales: Tensor
    left_over: Tensor
    longest: Tensor

    @property
    def bounds(self) -> Tensor:
        """`(3, G)` float32, scales, left over and longest."""
        return torch.stack([self.scales, self.left_over, self.longest])

    def exactly(self, vectors: Tensor) -> Coarse:
        """The vectors that these stand for, which lie in memory or in a mapped file; their bounds are known."""
        none = torch.zeros_like(self.left_over)
        return Coarse(vectors, torch.ones_like(self.scales), none, self.longest + self.left_over)

    def gathered(self, rows: Tensor) -> Coarse:
        """Some rows, float32; groups are formed again."""
        longest = self.longest[rows // GROUP]
        longest = torch.nn.functional.pad(longest, (0, -len(rows) % GROUP)).view(-1, GROUP).amax(1)
        return Coarse(self.values[rows], torch.ones_like(longest), torch.zeros_like(longest), longest)


def coarse_copy(
    vectors: NDArray[np.float32] | Tensor,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    previous: Coarse | None = None,
) -> Coarse:
    """Rounds vectors, some at a time; for a GPU they are rounded there.

    Args:
        vectors: `(N, D)` float32, finite; may be mapped from a file, which is read once.
        dtype: int8, float16, bfloat16 or float32, which copies nothing on a CPU; None for the one that is scanned
            fastest there, bfloat16 instead of int8 for vectors with a few values far larger than the others.
        device: where the values go; the bounds stay on the CPU.
        previous: the first of the vectors as they were rounded before, in its dtype; the others are rounded alone.

    Raises:
        OptionError: the dtype is not multiplied there, or the values do not fit into the device's memory.
    """
    device = device or torch.device("cpu")
    vectors = vectors if isinstance(vectors, Tensor) else mapped(vectors)
    if previous is not None and not len(previous.values):
        previous = None  # nothing tells no dtype
    if previous is not None:
        dtype = previous.values.dtype
    dtype = dtype or _fastest(vectors, device)
    _check_dtype(dtype, device, vectors.shape[1])
    try:
        return _copy(vectors, dtype, device, previous)
    except torch.OutOfMemoryError as error:
        free, _ = torch.cuda.mem_get_info(device)
        size = f"{vectors.numel() * dtype.itemsize / 2**20:,.0f} MiB for {len(vectors):,} vectors"
        raise OptionError(
            f"an exact search on {device} takes {size} in {dtype}, and {free / 2**20:,.0f} MiB are free there; "
            'search on the CPU (device="cpu"), or build the index with kind="ivfpq"'
        ) from error


def _check_dtype(dtype: torch.dtype, device: torch.device, width: int) -> None:
    if dtype == torch.int8 and (device.type != "cpu" or width not in INT8_WIDTHS):
        raise OptionError(f"int8 is for a CPU and 2 to 65,536 dimensions, got {device.type} and {width}; try bfloat16")
    if dtype == torch.float16 and device.type != "cuda":
        raise OptionError(f"float16 is for CUDA, got {device.type}; try bfloat16")


def _copy(vectors: Tensor, dtype: torch.dtype, device: torch.device, previous: Coarse | None) -> Coarse:
    count, width = vectors.shape
    same = dtype == torch.float32
    values = vectors.to(device) if same else torch.empty((count, width), dtype=dtype, device=device)
    bounds = torch.empty((3, -(-count // GROUP)))
    done = 0 if previous is None else len(previous.values) // BLOCK * BLOCK
    if previous is not None and done:
        if not same:
            values[:done] = previous.values[:done]
        bounds[:, : done // GROUP] = previous.bounds[:, : done // GROUP]
    step = BLOCK if device.type == "cpu" else max(BLOCK, BLOCK_VALUES // width // BLOCK * BLOCK)
    for start in range(done, count, step):
        block = (values if same else vectors)[start : start + step].to(device)
        few, some = rounded(block, dtype)
        if not same:
            values[start : start + step] = few
        at = start // GROUP
        bounds[:, at : at + some.shape[1]] = some.cpu()
    if device.type == "cuda":  # whoever searches may do so on another stream
        torch.cuda.current_stream(device).synchronize()
    return Coarse(values, *bounds)


def mapped(array: NDArray[Any]) -> Tensor:
    """A tensor of an array's memory, also of a file mapped for reading alone: nobody writes to it here."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    return torch.from_numpy(np.asarray(_Readable(array)))


class _Readable:
    """An array's memory, which torch does not take from an array that is not to be written to."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        described = array.__array_interface__
        self.__array_interface__ = {**described, "data": (described["data"][0], False)}


@dataclass(frozen=True)
class CoarseQueries:
    """Queries as they are multiplied with `Coarse` values.

    Attributes:
        exact: `(B, D)` float32.
        values: `(B, D)` in the dtype of the vectors' values.
        scales: `(B,)` float32.
        of_left_over: `(B,)` float32, by what the norm of what rounding left of a vector is multiplied in the bound.
        of_longest: `(B,)` float32, the same for the norm of the rounded vector.
        always: `(B,)` float32, what is added to the bound.
        spread: what a product's own rounding changes at most, relative to its value.
    """

    exact: Tensor
    values: Tensor
    scales: Tensor
    of_left_over: Tensor
    of_longest: Tensor
    always: Tensor
    spread: float

    @classmethod
    def of(cls, queries: Tensor, dtype: torch.dtype, device: torch.device) -> Self:
        """Rounds `(B, D)` float32 queries."""
        width = queries.shape[1]
        largest = queries.abs().amax(1).clamp_(min=SMALLEST)
        if dtype == torch.int8:
            scales = largest / 127
            values = (queries / scales[:, None]).round_()
        else:
            scales = powers_below(largest) if dtype == torch.float16 else torch.ones(len(queries))
            values = (queries / scales[:, None]).to(dtype).float()
        double = queries.double()
        length = double.norm(dim=1)
        left_over = (double - values.double() * scales.double()[:, None]).norm(dim=1)
        # D sums in float32 here and there, and those of the bounds themselves
        rounding = 2 * (width + 16) * FLOAT32
        if dtype == torch.float32 and not _multiplies_float32(device):
            rounding += 2.0**-6
        more = 1 + 1e-6
        return cls(
            queries,
            sent(values.to(dtype), device),
            scales,
            (length * (1 + rounding) * more).float(),
            ((left_over + rounding * length) * more).float(),
            (8 * VANISHING * (width + width**0.5 * (1 + length))).float(),
            2.0**-7 if dtype == torch.bfloat16 and device.type == "cpu" else 0.0,
        )


def _multiplies_float32(device: torch.device) -> bool:
    """Whether products of float32 matrices are not allowed fewer bits there."""
    backends: Any = torch.backends
    told = [backends.mkldnn.matmul, backends.mkldnn] if device.type == "cpu" else [backends.cuda.matmul]
    every = (each.fp32_precision for each in (*told, backends))
    return next((precision for precision in every if precision != "none"), "ieee") == "ieee"


@cache
def multiplies_int8() -> bool:
    """Whether this CPU has instructions that multiply int8 matrices and sum in int32, and torch uses them.

    Without them products may be slow, or saturate in between, as they do where a setting of oneDNN hides instructions.
    """
    if not cpu_features() & {"avx512_vnni", "avx_vnni"}:
        return False
    extremes = torch.full((4, 256), 127, dtype=torch.int8)
    extremes[1::2] = -127
    right = extremes.double() @ extremes.double().T
    return bool((torch._int_mm(extremes, extremes.T) == right).all())


def _fastest(vectors: Tensor, device: torch.device) -> torch.dtype:
    """The dtype in which vectors are scanned fastest, judging by a sample of them."""
    if device.type == "cuda":
        return torch.float16
    narrow = device.type == "cpu" and vectors.shape[1] in INT8_WIDTHS and multiplies_int8()
    if narrow and len(vectors):
        left = torch.cat([some[1] / some[2] for some in _sample(vectors)])
        narrow = bool(left.median() <= MOST_LEFT_OVER)
    return torch.int8 if narrow else torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def _sample(vectors: Tensor) -> Iterator[Tensor]:
    step = max(BLOCK, len(vectors) // 16 // GROUP * GROUP)
    for start in range(0, len(vectors), step):
        yield rounded(vectors[start : start + 8 * GROUP], torch.int8)[1]
