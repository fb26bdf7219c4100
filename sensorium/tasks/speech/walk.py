"""Whisper from spectra to tokens, window after window, as `generate()` of Transformers walks through a sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.on_device import kept, sent
from sensorium.models.recorder import Recorder
from sensorium.models.whisper.decoder import WhisperDecoder
from sensorium.models.whisper.desk import Desk, whole
from sensorium.models.whisper.search import BROKEN, write_greedily, write_with_beams
from sensorium.tasks.base import Call
from sensorium.tasks.speech.plan import WritingPlan
from sensorium.tasks.writing.watching import ScoreWatch

HEARD_BYTES = {"cpu": 112 * 2**20, "other": 8 * 2**30}
"""Bytes for the keys and values of windows that are written at once; an hour of sound has to fit beside them."""

ENCODED_BYTES = {"cpu": 8 * 2**20, "other": 2**30}
"""Bytes for one activation of the windows that are encoded at once."""


@dataclass(slots=True)
class Speech:
    """What was heard in a sound.

    Attributes:
        tokens: text, timestamps and special tokens, those of all windows in a row.
        language: the token of the language, where it is known.
        times: with words' times, the second at which each token ends; else empty.
        broken: whether the model's scores were not finite, so that the tokens mean nothing.
    """

    tokens: list[int] = field(default_factory=list)
    language: int | None = None
    times: list[float] = field(default_factory=list)
    broken: bool = False


class Walker:
    """Runs a Whisper model over sounds of any length.

    Args:
        model: a `WhisperForConditionalGeneration`.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.decoder = model, WhisperDecoder(model)
        encoder = model.model.encoder
        self.stride = encoder.conv1.stride[0] * encoder.conv2.stride[0]
        self.frames = self.stride * model.config.max_source_positions

    def walk(
        self, features: Sequence[Tensor], plan: WritingPlan, call: Call, recorder: Recorder | None = None
    ) -> list[Speech]:
        """Transcribes sounds of any length, window by window, many sounds at a time.

        Args:
            features: a `(mels, frames)` tensor for each sound.
            plan: how to write.
            call: runs the encoder.
            recorder: records the decoder's steps; None for where they run as they are.
        """
        desk = None if recorder is None else Desk(recorder, plan.beams.count)
        speeches = [Speech() for _ in features]
        at = [0] * len(features)
        step = 0
        while unread := [i for i, one in enumerate(features) if at[i] < one.shape[1]]:
            for group in self._groups(unread, whole if desk is not None else int):
                windows = torch.stack([self._window(features[i], at[i]) for i in group])
                heard = self._listen(windows, call, desk)
                prompt = self._prompt(plan, heard, [speeches[i] for i in group])
                written = self._write(heard, prompt, plan, step, desk)
                del heard  # or it is still there when the next group's is made
                for i, tokens in zip(group, written, strict=True):
                    if tokens == [BROKEN]:
                        speeches[i].broken = True
                        at[i] = features[i].shape[1]
                        continue
                    kept, passed = self._cut(tokens, plan, left=features[i].shape[1] - at[i])
                    speeches[i].tokens += kept
                    at[i] += passed
            step += 1
        return speeches

    def _groups(self, rows: Sequence[int], rounded: Callable[[int], int]) -> Iterator[Sequence[int]]:
        config, weight = self.model.config, self.model.proj_out.weight
        one = 2 * config.decoder_layers * config.max_source_positions * config.d_model * weight.element_size()
        size = rounded(max(1, _budget(HEARD_BYTES, weight.device) // one))
        for i in range(0, len(rows), size):
            yield rows[i : i + size]

    def _window(self, features: Tensor, at: int) -> Tensor:
        window = features[:, at : at + self.frames]
        return F.pad(window.to(self.model.proj_out.weight.dtype), (0, self.frames - window.shape[1]))

    def _listen(self, windows: Tensor, call: Call, desk: Desk | None) -> Tensor:
        """Encodes windows, a few at a time, to the keys and values that the decoder looks at."""
        config, size = self.model.config, windows.element_size()
        one = config.max_source_positions * max(config.encoder_ffn_dim, 2 * config.d_model) * size
        rows = max(1, _budget(ENCODED_BYTES, windows.device) // one)
        heard: Tensor | None = None  # filled in place: two of them would be all the memory that an hour may take
        for i in range(0, len(windows), rows):
            encoded = call(self._encode, windows[i : i + rows])
            heard = self.decoder.room(len(windows), encoded, desk) if heard is None else heard
            self.decoder.listen(encoded, heard[:, :, i : i + rows])
        assert heard is not None
        return heard

    def _encode(self, windows: Tensor) -> Tensor:
        encoded: Tensor = self.model.model.encoder(windows).last_hidden_state
        return encoded

    def _prompt(self, plan: WritingPlan, heard: Tensor, speeches: Sequence[Speech]) -> Tensor:
        """The tokens that each text begins with; a language that was not named is detected in the first window."""
        if plan.languages is not None and any(speech.language is None for speech in speeches):
            start = torch.full((heard.shape[2], 1), plan.prompt[0] or 0, device=heard.device)
            scores = self.decoder.step(start, self.decoder.remember(heard, 1))
            languages = kept(plan.languages, heard.device)
            best = languages[scores[:, languages].argmax(-1)].tolist()
            for speech, language in zip(speeches, best, strict=True):
                speech.language = speech.language or language
        rows = [[speech.language if token is None else token for token in plan.prompt] for speech in speeches]
        for speech in speeches:
            speech.language = speech.language or plan.language
        return sent(rows, heard.device)

    def _write(self, heard: Tensor, prompt: Tensor, plan: WritingPlan, step: int, desk: Desk | None) -> list[list[int]]:
        rules, most = plan.rules(heard.device), plan.max_new_tokens(step)
        if plan.beams.count == 1:
            return write_greedily(self.decoder, heard, prompt, rules, max_tokens=most, desk=desk)
        return write_with_beams(self.decoder, heard, prompt, rules, max_tokens=most, beams=plan.beams, desk=desk)

    def _cut(self, tokens: list[int], plan: WritingPlan, *, left: int) -> tuple[list[int], int]:
        """The tokens of a window that count, and how many frames they cover.

        After the last pair of timestamps the window may end in the middle of a word: what was written there is
        dropped and heard again, with the next window.
        """
        frames = min(left, self.frames)
        tokens = plan.without_end(tokens)
        timed = [token >= plan.timestamp_begin for token in tokens]
        pairs = [i + 1 for i in range(len(timed) - 1) if timed[i] and timed[i + 1]]
        if not pairs or timed[-2:] == [False, True]:
            return tokens, frames
        passed = (tokens[pairs[-1] - 1] - plan.timestamp_begin) * self.stride
        return tokens[: pairs[-1] + 1], passed if passed > 0 else frames  # never stand still


def generate_one(
    model: Any, features: Tensor, frames: int, settings: Mapping[str, Any], *, words: bool, language: bool
) -> Speech:
    """Lets Transformers' own `generate()` write one sound, for settings that `WritingPlan` does not know.

    Args:
        model: a `WhisperForConditionalGeneration`.
        features: `(mels, frames)` in the model's dtype.
        frames: how many of them are sound, not filling.
        settings: for `generate()`.
        words: whether times of words are wanted.
        language: whether the language is.
    """
    mask = (torch.arange(features.shape[1], device=features.device) < frames).long()
    watch = ScoreWatch()
    extra: dict[str, Any] = {"logits_processor": [watch]}
    extra |= {"return_token_timestamps": True, "return_segments": True} if words else {}
    extra |= {"return_segments": True} if language else {}
    attention = model.config._attn_implementation
    try:
        generated = model.generate(input_features=features[None], attention_mask=mask[None], **settings, **extra)
    finally:
        model.config._attn_implementation = attention  # words' times switch it to "eager" for good
    broken = not bool(watch.largest.isfinite())
    if isinstance(generated, Tensor):
        return Speech(generated[0].tolist(), broken=broken)
    segments = generated["segments"][0] if "segments" in generated else []
    times = [time for s in segments for time in s["token_timestamps"].tolist()] if words else []
    return Speech(generated["sequences"][0].tolist(), _language(model, segments) if language else None, times, broken)


def _language(model: Any, segments: Sequence[Mapping[str, Any]]) -> int | None:
    language_tokens = set(getattr(model.generation_config, "lang_to_id", {}).values())
    if not segments:
        return None
    result = segments[0]["result"]
    tokens = result["sequences"] if isinstance(result, Mapping) else result
    return next((token for token in tokens.tolist() if token in language_tokens), None)


def _budget(budgets: Mapping[str, int], device: torch.device) -> int:
    return budgets.get(device.type, budgets["other"])
