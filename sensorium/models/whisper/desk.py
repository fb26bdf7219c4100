"""Memory that stays where it is from batch to batch, on which a device can record what Whisper does for a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from sensorium.models.recorder import Recorder

STRIDE = 64
"""A recording looks at so many tokens or a multiple of it, so that a short text costs little and there are few."""


class Desk:
    """Kept memory for the windows of a batch, in a few sizes, as each needs recordings of its own.

    Args:
        recorder: keeps it.
        beams: rows of a window.
    """

    def __init__(self, recorder: Recorder, beams: int) -> None:
        self.beams, self._recorder = beams, recorder
        self._windows = 0
        self.heard = self.written = self.scores = torch.empty(0)
        self.tokens = self.position = self.places = torch.empty(0, dtype=torch.int64)

    def room(self, windows: int, shape: Sequence[int], like: Tensor) -> Tensor:
        """Space for what so many windows hold; further windows are beside it, to fill the size up.

        Args:
            windows: how many.
            shape: `(layers, 2, 1, heads, positions, width)` of one.
            like: of its dtype and device.
        """
        self._windows = filled(windows)
        self.heard = self._kept("heard", [*shape[:2], self._windows, *shape[3:]], like)
        return self.heard[:, :, :windows]

    def lay(self, length: int, vocabulary: int) -> Tensor:
        """Empty space for the keys and values of so many tokens: `(layers, 2, rows, heads, at least length, width)`."""
        rows, reach = self._windows * self.beams, reached(length)
        layers, two, _, heads, _, width = self.heard.shape
        numbers = self.heard.new_empty(0, dtype=torch.int64)
        self.written = self._kept("written", [layers, two, rows, heads, reach, width], self.heard)
        self.scores = self._kept("scores", [rows, vocabulary], self.heard.new_empty(0, dtype=torch.float32))
        self.tokens, self.position = self._kept("tokens", [rows, 1], numbers), self._kept("position", [1], numbers)
        self.places = self._kept("places", [reach], numbers)
        torch.arange(reach, out=self.places)
        return self.written.zero_()  # what is masked has to be finite all the same

    def step(self, read: Callable[[Desk, int], None], tokens: Tensor, used: int) -> Tensor:
        """Lets a model read one token in each row.

        Args:
            read: given the desk and how many tokens to look at, reads `tokens` at `position`, and fills `scores`.
            tokens: `(R, 1)` int64.
            used: how many tokens came before.

        Returns:
            `(R, vocabulary)` float32, to be used before the next step.
        """
        self.tokens[: len(tokens)].copy_(tokens)
        self.position.fill_(used)
        reach = reached(used + 1)
        self._recorder.run((self._windows, self.beams, reach), partial(read, self, reach))
        return self.scores[: len(tokens)]

    def _kept(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        kept = self._recorder.kept
        held = kept.get(name)
        if held is not None and (held.dtype != like.dtype or held.ndim != len(shape)):
            held = None
        if held is None or any(has < needs for has, needs in zip(held.shape, shape, strict=True)):
            size = shape if held is None else [max(pair) for pair in zip(held.shape, shape, strict=True)]
            held = kept.pop(name, None)
            self._recorder.forget()
            del held  # before there is another
            held = kept[name] = like.new_zeros(size)
        return held[tuple(slice(size) for size in shape)]


def filled(windows: int) -> int:
    """The size of a batch that so many windows are filled up to: 1, 2, 4, 8, 12, 16, 24, 32, 48, …."""
    return next(size for size in _sizes() if size >= windows)


def whole(windows: int) -> int:
    """The largest of these sizes that is not more than so many windows."""
    largest = 1
    for size in _sizes():
        if size > windows:
            return largest
        largest = size
    raise AssertionError("the sizes have no end")


def reached(length: int) -> int:
    """How many tokens a recording looks at to look at so many."""
    return -(-length // STRIDE) * STRIDE


def _sizes() -> Iterator[int]:
    yield from (1, 2, 4, 8)
    size = 8
    while True:
        yield size + size // 2
        size *= 2
        yield size
