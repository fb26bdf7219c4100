"""The registry: finds a task by its name, and imports it when it is asked for."""

from __future__ import annotations

import importlib

from sensorium.errors import OptionError, UnknownNameError
from sensorium.tasks import class_name, task_files
from sensorium.tasks.base.task import Task

_REGISTERED: dict[str, type[Task]] = {}


def task_names() -> list[str]:
    """The names of all tasks, in kebab-case, without importing any of them."""
    return list(task_files())


def get_task(name: str) -> type[Task]:
    """Imports the task of this name.

    Raises:
        UnknownNameError: there is no such task; names the nearest one.
    """
    registered = _REGISTERED.get(name)
    if registered is not None:
        return registered
    if name not in task_names():
        raise UnknownNameError("task", name, [*task_names(), *_REGISTERED])
    module = importlib.import_module(f"sensorium.tasks.{name.replace('-', '_')}")
    task: type[Task] = getattr(module, class_name(name))
    return task


def register_task(task: type[Task]) -> type[Task]:
    """Makes a task of your own known to `pipeline()` under its `name`; may be used as a decorator.

    Raises:
        OptionError: the name is taken.
    """
    if task.name in task_names() or _REGISTERED.get(task.name, task) is not task:
        raise OptionError(f"the task name {task.name!r} is taken; give your task another name")
    _REGISTERED[task.name] = task
    return task


def all_tasks() -> dict[str, type[Task]]:
    """Every task by name, imported."""
    return {name: get_task(name) for name in [*task_names(), *_REGISTERED]}
