"""What a device does again and again, recorded: it then starts with one word from the host."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol


class Recorder(Protocol):
    """What records steps, and keeps the memory on which they work.

    Attributes:
        kept: that memory, by name; gone, with the recordings, when memory runs out.
    """

    kept: dict[str, Any]

    def run(self, key: Hashable, step: Callable[[], None], /) -> None:
        """Does a step: as it was recorded under this key, if it was.

        Args:
            key: what the step does, and where.
            step: gives the same as often as it is done, in the kept memory alone.
        """
        ...

    def forget(self) -> None:
        """Drops the recordings, since memory on which they work is going to move."""
        ...

    def clear(self) -> None:
        """Gives back the recordings and the memory."""
        ...
