"""pose-estimation: where the joints of each person on a picture are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import InputError, OptionError
from sensorium.models.heat_maps import locate
from sensorium.processors.media import is_batch, load_image
from sensorium.results import Poses
from sensorium.tasks.base import Batch, Call, Loader, Models, Options, Task, Unit
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.options import Natural, Range, Share
from sensorium.tasks.pose.boxes import AskedBoxes, read_asked, read_boxes, usable
from sensorium.tasks.pose.families import FAMILIES
from sensorium.tasks.pose.people import FoundPeople, People, PeopleOptions
from sensorium.tasks.pose.skeletons import skeleton_of


@dataclass(frozen=True)
class PoseEstimationOptions(Options):
    """The options of a call.

    Attributes:
        threshold: joints that score no more are left out; None for none.
        kernel_size: px of the heat map, an odd number: how far it is blurred before a joint is looked for between its
            pixels. 11 is for people of 256 by 192 px, 17 for larger ones.
        dataset_index: for ViTPose+, the data set whose joints are asked for: 0 is COCO's in its own checkpoints. None
            for 0, and for models without experts.
        whole_image: whether a picture that comes without boxes is one person's.
        detector_label: which of the detector's boxes count.
        detector_threshold: the score in [0, 1] above which a detector's box counts; None for the detector's default.
    """

    threshold: Annotated[float | None, Range(-1e9, 1e9, none="all joints")] = None
    kernel_size: Annotated[int, Range(1, 99, unit="px")] = 11
    dataset_index: Natural | None = None
    whole_image: bool = False
    detector_label: str = "person"
    detector_threshold: Annotated[Share | None, Range(0, 1, none="the detector's default")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size % 2 == 0:
            raise OptionError(f"kernel_size is an odd number of px, got {self.kernel_size}")


class _PoseMeta(NamedTuple):
    """One person: the window that the model sees, (x, y) of its centre, width and height, and its place."""

    window: NDArray[np.float32]
    box: NDArray[np.float32]
    box_score: float | None


class _PosePart(NamedTuple):
    """One person's joints, px of the picture."""

    xy: NDArray[np.float32]
    scores: NDArray[np.float32]
    meta: _PoseMeta


