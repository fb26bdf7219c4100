"""Session: what is encoded once and asked often, and the runner through which it uses the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

from sensorium.errors import OptionError
from sensorium.tasks.base.unit import Batch, Call, Unit


class Runner(Protocol):
    """The device as one session has it: a step at a time, in turn with batches of calls and with other sessions.

    Its steps run in the order in which they are begun, also on CUDA and from several threads.
    """

    @property
    def closed(self) -> bool:
        """Whether the session was closed, by hand or because it was not used."""
        ...

    def step(self) -> AbstractContextManager[Call]:
        """The device for one step, without gradients; what it yields runs the parts that are worth compiling.

        Raises:
            OptionError: the session was closed.
        """
        ...

    def upload(self, units: Sequence[Unit]) -> Batch:
        """The units as one batch on the device, in the course of a step."""
        ...

    def forward(self, units: Sequence[Unit], options: Any) -> Any:
        """One step: uploads units as one batch and returns the task's outputs, which stay on the device.

        Raises:
            OptionError: the session was closed.
        """
        ...

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """One step: returns the task's parts of outputs.

        Raises:
            OptionError: the session was closed.
        """
        ...

    def pause(self) -> None:
        """Ends a step and begins the next within `step()`; whoever waits for the device has a turn first.

        What runs meanwhile may change what models and random generators keep of their own.

        Raises:
            OptionError: the session was closed.
        """
        ...

    def at_close(self, release: Callable[[], object]) -> None:
        """Registers a method to be called once, after the last step, when the session is closed.

        It does not keep the object alive.

        Args:
            release: a bound method.
        """
        ...

    def close(self) -> None:
        """Ends the session: no further step begins. Returns once the one under way is over and all is released."""
        ...


class Session:
    """One input that was encoded once and is asked often; `Task.open` gives it, and tasks subclass it.

    Subclasses have methods of their own, whose work on the device runs in steps of the runner: between them others have
    the device, and after `close()` a step is refused. May be used from several threads. A `with` block closes it.

    Args:
        runner: this session's own.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        runner.at_close(self.release)

    @property
    def closed(self) -> bool:
        """Whether it was closed, by `close()` or because it was not used for too long."""
        return self._runner.closed

    def pieces(self, options: Any, *, then: Callable[[], object] | None = None) -> Iterator[str]:
        """The text of the result, piece by piece as it is written; for sessions of tasks with an option `stream`.

        Args:
            options: the task's.
            then: called when the writing has ended, in whichever way, before the reader hears of it.

        Raises:
            OptionError: this session writes no text.
            InputError: the input cannot be processed.
        """
        raise OptionError(f"{type(self).__name__} writes no text to stream")

    def release(self) -> None:
        """Releases what lies on the device. The session is closed when this is called, and no step is under way."""

    def close(self) -> None:
        """Ends the session, and lets the memory on the device go.

        What it is doing is ended at the next step. May be called from any thread, and more than once.
        """
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
