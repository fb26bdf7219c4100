"""Results whose rows are objects on a picture: how they go to other tools."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray

from sensorium.results.exporting import coco, label_studio, supervision, yolo
from sensorium.results.exporting.categories import Categories, Given
from sensorium.results.exporting.found_objects import FoundObjects
from sensorium.results.rows import Rows


class ObjectRows(Rows):
    """Objects on a picture, as boxes or masks; each form is written from the arrays, without loss where it has room."""

    __slots__ = ()

    @abstractmethod
    def _found(self) -> FoundObjects:
        """What the forms are made of."""

    def _more(self) -> Mapping[str, NDArray[Any]]:
        """Further arrays, one entry an object."""
        return {}

    def to_coco(
        self,
        *,
        image_id: int = 1,
        first_id: int = 1,
        categories: Given | None = None,
        shapes: Literal["boxes", "rle", "polygons"] | None = None,
        tolerance_px: float | None = None,
    ) -> list[dict[str, Any]]:
        """COCO's annotations of this picture; `sensorium.results.CocoFile` writes a file of many.

        Args:
            image_id: the picture's number in the file.
            first_id: the number of the first annotation. pycocotools' evaluation needs numbers from 1.
            categories: a name for each class number, such as `model.config.id2label`, or the list of a COCO file;
                classes are found in it by their names. None for the result's own numbers.
            shapes: masks as "rle" (compressed, exact), or as "polygons", in which holes are kept by a cut; "boxes" for
                no mask. None for "rle" where there are masks.
            tolerance_px: how far a polygon may lie from the mask's edge; None and 0 for exact ones.

        Returns:
            A dict an object: `id`, `image_id`, `category_id`, `bbox` (left, top, width, height, px), `area` in px²,
            `segmentation`, `iscrowd`, and `score` where there is one. Boxes are as they are, also beyond the picture;
            a mask without px is left out of polygons.

        Raises:
            ValueError: a form that this result cannot have; a class without a number; a box that is not finite.
        """
        return coco.as_annotations(
            self._found(),
            Categories(categories),
            image_id=image_id,
            first_id=first_id,
            shapes=shapes,
            tolerance_px=tolerance_px,
        )

    def to_supervision(self) -> Any:
        """A `supervision.Detections`: `xyxy`, `mask`, `confidence`, `class_id`, and `data["class_name"]`.

        Masks are unpacked, `(N, H, W)` bool; their boxes are the outer edges of their px.

        Raises:
            ImportError: supervision is not installed.
        """
        return supervision.detections(self._found(), self._more())

    def to_yolo(
        self,
        *,
        size: tuple[int, int] | None = None,
        categories: Given | None = None,
        shapes: Literal["boxes", "polygons"] | None = None,
        scores: bool = False,
        tolerance_px: float | None = None,
    ) -> str:
        """The text of a YOLO label file: a line an object, places in shares of the picture.

        Args:
            size: (height, width) of the picture, px; needed only where the result does not know it.
            categories: as for `to_coco`.
            shapes: "polygons" for the outlines of masks, "boxes"; None for polygons where there are masks. A mask is
                one polygon: its parts and holes are joined by cuts.
            scores: whether each line ends with the score, as predictions do.
            tolerance_px: how far a polygon may lie from the mask's edge; None for 1 px, 0 for exact ones.

        Returns:
            Lines `class x y width height`, or `class x0 y0 x1 y1 …`. Boxes are cut at the picture's edges; those
            outside and masks without px are left out.

        Raises:
            ValueError: a form that this result cannot have; the size is not known; a class without a number.
        """
        return yolo.text(
            self._found(),
            Categories(categories),
            size=size,
            shapes=shapes,
            scores=scores,
            tolerance_px=tolerance_px,
        )

    def to_label_studio(
        self,
        image: str,
        *,
        size: tuple[int, int] | None = None,
        shapes: Literal["boxes", "polygons", "brush"] | None = None,
        tolerance_px: float | None = None,
        from_name: str = "label",
        to_name: str = "image",
        model_version: str = "sensorium",
    ) -> dict[str, Any]:
        """A task of Label Studio with the objects as predictions; a JSON list of them is what it imports.

        Args:
            image: where Label Studio finds the picture: a URL, `/data/local-files/?d=…`, …
            size: as for `to_yolo`.
            shapes: "polygons" with cuts to their holes, one for each part of a mask; "brush" for exact masks; "boxes".
                None for polygons where there are masks.
            tolerance_px: as for `to_yolo`.
            from_name: the name of the labels in the project's configuration.
            to_name: the name of the picture there, and in the task's data.
            model_version: which model made them, as Label Studio shows it.

        Returns:
            `{"data": {"image": …}, "predictions": [{"model_version": …, "score": …, "result": […]}]}`.

        Raises:
            ValueError: a form that this result cannot have; the size is not known.
        """
        return label_studio.task(
            self._found(),
            image,
            size=size,
            shapes=shapes,
            tolerance_px=tolerance_px,
            from_name=from_name,
            to_name=to_name,
            model_version=model_version,
        )
