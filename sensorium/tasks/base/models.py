"""Models: declares which models of Transformers a task takes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sensorium.checkpoints import Checkpoint
from sensorium.tasks.base.unit import Fit


@dataclass(frozen=True)
class Models:
    """Models that one of Transformers' auto classes loads; `Task.models` holds those that a task takes.

    Attributes:
        auto: the name of the auto class, such as "AutoModelForImageClassification".
        only: the model types that the task knows, of those that the auto class does; None for all.
        never: model types that the auto class does and the task cannot.
        without: the name of an auto class whose models are left out, though `auto` loads them, too.
        own_code: whether a checkpoint fits whose own Python files bring a class for `auto`.
        unnamed: whether a checkpoint that names no class can serve by its model type alone.
        holding: larger classes whose checkpoints hold all that a class for `auto` needs, as a model of video holds the
            one of its pictures.
    """

    auto: str
    only: Collection[str] | None = None
    never: Collection[str] = ()
    without: str | None = None
    own_code: bool = False
    unnamed: bool = True
    holding: Collection[str] = ()

    def fit(self, checkpoint: Checkpoint) -> Fit:
        """A checkpoint that names one of the classes is "native", one that names only its type "possible"."""
        classes = self.classes()
        named = {name for names in classes.values() for name in names}
        if named.union(self.holding).intersection(checkpoint.architectures):
            return "native"
        if self.own_code and self.auto in (checkpoint.config.get("auto_map") or {}):
            return "native"
        by_type = self.unnamed and not checkpoint.architectures and checkpoint.model_type in classes
        return "possible" if by_type else None

    def classes(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes by model type."""
        left_out = {n for names in classes_of(self.without).values() for n in names} if self.without else set()
        known = {
            kind: tuple(name for name in names if name not in left_out) for kind, names in classes_of(self.auto).items()
        }
        taken = {k for k in known if k not in self.never and (self.only is None or k in self.only)}
        return {k: names for k, names in known.items() if names and k in taken}


def classes_of(auto: str) -> dict[str, tuple[str, ...]]:
    """The names of the classes that an auto class of Transformers chooses from, by model type.

    It reads Transformers' table of names, which imports no model.

    Args:
        auto: the auto class's name.
    """
    from transformers.models.auto import modeling_auto

    words = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[0-9])(?=[A-Z])", "_", auto.removeprefix("AutoModel")).upper()
    table: dict[str, str | tuple[str, ...]] = getattr(
        modeling_auto, f"MODEL_{words}_MAPPING_NAMES" if words else "MODEL_MAPPING_NAMES"
    )
    return {kind: (names,) if isinstance(names, str) else tuple(names) for kind, names in table.items()}
