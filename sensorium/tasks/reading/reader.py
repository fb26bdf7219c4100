"""What the kinds of readers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from sensorium.errors import OptionError
from sensorium.processors.padding import Padding
from sensorium.processors.text import TextProcessor
from sensorium.results import CitedAnswers
from sensorium.tasks.base import Batch, Call, Unit
from sensorium.tasks.reading.passages import Asked
from sensorium.tasks.texts.lengths import checked_processor


class Reader(ABC):
    """One kind of model: how it reads, runs and answers.

    Attributes:
        does: what it does, for messages.
        takes: the names of those options that it takes and not every reader does.
        usual_passages: how many passages of a search it reads by default.
        padded: as `Task.padded`.
    """

    does: ClassVar[str]
    takes: ClassVar[frozenset[str]]
    usual_passages: ClassVar[int]

    def __init__(self, model: Any, processor: TextProcessor) -> None:
        self.model, self.processor = model, checked_processor(processor, model)
        self.padded: Mapping[str, Padding] = {}

    def check(self, options: Any) -> None:
        """Refuses options that this reader cannot serve.

        Raises:
            OptionError: such an option.
        """
        for name in options.for_some_readers():
            if name not in self.takes:
                raise OptionError(f"{name} is not for {type(self.model).__name__}, which {self.does}; leave it out")

    @abstractmethod
    def units(self, asked: Asked, options: Any) -> Iterable[Unit]:
        """The units of one question; none where there is nothing to read.

        Raises:
            InputError: the question leaves no room for a passage.
        """

    @abstractmethod
    def run(self, batch: Batch, options: Any, call: Call) -> dict[str, Tensor]:
        """Runs the model on a batch of units."""

    @abstractmethod
    def decode(self, outputs: dict[str, Tensor], metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """One part per unit."""

    @abstractmethod
    def merge(self, parts: Sequence[Any], options: Any, index: int) -> CitedAnswers:
        """The answers to one question, out of the parts of its units."""
