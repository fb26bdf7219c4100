"""What a call is about: one input, several, or a stream of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import getattr_static
from typing import Any

from sensorium.errors import OptionError
from sensorium.pipelines.tables import as_list, spread
from sensorium.tasks.base import Task


def gather(task: Task, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, list[Any] | None]:
    """What came by position and by name as raw inputs; those by name are taken out of the options.

    Returns:
        The input as the task takes it, and what it is taken apart into where it is several.

    Raises:
        OptionError: too many inputs, one of them twice, or one missing.
    """
    raw = _combine(task, inputs, options)
    return raw, raw if isinstance(raw, _Several) else task.expand(raw)


def is_lazy(inputs: Any) -> bool:
    """Whether this is a stream of inputs (a generator, a data set), and not one input or a mapping of named ones."""
    if isinstance(inputs, (str, bytes, bytearray, memoryview, list, tuple, Mapping)) or hasattr(inputs, "__fspath__"):
        return False
    if hasattr(inputs, "read") or hasattr(inputs, "__array__"):
        return False
    if getattr_static(inputs, "__array_interface__", None) is not None:  # to get a PIL image's would decode and copy it
        return False
    return hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def length_of(inputs: Any) -> int | None:
    """How many inputs there are, where that is known."""
    try:
        return len(inputs)
    except TypeError:
        return None


def check_delay(max_delay_s: Any) -> None:
    """Refuses what is not a time to wait for others.

    Raises:
        OptionError: it is not a number, or not a finite one from 0.
    """
    is_number = isinstance(max_delay_s, (int, float)) and not isinstance(max_delay_s, bool)
    if not is_number or not 0 <= max_delay_s < math.inf:
        raise OptionError(f"max_delay_s is a number of seconds from 0, got {max_delay_s!r}")


def _combine(task: Task, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    names = (*task.inputs, *task.optional_inputs)
    named = {name: options.pop(name) for name in names if name in options}
    if len(inputs) == 1 and not named:
        return spread(task, inputs[0])
    if len(inputs) > len(names):
        raise OptionError(f"{task.name} takes {_counted(names)}, got {len(inputs)}; give several of them as one list")
    twice = [name for name in names[: len(inputs)] if name in named]
    if twice:
        raise OptionError(f"inputs came both by position and by name ({', '.join(twice)}); give them one way")
    given = {**dict(zip(names, inputs, strict=False)), **named}
    if len(given) == 1:
        (only,) = given
        given[only] = spread(task, given[only]) if only == task.inputs[0] else as_list(given[only])
    combined = task.combine({name: as_list(value) for name, value in given.items()})
    return _Several(combined) if isinstance(combined, list) and len(names) > 1 else combined


class _Several(list[Any]):
    """Raw inputs that are not to be taken apart any further."""


def _counted(names: tuple[str, ...]) -> str:
    return f"one input ({names[0]})" if len(names) == 1 else f"at most {len(names)} inputs ({', '.join(names)})"
