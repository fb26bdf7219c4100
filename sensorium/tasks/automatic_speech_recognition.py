"""automatic-speech-recognition: what is said in a sound."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, OptionError
from sensorium.models.speech_encoders import fold_weight_norm
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.text import TextProcessor
from sensorium.results import Transcript
from sensorium.tasks.base import Batch, Call, Empty, Models, Unit
from sensorium.tasks.loading import load_audio_processor, load_text_processor, load_transformers
from sensorium.tasks.media.sounds import SoundTask
from sensorium.tasks.speech.ctc import CtcRecognizer
from sensorium.tasks.speech.plan import FURTHER
from sensorium.tasks.speech.recognizer import Recognizer
from sensorium.tasks.speech.whisper import WhisperRecognizer
from sensorium.tasks.writing.options import GenerationOptions

Timestamps = bool | Literal["word", "char"] | None


@dataclass(frozen=True)
class AutomaticSpeechRecognitionOptions(GenerationOptions):
    """The options of a call; those of writing are for Whisper, and None leaves them to the checkpoint.

    Attributes:
        chunk_length_s: windows of this many seconds, which share batches with those of other sounds; None for a sound
            as a whole: Whisper then walks through it, a window after the other, other models hear all of it at once.
        stride_length_s: how much of each window, in seconds, its neighbours cover too: one number for both sides, or
            one for the left and one for the right; None for a sixth of the window.
        return_timestamps: when it was said: "word" for each word, "char" for each letter (not Whisper), True for
            Whisper's segments.
        return_language: whether to tell the language of each chunk (Whisper).
        language: which language is spoken, by code or name (multilingual Whisper); None to hear it out.
        task: "transcribe", or "translate" into English (multilingual Whisper).
        max_new_tokens: how many tokens to write at the most, in each window.
        min_new_tokens: how many tokens to write before an end is allowed.
        num_beams: how many beams to keep; 5 unless the checkpoint says otherwise; 1 is fastest.
        do_sample: does nothing by itself: Whisper draws tokens at random if there is a temperature.
        temperature: above 0, to draw tokens at random; less than 1 makes likely ones likelier.
        top_p: in (0, 1]; the share of probability to draw from, likeliest first.
        repetition_penalty: above 0; more than 1 makes tokens that were written before less likely.
        no_repeat_ngram_size: how many tokens in a row may not come twice; 0 for no limit.
        length_penalty: with beams, the power of the length that a score is divided by.
        seed: makes what is drawn at random repeatable.
        generate_kwargs: further settings by their names in Transformers' `GenerationConfig`, checked before any work.
    """

    chunk_length_s: float | None = None
    stride_length_s: float | tuple[float, ...] | None = None
    return_timestamps: Timestamps = None
    return_language: bool = False
    language: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.return_timestamps not in (None, True, False, "word", "char"):
            raise OptionError(f'return_timestamps is True, "word" or "char", got {self.return_timestamps!r}')
        if not (self.chunk_length_s is None or _is_length(self.chunk_length_s)):
            raise OptionError(f"chunk_length_s is a number of seconds, or None, got {self.chunk_length_s!r}")
        if self.stride_length_s is not None:
            object.__setattr__(self, "stride_length_s", _both_sides(self.stride_length_s))
        left, right = self.strides_s
        if self.chunk_length_s and self.chunk_length_s <= left + right:
            raise OptionError(
                f"a window of chunk_length_s={self.chunk_length_s:g} s has to be longer than what it shares with its "
                f"neighbours, {left:g} s on the left and {right:g} s on the right (stride_length_s)"
            )
        if self.stride_length_s is not None and not self.chunk_length_s:
            raise OptionError("stride_length_s is for windows: give chunk_length_s, too, or leave it out")

    @classmethod
    def further_names(cls) -> frozenset[str]:
        """What Whisper's `generate()` takes besides the fields of `GenerationConfig`."""
        return FURTHER

    @property
    def strides_s(self) -> tuple[float, float]:
        """What a window shares with its neighbours on the left and on the right, seconds."""
        if isinstance(self.stride_length_s, tuple):
            return self.stride_length_s[0], self.stride_length_s[1]
        return ((self.chunk_length_s or 0.0) / 6,) * 2

    def given(self) -> dict[str, Any]:
        """What the call sets, by the names of Whisper's `generate()`."""
        named = {"language": self.language, "task": self.task}
        return {**super().given(), **{name: value for name, value in named.items() if value is not None}}


