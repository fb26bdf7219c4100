"""People that a detector finds on pictures, for a task that looks at each of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError, TaskMismatchError, UnknownNameError
from sensorium.processors.rereading import readable_again
from sensorium.results.result import Result
from sensorium.tasks.base import Batch, Call, Empty, Fit, Loader, Options, Task, Unit

DETECTORS = ("object-detection", "zero-shot-object-detection")


@dataclass(frozen=True)
class PeopleOptions(Options):
    """What is to be found.

    Attributes:
        detector: the detector's own options.
        label: of the boxes that count, in small letters.
    """

    detector: Options
    label: str


@dataclass
class People(Result):
    """A picture and the people on it, as another task's input.

    Attributes:
        image: the picture, in a form that can be read again.
        boxes: `(N, 4)` float32, xyxy px.
        scores: `(N,)` float32.
        index: the position of the input.
    """

    image: Any
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    index: int

    def to_dict(self) -> list[dict[str, Any]]:
        """`[{"box": [float, …], "score": float}, …]`."""
        rows = zip(self.boxes.tolist(), self.scores.tolist(), strict=True)
        return [{"box": box, "score": score} for box, score in rows]


@dataclass(frozen=True)
class _DetectorMeta:
    """What is known of a detector's unit: its own `meta`, and the picture that it is of."""

    meta: Any
    image: Any


class FoundPeople(Task):
    """A detector whose boxes of one class go on to another task, with their picture.

    Args:
        detector: a loaded detection task.
    """

    def __init__(self, detector: Task) -> None:
        super().__init__(detector.model, detector.processor)
        self.detector = detector
        vars(self).update(name=detector.name, summary=detector.summary)  # of this one: the class is no task by itself
        self.padded, self.on_host, self.limits = detector.padded, detector.on_host, detector.limits

    @classmethod
    def assembled(cls, loader: Loader, detector: Any) -> Self:
        """Takes a detection pipeline, or loads what its name or module stands for.

        Raises:
            OptionError: it is neither, or of another task.
            TaskMismatchError: the checkpoint is of another task.
        """
        task = getattr(detector, "task", None)
        if not isinstance(task, Task):
            if not isinstance(detector, (str, PathLike, Checkpoint, nn.Module)):
                raise OptionError(
                    "detector is a detection pipeline, or the name or folder of a detector's checkpoint, got "
                    f"{type(detector).__name__}"
                )
            task = loader.load_beside(detector)
        if task.name not in DETECTORS:
            raise OptionError(f"detector is for {' or '.join(DETECTORS)}, got one for {task.name}")
        return cls(task)

    def asked(self, label: str, threshold: float | None) -> PeopleOptions:
        """The options with which boxes of a class are looked for.

        Raises:
            UnknownNameError: the detector knows no such class.
        """
        given: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
        if self.detector.name == "zero-shot-object-detection":
            given["candidate_labels"] = (label,)
        else:
            config: Any = self.model.config
            known = [str(name) for name in config.id2label.values()]
            if label.lower() not in {name.lower() for name in known}:
                raise UnknownNameError("class of the detector", label, known, "Name one with detector_label=…")
        return PeopleOptions(self.detector.options.parse(given), label.lower())

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """No checkpoint by itself."""
        return None

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Refuses: see `assembled`."""
        raise TaskMismatchError("people are found by a detector that is loaded; pass detector=… to pipeline()")

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Refuses: see `assembled`."""
        raise TaskMismatchError("people are found by a detector that is loaded; pass detector=… to pipeline()")

    def check(self, options: PeopleOptions) -> None:
        """As the detector has it."""
        self.detector.check(options.detector)

    def split(self, raw: Any, options: PeopleOptions) -> Iterable[Unit]:
        """The detector's units; the picture goes along."""
        seen = readable_again(raw, self.limits)
        for unit in self.detector.split(seen, options.detector):
            yield Unit(unit.inputs, _DetectorMeta(unit.meta, seen))

    def bucket(self, unit: Unit) -> Hashable:
        """As the detector has it."""
        return self.detector.bucket(Unit(unit.inputs, unit.meta.meta))

    def cost(self, unit: Unit) -> float:
        """As the detector has it."""
        return self.detector.cost(Unit(unit.inputs, unit.meta.meta))

    def collate(self, units: Sequence[Unit], empty: Empty = torch.empty) -> Batch:
        """As the detector has it."""
        return self.detector.collate([Unit(unit.inputs, unit.meta.meta) for unit in units], empty)

    def forward(self, batch: Batch, options: PeopleOptions, call: Call) -> Any:
        """As the detector has it."""
        return self.detector.forward(batch, options.detector, call)

    def decode(self, outputs: Any, metas: Sequence[_DetectorMeta], options: PeopleOptions) -> Sequence[Any]:
        """The detector's parts, each with its picture."""
        parts = self.detector.decode(outputs, [seen.meta for seen in metas], options.detector)
        return [(part, seen.image) for part, seen in zip(parts, metas, strict=True)]

    def merge(self, parts: Sequence[Any], options: PeopleOptions, index: int) -> People:
        """The boxes of the class that is asked for, in the detector's order."""
        found = self.detector.merge([part for part, _ in parts], options.detector, index)
        wanted = np.array([label.lower() == options.label for label in found.labels.tolist()], dtype=bool)
        return People(parts[0][1], found.xyxy[wanted], found.scores[wanted], index)

    def example(self) -> Any:
        """The detector's own."""
        return self.detector.example()
