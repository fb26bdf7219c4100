"""Texts and exemplars that name what to look for on a picture: checked, and brought to one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError
from sensorium.tasks.masks.prompts import check_inside, read_array, read_boxes, read_labels

CONCEPT_NAMES = ("texts", "exemplars", "exemplar_labels")

SHOWN = "visual"
"""What the model reads where exemplars come without a text, as it was trained."""


@dataclass(frozen=True)
class Concept:
    """One thing to look for.

    Attributes:
        text: what the model reads.
        boxes: `(M, 4)` float64, xyxy px of the picture, exemplars; None for none.
        labels: `(M,)` int64, 1 for an exemplar of it and 0 for one of what it is not; None for none.
    """

    text: str
    boxes: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None


def read_concepts(raw: Mapping[str, Any], height: int, width: int) -> list[Concept] | None:
    """Reads what a caller gives.

    Args:
        raw: `texts`, a text or a list of them; `exemplars`, boxes `(4,)` or `(M, 4)` in px of the picture for one text
            or none, else a list with boxes or None for each text; `exemplar_labels` of the same shape without the last
            axis, or None for all 1.
        height: of the picture, px.
        width: of the picture, px.

    Returns:
        The concepts, or None if there are none.

    Raises:
        InputError: no texts, blank ones, or others than texts; wrong shapes, numbers or labels ("bad-prompt"); an
            exemplar off the picture ("prompt-outside").
    """
    texts, exemplars, labels = (raw.get(name) for name in CONCEPT_NAMES)
    if texts is None and exemplars is None:
        if labels is not None:
            raise InputError("exemplar_labels came without exemplars; give both", code="bad-prompt")
        return None
    names = [None] if texts is None else _names(texts)
    boxes, marks = _each("exemplars", exemplars, len(names)), _each("exemplar_labels", labels, len(names))
    concepts = []
    for name, own, given in zip(names, boxes, marks, strict=True):
        if name is None and own is None:
            raise InputError("a text that is None needs exemplars, which show what to look for", code="bad-prompt")
        concepts.append(_concept(SHOWN if name is None else name, own, given, height, width))
    return concepts


def _names(texts: Any) -> list[str | None]:
    names = [texts] if isinstance(texts, str) else texts
    if not isinstance(names, (list, tuple, np.ndarray)):
        raise InputError(f'texts is a text or a list of them, ["dog"], got {type(texts).__name__}', code="bad-prompt")
    if not len(names):
        raise InputError('texts is an empty list; name something to look for, ["dog"]', code="bad-prompt")
    for name in names:
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise InputError(f"texts holds texts that are not blank, got {name!r:.80} among them", code="bad-prompt")
    return [None if name is None else str(name) for name in names]


def _each(name: str, value: Any, count: int) -> Sequence[Any]:
    """What belongs to each of so many texts."""
    if value is None:
        return [None] * count
    if count == 1:
        listed = isinstance(value, (list, tuple)) and len(value) == 1
        return [value[0] if listed and _is_whole(value[0], name) else value]
    if not isinstance(value, (list, tuple)) or len(value) != count:
        got = f"{len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
        raise InputError(
            f"for {count} texts {name} is a list of {count}, with None for a text without, got {got}",
            code="bad-prompt",
        )
    return value


def _is_whole(value: Any, name: str) -> bool:
    """Whether it is None, or all that belongs to a text, and not one box or one label of it."""
    try:
        return value is None or np.ndim(value) >= (2 if name == "exemplars" else 1)
    except ValueError:  # rows of different lengths, which are refused when they are read
        return True


def _concept(text: str, exemplars: Any, labels: Any, height: int, width: int) -> Concept:
    if exemplars is None:
        if labels is not None:
            raise InputError(f"exemplar_labels of {text!r:.60} came without exemplars; give both", code="bad-prompt")
        return Concept(text)
    boxes = read_boxes("exemplars", read_array("exemplars", exemplars))
    marks = np.ones(len(boxes)) if labels is None else np.atleast_1d(read_array("exemplar_labels", labels))
    if marks.shape != boxes.shape[:1]:
        raise InputError(
            f"exemplar_labels has shape {marks.shape}, exemplars {boxes.shape}; give one label for each box",
            code="bad-prompt",
        )
    check_inside(None, boxes, height, width)
    return Concept(text, boxes, read_labels(marks, "an exemplar's label is 1 (of what is meant) or 0 (of what is not)"))
