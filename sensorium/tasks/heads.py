"""Heads on bare backbones, and the composites that they make, saved to and loaded from one folder."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.backbones import AutoBackbone, Backbone
from sensorium.backbones.base import unique_state
from sensorium.backbones.loading import copy_weights
from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError

ProblemType = Literal["single_label_classification", "multi_label_classification"]
FORMAT = 1  # of the "sensorium" part of config.json; a reader refuses a higher one
_DEFAULTS = LoadOptions()
_UNUSED_OPTIONS = ("attn_implementation", "device_map", "quantization_config")


class Savable(Protocol):
    """A processor, as far as a composite needs it."""

    def save_pretrained(self, folder: Path, /) -> Any:
        """Write `preprocessor_config.json` into a folder."""
        ...


@dataclass
class HeadOutput:
    """What a composite gives for a batch.

    Attributes:
        logits: `(B, num_labels)`.
    """

    logits: Tensor


class LinearClassifier(nn.Module):
    """Pooled features to logits by one linear layer, after dropout in training."""

    def __init__(self, in_features: int, num_labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_features, num_labels)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """`(B, in_features)` to `(B, num_labels)` logits."""
        logits: Tensor = self.linear(self.dropout(pooled))
        return logits


class Composite(nn.Module):
    """A backbone with a head; `build_head` makes one, `from_pretrained` loads one.

    Attributes:
        backbone: gives the pooled features.
        head: turns them into logits.
        config: what `config.json` holds, JSON only.
    """

    def __init__(self, backbone: Backbone, head: LinearClassifier, *, config: dict[str, Any]) -> None:
        super().__init__()
        self.backbone, self.head, self.config = backbone, head, config

    @property
    def id2label(self) -> dict[int, str]:
        """The label of each logit."""
        return {int(index): label for index, label in self.config["id2label"].items()}

    @property
    def num_labels(self) -> int:
        """How many logits there are."""
        return len(self.config["id2label"])

    @property
    def problem_type(self) -> ProblemType:
        """Whether one label holds (softmax) or any number of them (sigmoid)."""
        problem_type: ProblemType = self.config["problem_type"]
        return problem_type

    def forward(self, pixel_values: Tensor) -> HeadOutput:
        """Logits `(B, num_labels)` for `(B, 3, H, W)` pictures that the composite's processor has prepared."""
        return HeadOutput(logits=self.head(self.backbone.pool(pixel_values)))

    def save_pretrained(
        self, folder: str | os.PathLike[str], processor: Savable | None = None, *, dtype: torch.dtype | None = None
    ) -> None:
        """Write everything that rebuilds this composite into one folder, without a network.

        Each file is written beside its place and moved there when it is whole; `config.json` comes last.

        Args:
            folder: made if it is not there; files of the same names are replaced.
            processor: what prepared the pictures; it writes `preprocessor_config.json`.
            dtype: what to store floating-point weights in; their own by default.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in unique_state(self).items()}
        if dtype is not None:
            state = {name: each.to(dtype) if each.is_floating_point() else each for name, each in state.items()}
        stored = {str(each.dtype).removeprefix("torch.") for each in state.values() if each.is_floating_point()}
        entries = getattr(processor, "config_entries", {})  # what Transformers looks for in config.json, not beside it
        config = {**self.config, **entries, "dtype": stored.pop() if len(stored) == 1 else "float32"}
        with tempfile.TemporaryDirectory(dir=target, prefix=".saving-") as place:
            new = Path(place)
            save_file(state, new / "model.safetensors", metadata={"format": "pt"})
            if processor is not None:
                processor.save_pretrained(new)
            (new / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            (new / "model.safetensors").chmod((new / "config.json").stat().st_mode)  # safetensors lets nobody else read
            for path in sorted(new.iterdir(), key=lambda path: (path.name == "config.json", path.name)):
                _sync(path)
                path.replace(target / path.name)

    @classmethod
    def from_pretrained(
        cls, checkpoint: Checkpoint | str | os.PathLike[str], *, options: LoadOptions = _DEFAULTS
    ) -> Self:
        """Load a composite, in evaluation mode and float32 unless `options.dtype` says otherwise.

        Raises:
            CheckpointError: the folder holds no composite, or weights that are not exactly the architecture's.
            MissingWeightsError: weights are missing.
            OptionError: an option that only a Transformers checkpoint takes.
        """
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = resolve(checkpoint, options)
        for option in _UNUSED_OPTIONS:
            if getattr(checkpoint.options, option) is not None:
                raise OptionError(f"{option} is for Transformers checkpoints; {checkpoint.name!r} is a composite.")
        config = copy.deepcopy(checkpoint.config)
        backbone_spec, head_spec = _check_config(config, of=checkpoint.name)
        backbone = AutoBackbone.from_config(backbone_spec)
        head = LinearClassifier(backbone.num_features, len(config["id2label"]), dropout=head_spec.get("dropout", 0.0))
        composite = cls(backbone, head, config=config)
        stored: dict[str, Tensor] = {}
        for path in checkpoint.weights():
            stored.update(load_file(path))
        copy_weights(composite, stored, of=repr(checkpoint.name))
        composite.to(checkpoint.options.dtype or torch.float32)
        return composite.eval()


def build_head(
    backbone: Backbone,
    labels: Sequence[str],
    *,
    problem_type: ProblemType = "single_label_classification",
    dropout: float = 0.0,
) -> Composite:
    """Complete a bare backbone by a linear classifier with fresh weights.

    Args:
        backbone: its pooled features are classified.
        labels: one name for each class, in the order of the logits.
        problem_type: whether exactly one label holds, or any number of them.
        dropout: share of the pooled features dropped in training, in [0, 1).

    Raises:
        OptionError: no labels, a label twice, or a problem type that does not exist.
        MissingWeightsError: the backbone's checkpoint cannot give pooled features.
    """
    if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
        raise OptionError(f"labels must be a sequence of different names, at least one; got {labels!r:.200}.")
    if problem_type not in get_args(ProblemType):
        raise OptionError(f"problem_type must be one of {get_args(ProblemType)}; got {problem_type!r}.")
    if not backbone.num_features:
        raise MissingWeightsError("this backbone's checkpoint gives no pooled features, which a classifier needs.")
    config = {
        "architectures": ["Composite"],
        "sensorium": {
            "format": FORMAT,
            "task": "image-classification",
            "backbone": backbone.spec,
            "head": {"type": "linear", "in_features": backbone.num_features, "dropout": dropout},
        },
        "pipeline_tag": "image-classification",
        "problem_type": problem_type,
        "num_labels": len(labels),
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    head = LinearClassifier(backbone.num_features, len(labels), dropout=dropout)
    return Composite(backbone, head, config=config)


def _check_config(config: Mapping[str, Any], *, of: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The specs of backbone and head in a composite's config."""
    ours = config.get("sensorium")
    if not isinstance(ours, dict) or not isinstance(ours.get("backbone"), dict):
        raise CheckpointError(
            f"{of!r} is no composite: its config.json should hold 'sensorium' with a backbone, as Composite."
            "save_pretrained writes it. Load a backbone by AutoBackbone.from_pretrained."
        )
    if ours.get("format") != FORMAT:
        raise CheckpointError(
            f"{of!r} is a composite of format {ours.get('format')!r}; this version of sensorium reads {FORMAT}. "
            "Update sensorium."
        )
    head = ours.get("head")
    if not isinstance(head, dict) or head.get("type") != "linear":
        raise CheckpointError(f"{of!r}: expected a head of type 'linear', got {head!r:.200}.")
    labels = config.get("id2label")
    if not isinstance(labels, dict) or sorted(labels) != sorted(map(str, range(len(labels)))) or not labels:
        raise CheckpointError(f"{of!r}: id2label should map '0', '1', … to names; got {labels!r:.200}.")
    if config.get("problem_type") not in get_args(ProblemType):
        raise CheckpointError(
            f"{of!r}: problem_type should be one of {get_args(ProblemType)}; got {config.get('problem_type')!r}."
        )
    return ours["backbone"], head


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
