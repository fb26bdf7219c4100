"""AutoBackbone: the one place that knows which library a backbone comes from."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sensorium.backbones.backbone import Backbone, OutIndices
from sensorium.backbones.spending import building
from sensorium.backbones.weights import copy_weights
from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.checkpoints.opening import opening
from sensorium.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_DEFAULTS = LoadOptions()
_TIMM_MODEL_TYPES = ("timm_wrapper", "timm_backbone")  # Transformers' names for a timm model


class AutoBackbone:
    """Loads a backbone from Transformers or timm; a factory, never an instance."""

    def __init__(self) -> None:
        raise TypeError("AutoBackbone is a factory: call AutoBackbone.from_pretrained(…) or .from_config(…).")

    @staticmethod
    def from_pretrained(
        name_or_folder: str | os.PathLike[str] | Checkpoint,
        *,
        out_indices: OutIndices = None,
        out_features: Sequence[str] | None = None,
        options: LoadOptions = _DEFAULTS,
    ) -> Backbone:
        """Load a checkpoint's backbone with its weights, in evaluation mode.

        A checkpoint saved with a head (a classifier, a detector's pooling) loads without it.

        Args:
            name_or_folder: a Hub id, `timm/<arch>.<tag>`, `starter/…`, a local folder, or a resolved checkpoint.
            out_indices: positions of the maps to give, negative ones from the end, or "all"; the last by default.
            out_features: the same by name, such as `["stage2", "stage4"]`.
            options: how the checkpoint is found and opened.

        Raises:
            CheckpointError: the checkpoint cannot be used as a backbone, or lacks weights (MissingWeightsError).
            UnknownNameError: a name in `out_features` that the architecture does not have.
            OptionError: indices that it does not have.
        """
        checkpoint = name_or_folder if isinstance(name_or_folder, Checkpoint) else resolve(name_or_folder, options)
        with opening(checkpoint.name, checkpoint.folder):
            if checkpoint.kind == "composite":
                return _of_composite(checkpoint, out_indices=out_indices, out_features=out_features)
            if checkpoint.kind == "timm" or checkpoint.model_type in _TIMM_MODEL_TYPES:
                from sensorium.backbones import timm

                return timm.load(checkpoint, out_indices=out_indices, out_features=out_features)
            from sensorium.backbones import transformers

            return transformers.load(checkpoint, out_indices=out_indices, out_features=out_features)

    @staticmethod
    def from_config(
        config: str | Mapping[str, Any] | PreTrainedConfig,
        *,
        out_indices: OutIndices = None,
        out_features: Sequence[str] | None = None,
        model_args: Mapping[str, Any] | None = None,
    ) -> Backbone:
        """Build a backbone with random weights, in evaluation mode.

        Args:
            config: a Transformers config or its dict (with `model_type`), `"timm/<arch>"`, or a backbone's `spec`.
            out_indices: positions of the maps to give, negative ones from the end, or "all"; the last by default.
            out_features: the same by name.
            model_args: for timm, arguments of `timm.create_model`, such as `{"img_size": 32}`.

        Raises:
            CheckpointError: there is no backbone for this config.
            UnknownNameError: an architecture or feature that does not exist.
            OptionError: arguments that the architecture does not take.
        """
        if isinstance(config, Mapping) and "library" in config:
            spec = copy.deepcopy(dict(config))
            library, config = spec["library"], spec.get("config") or f"timm/{spec.get('architecture')}"
            if library not in ("timm", "transformers"):
                raise CheckpointError(f"a backbone's library is 'timm' or 'transformers'; got {library!r}.")
            if out_indices is None and out_features is None:
                out_indices = spec.get("out_indices")
            model_args = spec.get("model_args") if model_args is None else model_args
        if isinstance(config, str):
            if not config.startswith("timm/"):
                raise OptionError(
                    f"from_config takes 'timm/<arch>', a Transformers config or its dict; got the name {config!r}. "
                    "For a checkpoint's weights, call from_pretrained."
                )
            from sensorium.backbones import timm

            return timm.build(config, model_args=model_args, out_indices=out_indices, out_features=out_features)
        if model_args:
            raise OptionError("model_args are for timm; set them in the Transformers config.")
        from sensorium.backbones import transformers

        return transformers.build(config, out_indices=out_indices, out_features=out_features)


def _of_composite(checkpoint: Checkpoint, *, out_indices: OutIndices, out_features: Sequence[str] | None) -> Backbone:
    """The backbone of a checkpoint that `Composite.save_pretrained` wrote, without its head."""
    ours = checkpoint.config["sensorium"]
    spec = ours.get("backbone") if isinstance(ours, Mapping) else None
    if not isinstance(spec, Mapping):
        raise CheckpointError(f"{checkpoint.name!r}: config.json should hold a backbone's spec, got {spec!r:.80}.")
    with building(checkpoint, with_memory=True):
        backbone = AutoBackbone.from_config(spec, out_indices=out_indices, out_features=out_features)
    stored: dict[str, Tensor] = {}
    for path in checkpoint.weights():
        stored.update(load_file(path))
    part = {name.removeprefix("backbone."): tensor for name, tensor in stored.items() if name.startswith("backbone.")}
    copy_weights(backbone, part, of=repr(checkpoint.name), optional=("hidden_states_norms.",))
    return backbone.to(device=checkpoint.options.device, dtype=checkpoint.options.dtype or torch.float32).eval()
