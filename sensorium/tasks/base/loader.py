"""Loader: how `pipeline()` loads a task's model, for a task that consists of more than its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Loader(Protocol):
    """Loads a task with the settings of one call to `pipeline()`.

    Attributes:
        settings: those for loading and placing a model, by name, where they are not the defaults.
    """

    @property
    def settings(self) -> Mapping[str, Any]:
        """See above."""
        ...

    def load(self, task: type[T], model: Any) -> T:
        """A task with its model in its place.

        Args:
            task: which.
            model: a name, a folder, a loaded module, or None for the task's default.

        Raises:
            OptionError: None, where the task has no default; or a setting that has no meaning for a loaded module.
            TaskMismatchError: it is of another task.
            CheckpointError: it cannot be loaded.
        """
        ...

    def load_beside(self, model: Any) -> Any:
        """A further task, whichever its model was saved for, which has its own processor, and not the call's.

        Args:
            model: a name, a folder, a Checkpoint or a loaded module.

        Raises:
            TaskMismatchError: it was saved for no task, or for several.
            CheckpointError: it cannot be loaded.
        """
        ...
