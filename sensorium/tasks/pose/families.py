"""How the models of each family cut people out, and how their heat maps are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sensorium.errors import CheckpointError, OptionError
from sensorium.models.heat_maps import Blur
from sensorium.models.vitpose import experts_of, vitpose
from sensorium.processors.box_crop import BoxCrop
from sensorium.processors.image import ImageProcessor


class PoseFamily(ABC):
    """One family of models of poses.

    Args:
        model: of Transformers.
        processor: of its checkpoint.

    Attributes:
        experts: how many data sets it has parts of its own for.
        crop: cuts people out.
    """

    experts = 1

    def __init__(self, model: Any, processor: ImageProcessor) -> None:
        self.model = model
        self.crop = self._crop_of(processor)

    @abstractmethod
    def blur(self, kernel_size: int) -> Blur:
        """How heat maps are blurred before joints are looked for between their pixels."""

    @abstractmethod
    def maps(self, pixels: Tensor, expert: int) -> Tensor:
        """Heat maps `(B, K, h, w)` of people cut out, `(B, 3, H, W)`."""

    @abstractmethod
    def _crop_of(self, processor: ImageProcessor) -> BoxCrop:
        """How the checkpoint's own processor cuts people out."""


class VitPose(PoseFamily):
    """ViTPose and ViTPose+."""

    def __init__(self, model: Any, processor: ImageProcessor) -> None:
        super().__init__(model, processor)
        self._own = type(model.backbone).__name__ == "VitPoseBackbone"
        self.experts = experts_of(model) if self._own else 1

    def blur(self, kernel_size: int) -> Blur:
        """A narrow Gaussian, whatever the size of its kernel."""
        return Blur(0.8, (kernel_size - 1) // 2, mirrored=True, keeps_peak=False)

    def maps(self, pixels: Tensor, expert: int) -> Tensor:
        """Heat maps of the expert that is asked."""
        if self._own:
            return vitpose(self.model, pixels, expert)
        heat_maps: Tensor = self.model(pixels).heatmaps
        return heat_maps

    def _crop_of(self, processor: ImageProcessor) -> BoxCrop:
        steps = () if processor.recipe is None else processor.recipe.geometry
        if len(steps) != 1 or not isinstance(steps[0], BoxCrop):
            raise _not_its_own("VitPoseImageProcessor", processor)
        return steps[0]


class Sapiens2(PoseFamily):
    """Sapiens 2, whose people have 308 joints."""

    def blur(self, kernel_size: int) -> Blur:
        """A Gaussian as wide as its kernel, which leaves the maps as high as they were.

        Raises:
            OptionError: a kernel of one pixel, which has no width.
        """
        if kernel_size < 3:
            raise OptionError(f"kernel_size is at least 3 for Sapiens 2, got {kernel_size}")
        sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8  # OpenCV's for this size of kernel
        return Blur(sigma, (kernel_size - 1) // 2, mirrored=False, keeps_peak=True)

    def maps(self, pixels: Tensor, expert: int) -> Tensor:
        """Heat maps; there are no experts."""
        heat_maps: Tensor = self.model(pixels).heatmaps
        return heat_maps

    def _crop_of(self, processor: ImageProcessor) -> BoxCrop:
        told = processor.to_dict()
        size = told.get("size")
        if processor.recipe is None or not isinstance(size, Mapping) or told.get("do_center_crop"):
            raise _not_its_own("Sapiens2ImageProcessor", processor)
        return BoxCrop((size.get("height", 0), size.get("width", 0)), sampled=True)


def _not_its_own(name: str, processor: ImageProcessor) -> CheckpointError:
    return CheckpointError(
        f"pose-estimation needs the model's own image processor, a {name} that cuts people out; got {processor!r:.200}."
        " Pass processor=…"
    )


FAMILIES: dict[str, type[PoseFamily]] = {"sapiens2": Sapiens2, "vitpose": VitPose}
"""By model type."""
