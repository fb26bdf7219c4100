"""What a picture is searched for: labels, or pictures of the thing."""

from __future__ import annotations

import hashlib
import itertools
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from sensorium.errors import OptionError
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import MediaLimits, is_batch, load_image, split_batch
from sensorium.tasks.texts.label_names import checked_labels


class QueryImage:
    """A picture of what is looked for; equal to another where both are of one file, or the same object.

    Attributes:
        raw: the picture, in any form that `load_image` takes.
        inputs: the picture at the size that the model takes; empty until it is fitted.
        key: what tells it from pictures with other pixels; empty until it is fitted.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.inputs: dict[str, Tensor] = {}
        self.key = b""

    def fit(self, processor: ImageProcessor, limits: MediaLimits) -> None:
        """Decodes and fits the picture, once; safe in several threads.

        Raises:
            InputError: it cannot be read or fitted.
        """
        if self.key:
            return
        inputs = processor.fit(load_image(self.raw, limits=limits))
        digest = hashlib.blake2b(digest_size=16)
        for tensor in inputs.values():
            digest.update(tensor.contiguous().numpy().data.cast("B"))
        self.inputs, self.key = inputs, digest.digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QueryImage):
            return NotImplemented
        return self.raw is other.raw or (_is_plain(self.raw) and _is_plain(other.raw) and self.raw == other.raw)

    def __hash__(self) -> int:
        return hash(self.raw) if _is_plain(self.raw) else id(self.raw)


@dataclass(frozen=True)
class Queries:
    """What a picture is searched for: labels or pictures, not both.

    Attributes:
        labels: texts.
        images: pictures of the thing.
        number: finds it again, for as long as it is in use: `queries_of`.
    """

    labels: tuple[str, ...] = ()
    images: tuple[QueryImage, ...] = ()
    number: int = field(default_factory=itertools.count().__next__, init=False, compare=False)

    def __post_init__(self) -> None:
        _IN_USE[self.number] = self

    def __reduce__(self) -> tuple[Any, ...]:  # a copy is another one, with a number of its own
        return Queries, (self.labels, self.images)

    def __len__(self) -> int:
        return len(self.labels) or len(self.images)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels, or "query 0", "query 1" … for pictures."""
        return self.labels or tuple(f"query {i}" for i in range(len(self.images)))


def queries_of(numbers: Tensor) -> list[Queries]:
    """The queries of units that are under way, `(B,)` int64 on the CPU."""
    return [_IN_USE[number] for number in numbers.tolist()]


def read_queries(labels: Any, images: Any) -> Queries | None:
    """Reads what is looked for; None for none of both.

    Args:
        labels: `candidate_labels` as they are given.
        images: `query_images` as they are given: a picture, or several.

    Raises:
        OptionError: they are not as they should be, empty, or both are given.
    """
    if labels is not None and images is not None:
        raise OptionError("candidate_labels and query_images are two ways to tell what to look for; pass one of them")
    if images is not None:
        return Queries(images=_query_images(images))
    if labels is None:
        return None
    checked = checked_labels(labels)
    if not checked:
        raise OptionError('candidate_labels holds at least one label to look for: candidate_labels=["cat", "dog"]')
    return Queries(checked)


def _query_images(raw: Any) -> tuple[QueryImage, ...]:
    images = split_batch(raw) if is_batch(raw) else [raw]
    if not images:
        raise OptionError('query_images holds at least one picture of what to look for: query_images=["cup.jpg"]')
    for image in images:
        if not _may_be_image(image):
            raise OptionError(
                "query_images holds pictures (paths, URLs, bytes, PIL images, arrays), got "
                f"{type(image).__name__} among them"
            )
    return tuple(image if isinstance(image, QueryImage) else QueryImage(image) for image in images)


def _may_be_image(raw: Any) -> bool:
    if _is_plain(raw) or isinstance(raw, (bytearray, memoryview, QueryImage)):
        return bool(raw) or isinstance(raw, QueryImage)
    if isinstance(raw, (type, Mapping, bool, int, float)):
        return False
    return any(hasattr(raw, name) for name in ("read", "__array__", "__array_interface__", "pixels"))


def _is_plain(raw: Any) -> bool:
    """Whether its value tells which picture it is."""
    return isinstance(raw, (str, bytes, os.PathLike))


_IN_USE: weakref.WeakValueDictionary[int, Queries] = weakref.WeakValueDictionary()
