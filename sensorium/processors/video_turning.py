"""How frames are turned to be upright, by the matrix that a phone writes beside them."""

from __future__ import annotations

import struct
from typing import Any

from torch import Tensor

Turn = tuple[int, bool]
"""Quarter turns, anticlockwise, after a mirroring of left and right where that is True."""

_UPRIGHT: Turn = (0, False)
_TURNS: dict[tuple[int, int, int, int], Turn] = {  # signs of the matrix's a, b, c, d: x' = a x + c y, y' = b x + d y
    (1, 0, 0, 1): _UPRIGHT,
    (0, 1, -1, 0): (3, False),
    (-1, 0, 0, -1): (2, False),
    (0, -1, 1, 0): (1, False),
    (-1, 0, 0, 1): (0, True),
    (1, 0, 0, -1): (2, True),
    (0, 1, 1, 0): (1, True),
    (0, -1, -1, 0): (3, True),
}


def turn_of(frame: Any) -> Turn:
    """How to turn a frame of PyAV; what is between quarter turns is left as it is."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return _UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    largest = max(abs(a), abs(b), abs(c), abs(d))
    signs = tuple(0 if 2 * abs(one) < largest else 1 if one > 0 else -1 for one in (a, b, c, d))
    return _TURNS.get(signs, _UPRIGHT)  # type: ignore[arg-type]


def turned(rows: Tensor, turn: Turn) -> Tensor:
    """Turns `(H, W, 3)`.

    Args:
        rows: of one frame.
        turn: what `turn_of` gave.

    Returns:
        `(H, W, 3)` or `(W, H, 3)`, contiguous.
    """
    quarters, mirrored = turn
    if turn == _UPRIGHT:
        return rows
    if mirrored:
        rows = rows.flip(1)
    return rows.rot90(quarters, (0, 1)).contiguous()
