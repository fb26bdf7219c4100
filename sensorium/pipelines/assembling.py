"""What `pipeline()` does after its arguments were found to be right: loads a task's model, and puts it in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.checkpoints.opening import opening
from sensorium.errors import OptionError, TaskMismatchError
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement, resolve_devices, resolve_dtype
from sensorium.pipelines.remaking import Making
from sensorium.pipelines.settings import Settings
from sensorium.processors.media import MediaLimits
from sensorium.tasks.base import Task, all_tasks, get_task
from sensorium.tasks.base.runtime import copied_to
from sensorium.tasks.loading import describe_module

T = TypeVar("T")


def assemble(
    task: str | None,
    model: Any,
    settings: Settings,
    processor: Any,
    *,
    parts: Mapping[str, Any],
    build: Callable[..., Any],
    given: Mapping[str, Any],
) -> Pipeline:
    """The pipeline of a call to `pipeline()`.

    Args:
        task: a task's name; None to find it from the model.
        model: a Checkpoint, a loaded module, or None for the task's default.
        settings: how it is loaded and run.
        processor: a name, a folder, a loaded processor, or None for the checkpoint's own.
        parts: what only some tasks take, None where nothing was given.
        build: what makes the pipeline again: `pipeline` itself.
        given: what that was given, by name.

    Raises:
        SensoriumError: as `pipeline()` says.
    """
    recipe = Making(build, given)
    chosen = None if task is None else get_task(task)
    parts = {name: part for name, part in parts.items() if part is not None}
    for name in parts:
        if chosen is None or name not in chosen.takes:
            raise OptionError(_not_taken(name, chosen))
    devices = resolve_devices(settings.device)
    loaders = [_CallLoader(settings, processor, devices, number) for number in range(len(devices))]
    # the first one last: what the caller has loaded moves there, and the others copy it where it lies
    *others, built = [
        loader.load(None, model) if chosen is None else chosen.assemble(loader, model, parts)
        for loader in reversed(loaders)
    ]
    recipe.checkpoint = loaders[0].checkpoint
    return Pipeline(
        built,
        Placement(built.runtime.device, built.dtype),
        copies=others[::-1],
        batch_size=settings.batch_size,
        compile=settings.compile,
        num_workers=settings.num_workers,
        decode=settings.decode,
        recipe=recipe,
    )


class _CallLoader:
    """Loads a task by the settings of one call, on one of its devices; see `sensorium.tasks.base.Loader`.

    Args:
        settings: of the call.
        processor: that it was given.
        devices: of the call.
        number: of the device.
    """

    def __init__(self, settings: Settings, processor: Any, devices: Sequence[torch.device], number: int) -> None:
        self._settings, self._processor, self._devices, self._number = settings, processor, devices, number
        self.checkpoint: Checkpoint | None = None  # that was loaded last

    @property
    def settings(self) -> Mapping[str, Any]:
        given = {} if self._processor is None else {"processor": self._processor}
        return {**given, **self._settings.of_loading()}

    def load(self, task: type[T] | None, model: Any) -> T:
        wanted: Any = task
        built: Any = self._place(wanted, _default_model(wanted) if model is None else model)
        built.limits = self._settings.limits or MediaLimits()
        loaded: T = built
        return loaded

    def load_beside(self, model: Any) -> Any:
        return _CallLoader(self._settings, None, self._devices, self._number).load(None, model)

    def _place(self, task: type[Task] | None, model: Any) -> Task:
        """The task with its model in its place."""
        device, dtype, access = self._settings.device, self._settings.dtype, self._settings.access
        target = self._devices[self._number]
        if isinstance(model, nn.Module):
            model = model if self._number == 0 else copied_to(model, target)
            built = _wrap(task, model, self._processor, access)
            chosen = None if dtype == "auto" else resolve_dtype(dtype, *self._devices)
        else:
            if access.device_map is not None and device is not None:
                raise OptionError(
                    f"device={device!r} and device_map={access.device_map!r} were both given; pass one of them"
                )
            chosen = resolve_dtype(dtype, *self._devices)
            self.checkpoint = resolve(model, self._settings.access_for(target, chosen))
            with opening(self.checkpoint.name, self.checkpoint.folder):
                built = _load(task, self.checkpoint, self._processor)
        spread = access.device_map is not None or access.quantization_config is not None
        spread = spread or hasattr(built.model, "hf_device_map")
        if spread and len(self._devices) > 1:
            raise OptionError(
                f"device={device!r} puts a whole model on each, and this one was spread over devices or quantized "
                "where it lies; name one device, or none"
            )
        built.runtime.place(target, chosen, spread=spread)
        return built


def _not_taken(name: str, task: type[Task] | None) -> str:
    takers = [other.name for other in all_tasks().values() if name in other.takes]
    return f"{name} is for {', '.join(takers)}, not for {'no task' if task is None else task.name}"


def _default_model(task: type[Task] | None) -> str:
    if task is None:  # with an index or a reader alone, which no task takes then
        raise OptionError("name a task or a model")
    if task.default is None:
        raise OptionError(f"{task.name} has no default model; name one: pipeline({task.name!r}, model=…)")
    return task.default


def _load(task: type[Task] | None, checkpoint: Checkpoint, processor: Any) -> Task:
    task = task or _task_for(checkpoint)
    if task.fits(checkpoint) is None:
        raise _mismatch(task.name, checkpoint)
    return task.load(checkpoint, processor=processor)


def _wrap(task: type[Task] | None, model: nn.Module, processor: Any, options: LoadOptions) -> Task:
    """Takes a loaded module; arguments that only matter while loading are refused, not ignored."""
    for field in dataclasses.fields(LoadOptions):
        if getattr(options, field.name) != field.default:
            raise OptionError(f"{field.name} has no meaning for a loaded {type(model).__name__}; leave it out")
    described = describe_module(model)
    task = task or _task_for(described)
    if task.fits(described) is None:
        raise _mismatch(task.name, described)
    return task.wrap(model, processor)


def _task_for(checkpoint: Checkpoint) -> type[Task]:
    """The only task that the checkpoint was saved for, or could be used for if it does not say."""
    fits = {name: task.fits(checkpoint) for name, task in all_tasks().items()}
    for degree in ("native",) if checkpoint.architectures else ("native", "possible"):
        names = [name for name, fit in fits.items() if fit == degree]
        if len(names) == 1:
            return get_task(names[0])
        if names:
            raise TaskMismatchError(f"{checkpoint.name!r} fits several tasks: {', '.join(names)}; name one", fits=names)
    raise _mismatch(None, checkpoint)


def _mismatch(task: str | None, checkpoint: Checkpoint) -> TaskMismatchError:
    degrees = {name: other.fits(checkpoint) for name, other in all_tasks().items()}
    fits = [name for degree in ("native", "possible") for name, fit in degrees.items() if fit == degree]
    what = ", ".join(checkpoint.architectures) or checkpoint.model_type or checkpoint.kind
    wanted = f"does not fit the task {task!r}" if task else "was saved for no task that Sensorium has"
    advice = f"It fits: {', '.join(fits)}." if fits else "It fits none of this version's tasks."
    return TaskMismatchError(f"{checkpoint.name!r} ({what}) {wanted}. {advice}", fits=fits)
