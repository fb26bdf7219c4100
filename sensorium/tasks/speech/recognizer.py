"""What the two kinds of speech models have in common: one that gives each frame a letter, and one that writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import InputError, OptionError
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.audio_reading import AudioReader
from sensorium.processors.padding import Padding
from sensorium.results import Transcript
from sensorium.tasks.base import Batch, Call, Empty, Runtime, Unit
from sensorium.tasks.speech.options import AutomaticSpeechRecognitionOptions as Options
from sensorium.tasks.speech.windows import Stride, overlapping


class Recognizer(ABC):
    """A speech model with its feature extractor and its tokenizer: the steps of `Task` that depend on its kind.

    Attributes:
        audio: the feature extractor.
        tokenizer: Transformers' own.
        padded: as `Task.padded`.
        on_host: as `Task.on_host`.
        align: windows and what they share are whole multiples of this many samples.
    """

    def __init__(self, audio: AudioProcessor, tokenizer: Any) -> None:
        self.audio, self.tokenizer = audio, tokenizer
        self.padded: Mapping[str, Padding] = {}
        self.on_host: frozenset[str] = frozenset()
        self.align = 1

    @abstractmethod
    def check(self, options: Options) -> None:
        """Refuses what this model cannot do."""

    @abstractmethod
    def split(self, reader: AudioReader, options: Options) -> Iterator[Unit]:
        """The units of a sound."""

    @abstractmethod
    def forward(self, batch: Batch, options: Options, call: Call, runtime: Runtime) -> dict[str, Tensor]:
        """Runs the model; tensors whose first axis is the batch's."""

    @abstractmethod
    def decode(self, outputs: Mapping[str, Tensor], metas: Sequence[Any]) -> Sequence[Any]:
        """One part per unit, on the CPU."""

    @abstractmethod
    def merge(self, parts: Sequence[Any], options: Options, index: int) -> Transcript:
        """The transcript of the parts of a sound."""

    def bucket(self, unit: Unit) -> Hashable | None:
        """As `Task.bucket`; None for the default."""
        return None

    def collate(self, units: Sequence[Unit], empty: Empty) -> Batch | None:
        """As `Task.collate`; None for the default."""
        return None

    def sizes(self, options: Options) -> tuple[int, int, int]:
        """Samples in a window, and those that it shares on the left and on the right."""
        rate, align = self.audio.sampling_rate, self.align
        seconds = (options.chunk_length_s or 0.0, *options.strides_s)
        size, left, right = (round(s * rate / align) * align for s in seconds)
        return size, left, right

    def check_sizes(self, options: Options) -> None:
        """Refuses windows that are too short for this model's resolution."""
        size, left, right = self.sizes(options)
        if options.chunk_length_s and size <= left + right:
            raise OptionError(
                f"chunk_length_s={options.chunk_length_s:g} leaves nothing of a window that its neighbours do not "
                f"share: this model works in steps of {self.align / self.audio.sampling_rate:g} s"
            )

    def windows(
        self, reader: AudioReader, options: Options, *, min_samples: int = 1
    ) -> Iterator[tuple[Tensor, Stride]]:
        """The windows of a sound at the model's rate; a last one of less than `min_samples` samples is left out."""
        size, left, right = self.sizes(options)
        count = 0
        for samples, stride in overlapping(reader, size=size, left=left, right=right):
            if len(samples) >= min_samples:
                count += 1
                yield samples, stride
        if not count:
            raise self.too_short(reader, min_samples)

    def too_short(self, reader: AudioReader, min_samples: int) -> InputError:
        """The error for a sound that is too short to be heard."""
        seconds = reader.seconds or 0.0
        if not seconds:
            return InputError(f"{reader.name}: expected at least one sample, got none.", code="zero-sized")
        return InputError(
            f"{reader.name}: expected a sound of at least {min_samples / self.audio.sampling_rate:g} s, got "
            f"{seconds:g} s. "
            "It is shorter than what the model hears in one go.",
            code="too-short",
            source=reader.name,
        )


def nan_where(broken: Tensor) -> Tensor:
    """`(B,)` float32: NaN, which the engine refuses, for the broken ones of a batch, else 0."""
    return torch.zeros(broken.shape, device=broken.device).masked_fill_(broken, torch.nan)
