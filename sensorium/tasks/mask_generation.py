"""mask-generation: masks of everything on a picture, or of what points, boxes and texts say is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.models.relative_places import keep_relative_places
from sensorium.models.sam.encoding import detector_of, encode, tracker_of
from sensorium.processors.media import is_batch, load_image
from sensorium.processors.text import TextProcessor
from sensorium.results import Masks
from sensorium.tasks.base import Batch, Call, Models, Options, Runner, Task, Unit
from sensorium.tasks.loading import both_of, load_both, load_processor, load_transformers, processor_of
from sensorium.tasks.masks.concept_search import ConceptSearch, ImageConcepts
from sensorium.tasks.masks.concepts import CONCEPT_NAMES, read_concepts
from sensorium.tasks.masks.crops import crop_boxes
from sensorium.tasks.masks.filtering import Frame
from sensorium.tasks.masks.found_masks import FoundMasks, Meta, merged
from sensorium.tasks.masks.object_search import ObjectSearch
from sensorium.tasks.masks.prompted_image import PromptedImage
from sensorium.tasks.masks.prompts import NAMES, read_prompts
from sensorium.tasks.options import Range, Share

READERS = ("Sam3Model", "Sam3VideoModel")
MODELS = ("SamModel", "SamHQModel", "Sam2Model", "EdgeTamModel", "Sam3TrackerModel", *READERS)

PointsASide = Annotated[int, Range(1, 1024)]
Logit = Annotated[float, Range(-1e9, 1e9)]
AtOnce = Annotated[int, Range(1, 1 << 20)]


@dataclass(frozen=True)
class MaskGenerationOptions(Options):
    """The options of a call.

    With points or boxes only `mask_threshold`, `multimask` and `points_per_batch` matter, with texts and exemplars only
    `threshold`, `mask_threshold` and `texts_per_batch`.

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
        threshold: the score in [0, 1] above which an object that a text names is given.
        texts_per_batch: how many texts, of all pictures of a batch, the model sees at once at most; None for as many as
            half of a GPU's free memory holds. It bounds memory and changes no result.
    """

    points_per_batch: AtOnce | None = None
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
    threshold: Share = 0.3
    texts_per_batch: AtOnce | None = None


class MaskGeneration(Task):
    """Masks with SAM and its kin; everything on a picture as Transformers' pipeline of the same name gives it."""

    name = "mask-generation"
    summary = "masks of everything on a picture, or of what points, boxes and texts ask for"
    inputs = ("image",)
    optional_inputs = (*NAMES, *CONCEPT_NAMES)
    options = MaskGenerationOptions
    models = (
        Models(
            "AutoModelForMaskGeneration",  # which also names, but does not load, what SAM 3's model of videos holds
            only=("sam", "sam_hq", "sam2", "sam2_video", "edgetam", "edgetam_video", "sam3_tracker"),
            holding=("Sam2VideoModel", "EdgeTamVideoModel"),
        ),
        Models("AutoModel", only=("sam3", "sam3_video")),
    )
    default = "facebook/sam-vit-base@70c1a07"

    def __init__(self, model: nn.Module, processor: Any, text_processor: TextProcessor | None = None) -> None:
        super().__init__(model, processor)
        self.text_processor = text_processor
        detector, tracker, recipe = detector_of(model), tracker_of(model), processor.recipe
        padded = recipe is not None and recipe.pad_to is not None
        self._objects = None if tracker is None else ObjectSearch(tracker, padded=padded)
        self._concepts = None if text_processor is None else ConceptSearch(detector, text_processor)
        self._square = int((self._objects or self._concepts).input_size)  # type: ignore[union-attr]
        if recipe is None or recipe.size != (self._square, self._square):
            raise CheckpointError(
                f"mask-generation needs the model's own image processor, which makes squares of {self._square} px; "
                f"got one that makes {'an unknown size' if recipe is None else recipe.size}. Pass processor=…"
            )
        keep_relative_places(model)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads one of `MODELS`; of SAM 3 as it is published both halves, which share their encoder."""
        from transformers import AutoModel, AutoModelForMaskGeneration

        if checkpoint.model_type in ("sam3", "sam3_video"):
            both = load_both(processor, checkpoint)
            return cls(load_transformers(AutoModel, checkpoint), *both)
        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForMaskGeneration, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes one of `MODELS`, loaded, with its processor; one that reads texts with its tokenizer, too."""
        if type(model).__name__ not in MODELS:
            raise TaskMismatchError(f"{cls.name} takes one of {', '.join(MODELS)}, got {type(model).__name__}")
        if type(model).__name__ in READERS:
            return cls(model, *both_of(model, processor))
        return cls(model, processor_of(model, processor))

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One picture with its prompts, whose lists are coordinates; for several pictures, prompts are lists too.

        A text, or a list of nothing but texts, goes with each of several pictures.
        """
        if "image" not in named:
            raise OptionError(f"{self.name} needs an image with its {' and '.join(named)}")
        image, prompts = named["image"], {name: value for name, value in named.items() if name != "image"}
        if not is_batch(image):
            return dict(named) if prompts else image
        shared = {"texts": prompts.pop("texts")} if _texts_alone(prompts.get("texts")) else {}
        for name, value in prompts.items():
            if value is not None and (not isinstance(value, (list, tuple)) or len(value) != len(image)):
                raise OptionError(
                    f"for {len(image)} pictures {name} must be a list of the same length, with None for a "
                    f"picture without; or give each picture its own: [{{'image': …, '{name}': …}}, …]"
                )
        rows = [{name: value[i] for name, value in prompts.items() if value is not None} for i in range(len(image))]
        return [{"image": one, **shared, **row} for one, row in zip(image, rows, strict=True)]

    def split(self, raw: Any, options: Any) -> Iterator[Unit]:
        """The picture with its prompts; or else the picture with a grid, and its crops with theirs."""
        named = raw if isinstance(raw, Mapping) else {"image": raw}
        if "image" not in named or set(named) - {"image", *self.optional_inputs}:
            raise InputError(
                f"an input has the keys image, {', '.join(self.optional_inputs)}, all but the first as needed; "
                f"got {', '.join(map(str, named)) or 'none'}",
                code="bad-prompt" if "image" in named else "no-image",
            )
        yield from self.units(load_image(named["image"], limits=self.limits), named, options)

    def units(self, image: Tensor, named: Mapping[str, Any], options: MaskGenerationOptions) -> Iterator[Unit]:
        """The units of a decoded picture, `(3, H, W)`, with the prompts in `named`, or to search everything."""
        height, width = image.shape[1:]
        prompts, concepts = read_prompts(named, height, width), read_concepts(named, height, width)
        if prompts is not None and concepts is not None:
            raise InputError(
                "points and boxes ask for one object each, texts and exemplars for all of a kind; ask one by one",
                code="bad-prompt",
            )
        if concepts is not None:
            self._reader().check(concepts)
            fitted, frame = self._fit(image, (0, 0, width, height))
            yield Unit(fitted, Meta(frame, concepts=concepts))
            return
        asked = self._asked()
        if prompts is not None:
            fitted, frame = self._fit(image, (0, 0, width, height))
            down, across = frame.resized
            yield Unit(fitted, Meta(frame, prompts.scaled(across / width, down / height)))
            return
        ratio = options.crop_overlap_ratio
        boxes = crop_boxes(height, width, layers=options.crops_n_layers, overlap_ratio=ratio)
        for box, layer in boxes:
            fitted, frame = self._fit(image, box)
            side = int(options.points_per_crop / options.crop_n_points_downscale_factor**layer)
            grid = asked.grid(max(1, side), frame)
            yield Unit(fitted, Meta(frame, grid, everything=True, alone=len(boxes) == 1))

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Encodes pictures; the prompts follow in `decode`, for as many units as there are."""
        return call(self.compute, batch)

    def compute(self, batch: Batch) -> dict[str, list[Tensor]]:
        """What `encode` makes of pictures; this is what is compiled."""
        return encode(self.model, self.processor.finish(batch, dtype=self.dtype)["pixel_values"])

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Runs each unit's prompts on its embedding; what survives the filters comes to the CPU."""
        named = [ImageConcepts(i, meta.frame, meta.concepts) for i, meta in enumerate(metas) if meta.concepts]
        free_bytes = self.runtime.free_bytes() if named and options.texts_per_batch is None else None
        found = self._reader().search(outputs["maps"], named, options, free_bytes) if named else []
        parts = {
            asked.row: FoundMasks(instances.masks, metas[asked.row], instances.boxes)
            for asked, instances in zip(named, found, strict=True)
        }
        for i, meta in enumerate(metas):
            if not meta.concepts:
                parts[i] = self._search([features[i] for features in outputs["features"]], meta, options)
        return [parts[i] for i in range(len(metas))]

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Masks:
        """The masks of a picture and its crops, the overlapping ones suppressed."""
        return merged(parts, options.crops_nms_thresh, index)

    def open(self, raw: Any, runner: Runner) -> PromptedImage:
        """Encodes a picture once, for many prompts."""
        image = load_image(raw, limits=self.limits)
        whole = Unit(self._fit(image, (0, 0, image.shape[2], image.shape[1]))[0])
        return PromptedImage(runner, self, self.units, image, whole)

    def example(self) -> Any:
        """A grey gradient of 375 by 500 px with a point in the middle, or a text: cheap, and all of the model runs."""
        image = torch.linspace(0, 255, 500).to(torch.uint8).expand(3, 375, 500).contiguous()
        return {"image": image, "texts": ["cat"]} if self._objects is None else {"image": image, "points": [[250, 187]]}

    def _fit(self, image: Tensor, box: tuple[int, int, int, int]) -> tuple[Batch, Frame]:
        left, top, right, bottom = box
        fitted = self.processor.fit(image[:, top:bottom, left:right])
        resized = fitted["pixel_values"].shape
        frame = Frame(box, (image.shape[1], image.shape[2]), (resized[1], resized[2]), self._square)
        return fitted, frame

    def _search(self, features: Sequence[Tensor], meta: Meta, options: MaskGenerationOptions) -> FoundMasks:
        assert meta.prompts is not None
        free_bytes = self.runtime.free_bytes() if options.points_per_batch is None else None
        masks = self._asked().search(
            features, meta.prompts, meta.frame, options, strict=meta.everything, free_bytes=free_bytes
        )
        if masks is not None:
            alone = meta.everything and meta.alone
            masks = masks.download(masks.suppressed(options.crops_nms_thresh) if alone else None)
        return FoundMasks(masks, meta)

    def _asked(self) -> ObjectSearch:
        if self._objects is None:
            raise InputError(
                f"{type(self.model).__name__} finds what texts and exemplars name, and takes neither points nor boxes, "
                'nor searches everything; pass texts=["dog"], or load SAM, SAM 2 or all of SAM 3, "facebook/sam3"',
                code="bad-prompt",
            )
        return self._objects

    def _reader(self) -> ConceptSearch:
        if self._concepts is None:
            raise InputError(
                f"{type(self.model).__name__} takes points and boxes, and neither texts nor exemplars; SAM 3 does, "
                '"facebook/sam3"',
                code="bad-prompt",
            )
        return self._concepts


def _texts_alone(value: Any) -> bool:
    """Whether it is a text, or holds nothing else."""
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value) and len(value) > 0
    )
