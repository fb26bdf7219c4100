"""Sound → what an audio model takes: `AudioProcessor` runs a checkpoint's own recipe as tensor operations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sensorium.checkpoints.writing import checkpoint_written
from sensorium.errors import CheckpointError, InputError
from sensorium.processors.audio_resampling import resample, resampled_length
from sensorium.processors.audio_settings import check_by_trial, check_size
from sensorium.processors.features import Features, UnreadFeatures, read_features
from sensorium.processors.locating import load_located
from sensorium.processors.padding import Padding

if TYPE_CHECKING:
    from sensorium.checkpoints import Checkpoint, LoadOptions

FILE_NAMES = ("preprocessor_config.json", "processor_config.json")
_MARGIN_S = 0.05  # of sound beyond what the model hears, so that the cut comes after resampling


class AudioProcessor:
    """Turns sound into what a checkpoint's model expects, by the checkpoint's own recipe.

    It works in two stages. `fit` runs on CPU threads, one sound at a time, and only cuts; `finish` runs on the model's
    device, a batch at a time: another sampling rate, normalisation, spectra. Sounds of different lengths share a batch,
    padded with zeros as `padding` says, and come out as they would alone. All methods are safe in several threads.

    Attributes:
        features: what is computed, or None where that is not certain. Then the processor is *delegated*: the
            checkpoint's own Transformers feature extractor runs in `fit`, with the same result, but slower. A
            warning says so once.
        sampling_rate: of what the model hears, Hz.
        input_names: the model's inputs that `finish` gives.
        padding: for `Task.padded`: which of `fit`'s tensors may differ in length within a batch.
    """

    features: Features | None
    sampling_rate: int
    input_names: tuple[str, ...]
    padding: Mapping[str, Padding]

    def __init__(self, extractor: Any, features: Features | None) -> None:
        self.features = features
        self.sampling_rate = int(extractor.sampling_rate)
        self.input_names = tuple(extractor.model_input_names) if features is None else features.input_names
        self.padding = {} if features is None else {"samples": Padding(0.0)}
        self._reference = extractor

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | PathLike[str] | Checkpoint, *, options: LoadOptions | None = None
    ) -> AudioProcessor:
        """Read the recipe of a checkpoint, or of a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: a Hub id, a local folder, or a checkpoint that is already found.
            options: how to find and open it. Code that comes with a checkpoint runs only if `trust_remote_code` is set.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointError: it has no recipe, or a broken one.
            UnsafeCheckpointError: its recipe is its own code, which the caller did not allow.
            DownloadError: the Hub could not be reached, or refused.
        """
        from transformers import AutoFeatureExtractor

        extractor = load_located(
            AutoFeatureExtractor, name_or_folder, options, FILE_NAMES, kind="feature extractor", of="sound"
        )
        return cls.from_transformers(extractor)

    @classmethod
    def from_transformers(cls, processor: Any) -> AudioProcessor:
        """Read the recipe of a loaded Transformers feature extractor, or of a processor that has one.

        Raises:
            CheckpointError: it is no feature extractor for sound, or no sound can be prepared with its settings.
        """
        extractor = getattr(processor, "feature_extractor", processor)
        if not isinstance(getattr(extractor, "sampling_rate", None), int):
            raise CheckpointError(
                f"expected a feature extractor with a sampling_rate, got {type(extractor).__name__}. Pass the one that "
                f"the checkpoint was trained with as processor=."
            )
        check_size(extractor)
        features = None
        try:
            features = read_features(extractor)
        except UnreadFeatures as unread:
            warnings.warn(
                f"Sensorium does not read the recipe of {type(extractor).__name__} ({unread}), so Transformers' own "
                f"feature extractor runs. Results are the same; preparing sound is slower.",
                UserWarning,
                stacklevel=2,
            )
        self = cls(extractor, features)
        check_by_trial(extractor, self)
        return self

    @property
    def seconds(self) -> float | None:
        """How much of a sound the model hears at most, in seconds; None for all of it. The rest is cut off."""
        samples = None if self.features is None else self.features.max_samples
        return None if samples is None else samples / self.sampling_rate

    def fit(self, samples: Tensor, rate: int) -> dict[str, Tensor]:
        """Cut one sound to what the model hears.

        Args:
            samples: `(N,)` float32 on the CPU, mono.
            rate: of `samples`, Hz; any.

        Returns:
            `samples`, `(n,)` float32, a view; `length`, `()` int64, their number; and, where `rate` is not the
            model's, `rate`, empty, `(0, rate)`: it costs nothing, tells `finish` the rate without a look at the device,
            and keeps sounds of different rates in different batches. From a delegated processor: its final tensors
            without the batch axis.

        Raises:
            InputError: `bad-shape`, not such a tensor; `too-short`, less than the extractor's window;
                `processor-failed`, from a delegated one.
        """
        if samples.ndim != 1 or samples.dtype != torch.float32 or not len(samples):
            raise InputError(
                f"expected an (N,) float32 tensor, got {tuple(samples.shape)} {samples.dtype}. load_sound makes one.",
                code="bad-shape",
            )
        if self.features is None:
            return self._fit_delegated(resample(samples, rate, self.sampling_rate))
        heard = resampled_length(len(samples), rate, self.sampling_rate)
        if heard < self.features.min_samples:
            raise InputError(
                f"expected a sound of at least {self.features.min_samples / self.sampling_rate:g} s, got "
                f"{len(samples) / rate:g} s. It is shorter than what the model hears in one go.",
                code="too-short",
            )
        if self.features.max_samples is not None:
            enough = self.features.max_samples * rate // self.sampling_rate + 1
            samples = samples[: enough if rate == self.sampling_rate else enough + int(_MARGIN_S * rate)]
        fitted = {"samples": samples, "length": torch.tensor(len(samples))}
        if rate != self.sampling_rate:
            fitted["rate"] = torch.empty(0, rate)
        return fitted

    def finish(self, batch: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Resample, normalise and transform a batch, without syncs.

        It is to be called outside of what is compiled: inductor makes no kernels for Fourier transforms.

        Args:
            batch: what `fit` gave, stacked, `samples` padded with zeros; on any device.
            dtype: of the result. The arithmetic itself is in float32.

        Returns:
            The model's inputs. Of a waveform: `input_values`, `(B, N)`, and `attention_mask`, `(B, N)` int64, which
            marks the real samples, also for models that were trained without one. Of a spectrum: `input_values`,
            `(B, frames, bins)`, or `input_features`, `(B, bins, frames)`.
        """
        if self.features is None:
            return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
        samples, lengths = batch["samples"], batch["length"]
        if "rate" in batch:
            rate = batch["rate"].shape[-1]
            samples = resample(samples, rate, self.sampling_rate)
            lengths = (lengths * self.sampling_rate + rate - 1).div(rate, rounding_mode="floor")
        if self.features.max_samples is not None:
            lengths = lengths.clamp_max(self.features.max_samples)
            samples = samples[:, : self.features.max_samples]
        real = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
        inputs = self.features.finish(torch.where(real, samples, 0.0), real, lengths)
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}

    def __call__(
        self, audios: Any, *, rate: int | None = None, dtype: torch.dtype = torch.float32
    ) -> dict[str, Tensor]:
        """Prepare one or more sounds as one batch on the CPU.

        Args:
            audios: anything that `load_audio` takes, or a list or tuple of it. Sounds at other rates are resampled
                first.
            rate: of bare arrays, Hz; the model's unless given. A dict has to bring its own.
            dtype: of the result.

        Raises:
            InputError: an empty list, or a sound that cannot be read or prepared; `index` says which.
        """
        from sensorium.processors.audio_reading import is_audio_batch, load_audio

        fitted = []
        for index, source in enumerate(audios if is_audio_batch(audios) else [audios]):
            try:
                samples, source_rate = load_audio(source, rate=rate or self.sampling_rate)
                fitted.append(self.fit(resample(samples, source_rate, self.sampling_rate), self.sampling_rate))
            except InputError as error:
                error.index = index
                raise
        if not fitted:
            raise InputError("expected at least one sound, got an empty list.", code="empty-batch")
        stack = {name: self.padding[name].stack if name in self.padding else torch.stack for name in fitted[0]}
        return self.finish({name: stack[name]([one[name] for one in fitted]) for name in fitted[0]}, dtype=dtype)

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write `preprocessor_config.json`, which `from_pretrained` and Transformers read.

        Args:
            folder: made if it does not exist.
        """
        with checkpoint_written(Path(folder)) as new:
            self._reference.save_pretrained(new)

    def to_dict(self) -> dict[str, Any]:
        """What `preprocessor_config.json` holds."""
        written: dict[str, Any] = json.loads(self._reference.to_json_string())
        return written

    def __repr__(self) -> str:
        described = f"runs {type(self._reference).__name__}" if self.features is None else self.features
        return f"AudioProcessor({described}, sampling_rate={self.sampling_rate})"

    def _fit_delegated(self, samples: Tensor) -> dict[str, Tensor]:
        try:
            outputs = self._reference(samples.numpy(), sampling_rate=self.sampling_rate, return_tensors="pt")
        except (ValueError, TypeError, AttributeError, RuntimeError, AssertionError, ZeroDivisionError) as error:
            raise InputError(
                f"the checkpoint's own {type(self._reference).__name__} failed on a sound of "
                f"{len(samples) / self.sampling_rate:g} s ({type(error).__name__}: {error}). Check its settings, or "
                f"pass processor=.",
                code="processor-failed",
            ) from error
        tensors = {name: value[0] for name, value in outputs.items() if isinstance(value, (Tensor, np.ndarray))}
        return {name: torch.as_tensor(value) for name, value in tensors.items()}
