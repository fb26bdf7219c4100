"""How Whisper writes: a call's settings merged with the checkpoint's, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import CheckpointError, OptionError, UnknownNameError
from sensorium.models.on_device import kept
from sensorium.models.whisper.search import Beams, Rules
from sensorium.tasks.writing.options import SAMPLING, filled

FURTHER = frozenset(
    {
        "language",
        "task",
        "condition_on_prev_tokens",
        "compression_ratio_threshold",
        "logprob_threshold",
        "no_speech_threshold",
        "prompt_ids",
        "prompt_condition_type",
        "temperature",
    }
)
"""What Whisper's `generate()` takes besides the fields of `GenerationConfig`; a temperature may be a list here."""

DEFAULTS = {"max_new_tokens": 256, "num_beams": 5}
"""What Transformers' pipeline sets where neither the call nor the checkpoint does."""

_KNOWN = frozenset(
    """
    alignment_heads begin_suppress_tokens bos_token_id decoder_start_token_id do_sample early_stopping eos_token_id
    forced_decoder_ids is_multilingual lang_to_id language length_penalty max_initial_timestamp_index max_length
    max_new_tokens min_new_tokens no_timestamps_token_id num_beams pad_token_id prev_sot_token_id return_timestamps
    suppress_tokens task task_to_id transformers_version use_cache
    """.split()  # noqa: SIM905 - a list of words
)
"""The settings that `WritingPlan` supports; with any other, Transformers' `generate()` runs, one sound at a time."""


@dataclass(frozen=True)
class WritingPlan:
    """What the walk through a sound needs to know.

    Attributes:
        prompt: the tokens that a text begins with; None stands for the language, still to be detected.
        languages: the tokens among which the language is found, or None where it is not detected.
        language: the token of the language where it was named.
        timestamps: whether timestamps are written.
        timestamp_begin: the token of 0.00 s.
        beams: how to search.
        settings: all settings, by the names of `generate()`.
        limit: how many tokens the model's decoder takes.
    """

    prompt: tuple[int | None, ...]
    languages: tuple[int, ...] | None
    language: int | None
    timestamps: bool
    timestamp_begin: int
    beams: Beams
    settings: Mapping[str, Any]
    limit: int

    def max_new_tokens(self, walk: int) -> int:
        """How many tokens to write at most in a sound's window of this number, from 0."""
        tokens = self.settings.get("max_new_tokens")
        if tokens is None:  # a length that Transformers raises by the prompt's with each window
            tokens = min(self.settings["max_length"] + (walk + 1) * len(self.prompt), self.limit) - len(self.prompt)
        return int(tokens)

    def rules(self, device: torch.device) -> Rules:
        """What may be written, with its tensors on a device."""
        settings = self.settings

        def ids(name: str) -> Tensor | None:
            return kept(tuple(settings[name]), device) if settings.get(name) else None

        return Rules(
            end=_end(settings),
            suppressed=ids("suppress_tokens"),
            suppressed_at_first=ids("begin_suppress_tokens"),
            min_new_tokens=settings.get("min_new_tokens") or 0,
            timestamps=self.timestamps,
            timestamp_begin=self.timestamp_begin,
            latest_first=settings.get("max_initial_timestamp_index"),
        )

    def without_end(self, tokens: list[int]) -> list[int]:
        """A written text without its end, and without what Transformers takes for filling after it."""
        end, pad = _end(self.settings), self.settings.get("pad_token_id")
        if tokens and tokens[-1] == pad:
            filling = tokens.count(pad) - (pad == end)
            tokens = tokens[:-filling] if filling else tokens
        return tokens[:-1] if tokens and tokens[-1] == end else tokens


def make_plan(
    model: Any, call_settings: Mapping[str, Any], *, timestamps: bool, long: bool, pad: int | None
) -> WritingPlan | None:
    """Merges a call's settings with the checkpoint's.

    Args:
        model: a `WhisperForConditionalGeneration`.
        call_settings: the call's settings, by the names of `generate()`.
        timestamps: whether the call wants timestamps.
        long: whether the sounds are longer than a window: then the model needs its timestamps to find its way.
        pad: the tokenizer's token of filling.

    Returns:
        The plan; None where a setting is not one of those that it follows.

    Raises:
        OptionError: a setting that this model does not support.
        CheckpointError: a text would begin with a token that the model does not know.
    """
    configured, rows = model.generation_config, model.get_input_embeddings().num_embeddings
    settings = {**_public(configured), **filled(call_settings, configured, {**DEFAULTS, "pad_token_id": pad})}
    for name in ("suppress_tokens", "begin_suppress_tokens"):  # Transformers passes over tokens that there are not
        settings[name] = [token for token in settings.get(name) or () if 0 <= token < rows]
    timestamps = timestamps or bool(settings.get("return_timestamps")) or long
    none_follow = settings.get("no_timestamps_token_id")
    if timestamps and none_follow is None:
        raise OptionError("this checkpoint's generation config names no no_timestamps_token_id: it cannot give times")
    prompt, languages, language = _prompt(model, settings, timestamps=timestamps)
    _check_known([*prompt, *(languages or ())], rows)
    limit = model.config.max_target_positions
    wanted = settings.get("max_new_tokens") or 1
    if wanted + len(prompt) > limit:
        raise OptionError(
            f"max_new_tokens is {wanted}, but this model writes {limit} tokens at most, the {len(prompt)} of its "
            f"prompt among them; give max_new_tokens={limit - len(prompt)} or less"
        )
    if not _follows(settings):
        return None
    return WritingPlan(
        prompt=prompt,
        languages=languages,
        language=language,
        timestamps=timestamps,
        timestamp_begin=model.config.vocab_size + 1 if none_follow is None else none_follow + 1,
        beams=Beams(
            settings.get("num_beams") or 1,
            1.0 if settings.get("length_penalty") is None else settings["length_penalty"],
            settings.get("early_stopping") or False,
        ),
        settings=settings,
        limit=limit,
    )


