"""What every task's result can do."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Result(Protocol):
    """What every task's result can do.

    Attributes:
        index: the position of its input among the call's inputs, from 0.
    """

    index: int

    def to_dict(self) -> Any:
        """The result in the schema of Transformers' pipeline for the task: dicts, lists, str and float only."""
        ...
