"""How a pipeline was made, so that another process, or a copy, makes it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import ClosedError

_REFUSED = (
    "a pipeline of a loaded {} can be neither pickled nor copied, as it is made again from names and folders. Save "
    "that with {}, and build the pipeline where it is needed: pipeline(task, {}={})"
)

_FOLDERS = ("model", "reader", "detector", "processor", "cache_dir")
"""Arguments that may be folders; another one's value may be the name of a folder by chance."""


class Making:
    """The call of `pipeline()` that made a pipeline.

    A local folder is kept as an absolute path, and a token not at all: whoever makes the pipeline again uses their own.

    Args:
        build: `pipeline` itself.
        arguments: what it was given, by name.

    Attributes:
        checkpoint: what the model was loaded from; None for one that the caller has loaded.
    """

    def __init__(self, build: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self.checkpoint: Checkpoint | None = None
        self._build = build
        kept = {name: value for name, value in arguments.items() if name != "token"}
        self._arguments = {name: _settled(value) if name in _FOLDERS else value for name, value in kept.items()}

    def given(self, name: str) -> Any:
        """What `pipeline()` was given by this name."""
        return self._arguments[name]

    def reduce(self) -> tuple[Any, ...]:
        """What `pickle` and `copy` keep of the pipeline.

        Raises:
            TypeError: it was made of something that is in this process only.
        """
        for name, value in self._arguments.items():
            if isinstance(value, nn.Module):
                raise TypeError(_REFUSED.format(type(value).__name__, "pipe.save_pretrained(folder)", name, "folder"))
            if name == "index" and value is not None:
                raise TypeError(_REFUSED.format("Index", "index.save(folder)", name, "Index.load(folder)"))
        return _remake, (self._build, self._arguments)


class OneProcess:
    """Knows whether threads that were started are still there: a fork copies the memory, and no threads.

    Args:
        what: it is of.
    """

    def __init__(self, what: str = "pipeline") -> None:
        self._what = what
        self._used_in: int | None = None

    @property
    def forked(self) -> bool:
        """Whether this is the fork of a process that has used it."""
        return self._used_in not in (None, os.getpid())

    def use(self) -> None:
        """To be told of each use.

        Raises:
            ClosedError: this is the fork of a process that has used it.
        """
        if self.forked:
            raise ClosedError(
                f"this {self._what} was used before process {self._used_in} forked into {os.getpid()}; its threads, "
                "and what it holds on a device, stayed there. Make one in each process, or start processes by "
                '"spawn": multiprocessing.get_context("spawn")'
            )
        self._used_in = os.getpid()


def _settled(value: Any) -> Any:
    if isinstance(value, Checkpoint):
        value = value.name
    if isinstance(value, (str, os.PathLike)) and Path(value).expanduser().is_dir():
        return str(Path(value).expanduser().absolute())
    return value


def _remake(build: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    return build(**arguments)
