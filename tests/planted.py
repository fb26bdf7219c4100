"""Models that find planted objects: of each px the red says which object it is of, from 1, the green its class.

They are exact and look at nothing else, so that what a task makes of windows can be compared with what was planted.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import transformers

from tests import tiny_detection, tiny_segmentation

OBJECTS, CLASSES = 12, 4
SURE = 12.0  # a logit


def scene(size, objects):
    """A picture with objects `(class, left, top, right, bottom)`, later ones in front."""
    pixels = np.zeros((*size, 3), np.uint8)
    for number, (kind, left, top, right, bottom) in enumerate(objects, 1):
        pixels[top:bottom, left:right] = number, kind, 0
    return pixels


def processor():
    """Leaves pictures as they are."""
    off = dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "do_pad"), False)
    return transformers.DetrImageProcessor(**off)


class Planted:
    """Shapes and classes from pixels; `sizes` are those of all pictures and windows that were looked at."""

    def __init__(self):
        self.sizes = []

    def shapes(self, pixel_values, first=1):
        """`(B, OBJECTS, H, W)` bool, which px are of each object; and `(B, OBJECTS)` their classes, or CLASSES."""
        self.sizes += [tuple(pixel_values.shape[-2:])] * len(pixel_values)
        red, green = pixel_values[:, 0].round(), pixel_values[:, 1].round()
        inside = red[:, None] == torch.arange(first, OBJECTS).view(1, -1, 1, 1)
        kinds = (inside * green[:, None]).flatten(2).amax(-1).long()
        return inside, torch.where(inside.flatten(2).any(-1), kinds, CLASSES)

    def boxes(self, pixel_values):
        """As DETR answers; the larger the part that is seen, the higher its score."""
        inside, kinds = self.shapes(pixel_values)
        height, width = pixel_values.shape[-2:]
        rows, columns = inside.any(3), inside.any(2)
        top, left = rows.int().argmax(2), columns.int().argmax(2)
        bottom, right = height - rows.flip(2).int().argmax(2), width - columns.flip(2).int().argmax(2)
        boxes = torch.stack([(left + right) / 2 / width, (top + bottom) / 2 / height], -1)
        boxes = torch.cat([boxes, torch.stack([(right - left) / width, (bottom - top) / height], -1)], -1)
        sure = 2 + inside.flatten(2).sum(-1) / 1000
        logits = torch.nn.functional.one_hot(kinds, CLASSES + 1) * sure[..., None] * 2
        return SimpleNamespace(logits=logits, pred_boxes=boxes)

    def queries(self, pixel_values):
        """As MaskFormer answers; what lies between objects is one, too, of class 0."""
        inside, kinds = self.shapes(pixel_values, first=0)
        logits = torch.nn.functional.one_hot(kinds, CLASSES + 1) * SURE
        return {"class_queries_logits": logits, "masks_queries_logits": torch.where(inside, SURE, -SURE)}

    def map(self, pixel_values):
        """As SegFormer answers; class 0 is what is between objects."""
        self.shapes(pixel_values)
        kinds = torch.nn.functional.one_hot(pixel_values[:, 1].round().long(), CLASSES)
        return SimpleNamespace(logits=kinds.permute(0, 3, 1, 2) * SURE)


def detector():
    """DETR that finds what was planted, and what it looked at."""
    model = transformers.AutoModelForObjectDetection.from_pretrained(tiny_detection.folder("detr"))
    return _answering(model, "boxes")


def finder_of_segments():
    """MaskFormer that does."""
    folder = tiny_segmentation.folder("maskformer")
    return _answering(transformers.AutoModelForUniversalSegmentation.from_pretrained(folder), "queries")


def reader_of_classes():
    """SegFormer that does."""
    folder = tiny_segmentation.folder("segformer")
    return _answering(transformers.AutoModelForSemanticSegmentation.from_pretrained(folder), "map")


def _answering(model, as_):
    planted = Planted()
    model.config.id2label = {number: f"class {number}" for number in range(CLASSES)}
    model.forward = getattr(planted, as_)
    return model.eval(), planted
