"""The head of classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

from torch import Tensor, nn

from sensorium.backbones import Backbone
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError, UnknownNameError
from sensorium.tasks.base import Head

ProblemType = Literal["single_label_classification", "multi_label_classification"]


class LinearClassifier(Head):
    """Pooled features to logits by one linear layer, after dropout in training."""

    kind = "linear"

    def __init__(
        self,
        in_features: int,
        num_labels: int,
        *,
        dropout: float = 0.0,
        problem_type: ProblemType = "single_label_classification",
    ) -> None:
        super().__init__()
        self.problem_type = problem_type
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_features, num_labels)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def build(
        cls,
        backbone: Backbone,
        labels: Sequence[str],
        *,
        problem_type: ProblemType = "single_label_classification",
        dropout: float = 0.0,
        **options: Any,
    ) -> Self:
        """A classifier.

        Args:
            backbone: its pooled features are classified.
            labels: one name for each class.
            problem_type: whether exactly one label holds, or any number of them.
            dropout: share of the pooled features dropped in training, in [0, 1).
            **options: none.
        """
        if options:
            raise UnknownNameError("option of a linear head", next(iter(options)), ["problem_type", "dropout"])
        if problem_type not in get_args(ProblemType):
            raise OptionError(f"problem_type must be one of {get_args(ProblemType)}; got {problem_type!r}.")
        if not backbone.num_features:
            raise MissingWeightsError("this backbone's checkpoint gives no pooled features, which a classifier needs.")
        return cls(backbone.num_features, len(labels), dropout=dropout, problem_type=problem_type)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backbone: Backbone) -> Self:
        """The classifier of a composite's config."""
        if config.get("problem_type") not in get_args(ProblemType):
            raise CheckpointError(
                f"problem_type should be one of {get_args(ProblemType)}; got {config.get('problem_type')!r}."
            )
        dropout = config["sensorium"]["head"].get("dropout", 0.0)
        labels = len(config["id2label"])
        return cls(backbone.num_features, labels, dropout=dropout, problem_type=config["problem_type"])

    def spec(self) -> dict[str, Any]:
        """Its width and dropout."""
        return {"in_features": self.linear.in_features, "dropout": self.dropout.p}

    def entries(self) -> dict[str, Any]:
        """The problem type, as Transformers has it."""
        return {"problem_type": self.problem_type}

    def extract(self, backbone: Backbone, pixel_values: Tensor) -> Tensor:
        """The pooled features, `(B, in_features)`."""
        return backbone.pool(pixel_values)

    def forward(self, features: Tensor, **inputs: Tensor) -> Tensor:
        """`(B, in_features)` to `(B, num_labels)` logits."""
        logits: Tensor = self.linear(self.dropout(features))
        return logits
