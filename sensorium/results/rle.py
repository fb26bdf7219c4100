"""COCO's compressed run-length encoding of binary masks, in NumPy.

A mask is read column by column; `counts` are the lengths of its runs, zeros and ones in turn, zeros first (0 where the
mask starts with ones). In the compressed form each count but the first three is its difference from the count two
before it, and each number is written in groups of five bits, lowest first, as signed as it must be, one printable
character a group (Lin et al., cocoapi, `maskApi.c`). pycocotools, COCO's data sets and annotation tools read it.

What is decoded may come from anywhere: no memory is taken for a size, and none is written for a count, that was not
checked before.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rle = dict[str, Any]
_GROUPS = 13  # of five bits: enough for any signed 64-bit number
_LONGEST = 2**40  # px of one run that is read: sums of two are far from where 64 bits wrap

MAX_PIXELS = 2**28
"""Pixels of a mask that is decoded, unless told otherwise: more than `MediaLimits` lets a picture have."""


def encode(mask: ArrayLike) -> Rle:
    """Encodes one mask.

    Args:
        mask: `(H, W)` bool, or numbers of which those other than zero belong to the mask.

    Returns:
        `{"size": [H, W], "counts": str}`, plain JSON.

    Raises:
        ValueError: not an `(H, W)` array.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ValueError(f"a mask is an (H, W) array, got shape {array.shape}")
    height, width = array.shape
    return {"size": [height, width], "counts": compress(runs(array))}


def decode(rle: Mapping[str, Any], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """Decodes one mask.

    Args:
        rle: `{"size": [H, W], "counts": …}` with counts compressed (str or ASCII bytes) or plain (a list of lengths).
        max_pixels: how large a mask may be, whatever its counts say.

    Returns:
        `(H, W)` bool.

    Raises:
        ValueError: it is not such a mapping, its counts do not fill the mask exactly, or it has too many pixels.
    """
    size, counts = _parts(rle, max_pixels)
    return fill(counts, size)


def runs_of(rle: Mapping[str, Any], size: tuple[int, int], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.int64]:
    """The runs of a mask in RLE, which is not unpacked.

    Args:
        rle: as for `decode`.
        size: (H, W) that it must have.
        max_pixels: as for `decode`.

    Returns:
        `(R,)` int64, as `runs` gives.

    Raises:
        ValueError: as `decode` does, or it is of another size.
    """
    own, counts = _parts(rle, max_pixels)
    if own != size:
        raise ValueError(f"a mask of (height, width) {size} is expected, got one of {own}")
    check_runs(counts, size)
    return counts


def checked_size(size: Sequence[SupportsIndex], *, masks: int = 1, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """The (height, width) that something which is not trusted gives for its masks, before memory is taken for them.

    Args:
        size: two whole numbers.
        masks: how many there are of this size.
        max_pixels: of them all.

    Raises:
        ValueError: a side is negative, or there are too many pixels.
        TypeError: not two whole numbers.
    """
    sides = [operator.index(side) for side in size]
    if len(sides) != 2:
        raise TypeError(f"a mask has a height and a width, got {len(sides)} numbers")
    height, width = sides
    if height < 0 or width < 0:
        raise ValueError(f"a mask has a height and a width from 0, got {height} x {width}")
    if height * width * masks > max_pixels:
        times = "" if masks == 1 else f", {masks} times,"
        raise ValueError(f"{height} x {width} px{times} are more than the {max_pixels:,} px of masks that are decoded")
    return height, width


def runs(mask: ArrayLike) -> NDArray[np.int64]:
    """The lengths of a mask's runs, column by column, zeros first.

    Args:
        mask: `(H, W)`, bool or numbers.

    Returns:
        `(R,)` int64; they add up to H·W, and only the first may be 0.
    """
    array = np.asarray(mask).astype(bool, copy=False)
    height = len(array)
    rows = np.flatnonzero(array.any(1))
    if not len(rows):
        return np.array([array.size], np.int64)
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(array[top:bottom].any(0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    if bottom - top == height or 2 * (bottom - top) * (right - left) > array.size:
        flat = np.ravel(array, order="F")
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    else:  # only the box around the ones is turned, a zero behind each column: most masks are small
        turned = np.zeros((right - left, bottom - top + 1), bool)
        turned[:, :-1] = array[top:bottom, left:right].T
        column, row = np.divmod(np.flatnonzero(np.diff(turned.ravel(), prepend=False)), bottom - top + 1)
        changes = (left + column) * height + top + row
        changes = changes[(changes > 0) & (changes < array.size)]
    return runs_between(changes, array.size, starts_set=bool(array[0, 0]))


def runs_by_value(segmentation: NDArray[Any]) -> dict[int, NDArray[np.int64]]:
    """The runs of the mask of each value in a map, as `runs` gives them.

    Args:
        segmentation: `(H, W)` integers.

    Returns:
        `(R,)` int64 for each value that there is, in ascending order.
    """
    flat = np.ravel(segmentation, order="F")
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(flat)), bool), flat[1:] != flat[:-1]]))
    ends = np.append(starts[1:], len(flat))
    held = flat[starts]
    order = np.argsort(held, kind="stable")
    values, firsts = np.unique(held[order], return_index=True)
    found = {}
    for value, own in zip(values.tolist(), np.split(order, firsts[1:]), strict=False):
        changes = np.column_stack([starts[own], ends[own]]).ravel()
        set_first = bool(starts[own[0]] == 0)
        last = len(changes) - int(changes[-1] == len(flat))
        found[value] = runs_between(changes[int(set_first) : last], len(flat), starts_set=set_first)
    return found


