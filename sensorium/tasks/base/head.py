"""Head: what a task puts on a bare backbone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from sensorium.backbones import Backbone


class Head(nn.Module):
    """What turns a backbone's features into a task's logits; `Task.head` names the class for a task.

    Attributes:
        kind: its name in `config.json`.
    """

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def build(cls, backbone: Backbone, labels: Sequence[str], **options: Any) -> Self:
        """A head with fresh weights; `build_head`'s further arguments are the options.

        Raises:
            OptionError: an option with an invalid value.
            MissingWeightsError: the backbone cannot give the features that this head needs.
        """

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any], backbone: Backbone) -> Self:
        """The head that a composite's `config.json` describes; its weights are copied into it afterwards.

        Raises:
            CheckpointError: the entries are not those of this head.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What `from_config` needs, JSON only; kept in the config under `sensorium.head`."""

    def entries(self) -> dict[str, Any]:
        """Further entries for the top level of `config.json`."""
        return {}

    @abstractmethod
    def extract(self, backbone: Backbone, pixel_values: Tensor) -> Any:
        """The features of `(B, 3, H, W)` pictures that `forward` takes; with a frozen backbone they can be kept."""

    @abstractmethod
    def forward(self, features: Any, **inputs: Tensor) -> Tensor:
        """Logits.

        Args:
            features: what `extract` gave.
            **inputs: what else the head takes.
        """
