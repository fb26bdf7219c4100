"""mask-generation: masks of everything on a picture, or of what points and boxes say is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.models.relative_places import keep_relative_places
from sensorium.models.sam.decoding import ImageState, PromptDecoder
from sensorium.processors.media import is_batch, load_image
from sensorium.results import Masks
from sensorium.tasks.base import Batch, Call, Models, Options, Runner, Task, Unit
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.masks.asking import ask, asked, at_once
from sensorium.tasks.masks.crops import crop_boxes, point_grid
from sensorium.tasks.masks.filtering import Enlarger, Frame, measure
from sensorium.tasks.masks.mask_batch import MaskBatch, join
from sensorium.tasks.masks.prompted_image import PromptedImage
from sensorium.tasks.masks.prompts import NAMES, Prompts, read_prompts
from sensorium.tasks.options import Range, Share

MODELS = ("SamModel", "SamHQModel", "Sam2Model", "EdgeTamModel", "Sam3TrackerModel")

PointsASide = Annotated[int, Range(1, 1024)]
Logit = Annotated[float, Range(-1e9, 1e9)]


@dataclass(frozen=True)
class MaskGenerationOptions(Options):
    """The options of a call. With points or boxes only `mask_threshold`, `multimask` and `points_per_batch` matter.

    Attributes:
        points_per_batch: how many points the model sees at once at most; None for as many as half of a GPU's free
            memory holds. It bounds memory and changes no result.
        points_per_crop: how many points per side the grid on the picture, and on each crop, has.
        crops_n_layers: how many layers of crops to search beside the picture itself; layer i has 2^i by 2^i of them.
        crop_overlap_ratio: by what share of the picture's shorter side the crops of the first layer overlap.
        crop_n_points_downscale_factor: the grid in layer i has this factor to the power of i fewer points per side.
        pred_iou_thresh: masks that the model itself scores no higher than this are left out; 0 keeps all.
        stability_score_thresh: masks that are not more stable than this are left out; 0 keeps all.
        stability_score_offset: stability is the IoU of the masks cut this much above and this much below the threshold.
        mask_threshold: the logit above which a pixel belongs to a mask.
        crops_nms_thresh: if the boxes of two masks have a higher IoU than this, only the better mask stays.
        multimask: whether each prompt gives the model's three guesses (part, object, whole), or one mask.
    """

    points_per_batch: Annotated[int, Range(1, 1 << 20)] | None = None
    points_per_crop: PointsASide = 32
    crops_n_layers: Annotated[int, Range(0, 6)] = 0
    crop_overlap_ratio: Share = 512 / 1500
    crop_n_points_downscale_factor: PointsASide = 1
    pred_iou_thresh: Logit = 0.88
    stability_score_thresh: Logit = 0.95
    stability_score_offset: Logit = 1.0
    mask_threshold: Logit = 0.0
    crops_nms_thresh: Share = 0.7
    multimask: bool = True


@dataclass(frozen=True)
class _MaskMeta:
    """What to look for in one unit.

    Attributes:
        frame: where it lies.
        prompts: what to ask for, px of the square that the model sees.
        everything: whether the prompts are a grid, so that masks are filtered and suppressed.
        alone: whether it is the input's only unit.
    """

    frame: Frame
    prompts: Prompts
    everything: bool
    alone: bool


@dataclass(frozen=True)
class _MaskPart:
    masks: MaskBatch | None
    meta: _MaskMeta


class MaskGeneration(Task):
    """Masks with SAM and its kin; everything on a picture as Transformers' pipeline of the same name gives it."""

    name = "mask-generation"
    summary = "masks of everything on a picture, or of what points and boxes ask for"
    inputs = ("image",)
    optional_inputs = ("points", "point_labels", "boxes")
    options = MaskGenerationOptions
    models = (
        Models(
            "AutoModelForMaskGeneration",  # which also names, but does not load, what SAM 3's model of videos holds
            only=("sam", "sam_hq", "sam2", "sam2_video", "edgetam", "edgetam_video", "sam3_tracker"),
            holding=("Sam2VideoModel", "EdgeTamVideoModel"),
        ),
    )
    default = "facebook/sam-vit-base@70c1a07"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        self._model: Any = model
        recipe = processor.recipe
        self._square = int(PromptDecoder(model).input_size)
        if recipe is None or recipe.size != (self._square, self._square):
            raise CheckpointError(
                f"mask-generation needs the model's own image processor, which makes squares of {self._square} px; "
                f"got one that makes {'an unknown size' if recipe is None else recipe.size}. Pass processor=…"
            )
        self._padded = recipe.pad_to is not None
        keep_relative_places(model)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads one of `MODELS`."""
        from transformers import AutoModelForMaskGeneration

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForMaskGeneration, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes one of `MODELS`, loaded, with its processor."""
        if type(model).__name__ not in MODELS:
            raise TaskMismatchError(f"{cls.name} takes one of {', '.join(MODELS)}, got {type(model).__name__}")
        return cls(model, processor_of(model, processor))

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One picture with its prompts, whose lists are coordinates; for several pictures, prompts are lists too."""
        if "image" not in named:
            raise OptionError(f"{self.name} needs an image with its {' and '.join(named)}")
        image, prompts = named["image"], {name: value for name, value in named.items() if name != "image"}
        if not is_batch(image):
            return dict(named) if prompts else image
        for name, value in prompts.items():
            if value is not None and (not isinstance(value, (list, tuple)) or len(value) != len(image)):
                raise OptionError(
                    f"for {len(image)} pictures {name} must be a list of the same length, with None for a "
                    f"picture without; or give each picture its own: [{{'image': …, '{name}': …}}, …]"
                )
        rows = [{name: value[i] for name, value in prompts.items() if value is not None} for i in range(len(image))]
        return [{"image": one, **row} for one, row in zip(image, rows, strict=True)]

    def split(self, raw: Any, options: Any) -> Iterator[Unit]:
        """The picture with its prompts; or else the picture with a grid, and its crops with theirs."""
        named = raw if isinstance(raw, Mapping) else {"image": raw}
        if "image" not in named or set(named) - {"image", *NAMES}:
            raise InputError(
                f"an input has the keys image, {', '.join(NAMES)}, the last three as needed; "
                f"got {', '.join(map(str, named)) or 'none'}",
                code="bad-prompt" if "image" in named else "no-image",
            )
        image = load_image(named["image"], limits=self.limits)
        prompts = read_prompts(named, image.shape[1], image.shape[2])
        yield from self.units(image, prompts, options)

    def units(self, image: Tensor, prompts: Prompts | None, options: MaskGenerationOptions) -> Iterator[Unit]:
        """The units of a decoded picture, `(3, H, W)`, with these prompts, or to search everything."""
        height, width = image.shape[1:]
        if prompts is not None:
            fitted, frame = self._fit(image, (0, 0, width, height))
            down, across = frame.resized
            scaled = prompts.scaled(across / width, down / height)
            yield Unit(fitted, _MaskMeta(frame, scaled, everything=False, alone=True))
            return
        ratio = options.crop_overlap_ratio
        boxes = crop_boxes(height, width, layers=options.crops_n_layers, overlap_ratio=ratio)
        for box, layer in boxes:
            fitted, frame = self._fit(image, box)
            side = int(options.points_per_crop / options.crop_n_points_downscale_factor**layer)
            grid = self._grid(max(1, side), frame)
            yield Unit(fitted, _MaskMeta(frame, grid, everything=True, alone=len(boxes) == 1))

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Encodes pictures; the prompts follow in `decode`, for as many units as there are."""
        return call(self.compute, batch)

    def compute(self, batch: Batch) -> dict[str, list[Tensor]]:
        """`{"features": […]}`: `(B, C, h, w)` each, the embedding last; this is what is compiled."""
        features = self._model.get_image_embeddings(self.processor.finish(batch, dtype=self.dtype)["pixel_values"])
        if isinstance(features, Tensor):
            return {"features": [features]}
        if isinstance(features, tuple):  # SAM-HQ's embedding, and what its encoder sees between, `(B, h, w, C)` each
            return {"features": [features[1][0].permute(0, 3, 1, 2), features[0]]}
        return {"features": list(features)}

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Runs each unit's prompts on its embedding; what survives the filters comes to the CPU."""
        decoder = PromptDecoder(self.model)
        parts = []
        for i, meta in enumerate(metas):
            state = decoder.prepare([features[i] for features in outputs["features"]])
            masks = self._search(decoder, state, meta, options)
            if masks is not None:
                alone = meta.everything and meta.alone
                masks = masks.download(masks.suppressed(options.crops_nms_thresh) if alone else None)
            parts.append(_MaskPart(masks, meta))
        return parts

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Masks:
        """The masks of a picture and its crops, the overlapping ones suppressed."""
        meta, filled = parts[0].meta, [part.masks for part in parts if part.masks is not None and len(part.masks)]
        size = meta.frame.image_size
        if not filled:
            return Masks.from_runs([], size, [], index=index)
        masks = join(filled)
        if not meta.alone:
            masks = masks.select(masks.suppressed(options.crops_nms_thresh))
        return Masks.from_runs(
            masks.runs(size),
            size,
            masks.scores.numpy(),
            boxes=masks.boxes.numpy(),
            stability=masks.stability.numpy(),
            objects=None if meta.everything else masks.objects.numpy(),
            index=index,
        )

    def open(self, raw: Any, runner: Runner) -> PromptedImage:
        """Encodes a picture once, for many prompts."""
        return PromptedImage(runner, self, self.units, load_image(raw, limits=self.limits))

    def example(self) -> Any:
        """A grey gradient of 375 by 500 px with a point in the middle: cheap, and all of the model runs."""
        image = torch.linspace(0, 255, 500).to(torch.uint8).expand(3, 375, 500).contiguous()
        return {"image": image, "points": [[250, 187]]}

    def _fit(self, image: Tensor, box: tuple[int, int, int, int]) -> tuple[Batch, Frame]:
        left, top, right, bottom = box
        fitted = self.processor.fit(image[:, top:bottom, left:right])
        resized = fitted["pixel_values"].shape
        frame = Frame(box, (image.shape[1], image.shape[2]), (resized[1], resized[2]), self._square)
        return fitted, frame

    def _grid(self, side: int, frame: Frame) -> Prompts:
        height, width = frame.size
        # As the reference does it for both models. SAM 2 sees a square without padding, so that on a wide picture the
        # grid ends above the lower edge (huggingface/transformers, image_processing_sam2.py): the answers are the same.
        scale = self._square * 1.0 / max(height, width)
        down, across = int(height * scale + 0.5), int(width * scale + 0.5)
        points = point_grid(side, height, width)
        prompts = Prompts(points, torch.ones(points.shape[:2], dtype=torch.int64).numpy(), None)
        return prompts.scaled(across / width, down / height)

    def _search(
        self, decoder: PromptDecoder, state: ImageState, meta: _MaskMeta, options: MaskGenerationOptions
    ) -> MaskBatch | None:
        """Runs a unit's prompts, some at a time."""
        free_bytes = self.runtime.free_bytes() if options.points_per_batch is None else None
        step = at_once(options.points_per_batch, state, decoder.masks, free_bytes)
        enlarge = Enlarger(meta.frame, self._padded)
        batches: list[MaskBatch] = []
        for at, some in asked(meta.prompts, step, state.keys.device):
            scores, masks, objects = ask(decoder, state, decoder.embed(*some), options, strict=meta.everything)
            batches.extend(measure(masks, scores, objects + at, enlarge, options, strict=meta.everything))
        return join(batches) if batches else None
