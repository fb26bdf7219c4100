"""automatic-speech-recognition: what is said in a sound."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError
from sensorium.models.speech_encoders import fold_weight_norm
from sensorium.processors.audio import AudioProcessor
from sensorium.processors.audio_silence import trim
from sensorium.processors.text import TextProcessor
from sensorium.results import Transcript
from sensorium.tasks.base import Batch, Call, Empty, Models, Unit
from sensorium.tasks.loading import load_audio_processor, load_text_processor, load_transformers
from sensorium.tasks.media.audio import AudioTask
from sensorium.tasks.speech.ctc import CtcRecognizer
from sensorium.tasks.speech.options import AutomaticSpeechRecognitionOptions
from sensorium.tasks.speech.recognizer import Recognizer
from sensorium.tasks.speech.whisper import WhisperRecognizer


class AutomaticSpeechRecognition(AudioTask):
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
        self.padded, self.on_host = self._recognizer.padded, self._recognizer.on_host

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
        """Refuses what this model cannot do."""
        self._recognizer.check(options)

    def split(self, raw: Any, options: AutomaticSpeechRecognitionOptions) -> Iterator[Unit]:
        """The whole sound, or its windows, read one after the other."""
        with self.listen(raw) as opened:
            reader, begins_s = trim(opened, options.trim_db)
            for unit in self._recognizer.split(reader, options):
                yield Unit(unit.inputs, _Heard(unit.meta, begins_s))

    def bucket(self, unit: Unit) -> Hashable:
        """Units of like length; Whisper's windows, and its long sounds of any length."""
        return self._recognizer.bucket(unit) or super().bucket(unit)

    def collate(self, units: Sequence[Unit], empty: Empty = torch.empty) -> Batch:
        """Windows side by side, long sounds one after the other."""
        return self._recognizer.collate(units, empty) or super().collate(units, empty)

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Runs the model, and for Whisper the search for the text."""
        return self._recognizer.forward(batch, options, call, self.runtime)

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Ids of letters or tokens on the CPU, one part per unit."""
        parts = self._recognizer.decode(outputs, [meta.what for meta in metas])
        return [_Heard(part, meta.begins_s) for part, meta in zip(parts, metas, strict=True)]

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Transcript:
        """The transcript of a sound."""
        with self._spelling:
            transcript = self._recognizer.merge([part.what for part in parts], options, index)
        transcript.starts += parts[0].begins_s
        transcript.ends += parts[0].begins_s
        return transcript


class _Heard(NamedTuple):
    """What a recognizer knows of a unit, or makes of it, and when what is heard begins in the sound, seconds."""

    what: Any
    begins_s: float


def _part(processor: Any, name: str) -> Any:
    """A loaded processor of both if it has this part, else None for the checkpoint's own; a place as it is."""
    if processor is None or isinstance(processor, str) or hasattr(processor, "__fspath__"):
        return processor
    return getattr(processor, name, None)
