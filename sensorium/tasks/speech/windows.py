"""A sound in pieces for a speech model: overlapping windows, and Whisper's spectrum of a long sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.processors.audio_reading import AudioReader
from sensorium.processors.features import LogMel
from sensorium.processors.spectra import placed

PIECE_FRAMES = 3000
"""Frames of a long sound's spectrum that are computed at once."""


@dataclass(frozen=True)
class Stride:
    """Where a window lies among its neighbours, in samples.

    Attributes:
        length: of the window.
        left: how much of its beginning the window before covers, too.
        right: how much of its end the window after covers, too.
    """

    length: int
    left: int
    right: int


def overlapping(reader: AudioReader, *, size: int, left: int, right: int) -> Iterator[tuple[Tensor, Stride]]:
    """Cuts a sound into windows that share their ends, reading as it goes.

    Args:
        reader: at the rate in which the rest counts.
        size: samples in a window; the last one is shorter.
        left: how many of its first samples a window shares with the one before; the first one shares none.
        right: how many of its last samples it shares with the one after; the last one shares none.

    Yields:
        `(n,)` float32 samples, and where they lie.
    """
    start = 0
    while True:
        piece = reader.read(start, size + 1)  # one more tells whether another window follows
        last = len(piece) <= size
        piece = piece[:size]
        before = left if start else 0
        if len(piece) > before:
            yield piece, Stride(len(piece), before, 0 if last else right)
        if last:
            return
        start += size - left - right


def long_log_mel(reader: AudioReader, features: LogMel) -> Tensor:
    """Whisper's spectrum of a whole sound, read and computed in pieces.

    Args:
        reader: of at least one window, at the model's rate.
        features: the checkpoint's.

    Returns:
        `(bins, N // hop)` float32, as `log_mel` gives it for all samples at once.
    """
    pieces: list[Tensor] = []
    peak, frames = float("-inf"), 0
    for samples, count in _framed(reader, features.points, features.hop):
        window = torch.hann_window(features.points)
        spectrum = torch.stft(samples, features.points, features.hop, window=window, center=False, return_complex=True)
        power = spectrum[:, :count].abs().square()
        logarithms = (placed(features.filters, power.device).T @ power).clamp_min_(1e-10).log10_()
        peak, frames = max(peak, float(logarithms.max())), frames + count
        pieces.append(logarithms)
    whole = torch.empty(pieces[0].shape[0], frames)
    at = 0
    for i, piece in enumerate(pieces):
        whole[:, at : at + piece.shape[1]] = piece
        at += piece.shape[1]
        pieces[i] = piece[:, :0]  # lets its memory go: the whole is all that an hour may take
    return whole.clamp_min_(torch.tensor(peak) - 8.0).add_(4.0).div_(4.0)


def _framed(reader: AudioReader, points: int, hop: int) -> Iterator[tuple[Tensor, int]]:
    """The samples under each run of frames, mirrored at the ends of the sound, and how many frames there are."""
    side, first = points // 2, 0
    while True:
        begin = first * hop - side
        wanted = (PIECE_FRAMES - 1) * hop + points
        samples = reader.read(max(begin, 0), wanted + min(begin, 0) + hop)  # a hop more: the frame after tells the end
        available = max(begin, 0) + len(samples)
        count = min(PIECE_FRAMES, available // hop - first)
        if count < 1:
            return
        end = (first + count - 1) * hop + side
        kept = samples[: min(end, available) - max(begin, 0)]
        if begin < 0 or end > available:
            kept = F.pad(kept[None], (max(-begin, 0), max(end - available, 0)), mode="reflect")[0]
        yield kept, count
        if available < end + hop - side or count < PIECE_FRAMES:
            return
        first += count
