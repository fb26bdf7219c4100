"""Class maps at a picture's size from logits at a network's: bilinear upsampling and arg-max, without the upsampling.

Upsampled, the logits of 150 classes take 600 bytes per px, and each is read once. Here a pixel's class is decided
within its *cell*: the square between four neighbouring logits, of which its own are weighted means. A class whose
largest corner lies below another's smallest cannot win anywhere in the cell. In most cells one class is left, and
nothing has to be interpolated; in the others the two or three that are left are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.on_device import sent

ROWS = 8
"""Rows of logits that are looked at together: 150 classes by 9 by 128 stay in a core's cache."""

CROWDED = 8
"""With more than 1/8 of the classes as candidates per cell on average, everything is interpolated."""

AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Interpolated values that are held at once."""

_ROUNDING = 1e-5  # an interpolated value may lie above its largest corner by float32's rounding


@dataclass(frozen=True)
class PixelAxis:
    """Where the pixels of one axis lie between the logits of that axis, as `align_corners=False` has it; on the CPU.

    Attributes:
        low: `(M,)` int64, the logit before each pixel, at most the last but one.
        high: `(M,)` int64, the one behind it.
        weight: `(M,)` float32 in [0, 1], of the one behind.
        band: `(M,)` int64, as `low + 1`, but for the pixels beyond the outermost logits: those have bands of their own,
            so that no band is much wider than another.
    """

    low: Tensor
    high: Tensor
    weight: Tensor
    band: Tensor

    @classmethod
    def between(cls, logits: int, pixels: int) -> PixelAxis:
        """The axis of so many logits, drawn out or drawn together to so many pixels."""
        scale = torch.tensor(logits / pixels, dtype=torch.float32)
        free = scale * (torch.arange(pixels, dtype=torch.float32) + 0.5) - 0.5
        position = free.clamp(0, logits - 1)
        low = position.floor().long().clamp_max(max(logits - 2, 0))
        return cls(low, (low + 1).clamp_max(logits - 1), position - low, free.floor().long() + 1)

    def on(self, device: torch.device) -> PixelAxis:
        """The same on a device."""
        return PixelAxis(*(sent(column, device) for column in vars(self).values()))


def class_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class of the largest logit of every pixel, after bilinear upsampling; the first of equal ones.

    Args:
        logits: `(C, h, w)` floating-point on any device; the arithmetic is in float32.
        size: (H, W) of the map in px.

    Returns:
        `(H, W)` on the device of `logits`; uint8 for up to 256 classes, else wider. Equal to the
        arg-max of `interpolate(logits, size, mode="bilinear", align_corners=False)` but for ties within rounding.
    """
    logits = logits.to(torch.float32, memory_format=torch.contiguous_format)
    classes, height, width = logits.shape
    grows = size[0] * size[1] > 2 * height * width
    if logits.device.type == "cpu" and grows and min(height, width) > 1 and classes > 2:
        candidates = _candidates(logits)
        if candidates is not None:
            return _by_cells(logits, size, candidates)
    label_type = _label_type(classes)
    slabs = [slab.argmax(0).to(label_type) for slab in upsampled(logits, size)]
    return slabs[0] if len(slabs) == 1 else torch.cat(slabs)


