"""object-detection: which objects a picture shows, and where."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, OptionError
from sensorium.models.attention_masks import unread_masks
from sensorium.models.float_sampling import float32_sampling
from sensorium.models.on_device import numbers_sent, sent
from sensorium.results import Detections
from sensorium.tasks.base import Batch, Models
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.media.images import is_unpadded
from sensorium.tasks.options import Range, Share
from sensorium.tasks.slicing.boxes import WindowBoxes, best_of, joined
from sensorium.tasks.slicing.sliced_image_task import SlicedImageTask
from sensorium.tasks.slicing.windows import SlicedOptions


@dataclass(frozen=True)
class ObjectDetectionOptions(SlicedOptions):
    """The options of a call.

    Attributes:
        threshold: the score in [0, 1] above which an object is given.
        top_k: how many objects to give at most, those with the best scores; None for all above the threshold. Their
            order stays that of the model, or with several windows best first.
    """

    threshold: Share = 0.5
    top_k: Annotated[int | None, Range(1, none="all objects")] = None


class Rule(NamedTuple):
    """How a family of models scores its boxes.

    Attributes:
        exclusive: each box has one class or none, by softmax over the classes and "no object"; otherwise classes are
            independent, by sigmoid, and a box counts once for each.
        max_pairs: with independent classes, how many pairs of box and class are looked at; None for as many as boxes.
    """

    exclusive: bool
    max_pairs: int | None = None


_EXCLUSIVE, _INDEPENDENT, _BEST_100 = Rule(exclusive=True), Rule(exclusive=False), Rule(exclusive=False, max_pairs=100)

_PROCESSORS = {
    "DetrImageProcessor": _EXCLUSIVE,
    "YolosImageProcessor": _EXCLUSIVE,
    "RTDetrImageProcessor": _INDEPENDENT,
    "RfDetrImageProcessor": _INDEPENDENT,
    "PPDocLayoutV2ImageProcessor": _INDEPENDENT,
    "PPDocLayoutV3ImageProcessor": _INDEPENDENT,
    "ConditionalDetrImageProcessor": _BEST_100,
    "DeformableDetrImageProcessor": _BEST_100,
}

_MODELS = {
    "detr": _EXCLUSIVE,
    "table-transformer": _EXCLUSIVE,
    "yolos": _EXCLUSIVE,
    "rt_detr": _INDEPENDENT,
    "rt_detr_v2": _INDEPENDENT,
    "d_fine": _INDEPENDENT,
    "deimv2": _INDEPENDENT,
    "rf_detr": _INDEPENDENT,
    "pp_doclayout_v2": _INDEPENDENT,
    "pp_doclayout_v3": _INDEPENDENT,
    "conditional_detr": _BEST_100,
    "deformable_detr": _BEST_100,
    "dab-detr": _BEST_100,
    "lw_detr": _BEST_100,
}


_ORDERED = ("pp_doclayout_v2", "pp_doclayout_v3")
_DEFORMABLE = ("d_fine", "deformable_detr", "deimv2", "lw_detr", "rf_detr", "rt_detr", "rt_detr_v2", *_ORDERED)


class ObjectDetection(SlicedImageTask):
    """Boxes with classes and scores, as Transformers' pipeline of the same name gives them."""

    name = "object-detection"
    summary = "which objects a picture shows, and where"
    options = ObjectDetectionOptions
    models = (Models("AutoModelForObjectDetection", only=_MODELS, own_code=True),)
    default = "facebook/detr-resnet-50@1d5f47b"

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__(model, processor)
        config: Any = model.config
        self._rule = _rule_of(processor, config.model_type)
        self._ordered = config.model_type in _ORDERED
        self._deforms = config.model_type in _DEFORMABLE
        self._labels = {int(number): str(label) for number, label in config.id2label.items()}
        self._takes = set(inspect.signature(model.forward).parameters)
        self._unpadded = is_unpadded(processor)
        head = _last_box_head(model)
        if head is not None:
            head.register_forward_hook(lambda module, given, offsets: offsets.float())
        if self._ordered:
            _fed_with_boxes(model).register_forward_pre_hook(_in_own_dtype, with_kwargs=True)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers model with its detection head."""
        from transformers import AutoModelForObjectDetection

        loaded_processor = load_processor(processor, checkpoint)
        return cls(load_transformers(AutoModelForObjectDetection, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers detector with its processor."""
        return cls(model, processor_of(model, processor))

    def check(self, options: Any) -> None:
        """Refuses a dtype that the model's own code cannot run in."""
        config: Any = self.model.config
        if config.model_type == "dab-detr" and self.dtype != torch.float32:
            raise OptionError(f'DAB-DETR mixes float32 into {self.dtype} and fails; pass dtype="float32" to pipeline()')

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`logits`, `(B, Q, classes)`, and `boxes`, `(B, Q, 4)` cxcywh in shares of the picture.

        From a model that knows in which order a page is read, `late`, `(B, Q)`, too: the more, the later.
        """
        inputs = self.processor.finish(batch, dtype=self.dtype)
        device = inputs["pixel_values"].device
        numbers = numbers_sent(device) if self._deforms else nullcontext()
        with float32_sampling(self.dtype), numbers, unread_masks(device, full=self._unpadded):
            output = self.model(**{name: value for name, value in inputs.items() if name in self._takes})
        found = {"logits": output.logits, "boxes": output.pred_boxes}
        return {**found, "late": _late(output.order_logits.float())} if self._ordered else found

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """What was found in each window of a picture."""
        scores, ids, rows = _score(outputs["logits"].float(), self._rule)
        boxes = _corners(outputs["boxes"].float()).gather(1, rows[..., None].expand(-1, -1, 4))
        sides = [(width, height) * 2 for height, width in (window.size for window in metas)]
        boxes = boxes * sent(sides, boxes.device, torch.float32)[:, None]
        columns = [boxes, scores[..., None], ids[..., None].float()]
        if self._ordered:
            columns.append(outputs["late"].gather(1, rows)[..., None])
        objects = torch.cat(columns, dim=-1)
        if options.top_k is not None and options.slice_px is None and options.top_k < objects.shape[1]:
            best = scores.topk(options.top_k, dim=1).indices.sort(dim=1).values
            objects = objects.gather(1, best[..., None].expand(-1, -1, objects.shape[2]))
        found = [rows[rows[:, 4] > options.threshold] for rows in objects.cpu().numpy()]
        if self._ordered:
            found = [rows[rows[:, 6].argsort(kind="stable")] for rows in found]
        return [
            WindowBoxes(window, rows[:, :4], rows[:, 4], rows[:, 5].astype("int64"))
            for window, rows in zip(metas, found, strict=False)
        ]

    def merge(self, parts: Sequence[WindowBoxes], options: Any, index: int) -> Detections:
        """The one picture's objects."""
        found = best_of(joined(parts), options.top_k)
        labels = [self._labels.get(number, f"LABEL_{number}") for number in found.ids.tolist()]
        size = found.window.image_size
        return Detections(found.xyxy, found.scores, labels, found.ids, size=size, index=index)


