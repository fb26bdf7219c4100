"""A picture that was encoded once, and is asked for masks many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from sensorium.errors import OptionError
from sensorium.results import Masks
from sensorium.tasks.base import Runner
from sensorium.tasks.masks.prompts import read_prompts

if TYPE_CHECKING:
    from sensorium.tasks.mask_generation import MaskGeneration


class PromptedImage:
    """A picture that lies encoded on the device; what `Pipeline.image` gives.

    Attributes:
        size: (height, width) of the picture, px.
    """

    def __init__(self, task: MaskGeneration, picture: Tensor, runner: Runner) -> None:
        self._task, self._picture, self._runner = task, picture, runner
        self.size: tuple[int, int] = (picture.shape[1], picture.shape[2])
        whole = next(iter(task.units(picture, None, task.options())))
        self._outputs: Any = runner.forward([whole], task.options())

    def masks(self, *, points: Any = None, point_labels: Any = None, boxes: Any = None, **options: Any) -> Masks:
        """What the pipeline gives for this picture with these prompts, or for everything without any.

        Args:
            points: `(P, 2)` for one object, `(N, P, 2)` for N; (x, y) px of the picture.
            point_labels: 1 on the object and 0 off it, for each point; all 1 unless given.
            boxes: `(4,)` or `(N, 4)`, xyxy px.
            **options: the task's options.

        Raises:
            InputError: prompts of a wrong shape, or off the picture.
            OptionError, UnknownNameError: as in a call; or the picture was released already.
        """
        if self._outputs is None:
            raise OptionError("the picture was released at the end of its `with` block; ask within it")
        task, runner = self._task, self._runner
        parsed = task.options.parse(options)
        given = {"points": points, "point_labels": point_labels, "boxes": boxes}
        parts: list[Any] = []
        for unit in task.units(self._picture, read_prompts(given, *self.size), parsed):
            outputs = self._outputs if not parts else runner.forward([unit], parsed)
            parts.extend(runner.decode(outputs, [unit.meta], parsed))
        return task.merge(parts, parsed, 0)

    def close(self) -> None:
        """Lets the embedding go."""
        self._outputs = None
