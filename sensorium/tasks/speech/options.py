"""The options of `automatic-speech-recognition`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from sensorium.errors import OptionError
from sensorium.tasks.media.audio import TrimDb
from sensorium.tasks.options import Range, checked
from sensorium.tasks.speech.plan import FURTHER
from sensorium.tasks.writing.options import GenerationOptions

Timestamps = bool | Literal["word", "char"] | None
Seconds = Annotated[float, Range(0, unit="seconds")]


@dataclass(frozen=True)
class AutomaticSpeechRecognitionOptions(GenerationOptions):
    """The options of a call; those of `GenerationOptions` are for Whisper, and None leaves them to the checkpoint.

    Attributes:
        chunk_length_s: windows of this many seconds, which share batches with those of other sounds; None for a sound
            as a whole: Whisper then walks through it window by window, other models hear all of it at once.
        stride_length_s: how much of each window, in seconds, its neighbours cover too: one number for both sides, or
            one for the left and one for the right; None for a sixth of the window.
        return_timestamps: when it was said: "word" for each word, "char" for each letter (not Whisper), True for
            Whisper's segments.
        return_language: whether to tell the language of each chunk (Whisper).
        language: which language is spoken, by code or name (multilingual Whisper); None to detect it.
        task: "transcribe", or "translate" into English (multilingual Whisper).
        max_new_tokens: how many tokens to write at most, in each window.
        num_beams: how many beams to keep; 5 unless the checkpoint says otherwise; 1 is fastest.
        do_sample: has no effect by itself: Whisper draws tokens at random if there is a temperature.
        temperature: above 0, to draw tokens at random; values below 1 make likely tokens likelier.
        top_p: in (0, 1]; the share of probability to draw from, likeliest first.
        length_penalty: with beams, the power of the length that a score is divided by.
        seed: makes random draws repeatable.
        trim_db: leaves silence at both ends out: what is this many decibels below the loudest moment, or more; 60 is
            usual, and what librosa takes. None leaves nothing out. Times stay those of the whole sound.
    """

    chunk_length_s: Seconds | None = None
    stride_length_s: float | tuple[float, ...] | None = None
    return_timestamps: Timestamps = None
    return_language: bool = False
    language: str | None = None
    task: str | None = None
    trim_db: TrimDb = None

    def __post_init__(self) -> None:
        super().__post_init__()
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


def _both_sides(stride: Any) -> tuple[float, float]:
    sides = list(stride) if isinstance(stride, (list, tuple)) else [stride]
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2:
        raise OptionError(f"stride_length_s is a number of seconds, or one for each side, got {stride!r:.200}")
    left, right = (checked("stride_length_s", side, Seconds) for side in sides)
    return left, right
