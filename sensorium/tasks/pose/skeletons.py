"""The names of joints, and the bones between them."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

from sensorium.errors import CheckpointError

COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The 17 joints of COCO's people, in its order: https://cocodataset.org/#format-data."""

COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Its bones, between these joints counted from 0."""


class Skeleton(NamedTuple):
    """What the joints of a model are.

    Attributes:
        labels: their names.
        edges: pairs of them with a bone between.
    """

    labels: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]


def skeleton_of(config: Any, joints: int) -> Skeleton:
    """The skeleton that a model's configuration tells; COCO's where it tells nothing of 17 joints.

    Args:
        config: of the model.
        joints: how many heat maps it gives.

    Raises:
        CheckpointError: its `edges` are no pairs of its joints.
    """
    given = {int(number): str(label) for number, label in (getattr(config, "id2label", None) or {}).items()}
    labels = tuple(given.get(i, f"LABEL_{i}") for i in range(joints))
    unnamed = all(label == f"LABEL_{i}" for i, label in enumerate(labels))
    of_coco = joints == len(COCO_JOINTS)
    edges = getattr(config, "edges", None)
    if edges is None:
        edges = COCO_EDGES if of_coco else ()
    pairs = isinstance(edges, (list, tuple)) and all(
        isinstance(edge, (list, tuple)) and len(edge) == 2 for edge in edges
    )
    if not pairs or not all(type(end) is int and 0 <= end < joints for end in chain.from_iterable(edges)):
        raise CheckpointError(
            f"expected edges as pairs of joints from 0 to {joints - 1}, got {edges!r:.200}. Correct the checkpoint's "
            "config.json, or leave its edges out."
        )
    return Skeleton(COCO_JOINTS if unnamed and of_coco else labels, tuple((start, end) for start, end in edges))