class PoseEstimation(Task):
    """Joints of people in boxes that come with a picture, or that a detector finds; people of many pictures a batch."""

    name = "pose-estimation"
    summary = "where the joints of each person on a picture are"
    inputs = ("image",)
    optional_inputs = ("boxes",)
    takes = ("detector",)
    options = PoseEstimationOptions
    models = (Models("AutoModelForPoseEstimation", only=FAMILIES),)
    upstream: FoundPeople | None

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self._family = FAMILIES[config.model_type](model, self.processor)
        self._skeleton = skeleton_of(config, int(config.num_labels))

    @classmethod
    def assemble(cls, loader: Loader, model: Any, parts: Mapping[str, Any]) -> Self:
        """Loads the model; with a detector a call takes pictures alone."""
        detector = FoundPeople.assembled(loader, parts["detector"]) if "detector" in parts else None
        task = loader.load(cls, model)
        if detector is not None:
            task.upstream = detector
            vars(task).update(optional_inputs=())  # of this one, not of the class
        return task

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model of poses."""
        from transformers import AutoModelForPoseEstimation

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForPoseEstimation, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model of poses with its processor."""
        return cls(model, processor_of(model, processor))

    def check(self, options: PoseEstimationOptions) -> None:
        """Refuses experts that the model does not have, and options of a detector where there is none."""
        self._family.blur(options.kernel_size)
        given, experts = options.dataset_index, self._family.experts
        if given is not None and experts == 1:
            raise OptionError(
                f"dataset_index is for models with experts, and {type(self.model).__name__} has none here"
            )
        if given is not None and given >= experts:
            raise OptionError(f"dataset_index is from 0 to {experts - 1} for this model, got {given}")
        wanted = self.upstream_options(options)
        if self.upstream is not None and wanted is not None:
            if options.whole_image:
                raise OptionError("whole_image is for pictures without boxes, and the detector finds some")
            self.upstream.check(wanted)
            return
        defaults = type(options)()
        for name in ("detector_label", "detector_threshold"):
            if getattr(options, name) != getattr(defaults, name):
                raise OptionError(f"{name} is for a detector: pipeline({self.name!r}, …, detector=…)")

    def upstream_options(self, options: PoseEstimationOptions) -> PeopleOptions | None:
        """Which boxes the detector is asked for."""
        if self.upstream is None:
            return None
        return self.upstream.asked(options.detector_label, options.detector_threshold)

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One picture with its boxes, which are lists of coordinates; for several pictures, boxes for each."""
        if "image" not in named:
            raise OptionError(f"{self.name} needs an image with its {' and '.join(named)}")
        image, boxes = named["image"], named.get("boxes")
        if boxes is None:
            return image
        if not is_batch(image):
            return dict(named)
        if not isinstance(boxes, (list, tuple)) or len(boxes) != len(image):
            raise OptionError(
                f"for {len(image)} pictures boxes must be a list of the same length, with an empty one for a picture "
                "without; or give each picture its own: [{'image': …, 'boxes': …}, …]"
            )
        return [{"image": one, "boxes": own} for one, own in zip(image, boxes, strict=True)]

    def split(self, raw: Any, options: PoseEstimationOptions) -> Iterator[Unit]:
        """One unit a person, cut out of the decoded picture as the model sees it."""
        asked = AskedBoxes(raw.image, raw.boxes, raw.scores) if isinstance(raw, People) else read_asked(raw)
        image = load_image(asked.image, limits=self.limits)
        boxes, scores = self._boxes(asked, image.shape[1], image.shape[2], options)
        windows = self._family.crop.windows(boxes)
        places = zip(windows, boxes.astype(np.float32), scores, strict=True)
        for pixels, place in zip(self._family.crop.cut(image, windows), places, strict=True):
            yield Unit({"pixel_values": pixels}, _PoseMeta(*place))

    def _boxes(
        self, asked: AskedBoxes, height: int, width: int, options: PoseEstimationOptions
    ) -> tuple[NDArray[np.float64], Sequence[float | None]]:
        """The boxes to look in, and a detector's scores of them."""
        if asked.scores is not None:
            found = np.asarray(asked.boxes, dtype=np.float64)
            kept = usable(found, height, width)
            return found[kept], asked.scores[kept].tolist()
        given = asked.boxes
        if given is None and options.whole_image:
            given = [0, 0, width, height]
        if given is None:
            raise InputError(
                "a picture came without boxes of its people. Give them (boxes=[[x0, y0, x1, y1], …]), have them found "
                "(pipeline(…, detector=…)), or say that the picture is one person's (whole_image=True)",
                code="no-boxes",
            )
        boxes = read_boxes(given, height, width)
        return boxes, [None] * len(boxes)

    def forward(self, batch: Batch, options: PoseEstimationOptions, call: Call) -> Any:
        """Runs the model on people, in one call."""
        return call(self.compute, batch, options.dataset_index or 0)

    def compute(self, batch: Batch, expert: int) -> dict[str, Tensor]:
        """`{"heat_maps": (B, K, h, w)}`; this is what is compiled."""
        return {"heat_maps": self._family.maps(self.processor.finish(batch, dtype=self.dtype)["pixel_values"], expert)}

    def decode(self, outputs: Any, metas: Sequence[_PoseMeta], options: PoseEstimationOptions) -> Sequence[_PosePart]:
        """The joints of all people of a batch, brought to the CPU in one copy, and back to their pictures."""
        maps = outputs["heat_maps"][: len(metas)]
        xy, scores = locate(maps, self._family.blur(options.kernel_size))
        windows = np.stack([meta.window for meta in metas])[:, None]
        last = np.array([maps.shape[3] - 1, maps.shape[2] - 1], dtype=np.float32)
        centres, sides = windows[..., :2], windows[..., 2:]
        placed = xy * (sides / last) + centres - sides * np.float32(0.5)
        if options.threshold is not None:
            placed[scores <= options.threshold] = np.nan
        return [_PosePart(*row) for row in zip(placed, scores, metas, strict=True)]

    def merge(self, parts: Sequence[_PosePart], options: Any, index: int) -> Poses:
        """The people of one picture."""
        labels, edges = self._skeleton
        box_scores = None if self.upstream is None else [part.meta.box_score for part in parts]
        columns = [part.xy for part in parts], [part.scores for part in parts], [part.meta.box for part in parts]
        return Poses(*columns, labels, edges, box_scores=box_scores, index=index)

    def example(self) -> Any:
        """A grey gradient of 375 by 500 px with a box in the middle; the picture alone where a detector looks at it."""
        image = torch.linspace(0, 255, 500).to(torch.uint8).expand(3, 375, 500).contiguous()
        return image if self.upstream is not None else {"image": image, "boxes": [[150, 50, 350, 350]]}
