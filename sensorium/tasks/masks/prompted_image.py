"""A picture that was encoded once, and is asked for masks many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from sensorium.results import Masks
from sensorium.tasks.base import Runner, Session, Task, Unit

Units = Callable[[Tensor, Mapping[str, Any], Any], Iterator[Unit]]
"""Makes the units of a picture, `(3, H, W)`, with these prompts by name, or to search everything."""


class PromptedImage(Session):
    """A picture that lies encoded on the device; what `Pipeline.image` gives.

    Args:
        runner: the session's own.
        task: decodes and joins what is found.
        units: the task's units of a picture; the first one has the picture whole.
        image: `(3, H, W)`.
        whole: a unit of the picture whole.

    Attributes:
        size: (height, width) of the picture, px.
    """

    def __init__(self, runner: Runner, task: Task, units: Units, image: Tensor, whole: Unit) -> None:
        super().__init__(runner)
        self._task, self._units, self._image = task, units, image
        self.size: tuple[int, int] = (image.shape[1], image.shape[2])
        self._outputs: Any = runner.forward([whole], task.options())

    def masks(
        self,
        *,
        points: Any = None,
        point_labels: Any = None,
        boxes: Any = None,
        texts: Any = None,
        exemplars: Any = None,
        exemplar_labels: Any = None,
        **options: Any,
    ) -> Masks:
        """What the pipeline gives for this picture with these prompts, or for everything without any.

        Args:
            points: `(P, 2)` for one object, `(N, P, 2)` for N; (x, y) px of the picture.
            point_labels: 1 on the object and 0 off it, for each point; all 1 unless given.
            boxes: `(4,)` or `(N, 4)`, xyxy px.
            texts: a text or several, each of which names a kind of object.
            exemplars: boxes that show what is meant, `(4,)` or `(M, 4)`; for several texts a list with them for each.
            exemplar_labels: 1 for what is meant and 0 for what is not, for each exemplar; all 1 unless given.
            **options: the task's options.

        Raises:
            InputError: prompts of a wrong shape, or off the picture; such as the model does not take.
            OptionError, UnknownNameError: as in a call; or the picture was released already.
        """
        parsed = self._task.options.parse(options)
        prompts = {"points": points, "point_labels": point_labels, "boxes": boxes, "texts": texts}
        prompts |= {"exemplars": exemplars, "exemplar_labels": exemplar_labels}
        parts: list[Any] = []
        for unit in self._units(self._image, prompts, parsed):
            outputs = self._outputs if not parts else self._runner.forward([unit], parsed)
            parts.extend(self._runner.decode(outputs, [unit.meta], parsed))
        masks: Masks = self._task.merge(parts, parsed, 0)
        return masks

    def release(self) -> None:
        """Releases the embedding."""
        self._outputs = None
