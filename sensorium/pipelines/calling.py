"""How a call of a pipeline goes: what becomes of failures, what is shown, and what is computed again."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sensorium.errors import InputError, OptionError
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.progress import with_progress
from sensorium.tasks.base import Options

OnError = Literal["raise", "skip", "return"]


@dataclass(frozen=True)
class Calling:
    """What a call is told besides its inputs and the task's options.

    Attributes:
        on_error: "raise", "skip" or "return", what becomes of an input that cannot be processed.
        progress: whether a bar is shown on standard error.
        dedupe: whether inputs that are the same are computed once.
    """

    on_error: OnError = "raise"
    progress: bool = False
    dedupe: bool = False

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip", "return"):
            raise OptionError(f'on_error is "raise", "skip" or "return", got {self.on_error!r}')
        if not isinstance(self.dedupe, bool):
            raise OptionError(f"dedupe is True or False, got {self.dedupe!r}")

    def outcomes(
        self, engine: Engine, inputs: Iterable[Any], options: Options, total: int | None
    ) -> Generator[Any, None, None]:
        """Runs inputs through an engine; yields results, and errors where they are to be returned.

        Args:
            engine: of the pipeline.
            inputs: raw inputs.
            options: the task's options.
            total: how many inputs there are, where that is known.

        Raises:
            InputError: an input cannot be processed, and the call is to end there.
        """
        run = engine.run(inputs, options, total=total, dedupe=self.dedupe)
        try:
            for _, outcome in with_progress(run, engine.task.name, total) if self.progress else run:
                if not isinstance(outcome, InputError):
                    yield outcome
                elif self.on_error == "raise":
                    raise outcome
                elif self.on_error == "return":
                    yield outcome
        finally:
            run.close()
