"""Whisper: windows and long sounds to tokens, and tokens to a transcript."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import InputError, OptionError
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.audio_reading import AudioReader
from sensorium.processors.features import LogMel
from sensorium.results import Transcript
from sensorium.tasks.base import Batch, Call, Empty, Runtime, Unit
from sensorium.tasks.speech.options import AutomaticSpeechRecognitionOptions as Options
from sensorium.tasks.speech.plan import DEFAULTS, check_settings, make_plan
from sensorium.tasks.speech.recognizer import Recognizer, nan_where
from sensorium.tasks.speech.walk import Speech, Walker, generate_one
from sensorium.tasks.speech.windows import Stride, long_log_mel
from sensorium.tasks.writing.keeping import seeded
from sensorium.tasks.writing.options import filled


@dataclass(frozen=True)
class _SpeechPart:
    """What a unit gave: its tokens, and where it lies."""

    stride: Stride | None
    speech: Speech


class WhisperRecognizer(Recognizer):
    """A `WhisperForConditionalGeneration`."""

    def __init__(self, model: nn.Module, audio: AudioProcessor, tokenizer: Any) -> None:
        super().__init__(audio, tokenizer)
        self.model: Any = model
        self.walker = Walker(model)
        window = getattr(audio.features, "max_samples", None)
        self.window: int = window if isinstance(window, int) else self.walker.frames * 160
        self.on_host = frozenset(["lengths"])

    def check(self, options: Options) -> None:
        """Refuses what Whisper, or this Whisper, cannot do."""
        if options.return_timestamps == "char":
            raise OptionError('Whisper tells no letters\' times: return_timestamps is True or "word", got "char"')
        if options.return_timestamps == "word" and not hasattr(self.model.generation_config, "alignment_heads"):
            raise OptionError(
                'return_timestamps="word" needs alignment_heads in the checkpoint\'s generation config, which this one '
                "lacks; return_timestamps=True gives the times of segments"
            )
        size = self.sizes(options)[0]
        if size > self.window:
            raise OptionError(
                f"this model hears {self.window / self.audio.sampling_rate:g} s at once: chunk_length_s is at most "
                f"that, got {options.chunk_length_s:g}"
            )
        self.check_sizes(options)
        given = options.given()
        check_settings(self.model, given, seed=options.seed)
        self._plan(options, long=False)

    def split(self, reader: AudioReader, options: Options) -> Iterator[Unit]:
        """The windows of a sound, or the whole spectrum of one that is longer than a window."""
        rate = self.audio.sampling_rate
        at_rate = reader.at(rate)
        if options.chunk_length_s:
            for samples, stride in self.windows(at_rate, options):
                yield Unit(self._window(samples), meta=stride)
            return
        samples = at_rate.read(0, self.window + 1)
        if not len(samples):
            raise self.too_short(reader, 1)
        if len(samples) <= self.window:
            yield Unit(self._window(samples))
        elif isinstance(self.audio.features, LogMel):
            yield Unit({"features": long_log_mel(at_rate, self.audio.features)})
        else:
            raise InputError(
                f"{reader.name}: this checkpoint's own feature extractor runs, and it hears "
                f"{self.window / rate:g} s; give chunk_length_s for longer sounds",
                code="too-long",
            )

    def bucket(self, unit: Unit) -> Hashable | None:
        """Windows go with windows, whatever is sound in them, and sounds to walk through with their like."""
        features = unit.inputs.get("features")
        if features is not None:
            return ("long", features.shape[1] > self.walker.frames)
        return "window" if "samples" in unit.inputs else None

    def collate(self, units: Sequence[Unit], empty: Empty) -> Batch | None:
        """Windows padded with silence; the spectra of long sounds one after another, so that none is copied."""
        if "features" in units[0].inputs:
            spectra = [unit.inputs["features"] for unit in units]
            lengths = torch.tensor([one.shape[1] for one in spectra])
            return {"features": spectra[0] if len(spectra) == 1 else torch.cat(spectra, dim=1), "lengths": lengths}
        if "samples" not in units[0].inputs:
            return self._share(units, empty)
        samples: Tensor = empty((len(units), self.window), dtype=torch.float32)
        for row, unit in zip(samples, units, strict=True):
            heard = unit.inputs["samples"][: self.window]
            row[: len(heard)] = heard
            row[len(heard) :] = 0
        return {"samples": samples, "length": torch.stack([unit.inputs["length"] for unit in units])}

    def _share(self, units: Sequence[Unit], empty: Empty) -> Batch:
        """A batch of spectra. On a CPU the units hold views of it from here on, and what they held goes."""
        first = units[0].inputs
        batch = {name: empty((len(units), *tensor.shape), dtype=tensor.dtype) for name, tensor in first.items()}
        for name, whole in batch.items():
            for row, unit in zip(whole, units, strict=True):
                row.copy_(unit.inputs[name])
                if self.model.device.type == "cpu":
                    unit.inputs[name] = row
        return batch

    def forward(self, batch: Batch, options: Options, call: Call, runtime: Runtime) -> dict[str, Tensor]:
        """`tokens`, `(B, T)` int64, -1 after the last; `times`, `(B, T)`; `languages`, `(B,)` int64, -1 if unknown."""
        dtype = runtime.dtype
        spectra = self._spectra(batch, dtype)
        long = spectra[0].shape[1] > self.walker.frames
        plan = self._plan(options, long=long)
        if plan is not None and options.return_timestamps != "word":
            speeches = self.walker.walk(spectra, plan, call, runtime.recorder)
        else:
            settings = self._settings(options, long=long)
            extra = {"words": options.return_timestamps == "word", "language": options.return_language}
            speeches = []
            for spectrum, frames in zip(spectra, self._real_frames(batch, spectra), strict=True):
                with seeded(options.seed, spectrum.device):  # each seeded again, so that a sound's text is its own
                    speeches.append(generate_one(self.model, spectrum.to(dtype), frames, settings, **extra))
        return _packed(speeches)

    def decode(self, outputs: Mapping[str, Tensor], metas: Sequence[Stride | None]) -> Sequence[_SpeechPart]:
        """Each unit's tokens."""
        tokens, times = outputs["tokens"].cpu(), outputs["times"].cpu()
        lengths, languages = (tokens >= 0).sum(-1).tolist(), outputs["languages"].tolist()
        return [
            _SpeechPart(meta, Speech(row[:n].tolist(), None if language < 0 else language, time[:n].tolist()))
            for row, time, n, language, meta in zip(tokens, times, lengths, languages, metas, strict=True)
        ]

    def merge(self, parts: Sequence[_SpeechPart], options: Options, index: int) -> Transcript:
        """Joins the windows where their texts agree, as the checkpoint's tokenizer does it for Transformers."""
        timestamps = options.return_timestamps or getattr(self.model.generation_config, "return_timestamps", None)
        text, extra = self.tokenizer._decode_asr(
            [self._output(part, options) for part in parts],
            return_timestamps=timestamps or None,
            return_language=options.return_language or None,
            time_precision=self.window / self.audio.sampling_rate / self.model.config.max_source_positions,
        )
        chunks: list[dict[str, Any]] = extra.get("chunks", [])
        spans = [chunk.get("timestamp", (None, None)) for chunk in chunks]
        return Transcript(
            text,
            [chunk["text"] for chunk in chunks],
            [start for start, _ in spans],
            [end for _, end in spans],
            languages=[chunk.get("language") for chunk in chunks] if options.return_language else None,
            timed=bool(timestamps),
            index=index,
        )

    def _window(self, samples: Tensor) -> dict[str, Tensor]:
        """What a unit holds of a window: its samples; on a CPU its spectrum, which takes half of their memory."""
        fitted = self.audio.fit(samples, self.audio.sampling_rate)
        if self.model.device.type != "cpu" or "samples" not in fitted:
            return fitted
        whole = {name: tensor[None] for name, tensor in fitted.items()}
        return {"input_features": self.audio.finish(whole)["input_features"][0], "length": fitted["length"]}

    def _plan(self, options: Options, *, long: bool) -> Any:
        wanted = bool(options.return_timestamps)
        pad = self.tokenizer.pad_token_id
        return make_plan(self.model, options.given(), timestamps=wanted, long=long, pad=pad)

    def _settings(self, options: Options, *, long: bool) -> dict[str, Any]:
        """For `generate()`."""
        configured = self.model.generation_config
        settings = filled(options.given(), configured, {**DEFAULTS, "pad_token_id": self.tokenizer.pad_token_id})
        if options.return_timestamps or long or getattr(configured, "return_timestamps", False):
            settings["return_timestamps"] = True
        return settings

    def _spectra(self, batch: Batch, dtype: torch.dtype) -> list[Tensor]:
        """The spectrum of each sound."""
        if "features" in batch:
            return list(batch["features"].split(batch["lengths"].tolist(), dim=1))
        if "samples" in batch:
            return list(self.audio.finish(batch, dtype=dtype)["input_features"])
        return list(batch["input_features"])

    def _real_frames(self, batch: Batch, spectra: Sequence[Tensor]) -> list[int]:
        """How many frames of each spectrum are not filling; on a device this waits, and only `generate()` asks."""
        if "length" not in batch:
            return [spectrum.shape[1] for spectrum in spectra]
        hop = self.window // self.walker.frames
        lengths = batch["length"].tolist()
        return [min(-(-n // hop), spectrum.shape[1]) for n, spectrum in zip(lengths, spectra, strict=True)]

    def _output(self, part: _SpeechPart, options: Options) -> dict[str, Any]:
        """A window's tokens as the tokenizer wants them, times in seconds."""
        tokens, times, stride = part.speech.tokens, part.speech.times, part.stride
        if options.return_language and part.speech.language is not None:
            tokens, times = [part.speech.language, *tokens], [0.0, *times]
        output: dict[str, Any] = {"tokens": torch.tensor([tokens], dtype=torch.int64)}
        if options.return_timestamps == "word":
            output["token_timestamps"] = torch.tensor([times], dtype=torch.float32)
        if stride is not None:
            rate = self.audio.sampling_rate
            output["stride"] = (stride.length / rate, stride.left / rate, stride.right / rate)
        return output


def _packed(speeches: Sequence[Speech]) -> dict[str, Tensor]:
    max_tokens = max(1, *(len(speech.tokens) for speech in speeches))
    tokens, times = (
        torch.full((len(speeches), max_tokens), -1),
        torch.zeros(len(speeches), max_tokens, dtype=torch.float32),
    )
    for i, speech in enumerate(speeches):
        tokens[i, : len(speech.tokens)] = torch.tensor(speech.tokens, dtype=torch.int64)
        times[i, : len(speech.times)] = torch.tensor(speech.times)
    languages = [-1 if speech.language is None else speech.language for speech in speeches]
    finite = nan_where(torch.tensor([speech.broken for speech in speeches]))
    return {"tokens": tokens, "times": times, "languages": torch.tensor(languages), "finite": finite}
