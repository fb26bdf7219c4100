"""video-mask-generation: masks that follow objects through a film."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.models.sam.video import EncodedFrame, VideoSteps
from sensorium.processors.video import VideoProcessor
from sensorium.processors.video_reading import is_video_batch, open_video
from sensorium.results import FrameMasks, VideoMasks
from sensorium.tasks.base import Batch, Call, Fit, Options, Runner, Task, Unit
from sensorium.tasks.loading import load_transformers
from sensorium.tasks.loading.processors import load_video_processor
from sensorium.tasks.options import Range
from sensorium.tasks.tracking.film import OpenFilm
from sensorium.tasks.tracking.film_track import FilmTrack
from sensorium.tasks.tracking.prompts import frame_number, prompts_of
from sensorium.tasks.tracking.seen import Enlargers, FrameTold, SeenFrame, frame_masks
from sensorium.tasks.tracking.tracked_film import TrackedFilm, TrackedStep

MODELS = {
    "sam2_video": "Sam2VideoModel",
    "edgetam_video": "EdgeTamVideoModel",
    "sam3_tracker_video": "Sam3TrackerVideoModel",
}
"""By model type the classes that are taken."""

_TOLD = ("points", "point_labels", "boxes", "masks", "frame", "object_ids")


@dataclass(frozen=True)
class VideoMaskGenerationOptions(Options):
    """The options of a call.

    Attributes:
        mask_threshold: the logit above which a pixel belongs to a mask.
    """

    mask_threshold: Annotated[float, Range(-1e9, 1e9)] = 0.0


@dataclass(frozen=True)
class _TrackMeta:
    """A frame of a film of a call, and the film."""

    told: FrameTold
    track: FilmTrack

    def see(self, steps: VideoSteps, frame: EncodedFrame) -> list[tuple[SeenFrame, Enlargers]]:
        """The masks that can be had now."""
        return self.track.see(steps, self.told, frame)


class VideoMaskGeneration(Task):
    """Follows objects through films with SAM 2, EdgeTAM and SAM 3's tracker; `Pipeline.video` opens one to ask."""

    name = "video-mask-generation"
    summary = "masks that follow the objects of a film which points, boxes or masks name"
    inputs = ("video",)
    optional_inputs = _TOLD
    options = VideoMaskGenerationOptions
    processor: VideoProcessor

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        self._steps = VideoSteps(model)
        recipe, square = processor.recipe, self._steps.size
        if recipe is None or recipe.size != (square, square):
            made = "an unknown size" if recipe is None else recipe.size
            raise CheckpointError(
                f"{self.name} needs the model's own video processor, which makes squares of {square} px; got one that "
                f"makes {made}. Pass processor=…"
            )

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """The models of films; a checkpoint without another wish is for mask-generation, which takes pictures."""
        known = checkpoint.kind == "transformers" and (
            set(MODELS.values()).intersection(checkpoint.architectures)
            or (not checkpoint.architectures and checkpoint.model_type in MODELS)
        )
        return "possible" if known else None

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads one of `MODELS`."""
        from transformers import AutoModel

        loaded_processor = load_video_processor(processor, checkpoint)
        return cls(load_transformers(AutoModel, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes one of `MODELS`, loaded, with its processor."""
        if type(model).__name__ not in MODELS.values():
            known = ", ".join(MODELS.values())
            raise TaskMismatchError(f"{cls.name} takes one of {known}, got {type(model).__name__}")
        return cls(model, load_video_processor(processor, None))

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list or a tuple is several films, unless it holds a film's frames; so is a 5-D array or tensor."""
        return list(inputs) if is_video_batch(inputs) else None

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One film with its prompts, whose lists are coordinates; for several films, prompts are lists too."""
        if "video" not in named:
            raise OptionError(f"{self.name} needs a video with its {' and '.join(named)}")
        films = named["video"]
        if not is_video_batch(films):
            return dict(named) if len(named) > 1 else films
        told = {name: value for name, value in named.items() if name != "video" and value is not None}
        for name, value in told.items():
            if not isinstance(value, (list, tuple)) or len(value) != len(films):
                raise OptionError(
                    f"for {len(films)} films {name} must be a list of the same length, with None for a film without; "
                    f"or give each film its own: [{{'video': …, '{name}': …}}, …]"
                )
        rows = [{name: value[i] for name, value in told.items() if value[i] is not None} for i in range(len(films))]
        return [{"video": film, **row} for film, row in zip(films, rows, strict=True)]

    def split(self, raw: Any, options: Any) -> Iterator[Unit]:
        """The frames of the film, from the one that is prompted on."""
        named = raw if isinstance(raw, Mapping) else {"video": raw}
        keys, got = f"video, {', '.join(_TOLD)}, the last ones as needed", ", ".join(map(str, named)) or "none"
        if "video" not in named:
            raise InputError(f"an input has the keys {keys}; got {got}", code="no-video")
        if set(named) - {"video", *_TOLD}:
            raise InputError(f"an input has the keys {keys}; got {got}", code="bad-prompt")
        with open_video(named["video"], limits=self.limits) as reader:
            given, total = named.get("frame"), reader.frames
            first = 0 if given is None else frame_number(given, total, reader.name)
            track: FilmTrack | None = None
            for frame in reader.read(range(first, total)):
                told = FrameTold.of(frame)
                if track is None:
                    prompts = prompts_of(named, told.size, self._steps.size)
                    track = FilmTrack(_names(named.get("object_ids"), len(prompts)), prompts, first, total)
                yield Unit(self._fit(frame.pixels), _TrackMeta(told, track))

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Encodes frames; the objects are followed in `decode`."""
        return call(self.compute, batch)

    def compute(self, batch: Batch) -> dict[str, list[Tensor]]:
        """`{"maps": […]}`: `(B, C, h, w)` each, as `VideoSteps.encode` gives them; this is what is compiled."""
        return {"maps": self._steps.encode(self.processor.finish(batch, dtype=self.dtype)[:, 0])}

    def decode(self, outputs: Any, metas: Sequence[_TrackMeta | TrackedStep], options: Any) -> Sequence[Any]:
        """Follows the objects from frame to frame; the masks come to the CPU at once.

        A part is what masks came with a frame: none of one that waits for those before it, and those of several where
        it was waited for. Of a session it is the frame's masks.
        """
        found: dict[int, tuple[SeenFrame, Enlargers]] = {}
        owners: dict[int, int] = {}
        for at, meta in enumerate(metas):
            for seen, enlargers in meta.see(self._steps, EncodedFrame.of(outputs["maps"], at)):
                found[id(seen)], owners[id(seen)] = (seen, enlargers), at
        parts: list[list[FrameMasks]] = [[] for _ in metas]
        masks = frame_masks(list(found.values()), options.mask_threshold)
        for at, one in zip(owners.values(), masks, strict=True):
            parts[at].append(one)
        return [
            meta.track.take(meta.told.number, part) if isinstance(meta, _TrackMeta) else part[0]
            for meta, part in zip(metas, parts, strict=True)
        ]

    def merge(self, parts: Sequence[list[FrameMasks]], options: Any, index: int) -> VideoMasks:
        """The masks of a film."""
        frames = {one.frame: one for part in parts for one in part}
        for one in frames.values():
            one.index = index
        return VideoMasks([frames[number] for number in sorted(frames)], index=index)

    def open(self, raw: Any, runner: Runner) -> TrackedFilm:
        """Opens a film to follow objects that are named one by one."""
        return TrackedFilm(runner, self, self._steps, OpenFilm(raw, self._fit, self.limits))

    def example(self) -> Any:
        """A grey gradient of 500 by 375 px that stands still for four frames, with a point in the middle."""
        film = torch.linspace(0, 255, 500).to(torch.uint8).expand(4, 3, 375, 500).contiguous()
        return {"video": film, "points": [[250, 187]]}

    def _fit(self, frame: Tensor) -> Batch:
        return self.processor.fit([frame])


def _names(given: Any, count: int) -> list[str]:
    """The names of the objects: those that are given, or their positions."""
    if given is None:
        return [str(number) for number in range(count)]
    names = [str(each) for each in (given if isinstance(given, (list, tuple)) else [given])]
    if len(names) != count or len(set(names)) != count:
        raise InputError(
            f"object_ids are as many different names as there are objects, {count}, got {given!r:.200}",
            code="bad-prompt",
        )
    return names
