"""Finder: what the families of models have in common for the task that runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from sensorium.tasks.base import Batch
from sensorium.tasks.grounding.box_scores import BoxScores
from sensorium.tasks.grounding.queries import Queries


class Finder(Protocol):
    """Runs a model on pictures, each of which is searched for queries of its own.

    Attributes:
        takes_images: whether a query may be a picture.
        most: how many pairs of a box and a label a picture has at most; None for all.
        clips: whether boxes end at the picture's borders.
    """

    takes_images: bool
    most: int | None
    clips: bool

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuses labels that the model cannot read; safe in several threads.

        Raises:
            OptionError: such a label.
        """
        ...

    def cost(self, queries: Queries) -> float:
        """The work of a picture with these queries, in units of one with a few."""
        ...

    def suppression(self, queries: Queries) -> float | None:
        """The IoU beyond which boxes of one query suppress each other in Transformers; None where they do not."""
        ...

    def found(
        self,
        run: Callable[..., Batch],
        wanted: Sequence[Queries],
        device: torch.device,
        finish: Callable[[Batch], Batch],
    ) -> Batch:
        """Runs the model on a batch of pictures; asks the device for no value. For one thread at a time.

        Args:
            run: gives what `compute` makes of the batch's pictures and its own arguments.
            wanted: what each picture is searched for.
            device: where the model is.
            finish: the processor's, for further pictures.

        Returns:
            What `scores` takes, all with the batch's axis first.
        """
        ...

    def scores(self, outputs: Batch, wanted: Sequence[Queries]) -> Iterator[BoxScores]:
        """Scores of a batch, in pieces that are not too large."""
        ...

    def compute(self, inputs: Batch, *texts: Batch) -> Batch:
        """The part of `found` that is compiled: pictures, and texts where the model reads both together."""
        ...
