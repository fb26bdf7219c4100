"""Points, boxes and masks that mark one object on a frame: checked, and brought to the square that the model sees."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sensorium.errors import InputError
from sensorium.models.sam.tracker import FramePrompt
from sensorium.tasks.masks.prompts import Prompts, read_prompts


def prompts_of(raw: Mapping[str, Any], size: tuple[int, int], square: int) -> list[FramePrompt]:
    """Reads what a caller tells of N objects on a frame.

    Args:
        raw: `points`, `(P, 2)` for one object or `(N, P, 2)` for N; `point_labels` of the same shape without the last
            axis, or None for all 1; `boxes`, `(4,)` or `(N, 4)`; or `masks`, `(H, W)` or `(N, H, W)`. Px of the frame.
        size: (height, width) of the frame, px.
        square: px of the square that the model sees.

    Raises:
        InputError: wrong shapes, numbers or labels, no prompt at all, or masks beside points and boxes ("bad-prompt");
            a prompt off the frame ("prompt-outside").
    """
    height, width = size
    found = read_prompts(raw, height, width)
    if raw.get("masks") is not None:
        if found is not None:
            raise InputError(
                "masks came with points or boxes; tell of an object by its mask, or by points and a box",
                code="bad-prompt",
            )
        return [FramePrompt(mask=one) for one in _masks(raw["masks"], size, square)]
    if found is None:
        raise InputError(
            "expected points, boxes or masks of the objects to follow, got none. Give at least one: points=[[x, y]]",
            code="no-prompt",
        )
    return _as_points(found.scaled(square / width, square / height))


def frame_number(given: Any, total: int | None, name: str, *, last: bool = True) -> int:
    """Checks the number of a frame.

    Args:
        given: the number.
        total: frames of the film; None for one without an end.
        name: of the film.
        last: whether it is that of a frame; if not it may be the one after the last.

    Raises:
        InputError: `frame-outside`, no whole number, or none of the film's.
    """
    whole = isinstance(given, Integral) and not isinstance(given, bool)
    if whole and given >= 0 and (total is None or given < total + (not last)):
        return int(given)
    known = "" if total is None else f" to {total - last:,}"
    raise InputError(
        f"{name}: expected the number of a frame, a whole one from 0{known}, got {given!r:.100}",
        code="frame-outside",
        source=name,
    )


def joined(before: FramePrompt, more: FramePrompt) -> FramePrompt:
    """What was told of an object on a frame, and what is told now.

    Raises:
        InputError: one of them is a mask, or a box comes after points.
    """
    if before.mask is not None or more.mask is not None or 2 in more.labels:
        raise InputError(
            "only points can be added to what was told before, and only to points and a box; leave out more=True to "
            "tell anew",
            code="bad-prompt",
        )
    return FramePrompt([*before.points, *more.points], [*before.labels, *more.labels])


def _as_points(prompts: Prompts) -> list[FramePrompt]:
    """With a box as its two corners, before the points."""
    found = []
    for at in range(len(prompts)):
        points: list[Any] = []
        labels: list[int] = []
        if prompts.boxes is not None:
            points += prompts.boxes[at].reshape(2, 2).tolist()
            labels += [2, 3]
        if prompts.points is not None and prompts.labels is not None:
            points += prompts.points[at].tolist()
            labels += prompts.labels[at].tolist()
        found.append(FramePrompt(points, labels))
    return found


def _masks(given: Any, size: tuple[int, int], square: int) -> list[torch.Tensor]:
    """`(1, 1, S, S)` float32 each, cut at one half as the reference does."""
    try:
        masks = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
        masks = masks.astype(bool)
    except (TypeError, ValueError) as error:
        raise InputError(f"masks hold something other than numbers: {error}", code="bad-prompt") from error
    if masks.ndim not in (2, 3) or masks.shape[-2:] != size or not masks.size:
        raise InputError(
            f"masks are (H, W) for one object, or (N, H, W) for N, of the frame's {size[0]}x{size[1]} px (height by "
            f"width), got shape {masks.shape}",
            code="bad-prompt",
        )
    tensors = torch.from_numpy(masks.reshape(-1, 1, 1, *size)).float()
    if size == (square, square):
        return list(tensors)
    wide = [
        functional.interpolate(one, (square, square), mode="bilinear", align_corners=False, antialias=True)
        for one in tensors
    ]
    return [(one >= 0.5).float() for one in wide]
