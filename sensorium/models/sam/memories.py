"""What is remembered of one object in a film: the frames where it was prompted, and the last ones that it was on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

CORRECTABLE = 16
"""How many frames before the last one are remembered as they were seen, so that a click there corrects the mask."""


@dataclass(frozen=True)
class Drawn:
    """Masks of B objects on a frame.

    Attributes:
        masks: `(B, s, s)` logits of the square that the model sees, at a quarter of its resolution.
        seen: `(B,)` logits, whether each object is in sight.
        ious: `(B,)`, the model's own estimate of each mask's IoU with the truth; 1 for one that was given.
        pointers: `(B, C)`, what each object is like.
        full: `(B, 1, S, S)`, the masks at the square's own resolution where they were given so; None for enlarged ones.
    """

    masks: Tensor
    seen: Tensor
    ious: Tensor
    pointers: Tensor
    full: Tensor | None = None

    def one(self, at: int) -> Drawn:
        """Those of one object, still with their first axis."""
        part = slice(at, at + 1)
        full = None if self.full is None else self.full[part]
        return Drawn(self.masks[part], self.seen[part], self.ious[part], self.pointers[part], full)


@dataclass(frozen=True)
class Reach:
    """How far a model looks back.

    Attributes:
        memories: frames whose masks it looks at, with one more for those that were prompted.
        pointers: frames whose pointers it looks at, with one more.
        most_prompted: prompted frames that it looks at, at most; -1 for all.
        total: frames of the film; None for one without an end.
    """

    memories: int
    pointers: int
    most_prompted: int
    total: int | None

    @property
    def most_pointers(self) -> int:
        """Frames whose pointers it looks at in this film."""
        return self.pointers if self.total is None else min(self.total, self.pointers)


@dataclass
class FrameMemory:
    """What is remembered of an object on one frame.

    Attributes:
        features: `(L, 1, M)`, the frame with its mask; None where only the pointer is still in reach.
        pointer: `(1, C)`.
        drawn: the mask itself, where the user has told of it.
        reverse: whether it was followed backwards in time.
    """

    features: Tensor | None
    pointer: Tensor
    drawn: Drawn | None = None
    reverse: bool = False


@dataclass(frozen=True)
class Recollection:
    """What is looked at of an object when a further frame comes.

    Attributes:
        features: `(L, 1, M)` each.
        offsets: how many frames ago each was; 0 for a prompted one.
        place: `(L, 1, M)`, where the L places lie.
        pointers: `(1, C)` each.
        ages: how many frames ago each of these was.
        most: how many pointers there may be.
    """

    features: list[Tensor]
    offsets: list[int]
    place: Tensor
    pointers: list[Tensor]
    ages: list[int]
    most: int


@dataclass
class ObjectMemory:
    """What is remembered of an object, by the frames' numbers.

    Attributes:
        prompted: the frames where the user has told of it while nothing was remembered of that frame.
        followed: further frames.
    """

    prompted: dict[int, FrameMemory] = field(default_factory=dict)
    followed: dict[int, FrameMemory] = field(default_factory=dict)

    def told(self, frame: int) -> Drawn | None:
        """The mask of a frame of which the user has told."""
        known = self.prompted.get(frame) or self.followed.get(frame)
        return None if known is None else known.drawn

    def recollect(self, frame: int, reach: Reach, place: Tensor, *, reverse: bool) -> Recollection:
        """What the model looks at on a frame: the prompted frames, and those that it saw last.

        Args:
            frame: its number.
            reach: how far the model looks.
            place: where the places of a memory lie.
            reverse: whether time runs backwards.
        """
        chosen, others = _closest(self.prompted, frame, reach.most_prompted)
        step = 1 if reverse else -1
        seen = [(0, each) for each in chosen.values()]
        for offset in range(reach.memories - 1, 0, -1):
            before = frame + step * offset
            known = self.followed.get(before) or others.get(before)
            if known is not None:
                seen.append((offset, known))
        told = [(each, step * (at - frame)) for at, each in self.prompted.items() if step * (at - frame) >= 0]
        for age in range(1, reach.most_pointers):
            known = self.followed.get(frame + step * age)
            if known is not None:
                told.append((known, age))
        kept = [(offset, each.features) for offset, each in seen if each.features is not None]
        return Recollection(
            [features for _, features in kept],
            [offset for offset, _ in kept],
            place,
            [each.pointer for each, _ in told],
            [age for _, age in told],
            reach.most_pointers,
        )

    def forget(self, last: int, reach: Reach) -> None:
        """Lets go what is out of reach of the last frame, of those before it that can be corrected, and of prompts."""
        for frame in list(self.followed):
            far = abs(frame - last) - CORRECTABLE
            near = min([far, *(abs(frame - at) for at in self.prompted)])
            if near >= reach.pointers:
                del self.followed[frame]
            elif near >= reach.memories:
                self.followed[frame].features = None


def _closest(
    prompted: Mapping[int, FrameMemory], frame: int, most: int
) -> tuple[Mapping[int, FrameMemory], Mapping[int, FrameMemory]]:
    """The prompted frames that are looked at: the last before a frame, the first from it on, and the nearest others."""
    if most == -1 or len(prompted) <= most:
        return prompted, {}
    before = max((at for at in prompted if at < frame), default=None)
    after = min((at for at in prompted if at >= frame), default=None)
    chosen = [at for at in (before, after) if at is not None]
    rest = sorted((at for at in prompted if at not in chosen), key=lambda at: abs(at - frame))
    chosen += rest[: max(0, most - len(chosen))]
    return {at: prompted[at] for at in chosen}, {at: each for at, each in prompted.items() if at not in chosen}
