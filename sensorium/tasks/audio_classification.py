"""audio-classification: which of its labels a sound has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.speech_encoders import (
    fold_weight_norm,
    hook_ahead,
    in_shares,
    least_samples,
    takes_padding,
    tell_lengths,
    watch_padding,
)
from sensorium.processors.audio_reading import AudioReader, read_all
from sensorium.processors.audio_resampling import resampled_length
from sensorium.processors.audio_silence import trim
from sensorium.results import Labels
from sensorium.tasks.base import Batch, Call, Models, Options, Unit
from sensorium.tasks.loading import load_audio_processor, load_transformers
from sensorium.tasks.media.audio import AudioTask, TrimDb, windows
from sensorium.tasks.options import Range, lower_case

Activation = Literal["softmax", "sigmoid", "none"]
Pool = Literal["mean", "max"]


@dataclass(frozen=True)
class AudioClassificationOptions(Options):
    """The options of a call.

    Attributes:
        top_k: how many labels to give, best first; None for all, as in Transformers. If there are fewer, all are given.
        function_to_apply: what turns logits into scores; None for what the checkpoint's config asks for: "sigmoid" for
            several labels at once, "none" for regression, else "softmax".
        window_s: a sound longer than this is cut into windows of this length, or of what the model hears at once if
            that is less, seconds; None to give every sound to the model as a whole, as Transformers does.
        pool: how the windows' scores become one: their "mean", each second of sound counted once, or their "max".
        trim_db: leaves silence at both ends out: what is this many decibels below the loudest moment, or more; 60 is
            usual, and what librosa takes. None leaves nothing out.
    """

    top_k: Annotated[int | None, Range(1, none="all labels")] = None
    function_to_apply: Activation | None = None
    window_s: Annotated[float | None, Range(above=0, unit="seconds", none="no windows")] = 30.0
    pool: Pool = "mean"
    trim_db: TrimDb = None

    def __post_init__(self) -> None:
        lower_case(self, "function_to_apply")
        super().__post_init__()


class AudioClassification(AudioTask):
    """Labels with scores, as Transformers' pipeline of the same name gives them."""

    name = "audio-classification"
    summary = "which of its labels a sound has"
    inputs = ("audio",)
    options = AudioClassificationOptions
    models = (Models("AutoModelForAudioClassification", own_code=True),)
    default = "MIT/ast-finetuned-audioset-10-10-0.4593@f826b80"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        names = {int(key): str(value) for key, value in dict(config.id2label).items()}
        self._labels = [names.get(i, f"LABEL_{i}") for i in range(max(names, default=-1) + 1)]
        self._activation = _default_activation(config.problem_type)
        self._min_samples = least_samples(model)
        self._encoders = watch_padding(model)
        hook_ahead(model)
        waveform = "attention_mask" in self.processor.input_names and self.processor.features is not None
        self._unmasked = waveform and not takes_padding(model)
        self.padded = {} if self._unmasked else self.processor.padding

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers classifier of sound."""
        loaded_processor = load_audio_processor(processor, checkpoint)
        from transformers import AutoModelForAudioClassification

        model = load_transformers(AutoModelForAudioClassification, checkpoint)
        fold_weight_norm(model)
        return cls(model, loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers classifier of sound."""
        return cls(model, load_audio_processor(processor, None))

    def check(self, options: AudioClassificationOptions) -> None:
        """Refuses windows that are shorter than what the model needs."""
        min_window_s = self._needed / self.processor.sampling_rate
        if options.window_s is not None and options.window_s < min_window_s:
            raise OptionError(
                f"window_s has to be at least {min_window_s:g} s for this model, got {options.window_s!r}"
            )

    def split(self, raw: Any, options: AudioClassificationOptions) -> Iterator[Unit]:
        """The whole sound, or its windows, read one after another; `meta` is how many new samples each brings."""
        with self.listen(raw) as opened:
            reader, _ = trim(opened, options.trim_db)
            if self._is_long(reader, options.window_s):
                assert options.window_s is not None
                rate = self.processor.sampling_rate
                seconds = min(options.window_s, self.processor.seconds or options.window_s)
                for samples, fresh in windows(reader.at(rate), round(seconds * rate)):
                    yield self._unit(samples, rate, fresh, reader.name)
            else:
                heard = self.processor.seconds
                max_samples = (
                    None if heard is None else int((heard + 1) * reader.rate)
                )  # what comes after it is not decoded
                samples = read_all(reader, max_samples=max_samples)
                yield self._unit(samples, reader.rate, len(samples), reader.name)

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Computes the features, and runs `compute` in one call."""
        inputs = self.processor.finish(batch, dtype=self.dtype)
        if self._unmasked:  # all of one length: as Transformers calls the model for a single sound
            inputs.pop("attention_mask")
        return call(self.compute, inputs)

    def compute(self, inputs: Batch) -> dict[str, Tensor]:
        """`{"logits": (B, number of labels)}` in the model's dtype."""
        return {"logits": in_shares(self._logits, inputs)}

    def _logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        mask = inputs.get("attention_mask")
        tell_lengths(self._encoders, None if mask is None else mask.sum(-1))
        try:
            with unread_masks(next(iter(inputs.values())).device, full=not self.padded):
                logits: Tensor = self.model(**inputs).logits
        finally:
            tell_lengths(self._encoders, None)  # a model that the caller has loaded is used elsewhere, too
        return logits

    def decode(self, outputs: Any, metas: Sequence[int], options: Any) -> Sequence[Any]:
        """Scores in float32; `(new samples, (number of labels,) NumPy array)` for each unit."""
        scores = outputs["logits"].float()
        activation = options.function_to_apply or self._activation
        if activation == "softmax":
            scores = scores.softmax(-1)
        elif activation == "sigmoid":
            scores = scores.sigmoid()
        return list(zip(metas, scores.cpu().numpy(), strict=True))

    def merge(self, parts: Sequence[Any], options: AudioClassificationOptions, index: int) -> Labels:
        """The labels of a sound, its windows' scores pooled."""
        weights, scores = [part[0] for part in parts], [part[1] for part in parts]
        if len(scores) == 1:
            pooled = scores[0]
        elif options.pool == "max":
            pooled = np.max(scores, axis=0)
        else:
            pooled = np.average(scores, axis=0, weights=weights).astype(np.float32)
        ids = np.argsort(-pooled, kind="stable")[: options.top_k]
        return Labels([self._labels[i] for i in ids], pooled[ids], ids, index=index)

    @property
    def _needed(self) -> int:
        """How few samples are too few for the model."""
        features = self.processor.features
        return max(self._min_samples, 1 if features is None else features.min_samples)

    def _is_long(self, reader: AudioReader, window_s: float | None) -> bool:
        if window_s is None:
            return False
        if reader.seconds is None:  # unknown: one sample more than a window tells
            return len(reader.read(0, int(window_s * reader.rate) + 1)) > window_s * reader.rate
        return reader.seconds > window_s

    def _unit(self, samples: Tensor, rate: int, fresh: int, name: str) -> Unit:
        if resampled_length(len(samples), rate, self.processor.sampling_rate) < self._needed:
            min_s = self._needed / self.processor.sampling_rate
            raise InputError(
                f"{name}: expected a sound of at least {min_s:g} s, got {len(samples) / rate:g} s. It is shorter than "
                f"what the model looks at in one go.",
                code="too-short",
                source=name,
            )
        return Unit(self.processor.fit(samples, rate), meta=fresh)


def _default_activation(problem_type: str | None) -> Activation:
    if problem_type == "regression":
        return "none"
    return "sigmoid" if problem_type == "multi_label_classification" else "softmax"