def runs_between(changes: NDArray[Any], length: int, *, starts_set: bool) -> NDArray[np.int64]:
    """The lengths of runs, from where they begin.

    Args:
        changes: `(C,)` integers, ascending: the positions whose value differs from the one before.
        length: of the whole flattened mask, H·W.
        starts_set: whether the value at position 0 is one.

    Returns:
        `(R,)` int64, as `runs` gives.
    """
    edges = np.concatenate([np.zeros(1 + starts_set, np.int64), changes, np.full(1, length, np.int64)])
    return np.diff(edges)


def fill(lengths: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of these runs.

    Args:
        lengths: `(R,)` integers, as `runs` gives.
        size: `(H, W)`.

    Returns:
        `(H, W)` bool; its memory lies column by column.

    Raises:
        ValueError: the runs do not fill the mask exactly.
    """
    height, width = size
    check_runs(lengths, size)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def checked_runs(lengths: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """As `check_runs`; gives the runs."""
    check_runs(lengths, size)
    return lengths


def check_runs(lengths: NDArray[np.int64], size: tuple[int, int]) -> None:
    """Refuses runs that do not fill a mask exactly.

    Args:
        lengths: `(R,)` integers.
        size: `(H, W)`.

    Raises:
        ValueError: they do not, or one is negative.
    """
    height, width = size
    pixels = height * width
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise ValueError(f"runs are a row of whole numbers, got {lengths.dtype} of shape {lengths.shape}")
    shortest, longest = (int(lengths.min()), int(lengths.max())) if len(lengths) else (0, 0)
    exact = min(size) >= 0 and shortest >= 0 and len(lengths) * longest < 2**63  # that the sum cannot wrap
    if not exact or int(lengths.sum(dtype=np.int64)) != pixels:
        told = f"of {int(lengths.sum(dtype=np.int64))} px" if exact else f"from {shortest} to {longest} px long"
        raise ValueError(f"runs {told} do not fill a mask of {height} x {width} px")


def compress(lengths: NDArray[np.int64]) -> str:
    """Counts as COCO's string.

    Args:
        lengths: `(R,)` integers.
    """
    numbers = lengths.astype(np.int64)
    numbers[3:] -= lengths[1:-2]
    shifts = 5 * np.arange(_GROUPS)
    groups = (numbers[:, None] >> shifts) & 31
    # A number ends with the first group whose sign bit says all that is left of it.
    rest = numbers[:, None] >> np.minimum(shifts + 5, 63)
    ends = np.where(groups & 16, rest == -1, rest == 0)
    last = ends.argmax(axis=1)[:, None]
    position = np.arange(_GROUPS)
    characters = groups + np.where(position < last, 32, 0) + 48
    written: bytes = characters[position <= last].astype(np.uint8).tobytes()
    return written.decode("ascii")


def decompress(counts: str | bytes) -> NDArray[np.int64]:
    """COCO's string as counts.

    Returns:
        `(R,)` int64.

    Raises:
        ValueError: it has invalid characters, ends in the middle of a number, or has counts that no mask has.
    """
    raw = counts.encode("ascii", "replace") if isinstance(counts, str) else bytes(counts)
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero((codes & 32) == 0)
    if (codes < 0).any() or (codes > 63).any() or not len(ends) or ends[-1] != len(codes) - 1:
        raise ValueError(f"expected a string of COCO's compressed counts, got {counts[:40]!r}")
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if sizes.max() > _GROUPS - 1:
        raise _no_count()
    position = np.arange(len(codes)) - np.repeat(starts, sizes)
    numbers = np.add.reduceat((codes & 31) << (5 * position), starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * sizes), 0)
    if np.abs(numbers).max() > _LONGEST:
        raise _no_count()
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    # The first sum to leave this range is off by one difference at most: it is seen before any could have wrapped.
    if numbers.min() < 0 or numbers.max() > _LONGEST:
        raise _no_count()
    return numbers


def _parts(rle: Mapping[str, Any], max_pixels: int) -> tuple[tuple[int, int], NDArray[np.int64]]:
    """The size and the counts of an RLE dict."""
    try:
        size, counts = checked_size(rle["size"], max_pixels=max_pixels), rle["counts"]
    except (KeyError, TypeError) as error:
        raise ValueError(f'a mask in RLE is {{"size": [h, w], "counts": …}}, got {rle!r:.200}') from error
    return size, decompress(counts) if isinstance(counts, (str, bytes)) else _plain(counts)


def _plain(counts: Any) -> NDArray[np.int64]:
    """A list of lengths as an array.

    Raises:
        ValueError: it holds something other than whole numbers.
    """
    try:
        array = np.asarray(counts)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"the counts of a mask in RLE are a list of whole numbers, got {counts!r:.200}") from error
    if array.ndim == 1 and not len(array):
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or int(array.max()) > _LONGEST:
        raise ValueError(f"the counts of a mask in RLE are a list of whole numbers, got {counts!r:.200}")
    return array.astype(np.int64)


def _no_count() -> ValueError:
    return ValueError("a count in this RLE is negative, or longer than any mask")
