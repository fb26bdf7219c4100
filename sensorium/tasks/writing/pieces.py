"""The text that a model writes, piece by piece, as it writes it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

_END = object()


class TextPieces(Iterator[str]):
    """Pieces of one text, written on a thread of their own; joined, they are the whole text.

    A piece ends with a space, or with the text: what a tokenizer may still change (half a word, half a character) is
    held back.

    Args:
        write: does the writing; is given this object, and calls its `put` and `end`.
        decode: the whole text of token ids.
        held_words: how many words at the end may still change with the next token.
        then: called when the writing has ended, in whichever way, before the reader hears of it.
    """

    def __init__(
        self,
        write: Callable[[TextPieces], Any],
        decode: Callable[[list[int]], str],
        *,
        held_words: int = 1,
        then: Callable[[], object] | None = None,
    ) -> None:
        self._decode, self._held_words, self._then = decode, held_words, then
        self._ids: list[int] = []
        self._given = ""
        self._prompt = True
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(write,), daemon=True, name="sensorium-write")
        self._thread.start()

    @property
    def criteria(self) -> list[Callable[..., Tensor]]:
        """Stopping criteria for `generate`: it ends early once nobody is reading."""

        def stopped(input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
            return torch.full((len(input_ids),), self._stopped.is_set(), device=input_ids.device, dtype=torch.bool)

        return [stopped]

    def put(self, value: Tensor) -> None:
        """Takes the prompt's ids, which are left out, and then each new one."""
        if self._prompt:
            self._prompt = False
            return
        self._ids += value.reshape(-1).tolist()
        words = self._decode(self._ids).split(" ")
        ready = "".join(f"{word} " for word in words[: max(0, len(words) - self._held_words)])
        if len(ready) > len(self._given) and ready.startswith(self._given):
            self._give(ready)

    def end(self) -> None:
        """Gives what was held back."""
        self._give(self._decode(self._ids))

    def close(self) -> None:
        """Ends the writing; waits until it has stopped."""
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> TextPieces:
        return self

    def __next__(self) -> str:
        piece = self._queue.get()
        if piece is _END or isinstance(piece, BaseException):
            self._queue.put(_END)
            raise piece if isinstance(piece, BaseException) else StopIteration()
        text: str = piece
        return text

    def __enter__(self) -> TextPieces:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _give(self, text: str) -> None:
        piece, self._given = text[len(self._given) :], text
        if piece:
            self._queue.put(piece)

    def _run(self, write: Callable[[TextPieces], Any]) -> None:
        outcome: Any = _END
        for do in (lambda: write(self), self._then or (lambda: None)):
            try:
                do()
            except BaseException as error:  # noqa: BLE001 - it belongs on the reader's thread
                outcome = error.with_traceback(None)
        self._queue.put(outcome)


class Streamer:
    """Receives each token from `generate()`: hands it to the reader, and gives others their turn.

    Args:
        pieces: where the text goes.
        pause: lets others have the device.
    """

    def __init__(self, pieces: TextPieces, pause: Callable[[], None]) -> None:
        self._pieces, self._pause = pieces, pause

    def settings(self) -> dict[str, Any]:
        """What to pass to `generate()` for it."""
        return {"streamer": self, "stopping_criteria": self._pieces.criteria}

    def put(self, value: Tensor) -> None:
        """Takes the prompt's ids, and then each new one."""
        self._pieces.put(value)
        self._pause()

    def end(self) -> None:
        """The text has ended."""
        self._pieces.end()
