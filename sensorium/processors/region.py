"""Which part of a picture a recipe shows to the model: the way back from a model's coordinates to the picture's."""

from __future__ import annotations

from sensorium.processors.box_crop import BoxCrop
from sensorium.processors.geometry import CenterCrop, CropToRatio, Resize
from sensorium.processors.image_resampling import resized_size
from sensorium.processors.recipe import Recipe


def region(recipe: Recipe, height: int, width: int) -> tuple[float, float, float, float]:
    """The part of a picture that the model's input covers.

    Args:
        recipe: what is done to the picture.
        height: of the picture, px.
        width: of the picture, px.

    Returns:
        (left, top, right, bottom) in px of the picture, from its left upper corner; outside it where it is padded.
    """
    x, y = (0.0, 1.0), (0.0, 1.0)  # both ends of each axis, in shares of the picture
    rows, columns = height, width
    for step in recipe.geometry:
        if isinstance(step, Resize):
            rows, columns = resized_size(rows, columns, rule=step.rule, size=step.size, multiple=step.multiple)
            continue
        if isinstance(step, BoxCrop):
            y, x = (
                _around(*each)
                for each in zip(step.whole(rows, columns), step.size, (y, x), (rows, columns), strict=True)
            )
            rows, columns = step.size
            continue
        if isinstance(step, CropToRatio):
            size = (int(step.ratio[0] * min(rows, columns)), int(step.ratio[1] * min(rows, columns)))
            step = CenterCrop(size)  # noqa: PLW2901 - what the step itself does
        if isinstance(step, CenterCrop):
            y, x = _cut(y, rows, step.size[0], step), _cut(x, columns, step.size[1], step)
            rows, columns = step.size
    if recipe.pad_to is not None:
        y = (y[0], y[0] + (y[1] - y[0]) * recipe.pad_to[0] / rows)
        x = (x[0], x[0] + (x[1] - x[0]) * recipe.pad_to[1] / columns)
    return x[0] * width, y[0] * height, x[1] * width, y[1] * height


def _around(window: tuple[float, float], new: int, ends: tuple[float, float], old: int) -> tuple[float, float]:
    """What the px of a window cover of an axis of `old` px; the centres of its outer ones lie on its ends."""
    centre, length = window
    px, per_px = length / (new - 1), (ends[1] - ends[0]) / old
    first = centre - length / 2 + 0.5 - px / 2
    return ends[0] + first * per_px, ends[0] + (first + new * px) * per_px


def _cut(ends: tuple[float, float], old: int, new: int, step: CenterCrop) -> tuple[float, float]:
    """What is left of an axis of `old` px when the middle `new` px are cut out, padded before where it is shorter."""
    grown = max(old, new)
    spare = grown - new
    start = (round(spare / 2) if step.half_even else spare // 2) - (grown - old) // 2
    per_px = (ends[1] - ends[0]) / old
    return ends[0] + start * per_px, ends[0] + (start + new) * per_px
