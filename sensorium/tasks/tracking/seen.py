"""From masks as the model draws them to the masks of a frame: its own size, runs, in one copy down from the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.models.on_device import brought
from sensorium.models.sam.memories import Drawn
from sensorium.processors.video_frame import VideoFrame
from sensorium.results import FrameMasks
from sensorium.results.result import put_source
from sensorium.results.rle import runs_between
from sensorium.tasks.masks.filtering import CHUNK_PIXELS, Enlarger, Frame, runs_of


@dataclass(frozen=True)
class FrameTold:
    """What a result tells of its frame, without its pixels.

    Attributes:
        number: in the film.
        size: (height, width), px.
        time_s: when it is shown; None where that is not known.
        source: the film's path or URL; None for none.
    """

    number: int
    size: tuple[int, int]
    time_s: float | None
    source: str | None

    @classmethod
    def of(cls, frame: VideoFrame) -> FrameTold:
        """That of a frame."""
        return cls(frame.index, (frame.pixels.shape[1], frame.pixels.shape[2]), frame.time_s, frame.source)


@dataclass(frozen=True)
class SeenFrame:
    """Masks on a frame that are still on the device.

    Attributes:
        told: of the frame.
        names: of the objects.
        colours: of the objects.
        drawn: their masks.
    """

    told: FrameTold
    names: Sequence[str]
    colours: Sequence[int]
    drawn: Drawn


class Enlargers:
    """Enlarges the masks of one film; its frames are mostly of one size."""

    def __init__(self, square: int) -> None:
        self._square = square
        self._last: Enlarger | None = None

    def of(self, size: tuple[int, int]) -> Enlarger:
        """That of frames of (height, width) px."""
        if self._last is None or self._last.frame.size != size:
            frame = Frame((0, 0, size[1], size[0]), size, (self._square, self._square), self._square)
            self._last = Enlarger(frame, padded=False)
        return self._last


def frame_masks(seen: Sequence[tuple[SeenFrame, Enlargers]], threshold: float) -> list[FrameMasks]:
    """The results of frames, whose masks come down from the device in one copy.

    Args:
        seen: the frames, each with what enlarges its masks.
        threshold: the logit above which a pixel belongs to a mask.
    """
    alike: dict[tuple[int, tuple[int, int]], list[int]] = {}  # of one film, and of one size: these are cut at once
    for at, (one, enlargers) in enumerate(seen):
        alike.setdefault((id(enlargers), one.told.size), []).append(at)
    tensors: list[Tensor] = []
    chunks: list[int] = []
    for places in alike.values():
        drawn, (one, enlargers) = [seen[at][0].drawn for at in places], seen[places[0]]
        found = _runs(torch.cat([each.masks for each in drawn]), enlargers.of(one.told.size), threshold)
        tensors += [torch.cat([each.seen for each in drawn]).float().sigmoid()]
        tensors += [torch.cat([each.ious for each in drawn]).float(), *(each for part in found for each in part)]
        chunks.append(len(found))
    came, results = iter(brought(tensors)), {}
    for places, count in zip(alike.values(), chunks, strict=True):
        scores, ious = next(came).numpy(), next(came).numpy()
        runs = _read_runs(came, count, seen[places[0]][0].told.size)
        begin = 0
        for at in places:
            one, part = seen[at][0], slice(begin, begin + len(seen[at][0].names))
            results[at] = _result(one, runs[part], scores[part], ious[part])
            begin = part.stop
    return [results[at] for at in range(len(seen))]


def _runs(masks: Tensor, enlarge: Enlarger, threshold: float) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What `runs_of` gives of `(K, s, s)` masks, a few at a time."""
    height, width = enlarge.frame.size
    room = CHUNK_PIXELS.get(masks.device.type, CHUNK_PIXELS["cpu"])
    parts = torch.split(masks, max(1, room // (height * width)))
    return [runs_of(enlarge(part.float()) > threshold) for part in parts]


def _read_runs(came: Iterator[Tensor], count: int, size: tuple[int, int]) -> list[NDArray[np.int64]]:
    """The runs of the masks in the next so many parts."""
    runs = []
    for _ in range(count):
        starts, lengths, changes = next(came), next(came), next(came)
        for on, at in zip(starts.tolist(), torch.split(changes, lengths.tolist()), strict=True):
            runs.append(runs_between(at.numpy(), size[0] * size[1], starts_set=on))
    return runs


def _result(
    one: SeenFrame, runs: Sequence[NDArray[np.int64]], scores: NDArray[np.float32], ious: NDArray[np.float32]
) -> FrameMasks:
    told = one.told
    result = FrameMasks(runs, told.size, one.names, scores, ious, frame=told.number, colours=one.colours)
    put_source(result, told.source, told.time_s)
    return result
