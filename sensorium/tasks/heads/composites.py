"""Composites: a backbone with a head, saved to and loaded from one folder."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.backbones import AutoBackbone, Backbone
from sensorium.backbones.backbone import unique_state
from sensorium.backbones.spending import building
from sensorium.backbones.weights import copy_weights
from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.checkpoints.opening import opening
from sensorium.checkpoints.writing import checkpoint_written
from sensorium.errors import CheckpointError, OptionError
from sensorium.tasks.base import Head, get_task, task_names
from sensorium.tasks.heads.classification import ProblemType

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
        logits: whatever the head's task takes; `(B, num_labels)` for a classifier.
    """

    logits: Tensor


class Composite(nn.Module):
    """A backbone with a head; `build_head` makes one, `from_pretrained` loads one.

    Attributes:
        backbone: gives the features.
        head: turns them into logits.
        config: what `config.json` holds, JSON only.
    """

    def __init__(self, backbone: Backbone, head: Head, *, config: dict[str, Any]) -> None:
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
    def task(self) -> str:
        """The task that it was built for."""
        return str(self.config["sensorium"]["task"])

    @property
    def problem_type(self) -> ProblemType | None:
        """Whether one label holds (softmax) or any number of them (sigmoid); None where it does not classify."""
        problem_type: ProblemType | None = self.config.get("problem_type")
        return problem_type

    def forward(self, pixel_values: Tensor, **inputs: Tensor) -> HeadOutput:
        """The head's logits for `(B, 3, H, W)` pictures that the composite's processor has prepared.

        Args:
            pixel_values: the pictures.
            **inputs: what else the head takes.
        """
        return HeadOutput(self.head(self.head.extract(self.backbone, pixel_values), **inputs))

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
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in unique_state(self).items()}
        if dtype is not None:
            state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        stored = {str(tensor.dtype).removeprefix("torch.") for tensor in state.values() if tensor.is_floating_point()}
        entries = getattr(processor, "config_entries", {})  # what Transformers looks for in config.json, not beside it
        config = {**self.config, **entries, "dtype": stored.pop() if len(stored) == 1 else "float32"}
        with checkpoint_written(Path(folder)) as new:
            save_file(state, new / "model.safetensors", metadata={"format": "pt"})
            if processor is not None:
                processor.save_pretrained(new)
            (new / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            (new / "model.safetensors").chmod((new / "config.json").stat().st_mode)  # safetensors lets nobody else read

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
        head_class = _check_config(config, of=checkpoint.name)
        with opening(checkpoint.name, checkpoint.folder), building(checkpoint, with_memory=True):
            backbone = AutoBackbone.from_config(config["sensorium"]["backbone"])
            try:
                head = head_class.from_config(config, backbone)
            except (CheckpointError, KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{checkpoint.name!r}: the {head_class.kind} head cannot be built: {error}"
                ) from error
        composite = cls(backbone, head, config=config)
        stored: dict[str, Tensor] = {}
        for path in checkpoint.weights():
            stored.update(load_file(path))
        copy_weights(composite, stored, of=repr(checkpoint.name))
        composite.to(device=checkpoint.options.device, dtype=checkpoint.options.dtype or torch.float32)
        return composite.eval()


def build_head(
    backbone: Backbone, labels: Sequence[str], *, task: str = "image-classification", **options: Any
) -> Composite:
    """Completes a bare backbone with a head of fresh weights.

    Args:
        backbone: gives the features.
        labels: one name for each class, in the order of the logits.
        task: the task that the composite is for; its page tells of its head.
        **options: the head's own; for a classifier `problem_type` ("single_label_classification" or
            "multi_label_classification") and `dropout`, the share of the features dropped in training.

    Raises:
        OptionError: no labels, a repeated label, a task without a head, or an invalid value of an option.
        UnknownNameError: no such task, or no such option of its head.
        MissingWeightsError: the backbone's checkpoint cannot give the features that the head needs.
    """
    if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
        raise OptionError(f"labels must be a sequence of different names, at least one; got {labels!r:.200}.")
    head_class = get_task(task).head
    if head_class is None:
        with_heads = [name for name in task_names() if get_task(name).head is not None]
        raise OptionError(f"{task} has no head for bare backbones; these have: {', '.join(with_heads)}.")
    head = head_class.build(backbone, labels, **options)
    config = {
        "architectures": ["Composite"],
        "sensorium": {
            "format": FORMAT,
            "task": task,
            "backbone": backbone.spec,
            "head": {"type": head.kind, **head.spec()},
        },
        "pipeline_tag": task,
        **head.entries(),
        "num_labels": len(labels),
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    return Composite(backbone, head, config=config)


def _check_config(config: Mapping[str, Any], *, of: str) -> type[Head]:
    """The class of the head that a composite's config describes."""
    ours = config.get("sensorium")
    if not isinstance(ours, dict) or not isinstance(ours.get("backbone"), dict):
        raise CheckpointError(
            f"{of!r} is not a composite: its config.json should hold 'sensorium' with a backbone, as Composite."
            "save_pretrained writes it. Load a backbone by AutoBackbone.from_pretrained."
        )
    if ours.get("format") != FORMAT:
        raise CheckpointError(
            f"{of!r} is a composite of format {ours.get('format')!r}; this version of sensorium reads {FORMAT}. "
            "Update sensorium."
        )
    task, head = ours.get("task"), ours.get("head")
    head_class = get_task(task).head if task in task_names() else None
    if head_class is None:
        raise CheckpointError(
            f"{of!r} is a composite for {task!r:.200}, which this version of sensorium has no head for."
        )
    if not isinstance(head, dict) or head.get("type") != head_class.kind:
        raise CheckpointError(f"{of!r}: expected a head of type {head_class.kind!r}, got {head!r:.200}.")
    labels = config.get("id2label")
    if not isinstance(labels, dict) or sorted(labels) != sorted(map(str, range(len(labels)))) or not labels:
        raise CheckpointError(f"{of!r}: id2label should map '0', '1', … to names; got {labels!r:.200}.")
    return head_class
