"""Streams and events: the order in which the device works, as far as anyone has asked for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .clocks import Clock, Uses

if TYPE_CHECKING:
    from .graphs import Recording
    from .machine import PretendCuda


class Stream:
    """A `torch.cuda.Stream`; several threads may launch on it, as on a card, and are told apart by the machine's lock.

    Attributes:
        number: tells it from all others.
        clock: the operations that its next one comes after.
        recording: the capture that it is in.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, default: bool = False, **_: Any) -> None:
        from .machine import active

        self.cuda: PretendCuda = active()
        self.cuda.check_context()
        self.number = self.cuda.next_number()
        self.device = torch.device("cuda", self.cuda.index_of(device))
        self.device_index, self.priority, self.is_default = self.device.index, priority, default
        self.cuda_stream = self.stream_id = 0 if default else self.number
        self.clock = Clock()
        self.recording: Recording | None = None
        self._asked_at = -1
        self.cuda.add_stream(self)

    def __repr__(self) -> str:
        return f"<stream {self.number} of {self.device}>"

    def known(self) -> Clock:
        """What is over before an operation that is launched on it now."""
        with self.cuda.lock:
            self.clock.join(self.cuda.host)
            return self.clock

    def tick(self) -> int:
        """The number of an operation that is launched now."""
        with self.cuda.lock:
            at = self.clock[self.number] = self.clock.get(self.number, 0) + 1
            return at

    def use(self, uses: Uses, *, write: bool, name: str) -> None:
        """Checks that an operation may use this memory now, and notes that it does."""
        with self.cuda.lock:
            for conflict in uses.conflicts(self.known(), write=write):
                self.cuda.fault("race", f"{name} on stream {self.number} {conflict}")
            uses.note(self.number, self.tick(), write=write)

    def wait_event(self, event: Event) -> None:
        """Lets all later work wait for what was launched before the event was recorded."""
        self.cuda.check_context()
        if not event.recorded:
            return
        if self.recording is not None and event.recording is not self.recording:
            self.recording.refuse("dependency created on uncaptured work in another stream")
        if event.recording is not None and self.recording is not event.recording:
            raise NotImplementedError("a pretend graph has one stream; another one waits for an event of its capture")
        with self.cuda.lock:
            self.clock.join(event.clock)

    def wait_stream(self, other: Stream) -> None:
        """Lets all later work wait for all that was launched on the other one."""
        self.wait_event(other.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """Records an event, a new one unless given."""
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        """Lets the host wait for all that was launched."""
        self.cuda.wait("stream.synchronize", self.known(), stream=self)

    def query(self) -> bool:
        """Whether all is done; see Event."""
        self.cuda.check_context()
        with self.cuda.lock:
            if self.cuda.host.covers(self.clock):
                return True
            self.cuda.may_wait("stream.query", stream=self)
            asked, self._asked_at = self._asked_at, self.clock.get(self.number, 0)
            if asked == self._asked_at:
                self.cuda.host.join(self.clock)
            return asked == self._asked_at


class Event:
    """A `torch.cuda.Event`. The device is slow: an event is over when the host has waited, or has asked twice.

    Attributes:
        clock: the operations that it comes after.
        recording: the capture that it was recorded in.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, **_: Any
    ) -> None:
        from .machine import active

        self.cuda: PretendCuda = active()
        self.timed, self.recorded = enable_timing, False
        self.clock = Clock()
        self.recording: Recording | None = None
        self._asked = 0

    def record(self, stream: Stream | None = None) -> None:
        """Marks a point behind what was launched on the stream, or on the current one."""
        self.cuda.check_context()
        stream = stream or self.cuda.stream()
        self.recorded, self._asked, self.recording = True, 0, stream.recording
        with self.cuda.lock:
            stream.known()
            stream.tick()  # what came before it may be over, and it not yet
            self.clock = Clock(stream.clock)

    def wait(self, stream: Stream | None = None) -> None:
        """As `stream.wait_event`."""
        (stream or self.cuda.stream()).wait_event(self)

    def synchronize(self) -> None:
        """Lets the host wait for it; no wait is counted where the host knows that it is over."""
        self.cuda.check_context()
        if self.recorded:
            self.cuda.wait("event.synchronize", self.clock, event=self)

    def query(self) -> bool:
        """Whether it is over: no for the first time, then yes, unless the host knows better."""
        self.cuda.check_context()
        with self.cuda.lock:
            if not self.recorded or self.cuda.host.covers(self.clock):
                return True
            self.cuda.may_wait("event.query", event=self)
            self._asked += 1
            if self._asked > 1:
                self.cuda.host.join(self.clock)
            return self._asked > 1

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds from this one to the other: always one."""
        if not (self.timed and other.timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if not (self.recorded and other.recorded):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        self.cuda.check_context()
        if not all(self.cuda.host.covers(event.clock) for event in (self, other)):
            raise self.cuda.error("device not ready")
        return 1.0
