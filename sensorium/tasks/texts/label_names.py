"""Labels that a call names, as a user may give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sensorium.errors import OptionError


def checked_labels(raw: Any) -> tuple[str, ...]:
    """The labels of `candidate_labels`; none at all are let through, as a task's defaults have none.

    Raises:
        OptionError: it is one text, or no collection, or holds what is no text or is blank.
    """
    if isinstance(raw, (str, bytes)) or not isinstance(raw, Iterable):
        raise OptionError(f'candidate_labels is a list of labels, such as ["cat", "dog"], got {raw!r}')
    labels = tuple(raw)
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise OptionError(f"candidate_labels holds names that are not blank, got {label!r} among them")
    return labels