class AutomaticSpeechRecognition(SoundTask):
    """Transcripts, as Transformers' pipeline of the same name gives them."""

    name = "automatic-speech-recognition"
    summary = "what is said in a sound, and when"
    options = AutomaticSpeechRecognitionOptions
    models = (Models("AutoModelForCTC", own_code=True), Models("AutoModelForSpeechSeq2Seq", only=("whisper",)))

    def __init__(self, model: nn.Module, processor: AudioProcessor, text: TextProcessor) -> None:
        super().__init__(model, processor)
        self.text = text
        self._spelling = threading.Lock()  # tokenizers are not to be used by several threads
        whisper = getattr(model.config, "model_type", None) == "whisper"
        kind = WhisperRecognizer if whisper else CtcRecognizer
        self._recognizer: Recognizer = kind(model, processor, text.tokenizer)
        self.padded = self._recognizer.padded

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads Whisper or a model of the `ForCTC` kind, its feature extractor and its tokenizer."""
        from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq

        audio = load_audio_processor(_part(processor, "feature_extractor"), checkpoint)
        text = load_text_processor(_part(processor, "tokenizer"), checkpoint)
        whisper = checkpoint.model_type == "whisper"
        model = load_transformers(AutoModelForSpeechSeq2Seq if whisper else AutoModelForCTC, checkpoint)
        fold_weight_norm(model)
        return cls(model, audio, text)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded model; `processor` is Transformers' own of it, with extractor and tokenizer, or a folder."""
        if not isinstance(processor, (str, bytes)) and not hasattr(processor, "__fspath__"):
            missing = [n for n in ("feature_extractor", "tokenizer") if not hasattr(processor, n)]
            if missing:
                raise CheckpointError(
                    "a loaded model needs its feature extractor and its tokenizer; pass processor=… (a name, a "
                    f"folder, or a loaded processor of both), got {type(processor).__name__}"
                )
        return cls(model, load_audio_processor(processor, None), load_text_processor(processor, None))

    def check(self, options: AutomaticSpeechRecognitionOptions) -> None:
        """Refuses what this model cannot tell or follow."""
        self._recognizer.check(options)

    def split(self, raw: Any, options: AutomaticSpeechRecognitionOptions) -> Iterator[Unit]:
        """The whole sound, or its windows, read one after the other."""
        with self.listen(raw) as reader:
            yield from self._recognizer.split(reader, options)

    def bucket(self, unit: Unit) -> Hashable:
        """Units of like length; Whisper's windows, and its long sounds of any length."""
        return self._recognizer.bucket(unit) or super().bucket(unit)

    def collate(self, units: Sequence[Unit], empty: Empty = torch.empty) -> Batch:
        """Windows side by side, long sounds one after the other."""
        return self._recognizer.collate(units, empty) or super().collate(units, empty)

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Runs the model, and for Whisper the search for the text."""
        return self._recognizer.forward(batch, options, call, self.dtype)

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Ids of letters or tokens on the CPU, one part a unit."""
        return self._recognizer.decode(outputs, metas)

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Transcript:
        """The transcript of a sound."""
        with self._spelling:
            return self._recognizer.merge(parts, options, index)


def _part(processor: Any, name: str) -> Any:
    """A loaded processor of both if it has this part, else None for the checkpoint's own; a place as it is."""
    if processor is None or isinstance(processor, str) or hasattr(processor, "__fspath__"):
        return processor
    return getattr(processor, name, None)


def _is_length(seconds: Any) -> bool:
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < float("inf")


def _both_sides(given: Any) -> tuple[float, float]:
    sides = list(given) if isinstance(given, (list, tuple)) else [given]
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or not all(_is_length(side) for side in sides):
        raise OptionError(f"stride_length_s is a number of seconds, or one for each side, got {given!r}")
    return sides[0], sides[1]
