"""Models that give each frame of a sound a letter (CTC): from samples to ids, and from ids to text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.errors import OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.on_device import brought
from sensorium.models.speech_encoders import in_shares, least_samples, takes_padding, tell_lengths, watch_padding
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.audio_reading import AudioReader, read_all
from sensorium.processors.audio_resampling import resampled_length
from sensorium.results import Transcript
from sensorium.tasks.base import Batch, Call, Runtime, Unit
from sensorium.tasks.speech.options import AutomaticSpeechRecognitionOptions as Options
from sensorium.tasks.speech.recognizer import Recognizer, nan_where
from sensorium.tasks.speech.windows import Stride

BROKEN = -1
"""The letter of a frame whose scores are NaN or infinite."""


class CtcRecognizer(Recognizer):
    """A model of the `ForCTC` kind, such as wav2vec2 or HuBERT."""

    def __init__(self, model: nn.Module, audio: AudioProcessor, tokenizer: Any) -> None:
        super().__init__(audio, tokenizer)
        config: Any = model.config
        self.model = model
        self.align = int(getattr(config, "inputs_to_logits_ratio", 1))
        self._min_samples = least_samples(model)
        self._norms = watch_padding(model)
        self._exact = takes_padding(model) and audio.features is not None  # else only equal lengths share a batch
        self._convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True)) if self._exact else []
        self.padded = audio.padding if self._exact else {}

    def check(self, options: Options) -> None:
        """Refuses what is for models that write, and times of segments."""
        if options.return_timestamps is True:
            raise OptionError(
                'this model gives times of letters and words: return_timestamps is "char" or "word", got True'
            )
        idle = [*options.given(), *(["seed"] if options.seed is not None else [])]
        idle += ["return_language"] if options.return_language else []
        if idle:
            raise OptionError(
                f"{', '.join(idle)} would have no effect: this model gives each frame of the sound a letter, and "
                "writes no text of its own as Whisper does; leave it out"
            )
        self.check_sizes(options)

    def split(self, reader: AudioReader, options: Options) -> Iterator[Unit]:
        """The whole sound, or its windows."""
        rate = self.audio.sampling_rate
        if options.chunk_length_s:
            for samples, stride in self.windows(reader.at(rate), options, min_samples=self._min_samples):
                yield Unit(self.audio.fit(samples, rate), meta=stride)
            return
        samples = read_all(reader)
        if resampled_length(len(samples), reader.rate, rate) < self._min_samples:
            raise self.too_short(reader, self._min_samples)
        yield Unit(self.audio.fit(samples, reader.rate))

    def forward(self, batch: Batch, options: Options, call: Call, runtime: Runtime) -> dict[str, Tensor]:
        """What is heard of a batch.

        Returns:
            `ids`, `(B, frames)` int32; `frames`, `(B,)` int64, how many of them are of the sound itself; `finite`,
            `(B,)` float32, NaN for a sound whose scores were not.
        """
        inputs = self.audio.finish(batch, dtype=runtime.dtype)
        ids = call(self._ids, inputs)
        outputs = {"ids": ids, "finite": nan_where((ids == BROKEN).any(-1))}
        if not self._exact:
            return {**outputs, "frames": torch.full((len(ids),), ids.shape[1], device=ids.device)}
        frames = inputs["attention_mask"].sum(-1)
        for kernel, stride in self._convolutions:
            frames = (frames - kernel).div(stride, rounding_mode="floor") + 1
        return {**outputs, "frames": frames}

    def decode(self, outputs: Mapping[str, Tensor], metas: Sequence[Stride | None]) -> Sequence[NDArray[Any]]:
        """The ids of the frames that count of each unit, `(n,)` int32."""
        ids, frames = brought([outputs["ids"], outputs["frames"]])
        rows = zip(ids.numpy(), frames.tolist(), metas, strict=True)
        return [self._kept(row[:n], meta).copy() for row, n, meta in rows]

    def merge(self, parts: Sequence[NDArray[Any]], options: Options, index: int) -> Transcript:
        """Letters that follow themselves are one, and blanks go."""
        ids = np.concatenate(parts).tolist()
        wanted = options.return_timestamps or None
        if wanted is None:
            return Transcript(self.tokenizer.decode(ids, skip_special_tokens=False), index=index)
        decoded = self.tokenizer.decode(ids, skip_special_tokens=False, output_char_offsets=True)
        offsets = decoded["char_offsets"]
        if wanted == "word":
            offsets = self.tokenizer._get_word_offsets(offsets, self.tokenizer.replace_word_delimiter_char)
        seconds = [
            [float(one[side]) * self.align / self.audio.sampling_rate for one in offsets]
            for side in ("start_offset", "end_offset")
        ]
        return Transcript(decoded["text"], [one[wanted] for one in offsets], *seconds, timed=True, index=index)

    def _ids(self, inputs: Batch) -> Tensor:
        return in_shares(self._compute, inputs)

    def _compute(self, inputs: Mapping[str, Tensor]) -> Tensor:
        tell_lengths(self._norms, inputs["attention_mask"].sum(-1) if self._exact else None)
        try:
            with unread_masks(next(iter(inputs.values())).device, full=not self.padded):
                best = self.model(**inputs).logits.max(-1)
        finally:
            tell_lengths(self._norms, None)  # a model that the caller has loaded is used elsewhere, too
        ids: Tensor = best.indices.masked_fill(~(best.values < torch.inf), BROKEN)
        return ids.to(torch.int32)

    def _kept(self, ids: NDArray[Any], stride: Stride | None) -> NDArray[Any]:
        """The frames of a window that no neighbour covers better; rounded as Transformers' pipeline does it."""
        if stride is None:
            return ids
        ratio = 1 / self.align
        total = round(stride.length * ratio)
        left = round(stride.left / stride.length * total)
        right = round(stride.right / stride.length * total)
        return ids[left : total - right]
