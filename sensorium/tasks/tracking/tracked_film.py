"""A film that is open, with the objects that are followed through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from sensorium.errors import InputError, OptionError
from sensorium.models.sam.memories import Drawn
from sensorium.models.sam.tracker import FramePrompt, Tracker
from sensorium.models.sam.video import EncodedFrame, VideoSteps
from sensorium.processors.video_frame import VideoFrame
from sensorium.results import FrameMasks
from sensorium.tasks.base import Runner, Session, Task, Unit
from sensorium.tasks.tracking.film import FittedFrame, OpenFilm
from sensorium.tasks.tracking.prompts import frame_number, joined, prompts_of
from sensorium.tasks.tracking.seen import Enlargers, FrameTold, SeenFrame


@dataclass(frozen=True)
class TrackedStep:
    """What is done with one frame, once it is encoded; a unit's `meta`.

    Attributes:
        told: of the frame.
        names: of the objects whose masks are asked for.
        colours: of these.
        draw: gives their masks.
        enlargers: of the film.
    """

    told: FrameTold
    names: Sequence[str]
    colours: Sequence[int]
    draw: Callable[[EncodedFrame], Drawn]
    enlargers: Enlargers

    def see(self, steps: VideoSteps, frame: EncodedFrame) -> list[tuple[SeenFrame, Enlargers]]:
        """The masks of this frame."""
        return [(SeenFrame(self.told, self.names, self.colours, self.draw(frame)), self.enlargers)]


class TrackedFilm(Session):
    """A film under prompts; what `Pipeline.video` gives. Frames are decoded as they are needed, and none is kept.

    What is told of an object on a frame that the stream has just gone through (the last one, or one of the 16 before
    it) corrects its mask there; on any other frame it stands by itself, as on a single picture.

    Args:
        runner: the session's own.
        task: encodes frames, and decodes masks.
        steps: of the task's model.
        film: the film.

    Attributes:
        frames: how many frames the film has; None for a camera.
    """

    def __init__(self, runner: Runner, task: Task, steps: VideoSteps, film: OpenFilm) -> None:
        super().__init__(runner)
        self._task, self._film, self._steps = task, film, steps
        self.frames = film.total
        self._lock = threading.RLock()  # of the state; what is read in the meantime is not waited for
        self._tracker = Tracker(steps, film.total)
        self._enlargers = Enlargers(steps.size)
        self._colours: dict[str, int] = {}
        self._told: dict[tuple[str, int], FramePrompt] = {}
        self._at = 0
        self._encoded: tuple[int, Any] | None = None

    @property
    def object_ids(self) -> list[str]:
        """The names of the objects that are followed, in the order in which they were added."""
        return list(self._tracker.objects)

    @property
    def frame(self) -> int:
        """The number of the frame that the stream has given last, or 0 before it has given any."""
        return self._at

    def image(self, frame: int | None = None) -> VideoFrame:
        """A frame itself, to draw masks on: `masks.plot(film.image(masks.frame))`.

        Args:
            frame: its number; None for the last one that the stream has given.

        Raises:
            InputError: there is none, or it cannot be decoded.
            OptionError: the session was closed.
        """
        self._check_open()
        return self._film.frame(self._number(frame)).frame

    def add(
        self,
        object_id: str | int,
        *,
        points: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask: Any = None,
        frame: int | None = None,
        more: bool = False,
        **options: Any,
    ) -> FrameMasks:
        """Tells of an object on a frame, in the place of what was told of it there before; a new one is followed on.

        Args:
            object_id: its name; a number is taken for its digits.
            points: `(P, 2)`, (x, y) px of the frame.
            point_labels: P of them, 1 on the object and 0 off it; all 1 unless given.
            box: `(4,)`, xyxy px.
            mask: `(H, W)` bool, instead of points and a box.
            frame: the number of the frame; None for the last one that the stream has given, or the first.
            more: whether points are added to what was told of the object on this frame before.
            **options: the task's options.

        Returns:
            The object's mask on this frame.

        Raises:
            InputError: no prompt, one of a wrong shape, or off the frame; there is no such frame.
            OptionError, UnknownNameError: as in a call; or the session was closed.
        """
        self._check_open()
        parsed, name, number = self._task.options.parse(options), str(object_id), self._number(frame)
        fitted = self._film.frame(number)
        told = {"points": points, "point_labels": point_labels, "boxes": box, "masks": mask}
        prompts = prompts_of(told, fitted.size, self._steps.size)
        if len(prompts) != 1:
            raise InputError(
                f"expected prompts of one object, got those of {len(prompts)}; add each by its name", code="bad-prompt"
            )
        with self._lock:
            before = self._told.get((name, number))
            prompt = prompts[0] if before is None or not more else joined(before, prompts[0])
            colours = {**self._colours, name: self._colours.get(name, max(self._colours.values(), default=-1) + 1)}
            draw = partial(self._tracker.prompt, name, number, prompt=prompt)
            masks = self._run(fitted, [name], colours, draw, parsed)
            self._colours = colours
            self._told[name, number] = prompt
            return masks

    def remove(self, object_id: str | int) -> None:
        """Follows an object no more, and forgets it; the others are not touched.

        Raises:
            OptionError: there is none with this name, or the session was closed.
        """
        self._check_open()
        name = str(object_id)
        with self._lock:
            if name not in self._tracker.objects:
                known = ", ".join(self._tracker.objects) or "none"
                raise OptionError(f"no object {name!r} is followed; those that are: {known}")
            del self._tracker.objects[name], self._colours[name]
            self._told = {key: prompt for key, prompt in self._told.items() if key[0] != name}

    def stream(
        self, *, start: int | None = None, end: int | None = None, reverse: bool = False, **options: Any
    ) -> Iterator[FrameMasks]:
        """Follows all objects, frame by frame; they may be added, corrected and removed while it goes on.

        Args:
            start: the number of the first frame; None for the first one with a prompt, or the last one of a camera.
            end: the number of the frame before which to end; backwards that of the last one. None for the film's end,
                or its beginning.
            reverse: whether to go backwards.
            **options: the task's options.

        Yields:
            The masks of each frame, with its number and its time.

        Raises:
            InputError: no object was added; a frame that there is none of, or that cannot be decoded, after the masks
                of those before it; backwards, of a camera.
            OptionError, UnknownNameError: as in a call; or the session was closed.
        """
        self._check_open()
        parsed, begin = self._task.options.parse(options), self._begin(start)
        stop = None if end is None else frame_number(end, self.frames, self._film.name, last=False)
        coming = self._film.backwards(begin, stop or 0) if reverse else self._film.forwards(begin, stop)
        return self._followed(coming, parsed, reverse=reverse)

    def release(self) -> None:
        """Closes the film, and lets go what is remembered."""
        self._film.close()
        self._tracker = Tracker(self._steps, self.frames)
        self._encoded = None

    def _followed(self, coming: Iterator[FittedFrame], parsed: Any, *, reverse: bool) -> Iterator[FrameMasks]:
        with closing(coming):  # type: ignore[type-var]  # both are generators
            for fitted in coming:
                self._check_open()
                number = fitted.frame.index
                with self._lock:
                    self._check_objects()
                    draw = partial(self._tracker.follow, number, reverse=reverse)
                    masks = self._run(fitted, list(self._tracker.objects), self._colours, draw, parsed)
                    self._at = number
                    told = self._tracker.objects
                    self._told = {key: each for key, each in self._told.items() if told[key[0]].told(key[1])}
                yield masks

    def _run(
        self,
        fitted: FittedFrame,
        names: Sequence[str],
        colours: dict[str, int],
        draw: Callable[[EncodedFrame], Drawn],
        options: Any,
    ) -> FrameMasks:
        """Encodes a frame, unless it is the last one that was, and draws masks on it."""
        told = FrameTold.of(fitted.frame)
        step = TrackedStep(told, names, [colours[name] for name in names], draw, self._enlargers)
        if self._encoded is None or self._encoded[0] != told.number:
            self._encoded = told.number, self._runner.forward([Unit(fitted.inputs)], options)
        (masks,) = self._runner.decode(self._encoded[1], [step], options)
        found: FrameMasks = masks
        return found

    def _begin(self, start: int | None) -> int:
        with self._lock:
            self._check_objects()
            if start is not None:
                return self._number(start)
            if self.frames is None:
                return self._at
            return min(frame for memory in self._tracker.objects.values() for frame in memory.prompted)

    def _number(self, frame: int | None) -> int:
        """Checked; of the frame that the stream has given last for None."""
        return self._at if frame is None else frame_number(frame, self.frames, self._film.name)

    def _check_objects(self) -> None:
        if not self._tracker.objects:
            raise InputError(
                "no object is followed; add one first: film.add('ball', points=[[x, y]])", code="no-prompt"
            )

    def _check_open(self) -> None:
        """Raises what the runner does once the session was closed."""
        if self.closed:
            with self._runner.step():
                pass