def _rule_of(processor: Any, model_type: str) -> Rule:
    """The rule of the checkpoint's own processor, or of its model where the processor has none.

    Raises:
        CheckpointError: neither is known.
    """
    name = str(processor.to_dict().get("image_processor_type", "")).removesuffix("Pil").removesuffix("Fast")
    rule = _PROCESSORS.get(name) or _MODELS.get(model_type)
    if rule is None:
        raise CheckpointError(
            f"it is not known how to read the boxes of a {model_type!r} model. Known are {', '.join(_MODELS)}, and "
            f"models with one of the processors {', '.join(_PROCESSORS)}."
        )
    return rule


def _last_box_head(model: nn.Module) -> nn.Module | None:
    """What gives the final boxes' offsets; in float32, as bfloat16 next to 1 has steps of 1/256 of the picture.

    None where it gives something other than offsets (D-FINE) or gives them in float32 anyway (DAB-DETR).
    """
    config: Any = model.config
    if config.model_type in ("d_fine", "dab-detr", "deimv2"):
        return None
    decoder = getattr(getattr(model, "model", None), "decoder", None)
    candidates = [getattr(owner, name, None) for owner in (decoder, model) for name in ("bbox_predictor", "bbox_embed")]
    for head in candidates:
        if isinstance(head, nn.Module):
            return head[-1] if isinstance(head, nn.ModuleList) else head
    return None


def _fed_with_boxes(model: Any) -> nn.Module:
    """The part of PP-DocLayout that takes the boxes, which are in float32, as its input."""
    part: nn.Module = getattr(model, "reading_order", None) or model.model.decoder.query_pos_head
    return part


def _in_own_dtype(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """The inputs of a module, floating-point ones in the dtype of its linear layers."""
    dtype = next(layer for layer in module.modules() if isinstance(layer, nn.Linear)).weight.dtype

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(map(cast, args)), {name: cast(value) for name, value in kwargs.items()}


def _score(logits: Tensor, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, classes and box numbers, `(B, K)` each, for `(B, Q, classes)` float32 logits."""
    count, boxes, classes = logits.shape
    if rule.exclusive:
        scores, ids = logits.softmax(-1)[..., :-1].max(-1)
        return scores, ids, torch.arange(boxes, device=logits.device).expand(count, -1)
    limit = min(rule.max_pairs or boxes, boxes * classes)
    scores, pairs = logits.sigmoid().flatten(1).topk(limit, dim=1)
    return scores, pairs % classes, pairs // classes


def _late(logits: Tensor) -> Tensor:
    """`(B, Q)`, how many of the boxes are read before each, by `(B, Q, Q)` logits of one before another."""
    before = logits.sigmoid()
    return before.triu(1).sum(1) + (1 - before.transpose(1, 2)).tril(-1).sum(1)


def _corners(boxes: Tensor) -> Tensor:
    """Turns `(…, 4)` cxcywh into xyxy."""
    centre, half = boxes[..., :2], 0.5 * boxes[..., 2:]
    return torch.cat([centre - half, centre + half], dim=-1)
