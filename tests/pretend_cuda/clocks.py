"""What is known to be over: vector clocks with an entry for each stream, and the uses of a piece of memory."""

from __future__ import annotations

from collections.abc import Iterator


class Clock(dict[int, int]):
    """Of each stream, by its number, the last of its operations that is known to be over."""

    __slots__ = ()

    def join(self, other: Clock) -> None:
        """Learns what the other one knows."""
        for stream, at in other.items():
            if at > self.get(stream, 0):
                self[stream] = at

    def covers(self, other: Clock) -> bool:
        """Whether it knows all that the other one knows."""
        return all(self.get(stream, 0) >= at for stream, at in other.items())


class Uses:
    """Who wrote a piece of memory last, and who has read it since."""

    __slots__ = ("readers", "writer", "written")

    def __init__(self, writer: int = 0, written: int = 0) -> None:
        self.writer, self.written = writer, written
        self.readers: dict[int, int] = {}

    def writing(self, known: Clock) -> int | None:
        """The stream that may still be writing, as far as is known."""
        return self.writer if self.written > known.get(self.writer, 0) else None

    def reading(self, known: Clock) -> list[int]:
        """The streams that may still be reading."""
        return [stream for stream, at in list(self.readers.items()) if at > known.get(stream, 0)]

    def conflicts(self, known: Clock, *, write: bool) -> Iterator[str]:
        """What a use that comes now may run into."""
        writer = self.writing(known)
        if writer is not None:
            yield f"{'over' * write}{'writes' if write else 'reads'} what stream {writer} may still be writing"
        for reader in self.reading(known) if write else ():
            yield f"overwrites what stream {reader} may still be reading"

    def note(self, stream: int, at: int, *, write: bool) -> None:
        """Takes down a use."""
        if write:
            self.writer, self.written = stream, at
            self.readers.clear()
        else:
            self.readers[stream] = at

    def by_others(self, stream: int, known: Clock) -> set[int]:
        """The streams other than this one that may still be using it."""
        using = {*self.reading(known), *([self.writer] if self.writing(known) is not None else [])}
        return using - {stream}
