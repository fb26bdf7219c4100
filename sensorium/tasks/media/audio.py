"""What the tasks share whose input is one sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from sensorium.errors import InputError
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.audio_reading import AudioReader, is_audio_batch, open_audio
from sensorium.tasks.base import Task
from sensorium.tasks.options import Range

TrimDb = Annotated[float | None, Range(above=0, unit="decibels", none="no trimming")]
"""The option of how quiet is silence."""


class AudioTask(Task):
    """One sound: a path, a URL, bytes, a file object, an array, or a dict or tuple of an array and its rate."""

    inputs = ("audio",)
    processor: AudioProcessor

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list or a tuple is several sounds; an array is one, and so is a tuple of an array and its rate."""
        return list(inputs) if is_audio_batch(inputs) else None

    def listen(self, raw: Any) -> AudioReader:
        """Opens a raw input; a bare array has the model's rate, as in Transformers."""
        return open_audio(raw, limits=self.limits, rate=self.processor.sampling_rate)

    def example(self) -> Tensor:
        """A rising tone of five seconds at the model's rate."""
        rate = self.processor.sampling_rate
        seconds = torch.arange(5 * rate, dtype=torch.float32) / rate
        return 0.1 * torch.sin(2 * math.pi * (200 + 100 * seconds) * seconds)


def windows(reader: AudioReader, size: int) -> Iterator[tuple[Tensor, int]]:
    """Cuts a sound into windows of one size, one after the other; the last one reaches back to be as long.

    Args:
        reader: at the rate in which `size` counts.
        size: samples in a window.

    Yields:
        `(size,)` samples, or all of a shorter sound, and how many of them no window before has covered.
    """
    start = 0
    while True:
        piece = reader.read(start, size)
        if len(piece) < size:
            break
        yield piece, size
        start += size
    if start == 0:
        if not len(piece):
            raise InputError(f"{reader.name}: expected at least one sample, got none.", code="zero-sized")
        yield piece, len(piece)
    elif len(piece):
        yield reader.read(start + len(piece) - size, size), len(piece)
