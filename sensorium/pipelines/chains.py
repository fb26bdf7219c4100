"""What one pipeline finds on pictures, as the inputs of another: batched across pictures, and brought back to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sensorium.errors import InputError, OptionError
from sensorium.pipelines.inputs import is_lazy, length_of
from sensorium.pipelines.tables import spread
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image
from sensorium.processors.rereading import readable_again
from sensorium.results.crop import Colour, Crop, crops_of
from sensorium.results.row import Row
from sensorium.tasks.base import Task

if TYPE_CHECKING:
    from sensorium.pipelines.calling import OnError

Keep = Callable[[Row], bool] | None
"""Says of a row of a result whether it is cut out; None for all."""


class Streaming(Protocol):
    """What chains use of a `Pipeline`."""

    @property
    def task(self) -> Task:
        """What it does."""
        ...

    def stream(self, inputs: Iterable[Any], /, *, on_error: OnError, **options: Any) -> Iterator[Any]:
        """Its results, in order."""
        ...


@dataclass
class ImageParts:
    """One picture with what was found on it, and what came of each part.

    Iterating gives pairs of a `Crop` and its result.

    Attributes:
        image: the picture, as it was given; what could be read only once is decoded.
        found: the first pipeline's result.
        crops: the parts.
        results: what came of each of them, in px of the picture; an InputError in the place of one that failed.
    """

    image: Any
    found: Any
    crops: list[Crop]
    results: list[Any] = field(default_factory=list)

    @property
    def index(self) -> int:
        """The position of the picture among the inputs."""
        return int(self.found.index)

    @property
    def source(self) -> str | None:
        """The path or URL that the picture was."""
        source: str | None = self.found.source
        return source

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[tuple[Crop, Any]]:
        return iter(list(zip(self.crops, self.results, strict=True)))


class Crops:
    """The parts of pictures that results have found: an iterable of `Crop`, and the way through another pipeline.

    Both read pictures and results as they go, and so can be gone through once.

    Args:
        images: the pictures, in any form; each is read again.
        results: what was found on each of them, in the same order: `Detections`, `Poses`, `Masks`, `Segments`, or an
            InputError in the place of a picture that failed.
        margin: how much is cut out around an object on each side, in shares of its box's width and height; from 0.
        keep: says of a row of a result whether it is cut out; None for all.
        background: RGB, what is put in place of all that does not belong to a mask; None for the picture as it is.
        limits: what reading a picture may cost; None for the usual ones.

    Raises:
        OptionError: a margin below 0.
    """

    def __init__(
        self,
        images: Iterable[Any],
        results: Iterable[Any],
        *,
        margin: float = 0.0,
        keep: Keep = None,
        background: Colour | None = None,
        limits: MediaLimits | None = None,
    ) -> None:
        if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin < np.inf:
            raise OptionError(f"margin is a number from 0, in shares of a box's sides, got {margin!r}")
        self._pairs = zip(results, images, strict=True)  # in this order: a result comes after its picture was given
        self._settings: dict[str, Any] = {"margin": margin, "keep": keep, "background": background}
        self._limits = limits or MediaLimits()

    def __iter__(self) -> Iterator[Any]:
        """The parts of one picture after the other; an InputError in the place of a picture that failed."""
        for parts in self.by_image():
            if isinstance(parts, InputError):
                yield parts
            else:
                yield from parts.crops

    def by_image(self) -> Iterator[ImageParts | InputError]:
        """The pictures with their parts, of which nothing has come yet."""
        for found, image in self._pairs:
            if isinstance(found, InputError):
                yield found
                continue
            try:
                pixels = load_image(image, limits=self._limits).permute(1, 2, 0).numpy()
            except InputError as error:
                error.index = found.index
                yield error
                continue
            levels = pixels if pixels.dtype == np.uint8 else pixels.round().astype(np.uint8)
            yield ImageParts(image, found, list(crops_of(found, levels, **self._settings)))

    def through(
        self,
        pipe: Streaming,
        *,
        make: Callable[[Crop], Any] | None = None,
        on_error: OnError = "raise",
        **options: Any,
    ) -> Iterator[Any]:
        """Runs another pipeline over all parts, lazily; parts of several pictures share its batches.

        Args:
            pipe: takes pictures.
            make: makes its raw input of a part; None for the part itself. `lambda crop: {"image": crop, "question":
                "What does it say?"}`, `lambda crop: {"image": crop, "boxes": [crop.inner]}`.
            on_error: "raise" ends at the first picture, or part, that cannot be processed; "skip" leaves these out;
                "return" puts an InputError in their place.
            **options: of the pipeline's task.

        Yields:
            `ImageParts` for each picture, also for one without any; or the InputError of one that failed.

        Raises:
            InputError: under "raise".
            OptionError, UnknownNameError: as in a call of the pipeline.
        """
        if on_error not in ("raise", "skip", "return"):
            raise OptionError(f'on_error is "raise", "skip" or "return", got {on_error!r}')
        waiting: deque[tuple[ImageParts | InputError, Crop | None]] = deque()
        outcomes = pipe.stream(self._inputs(waiting, make), on_error="return", **options)
        return _gathered(outcomes, waiting, on_error)

    def _inputs(
        self, waiting: deque[tuple[ImageParts | InputError, Crop | None]], make: Callable[[Crop], Any] | None
    ) -> Iterator[Any]:
        """What the pipeline is given, each noted before; pictures without parts keep a place, so that none waits."""
        for parts in self.by_image():
            if isinstance(parts, InputError) or not parts.crops:
                waiting.append((parts, None))
                yield InputError("this picture has no parts", code="no-parts")
                continue
            for crop in parts.crops:
                waiting.append((parts, crop))
                yield crop if make is None else make(crop)


def _gathered(
    outcomes: Iterator[Any], waiting: deque[tuple[ImageParts | InputError, Crop | None]], on_error: OnError
) -> Iterator[Any]:
    """Puts the outcomes of parts together again, picture by picture."""
    for outcome in outcomes:
        parts, crop = waiting.popleft()
        if isinstance(parts, InputError):
            if on_error == "raise":
                raise parts
            if on_error == "return":
                yield parts
            continue
        if crop is None:
            yield parts
            continue
        if isinstance(outcome, InputError):
            outcome.index, outcome.source = parts.index, parts.source
            if on_error == "raise":
                raise outcome
        parts.results.append(outcome if isinstance(outcome, InputError) else crop.bring_back(outcome))
        if len(parts.results) == len(parts.crops):
            yield _without_failures(parts) if on_error == "skip" else parts


def _without_failures(parts: ImageParts) -> ImageParts:
    kept = [pair for pair in parts if not isinstance(pair[1], InputError)]
    crops, results = [crop for crop, _ in kept], [result for _, result in kept]
    return ImageParts(parts.image, parts.found, crops, results)


def crops_found(pipe: Streaming, images: Any, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Crops:
    """The parts of pictures that a pipeline finds, while it finds them.

    Args:
        pipe: finds objects.
        images: one raw input, several, or a stream of them.
        options: of its task.
        settings: of `Crops`.
    """
    noted: deque[Any] = deque()
    task = pipe.task
    spread_out = spread(task, images)
    several = task.expand(spread_out)
    if several is None:
        several = spread_out if is_lazy(spread_out) else [spread_out]
    results = pipe.stream(_noting(several, noted, task.limits), on_error="return", total=length_of(several), **options)
    return Crops(_noted(noted), results, limits=task.limits, **settings)


def _noting(raws: Iterable[Any], noted: deque[Any], limits: MediaLimits) -> Iterator[Any]:
    """The inputs, each noted before, in a form that can be read again."""
    for raw in raws:
        named = isinstance(raw, Mapping) and "image" in raw
        try:
            image = readable_again(raw["image"] if named else raw, limits)
        except InputError as error:
            noted.append(None)
            yield error
            continue
        noted.append(image)
        yield {**raw, "image": image} if named else image


def _noted(noted: deque[Any]) -> Iterator[Any]:
    """What was noted, one for each result: an input was noted before its result came."""
    while noted:
        yield noted.popleft()
