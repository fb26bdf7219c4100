"""Pictures and sounds as the units of a model that compares them with texts, and their vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from sensorium.processors.audio import AudioProcessor
from sensorium.processors.audio_reading import open_audio
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import MediaLimits
from sensorium.processors.padding import Padding
from sensorium.tasks.base import Batch, Unit
from sensorium.tasks.media.audio import windows
from sensorium.tasks.media.images import image_features, image_unit


class Medium(ABC):
    """What a model sees or hears.

    Attributes:
        kind: "image" or "audio".
        padded: as `Task.padded`.
    """

    kind: ClassVar[Literal["image", "audio"]]
    padded: Mapping[str, Padding]

    @abstractmethod
    def units(self, raw: Any, limits: MediaLimits) -> Iterator[Unit]:
        """The units of one medium; `meta` is the weight of each in their mean."""

    @abstractmethod
    def inputs(self, batch: Batch, dtype: torch.dtype) -> Batch:
        """The model's inputs of a batch; what cannot be compiled is done here."""

    @abstractmethod
    def vectors(self, model: Any, inputs: Batch) -> Tensor:
        """`(B, D)` vectors, not of unit length yet."""


class ImageMedium(Medium):
    """Pictures, one unit each."""

    kind = "image"

    def __init__(self, processor: ImageProcessor) -> None:
        self.processor = processor
        self.padded = {}

    def units(self, raw: Any, limits: MediaLimits) -> Iterator[Unit]:
        """The picture at the model's size."""
        yield Unit(image_unit(raw, self.processor, limits).inputs, meta=1.0)

    def inputs(self, batch: Batch, dtype: torch.dtype) -> Batch:
        """Rescaled and normalised."""
        return self.processor.finish(batch, dtype=dtype)

    def vectors(self, model: Any, inputs: Batch) -> Tensor:
        """`(B, D)` projected features."""
        return image_features(model, inputs)


class AudioMedium(Medium):
    """Sounds, in windows of what the model hears at once."""

    kind = "audio"

    def __init__(self, processor: AudioProcessor) -> None:
        self.processor = processor
        self.padded = processor.padding

    def units(self, raw: Any, limits: MediaLimits) -> Iterator[Unit]:
        """The whole sound, or its windows; each counts by how much new sound it adds."""
        rate = self.processor.sampling_rate
        seconds = self.processor.seconds
        with open_audio(raw, limits=limits, rate=rate) as reader:
            for samples, fresh in windows(reader.at(rate), 10 * rate if seconds is None else round(seconds * rate)):
                yield Unit(self.processor.fit(samples, rate), meta=float(fresh))

    def inputs(self, batch: Batch, dtype: torch.dtype) -> Batch:
        """Spectra."""
        return self.processor.finish(batch, dtype=dtype)

    def vectors(self, model: Any, inputs: Batch) -> Tensor:
        """`(B, D)` projected features."""
        features = model.get_audio_features(**inputs)
        return features if isinstance(features, Tensor) else features.pooler_output
