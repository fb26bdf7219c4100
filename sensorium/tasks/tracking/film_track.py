"""One film of a call: its frames are encoded in batches, and followed in their order, whichever batch comes first."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch

from sensorium.models.sam.tracker import FramePrompt, Tracker
from sensorium.models.sam.video import EncodedFrame, VideoSteps
from sensorium.results import FrameMasks
from sensorium.tasks.tracking.seen import Enlargers, FrameTold, SeenFrame


class FilmTrack:
    """The objects of one film, from the frame where they are prompted on.

    Batches may end in another order than that of the frames, on other devices, or be run again: a frame waits until
    those before it have been followed, and its masks until they have been taken.

    Args:
        names: of the objects.
        prompts: of the objects, on the first frame.
        first: the number of that frame.
        total: frames of the film.
    """

    def __init__(self, names: Sequence[str], prompts: Sequence[FramePrompt], first: int, total: int) -> None:
        self._names, self._prompts = list(names), prompts
        self._first, self._next, self._total = first, first, total
        self._lock = threading.RLock()
        self._tracker: Tracker | None = None
        self._device: torch.device | None = None
        self._enlargers: Enlargers | None = None
        self._waiting: dict[int, tuple[EncodedFrame, FrameTold]] = {}
        self._seen: dict[int, SeenFrame] = {}
        self._taken: dict[int, list[FrameMasks]] = {}

    def see(self, steps: VideoSteps, told: FrameTold, frame: EncodedFrame) -> list[tuple[SeenFrame, Enlargers]]:
        """Takes a frame; gives those whose masks are drawn, and have not been taken yet."""
        with self._lock:
            if self._tracker is None:
                self._tracker, self._device = Tracker(steps, self._total), frame.coarse.device
                self._enlargers = Enlargers(steps.size)
            if told.number >= self._next:
                self._waiting[told.number] = frame, told
            while self._next in self._waiting:
                self._follow(self._tracker, *self._waiting[self._next])
                del self._waiting[self._next]
                self._next += 1
            assert self._enlargers is not None
            return [(seen, self._enlargers) for seen in self._seen.values()]

    def take(self, number: int, masks: Sequence[FrameMasks]) -> list[FrameMasks]:
        """Takes the masks that came with a frame; gives these, and those that came with it when it was run before."""
        with self._lock:
            for one in masks:
                self._seen.pop(one.frame, None)
            self._taken.setdefault(number, []).extend(masks)
            return list(self._taken[number])

    def _follow(self, tracker: Tracker, frame: EncodedFrame, told: FrameTold) -> None:
        own = frame.coarse.device == self._device
        if not own:  # which another thread launches on, in streams of its own
            torch.accelerator.synchronize(self._device)
            frame = frame.to(self._device)
        if told.number == self._first:
            for name, prompt in zip(self._names, self._prompts, strict=True):
                tracker.prompt(name, told.number, frame, prompt)
        drawn = tracker.follow(told.number, frame)
        self._seen[told.number] = SeenFrame(told, self._names, range(len(self._names)), drawn)
        if not own:
            torch.accelerator.synchronize(self._device)
