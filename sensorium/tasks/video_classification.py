"""video-classification: which of its labels a film shows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, OptionError
from sensorium.models.videomae import keep_places
from sensorium.processors.video import VideoProcessor
from sensorium.processors.video_reader import VideoReader
from sensorium.processors.video_reading import is_video_batch, open_video
from sensorium.results import Labels
from sensorium.tasks.base import Batch, Call, Models, Options, Task, Unit
from sensorium.tasks.loading import load_transformers
from sensorium.tasks.loading.processors import load_video_processor
from sensorium.tasks.options import Count, Range, lower_case

Activation = Literal["softmax", "sigmoid", "none"]
Pool = Literal["mean", "max"]

_OF_ONE_LENGTH = ("timesformer", "videomae", "videoprism_vision_model", "vivit")
"""Models that have a place for each frame, and take no more and no fewer."""


@dataclass(frozen=True)
class VideoClassificationOptions(Options):
    """The options of a call.

    Attributes:
        top_k: how many labels to give, best first; None for all. If there are fewer, all are given.
        function_to_apply: what turns logits into scores; None for what the checkpoint's config asks for: "sigmoid" for
            several labels at once, "none" for regression, else "softmax".
        num_frames: how many frames the model looks at; None for as many as its config says.
        frame_sampling_rate: takes every so many-th frame from the film's start on, so that the film's rest is not
            looked at; None to spread the frames evenly over the whole film, as Transformers' video processors do.
        window_s: a film longer than this is cut into windows of this length, each looked at like a film of its own,
            seconds; None to look at every film as a whole, as Transformers does.
        pool: how the windows' scores become one: their "mean", each frame of the film counted once, or their "max".
    """

    top_k: Annotated[int | None, Range(1, none="all labels")] = 5
    function_to_apply: Activation | None = None
    num_frames: Count | None = None
    frame_sampling_rate: Count | None = None
    window_s: Annotated[float | None, Range(above=0, unit="seconds", none="no windows")] = None
    pool: Pool = "mean"

    def __post_init__(self) -> None:
        lower_case(self, "function_to_apply")
        super().__post_init__()


class VideoClassification(Task):
    """Labels with scores, as Transformers' pipeline of the same name gives them."""

    name = "video-classification"
    summary = "which of its labels a film shows"
    inputs = ("video",)
    options = VideoClassificationOptions
    models = (Models("AutoModelForVideoClassification", own_code=True),)
    default = "MCG-NJU/videomae-base-finetuned-kinetics@488eb9a"
    processor: VideoProcessor

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        keep_places(model)
        config: Any = model.config
        names = {int(key): str(value) for key, value in dict(config.id2label).items()}
        self._labels = [names.get(i, f"LABEL_{i}") for i in range(max(names, default=-1) + 1)]
        self._activation = _default_activation(config.problem_type)
        self._input = next(name for name in inspect.signature(model.forward).parameters if name.startswith("pixel"))
        self._frames = int(getattr(config, "num_frames", 0) or getattr(config, "frames_per_clip", 0) or 16)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers classifier of films."""
        from transformers import AutoModelForVideoClassification

        loaded_processor = load_video_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForVideoClassification, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers classifier of films."""
        return cls(model, load_video_processor(processor, None))

    def check(self, options: VideoClassificationOptions) -> None:
        """Refuses a number of frames for which the model has no place."""
        config: Any = self.model.config
        if config.model_type in _OF_ONE_LENGTH and options.num_frames not in (None, self._frames):
            raise OptionError(
                f"num_frames has to be {self._frames} for {type(self.model).__name__}, which has a place for each, got "
                f"{options.num_frames}"
            )

    def expand(self, inputs: Any) -> list[Any] | None:
        """A list or a tuple is several films, unless it holds a film's frames; so is a 5-D array or tensor."""
        return list(inputs) if is_video_batch(inputs) else None

    def split(self, raw: Any, options: VideoClassificationOptions) -> Iterator[Unit]:
        """The frames of the film, or of its windows, found by jumping; `meta` is how many new ones each covers."""
        with open_video(raw, limits=self.limits) as reader:
            for window in _windows(reader, options.window_s):
                indices = self._indices(window, options, reader)
                pixels = (frame.pixels for frame in reader.read(indices))
                yield Unit(self.processor.fit(pixels), meta=window.fresh)

    def _indices(self, window: _FilmWindow, options: VideoClassificationOptions, reader: VideoReader) -> list[int]:
        """The numbers of the frames that the model looks at, as Transformers chooses them.

        Raises:
            InputError: `too-short`.
        """
        count, step, there = options.num_frames or self._frames, options.frame_sampling_rate, window.length
        needed = count * (step or 1)
        if there < needed:
            spread = "" if step is None else f", every {step} of them"
            cut = "" if options.window_s is None else " in each window"
            raise InputError(
                f"{reader.name}: expected at least {needed:,} frames{cut}, got {there:,}: the model looks at {count}"
                f"{spread}. Give a longer film, or other num_frames, frame_sampling_rate or window_s.",
                code="too-short",
                source=reader.name,
            )
        if step is None:
            return [window.start + number * there // count for number in range(count)]
        # not quite every step-th: the reference ends with the last frame before one more step
        chosen = np.linspace(0, count * step - 1, count, dtype=np.int64)
        return [window.start + int(number) for number in chosen]

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Runs `compute` in one call."""
        return call(self.compute, batch)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`{"logits": (B, number of labels)}` in the model's dtype."""
        pixels = self.processor.finish(batch, dtype=self.dtype)
        logits = self.model(**{self._input: pixels}).logits
        return {"logits": logits.flatten(1)}  # VideoPrism's have an axis of one between

    def decode(self, outputs: Any, metas: Sequence[int], options: Any) -> Sequence[Any]:
        """Scores in float32; `(new frames, (number of labels,) NumPy array)` for each unit."""
        scores = outputs["logits"].float()
        activation = options.function_to_apply or self._activation
        if activation == "softmax":
            scores = scores.softmax(-1)
        elif activation == "sigmoid":
            scores = scores.sigmoid()
        return list(zip(metas, scores.cpu().numpy(), strict=True))

    def merge(self, parts: Sequence[Any], options: VideoClassificationOptions, index: int) -> Labels:
        """The labels of a film, its windows' scores pooled."""
        weights, scores = [part[0] for part in parts], [part[1] for part in parts]
        if len(scores) == 1:
            pooled = scores[0]
        elif options.pool == "max":
            pooled = np.max(scores, axis=0)
        else:
            pooled = np.average(scores, axis=0, weights=weights).astype(np.float32)
        ids = np.argsort(-pooled, kind="stable")[: options.top_k]
        return Labels([self._labels[i] for i in ids], pooled[ids], ids, index=index)

    def example(self) -> Tensor:
        """A grey gradient of 320 by 240 px that stands still for 4096 frames, `(4096, 3, 240, 320)` uint8."""
        return torch.linspace(0, 255, 320).to(torch.uint8).expand(4096, 3, 240, 320)


class _FilmWindow(NamedTuple):
    """Frames that lie together: the first one's number, how many, and how many of them are in no window before."""

    start: int
    length: int
    fresh: int


def _windows(reader: VideoReader, window_s: float | None) -> list[_FilmWindow]:
    """Cuts a film into windows of one length in seconds; the last one reaches back to be as long."""
    count = reader.frames
    if window_s is None:
        return [_FilmWindow(0, count, count)]
    times: NDArray[np.float64] = reader.times
    end_s = float(times[-1]) + (float(times[-1]) / (count - 1) if count > 1 else 0.0)
    if end_s <= window_s:
        return [_FilmWindow(0, count, count)]
    whole = int(end_s / window_s + 1e-6)
    bounds = np.searchsorted(times, np.arange(whole + 1) * window_s - 1e-6)
    found = [_FilmWindow(int(a), int(b - a), int(b - a)) for a, b in pairwise(bounds) if b > a]
    if bounds[-1] < count:
        start = int(np.searchsorted(times, end_s - window_s - 1e-6))
        found.append(_FilmWindow(start, count - start, count - int(bounds[-1])))
    return found


def _default_activation(problem_type: str | None) -> Activation:
    if problem_type == "regression":
        return "none"
    return "sigmoid" if problem_type == "multi_label_classification" else "softmax"