def upsampled(maps: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """The maps at another size, bilinear, from top to bottom in slabs of rows, so that memory stays bounded.

    Args:
        maps: `(C, h, w)` float32.
        size: (H, W) in px.

    Yields:
        `(C, R, W)`; the R add up to H.
    """
    axis = PixelAxis.between(maps.shape[1], size[0])
    rows, columns = axis.on(maps.device), PixelAxis.between(maps.shape[2], size[1]).on(maps.device)
    step = max(1, AT_ONCE.get(maps.device.type, AT_ONCE["cpu"]) // max(1, len(maps) * size[1]))
    low, high = axis.low.tolist(), axis.high.tolist()
    for top in range(0, size[0], step):
        bottom = min(top + step, size[0])
        needed = maps[:, low[top] : high[bottom - 1] + 1]
        wide = _mix(needed[..., columns.low], needed[..., columns.high], columns.weight)
        part = slice(top, bottom)
        yield _mix(wide[:, rows.low[part] - low[top]], wide[:, rows.high[part] - low[top]], rows.weight[part, None])


def _mix(low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    return low * (1 - weight) + high * weight


def _label_type(classes: int) -> torch.dtype:
    return torch.uint8 if classes <= 256 else torch.int16 if classes <= 32768 else torch.int32


@dataclass(frozen=True)
class CellCandidates:
    """The classes that can win somewhere in a cell, for each cell.

    Attributes:
        label: `(P,)` int64, the classes, cell by cell, ascending within a cell.
        starts: `(h - 1, w - 1)` int64, where a cell's begin in `label`.
        counts: `(h - 1, w - 1)` int64, how many a cell has; at least one.
    """

    label: Tensor
    starts: Tensor
    counts: Tensor


def _candidates(logits: Tensor) -> CellCandidates | None:
    """Compares the corners of all cells; None if too many are left for cells to pay off, or logits are NaN."""
    classes, height, width = logits.shape
    grid = (height - 1, width - 1)
    budget = classes * grid[0] * grid[1] // CROWDED
    cells, labels = [], []
    for top in range(0, grid[0], ROWS):
        strip = logits[:, top : min(top + ROWS, grid[0]) + 1]
        largest = torch.maximum(strip[:, :-1], strip[:, 1:])
        smallest = torch.minimum(strip[:, :-1], strip[:, 1:])
        largest = torch.maximum(largest[..., :-1], largest[..., 1:])
        bar = torch.minimum(smallest[..., :-1], smallest[..., 1:]).amax(0)
        possible = largest >= bar - _ROUNDING * (1 + bar.abs())
        label, cell = possible.flatten(1).nonzero(as_tuple=True)
        cells.append(cell + top * grid[1])
        labels.append(label)
        budget -= len(label)
        if budget < 0:
            return None
    cell = torch.cat(cells)
    counts = torch.bincount(cell, minlength=grid[0] * grid[1])
    if not bool(counts.all()):
        return None
    label = torch.cat(labels)[cell.argsort(stable=True)]
    return CellCandidates(label, (counts.cumsum(0) - counts).view(grid), counts.view(grid))


def _by_cells(logits: Tensor, size: tuple[int, int], candidates: CellCandidates) -> Tensor:
    """The class map from each cell's candidates."""
    _, height, width = logits.shape
    rows, columns = PixelAxis.between(height, size[0]), PixelAxis.between(width, size[1])
    first = candidates.label[candidates.starts].to(_label_type(len(logits)))
    out = first.index_select(0, rows.low).index_select(1, columns.low)
    down, across = _bands(rows.band, height), _bands(columns.band, width)
    row_of, column_of = ((torch.arange(n + 1) - 1).clamp(0, n - 2) for n in (height, width))
    rivals = candidates.counts[row_of][:, column_of]
    i, j = (rivals > 1).nonzero(as_tuple=True)
    order = rivals[i, j].argsort(descending=True)
    tall, wide = int(down.diff().max()), int(across.diff().max())
    for part in order.split(max(1, AT_ONCE["cpu"] // (8 * tall * wide))):
        y, y_valid = _pixels(down, i[part], tall)
        x, x_valid = _pixels(across, j[part], wide)
        cells = (row_of[i[part]], column_of[j[part]])
        winner = _contest(logits, cells, candidates, rows.weight[y], columns.weight[x])
        valid = y_valid[:, :, None] & x_valid[:, None, :]
        out.view(-1)[(y[:, :, None] * size[1] + x[:, None, :])[valid]] = winner[valid].to(out.dtype)
    return out


def _bands(band: Tensor, logits: int) -> Tensor:
    """`(logits + 2,)`: the first pixel of each band of an axis, and behind the last one the end."""
    return torch.searchsorted(band, torch.arange(logits + 2))


def _pixels(starts: Tensor, bands: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The pixels of bands, `(N, width)`, and which of them belong to their band."""
    pixels = starts[bands, None] + torch.arange(width)
    return pixels.clamp_max(int(starts[-1]) - 1), pixels < starts[bands + 1, None]


def _contest(
    logits: Tensor, cells: tuple[Tensor, Tensor], candidates: CellCandidates, down: Tensor, across: Tensor
) -> Tensor:
    """The winner among its cell's candidates for each pixel of some cells.

    Args:
        logits: `(C, h, w)`.
        cells: their rows and columns, `(N,)` each, those with most candidates first.
        candidates: of all cells.
        down: `(N, P)` weights of the lower corners.
        across: `(N, Q)` weights of the right corners.

    Returns:
        `(N, P, Q)` int64 classes.
    """
    _, height, width = logits.shape
    flat = logits.reshape(-1)
    corner = cells[0] * width + cells[1]
    starts, counts = candidates.starts[cells], candidates.counts[cells]
    best = torch.full((len(corner), down.shape[1], across.shape[1]), -torch.inf)
    winner = torch.zeros(best.shape, dtype=torch.int64)
    ranks = torch.arange(int(counts[0]) if len(counts) else 0)
    for rank, n in enumerate(torch.searchsorted(-counts, -ranks).tolist()):  # n cells have more candidates than rank
        name = candidates.label[starts[:n] + rank]
        index = name * (height * width) + corner[:n]
        upper = _mix(flat[index, None], flat[index + 1, None], across[:n])
        lower = _mix(flat[index + width, None], flat[index + width + 1, None], across[:n])
        value = _mix(upper[:, None], lower[:, None], down[:n, :, None])
        better = value > best[:n]
        best[:n] = torch.where(better, value, best[:n])
        winner[:n] = torch.where(better, name[:, None, None], winner[:n])
    return winner
