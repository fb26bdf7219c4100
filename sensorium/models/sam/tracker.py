"""Objects followed through a film, frame by frame, in memory that does not grow with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.models.sam.memories import CORRECTABLE, Drawn, FrameMemory, ObjectMemory, Reach, Recollection
from sensorium.models.sam.video import EncodedFrame, VideoSteps

AT_ONCE = 16
"""Objects that look at their memories in one batch, at most: of SAM 2 each takes about 30 MB then."""


@dataclass(frozen=True)
class FramePrompt:
    """What a user tells of one object on one frame: points and a box's corners, or a mask.

    Attributes:
        points: `(P, 2)` (x, y), px of the square that the model sees; corners of a box first.
        labels: P of them: 1 on the object, 0 off it, 2 and 3 the corners of a box.
        mask: `(1, 1, S, S)` float32 on the CPU, 1 on the object and 0 off it; None where there are points.
    """

    points: Sequence[Sequence[float]] = ()
    labels: Sequence[int] = ()
    mask: Tensor | None = None


class Tracker:
    """Follows objects with one model; not for several threads at once.

    Args:
        steps: of the model.
        total: frames of the film; None for one without an end.

    Attributes:
        objects: what is remembered of each object, by its name.
        last: the number of the frame that was looked at last.
    """

    def __init__(self, steps: VideoSteps, total: int | None) -> None:
        self._steps = steps
        self._reach = Reach(steps.memories, steps.pointers, steps.most_prompted, total)
        self._place: Tensor | None = None
        self.objects: dict[str, ObjectMemory] = {}
        self.last: int | None = None

    def corrects(self, name: str, frame: int) -> bool:
        """Whether a prompt there corrects a mask that is remembered, instead of standing by itself."""
        memory = self.objects.get(name)
        near = self.last is not None and abs(frame - self.last) <= CORRECTABLE
        return memory is not None and near and frame in memory.followed

    def prompt(self, name: str, frame: int, encoded: EncodedFrame, prompt: FramePrompt) -> Drawn:
        """Tells of an object on a frame, in the place of what was told of it there before.

        Where the object was followed to that frame a moment ago, points correct its mask; elsewhere they stand by
        themselves, as on a single picture.

        Args:
            name: of the object; a new one is followed from now on.
            frame: the number of the frame.
            encoded: the frame.
            prompt: points, a box, or a mask.

        Returns:
            The object's mask on this frame.
        """
        corrects = self.corrects(name, frame)
        memory = self.objects.get(name) or ObjectMemory()
        reverse = corrects and memory.followed[frame].reverse
        if prompt.mask is not None:
            drawn = self._steps.take(encoded, sent(prompt.mask, encoded.coarse.device))
        else:
            looked = self._steps.first_look(encoded)
            if corrects:
                looked = self._steps.recall(encoded, [self._recollection(memory, frame, reverse=reverse)])
            points = sent([list(prompt.points)], looked.device, torch.float32)
            labels = sent([list(prompt.labels)], looked.device, torch.int64)
            drawn = self._steps.draw(encoded, looked, points, labels, first=not corrects)
        features, self._place = self._steps.remember(encoded, drawn, prompted=True)
        known = FrameMemory(features, drawn.pointers, dataclasses.replace(drawn, full=None), reverse)
        if corrects:
            memory.followed[frame] = known
        else:
            memory.followed.pop(frame, None)
            memory.prompted[frame] = known
        self.objects[name] = memory
        return drawn

    def follow(self, frame: int, encoded: EncodedFrame, *, reverse: bool = False) -> Drawn:
        """The masks of all objects on a frame, of which there is one at least, in the order in which they were added.

        Args:
            frame: the number of the frame.
            encoded: the frame.
            reverse: whether the frame before it was a later one of the film.
        """
        told = {name: memory.told(frame) for name, memory in self.objects.items()}
        found = {name: drawn for name, drawn in told.items() if drawn is not None}
        new: dict[str, FrameMemory] = {}
        for names, group in self._groups([name for name in told if name not in found], frame, reverse=reverse):
            drawn = self._steps.draw(encoded, self._steps.recall(encoded, group))
            features, self._place = self._steps.remember(encoded, drawn, prompted=False)
            for at, name in enumerate(names):
                found[name] = drawn.one(at)
                kept = features[:, at : at + 1].clone() if len(names) > 1 else features
                new[name] = FrameMemory(kept, drawn.pointers[at : at + 1].clone(), reverse=reverse)
        for name, memory in self.objects.items():
            if name in new:
                memory.followed[frame] = new[name]
            memory.forget(frame, self._reach)
        self.last = frame
        return _joined([found[name] for name in self.objects])

    def _groups(self, names: Sequence[str], frame: int, *, reverse: bool) -> list[tuple[list[str], list[Recollection]]]:
        """The objects of which as much is remembered, `AT_ONCE` at most, with that."""
        groups: dict[tuple[int, int], list[tuple[list[str], list[Recollection]]]] = {}
        for name in names:
            own = self._recollection(self.objects[name], frame, reverse=reverse)
            alike = groups.setdefault((len(own.features), len(own.pointers)), [])
            if not alike or len(alike[-1][0]) == AT_ONCE:
                alike.append(([], []))
            alike[-1][0].append(name)
            alike[-1][1].append(own)
        return [group for alike in groups.values() for group in alike]

    def _recollection(self, memory: ObjectMemory, frame: int, *, reverse: bool) -> Recollection:
        assert self._place is not None
        return memory.recollect(frame, self._reach, self._place, reverse=reverse)


def _joined(drawn: Sequence[Drawn]) -> Drawn:
    """Those of several objects as one."""
    if len(drawn) == 1:
        return drawn[0]
    names = ("masks", "seen", "ious", "pointers")
    return Drawn(*(torch.cat([getattr(each, name) for each in drawn]) for name in names))
