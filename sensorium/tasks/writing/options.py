"""What a generating model is told for one call: typed and checked options, and `generate_kwargs` for the rest."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from sensorium.errors import OptionError, UnknownNameError
from sensorium.tasks.options import Count, Natural, Options, Positive, Range, checked

OWN = frozenset(
    {
        "compile_config",
        "continuous_batching_config",
        "disable_compile",
        "is_assistant",
        "low_memory",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "pad_token_id",
        "return_dict_in_generate",
        "transformers_version",
        "use_cache",
    }
)
"""Fields of a generation config that a task sets itself: they change the form of the output, not its tokens."""

SAMPLING = frozenset(["temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"])
"""What counts only where `do_sample` is true."""

_NAMED = (
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "do_sample",
    "temperature",
    "top_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "length_penalty",
)


PartOfAll = Annotated[float, Range(above=0, most=1)]

_FURTHER = {
    "max_length": Count,
    "min_length": Natural,
    "top_k": Natural,
    "encoder_repetition_penalty": Positive,
    "typical_p": PartOfAll,
    "diversity_penalty": float,
}


@dataclass(frozen=True)
class GenerationOptions(Options):
    """The options of a call to a model that writes; None leaves a setting to the checkpoint's generation config.

    Attributes:
        max_new_tokens: how many tokens to write at most.
        min_new_tokens: how many tokens to write before an end is allowed.
        num_beams: how many beams to keep; 1 for the likeliest token at each step.
        do_sample: whether to draw tokens at random by their probability.
        temperature: above 0; values below 1 make likely tokens likelier. Counts only with `do_sample`.
        top_p: in (0, 1]; the share of probability to draw from, likeliest first. Counts only with `do_sample`.
        repetition_penalty: above 0; values above 1 make tokens that were already written less likely.
        no_repeat_ngram_size: no run of this many tokens may occur twice; 0 for no limit.
        length_penalty: with beams, the power of the length that a score is divided by; above 0 favours long answers.
        seed: makes what `do_sample` draws repeatable, for the same inputs in the same batches.
        generate_kwargs: further settings by their names in Transformers' `GenerationConfig`, checked before any work.
    """

    max_new_tokens: Count | None = None
    min_new_tokens: Natural | None = None
    num_beams: Count | None = None
    do_sample: bool | None = None
    temperature: Positive | None = None
    top_p: PartOfAll | None = None
    repetition_penalty: Positive | None = None
    no_repeat_ngram_size: Natural | None = None
    length_penalty: float | None = None
    seed: int | None = None
    generate_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generate_kwargs is not None:
            settings = checked_generate_kwargs(self.generate_kwargs, further=self.further_names())
            twice = [n for n in _NAMED if n in settings and getattr(self, n) not in (None, settings[n])]
            if twice:
                raise OptionError(f"{', '.join(twice)} given twice, as an option and in generate_kwargs; give it once")
            object.__setattr__(self, "generate_kwargs", settings)

    @classmethod
    def further_names(cls) -> frozenset[str]:
        """Names that the task's models take in `generate_kwargs` besides those of `GenerationConfig`."""
        return frozenset()

    def settings_given(self) -> list[str]:
        """The names of those settings of writing that are not left to the checkpoint."""
        return [field.name for field in fields(GenerationOptions) if getattr(self, field.name) is not None]

    def given(self) -> dict[str, Any]:
        """What the call sets, by the names of `generate()`, those of `generate_kwargs` among them."""
        named = {name: getattr(self, name) for name in _NAMED if getattr(self, name) is not None}
        return {**(self.generate_kwargs or {}), **named}


def checked_generate_kwargs(settings: Mapping[str, Any], *, further: Iterable[str] = ()) -> dict[str, Any]:
    """Checks settings for `generate()` before any work is done with them.

    Args:
        settings: settings by name.
        further: names that a model's own `generate()` takes besides those of `GenerationConfig`.

    Returns:
        A copy of `settings` without the entries that are None.

    Raises:
        UnknownNameError: a name that is none of them; names the nearest one.
        OptionError: `settings` is not a mapping, a value is invalid, or a setting is not the caller's to choose.
    """
    if not isinstance(settings, Mapping):
        raise OptionError(f'generate_kwargs is a mapping such as {{"num_beams": 2}}, got {type(settings).__name__}')
    names, kept = _fields() | set(further), {}
    for name, value in ((name, value) for name, value in settings.items() if value is not None):
        if name in OWN:
            raise OptionError(f"generate_kwargs cannot set {name!r}: Sensorium sets it itself")
        if name not in names:
            raise UnknownNameError("setting in generate_kwargs", name, names - OWN)
        if name in further:
            kept[name] = value
        else:
            kept[name] = checked(name, value, _hints().get(name, Any))
    _validate({name: value for name, value in kept.items() if name not in further})
    return kept


def filled(call_settings: Mapping[str, Any], configured: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Adds a task's defaults for what neither the call nor the checkpoint's generation config sets.

    Those of sampling are added only where tokens are drawn, and a `max_new_tokens` does not undo a `max_length`.

    Args:
        call_settings: what the call sets.
        configured: the model's `generation_config`.
        defaults: the task's.
    """
    present = {**configured.to_diff_dict(), **call_settings}
    added = {name: value for name, value in defaults.items() if name not in present}
    if "max_length" in present:
        added.pop("max_new_tokens", None)
    if not {**present, **added}.get("do_sample"):
        added = {name: value for name, value in added.items() if name not in SAMPLING}
    return {**added, **call_settings}


def check_sampling(options: GenerationOptions, configured: Any) -> None:
    """Refuses settings of sampling where nothing is drawn, as they would be ignored.

    Raises:
        OptionError: there is such a setting; names it.
    """
    call_settings = options.given()
    named = [name for name in call_settings if name in SAMPLING and not isinstance(call_settings[name], (list, tuple))]
    named += ["seed"] if options.seed is not None else []
    if named and not call_settings.get("do_sample", getattr(configured, "do_sample", None)):
        raise OptionError(f"{', '.join(named)} would have no effect without do_sample=True; set it, or leave them out")


def check_streaming(options: Any, configured: Any) -> None:
    """Refuses to stream what is decided at the end.

    Args:
        options: `GenerationOptions` with a field `stream`.
        configured: the model's `generation_config`.

    Raises:
        OptionError: several beams are kept.
    """
    beams = options.given().get("num_beams", getattr(configured, "num_beams", 1))
    if options.stream and beams not in (None, 1):
        raise OptionError(f"stream=True writes one text, and {beams} beams are kept until the end; use num_beams=1")


@functools.cache
def _fields() -> frozenset[str]:
    from transformers import GenerationConfig

    return frozenset(name for name in vars(GenerationConfig()) if not name.startswith("_"))


@functools.cache
def _hints() -> dict[str, Any]:
    """What settings may be, by name: those of `GenerationOptions`, and more that go into `generate_kwargs` alone."""
    named = typing.get_type_hints(GenerationOptions, include_extras=True)
    return {**_FURTHER, **{name: named[name] for name in _NAMED}}


def _validate(settings: Mapping[str, Any]) -> None:
    """Lets Transformers refuse now what it would refuse later, in the middle of the work."""
    from transformers import GenerationConfig

    drawn = {"do_sample": True} if SAMPLING & settings.keys() else {}  # or it logs that they may be ignored
    try:
        GenerationConfig(**{**drawn, **settings}).validate()
    except (ValueError, TypeError, AttributeError) as error:
        raise OptionError(f"generate_kwargs: {error}") from error
