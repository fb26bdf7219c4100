"""What tasks share that look at a large picture in windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sensorium.processors.media import load_image
from sensorium.tasks.base import Unit
from sensorium.tasks.media.images import ImageTask, fitted_unit
from sensorium.tasks.slicing.windows import image_windows


class SlicedImageTask(ImageTask):
    """One picture, a unit for each of its windows; its options are `SlicedOptions`."""

    def split(self, raw: Any, options: Any) -> Iterator[Unit]:
        """Decodes the picture and fits its windows, as they are asked for; `meta` is an `ImageWindow`."""
        image = load_image(raw, limits=self.limits)
        for window in image_windows((image.shape[1], image.shape[2]), options):
            left, top, right, bottom = window.area
            yield fitted_unit(image[:, top:bottom, left:right], self.processor, window)
