"""Names that Transformers' pipelines have and ours have not, each with what to do here instead."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from sensorium.errors import OptionError, UnknownNameError
from sensorium.pipelines.settings import Settings
from sensorium.tasks.catalogue import TaskCard, task_card

if TYPE_CHECKING:
    from sensorium.tasks.base import Task

P = ParamSpec("P")
T = TypeVar("T")

_PROCESSOR = "pass processor=…: a name, a folder, or what AutoProcessor loads; the checkpoint's own unless given"
_LEAVE_OUT = "leave it out"
_QUANTIZED = "pass quantization_config=…, such as Transformers' BitsAndBytesConfig"
_ADVICE = {
    "torch_dtype": 'pass dtype="float32", "bfloat16", "float16", a torch.dtype, or "auto"',
    "image_processor": _PROCESSOR,
    "feature_extractor": _PROCESSOR,
    "tokenizer": _PROCESSOR,
    "model_kwargs": "pass its entries by their own names: dtype, attn_implementation, quantization_config, …",
    "config": "load the model with it, and pass that: pipeline(task, model=module, processor=…)",
    "framework": f"there is only PyTorch; {_LEAVE_OUT}",
    "use_fast": f"processors are as fast as they can be with the same answers; {_LEAVE_OUT}",
    "use_auth_token": "pass token=…",
    "low_cpu_mem_usage": f"weights are never loaded twice; {_LEAVE_OUT}",
    "load_in_8bit": _QUANTIZED,
    "load_in_4bit": _QUANTIZED,
    "pipeline_class": "write a task, register it with register_task, and name it: pipeline(task, …)",
    "code_revision": "pass revision=…, which is that of the code, too",
    "model_id": "pass model=…",
    "backend": f"there is only PyTorch; {_LEAVE_OUT}",
}


def known_names_only(build: Callable[P, T]) -> Callable[P, T]:
    """Refuses keywords that `pipeline()` does not have, and says what to do: its nearest one, or our word for it."""
    names = list(inspect.signature(build).parameters)

    @functools.wraps(build)
    def checked(*args: P.args, **keywords: P.kwargs) -> T:
        for name in keywords:
            if name not in names:
                task = keywords.get("task", args[0] if args else None)
                raise _unknown_argument(name, names, task_card(task) if isinstance(task, str) else None)
        return build(*args, **keywords)

    return checked


def check_names(task: Task, given: Iterable[str], *, inputs: bool = False, also: Iterable[str] = ()) -> None:
    """Refuses keywords of a call that are no options of its task.

    Args:
        task: the task.
        given: the keywords.
        inputs: whether the call takes inputs by name.
        also: what else it takes by name.

    Raises:
        UnknownNameError: a keyword that does not exist; names the nearest one.
        OptionError: one that belongs elsewhere, or that Transformers has; says what to do.
    """
    options = [each.name for each in dataclasses.fields(task.options)]
    named = [*task.inputs, *task.optional_inputs] if inputs else []
    for name in given:
        if name not in options and name not in named:
            raise _unknown_option(name, [*options, *named, *also], task)


_SETTINGS = frozenset([*Settings.names(), "model", "processor", "index", "reader", "detector"])


def _unknown_argument(name: str, names: Iterable[str], card: TaskCard | None) -> UnknownNameError | OptionError:
    if card is not None and name in {option.name for option in card.options}:
        return OptionError(f"{name} is an option of {card.name}'s calls; pass it there: pipe(input, {name}=…)")
    if name in _ADVICE:
        return OptionError(f"pipeline() has no {name}; {_ADVICE[name]}")
    return UnknownNameError("argument of pipeline()", name, names)


def _unknown_option(name: str, known: Iterable[str], task: Task) -> UnknownNameError | OptionError:
    if name == "inputs":
        first = task.inputs[0]
        return OptionError(f"a call takes no inputs=; pass them by position, or by name: pipe(x), pipe({first}=x)")
    if name in _SETTINGS or name in _ADVICE:
        ours = f"pipeline(…, {name}=…)" if name in _SETTINGS else _ADVICE[name]
        return OptionError(f"{name} is no option of a call, but a setting of the pipeline; {ours}")
    return UnknownNameError(f"option of {task.name}", name, known)