def _check_known(tokens: Iterable[int | None], rows: int) -> None:
    """Refuses tokens for which the model has no row: on a GPU a look-up past a table's end ends the process's work."""
    unknown = [token for token in tokens if token is not None and token >= rows]
    if unknown:
        raise CheckpointError(
            f"the checkpoint's generation config begins a text with the token {unknown[0]}, and its model's table of "
            f"tokens has {rows} rows: they are not of one model. Use the generation config that belongs to it"
        )


def _public(configured: Any) -> dict[str, Any]:
    return {name: value for name, value in configured.to_diff_dict().items() if not name.startswith("_")}


def _follows(settings: Mapping[str, Any]) -> bool:
    unknown = [n for n, value in settings.items() if n not in _KNOWN and value is not None and value is not False]
    single_end = isinstance(settings.get("eos_token_id"), int) or len(settings.get("eos_token_id") or ()) == 1
    return not unknown and single_end and settings.get("early_stopping") in (None, False, True, "never")


def _end(settings: Mapping[str, Any]) -> int:
    end = settings["eos_token_id"]
    return int(end if isinstance(end, int) else end[0])


def _prompt(
    model: Any, settings: Mapping[str, Any], *, timestamps: bool
) -> tuple[tuple[int | None, ...], tuple[int, ...] | None, int | None]:
    """The tokens before the text: start, language, task, and whether no timestamps follow."""
    prompt: list[int | None] = [settings["decoder_start_token_id"]]
    task, named = settings.get("task"), settings.get("language")
    if task is None and named is None:
        forced = settings.get("forced_decoder_ids") or getattr(model.config, "forced_decoder_ids", None) or ()
        prompt += [token for position, (at, token) in enumerate(forced, 1) if at == position]
    language_tokens: Mapping[str, int] = settings.get("lang_to_id") or {}
    language = language_token(named, language_tokens) if named is not None else None
    heard = named is None and bool(language_tokens) and (len(prompt) < 2 or prompt[1] is None)
    if named is not None or heard:
        prompt[1:2] = [language]
    tasks: Mapping[str, int] = settings.get("task_to_id") or {}
    if task is not None:
        prompt.append(tasks[task])
    elif named is not None and tasks and not set(tasks.values()) & set(prompt):
        prompt.append(tasks["transcribe"])
    none_follow = settings.get("no_timestamps_token_id")
    if not timestamps and none_follow is not None and prompt[-1] != none_follow:
        prompt.append(none_follow)
    elif timestamps and prompt[-1] == none_follow:
        prompt.pop()
    if not heard:
        prompt = [token for token in prompt if token is not None]
    return tuple(prompt), tuple(language_tokens.values()) if heard else None, language


def language_token(name: Any, language_tokens: Mapping[str, int]) -> int:
    """The token of a language that is called by its code (`"de"`), its name (`"german"`) or its token (`"<|de|>"`).

    Raises:
        UnknownNameError: the checkpoint does not know it; names the nearest one.
    """
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    word = str(name).lower()
    token = word if word in language_tokens else f"<|{TO_LANGUAGE_CODE.get(word, word)}|>"
    if token not in language_tokens:
        codes = {code[2:-2] for code in language_tokens}
        raise UnknownNameError("language", name, codes | {n for n, code in TO_LANGUAGE_CODE.items() if code in codes})
    return language_tokens[token]


def check_settings(model: Any, call_settings: Mapping[str, Any], *, seed: int | None) -> None:
    """Refuses a language or a task that this model does not know, and what would have no effect.

    Raises:
        OptionError: the model is not multilingual, the task is neither "transcribe" nor "translate", or settings of
            random drawing are given where nothing is drawn.
        UnknownNameError: the language is not one of the model's.
    """
    configured = model.generation_config
    asked = [name for name in ("language", "task") if call_settings.get(name) is not None]
    if asked and (getattr(configured, "is_multilingual", None) is False or not hasattr(configured, "lang_to_id")):
        raise OptionError(f"this checkpoint knows only English: leave out {' and '.join(asked)}")
    task = call_settings.get("task")
    if task is not None and task not in (getattr(configured, "task_to_id", None) or {}):
        raise OptionError(f'task is "transcribe" or "translate", got {task!r}')
    if call_settings.get("language") is not None:
        language_token(call_settings["language"], configured.lang_to_id)
    idle = [
        name
        for name in call_settings
        if name in SAMPLING - {"temperature"} or (name == "do_sample" and call_settings[name])
    ]
    idle += ["seed"] if seed is not None else []
    if idle and call_settings.get("temperature") is None:
        raise OptionError(
            f"{', '.join(idle)} would have no effect: Whisper draws at random only with a temperature; set one"
        )
