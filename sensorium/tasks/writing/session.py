"""A session on one input of a task that writes: its text comes piece by piece, and others have the device meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from sensorium.tasks.base import Batch, Call, Runner, Session, Unit
from sensorium.tasks.writing.keeping import OwnTensors, seeded
from sensorium.tasks.writing.pieces import Streamer, TextPieces
from sensorium.tasks.writing.writer import Writer


class Write(Protocol):
    """Writes the text for a batch."""

    def __call__(self, batch: Batch, options: Any, call: Call, *, streamer: Streamer) -> Any:
        """Hands the streamer to `Writer.settings`; what it returns counts for nothing."""
        ...


class WritingSession(Session):
    """One input of a task that writes.

    Args:
        runner: the session's own.
        writer: of the model.
        units: the units of the input under these options: the one to write for, or none.
        write: runs the model.
    """

    def __init__(self, runner: Runner, writer: Writer, units: Callable[[Any], Iterable[Unit]], write: Write) -> None:
        super().__init__(runner)
        self._writer, self._units, self._write = writer, units, write

    def pieces(self, options: Any, *, then: Callable[[], object] | None = None) -> TextPieces:
        """The text, piece by piece; none where there is nothing to write for.

        Args:
            options: the call's `GenerationOptions`.
            then: called when the writing has ended.

        Raises:
            InputError: the input cannot be processed.
        """
        units = list(self._units(options))
        write = partial(self._run, units, options)
        return TextPieces(write, self._writer.text_of, held_words=self._writer.held_words, then=then)

    def _run(self, units: list[Unit], options: Any, pieces: TextPieces) -> None:
        if not units:
            return
        with self._runner.step() as call:
            batch = self._runner.upload(units)
            device = next(iter(batch.values())).device
            own = OwnTensors(self._writer.model)
            with seeded(options.seed, device) as draws:

                def pause() -> None:
                    with draws.aside(), own.aside():
                        self._runner.pause()

                # Without the seed, which is set already, and by what can lay it aside.
                self._write(batch, replace(options, seed=None), call, streamer=Streamer(pieces, pause))
