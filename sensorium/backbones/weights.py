"""Weights: how they get from a checkpoint into a module, and what happens if some are missing."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn

from sensorium.backbones.backbone import unique_state
from sensorium.backbones.one_device import one_device
from sensorium.backbones.parts import Parts, name_some
from sensorium.backbones.quiet_loading import quiet_loading
from sensorium.backbones.spending import building
from sensorium.backbones.unfilled import take
from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.opening import likely_entries
from sensorium.errors import CheckpointError, MissingWeightsError


def load_weights(model_class: Any, config: Any, checkpoint: Checkpoint) -> tuple[Any, list[str]]:
    """Load a Transformers class with the checkpoint's weights.

    Args:
        model_class: a model class of Transformers, or one of its `AutoModel…`.
        config: its configuration, or None for the checkpoint's own.
        checkpoint: its weights must be on this machine (`Checkpoint.weights`).

    Returns:
        The model, and the keys that the checkpoint lacks, which are random in it.

    Raises:
        CheckpointError: Transformers cannot load it, or it asks for more than its weights account for.
    """
    options = checkpoint.options
    arguments = {
        "attn_implementation": options.attn_implementation,
        "device_map": options.device_map if options.device is None else {"": options.device},
        "quantization_config": options.quantization_config,
        "dtype": options.dtype,
        "trust_remote_code": options.trust_remote_code and checkpoint.needs_remote_code,
    }
    try:
        with quiet_loading(progress=options.progress), one_device(options.device), building(checkpoint):
            model, info = model_class.from_pretrained(
                checkpoint.folder,
                config=copy.deepcopy(config),
                local_files_only=True,
                use_safetensors=True if options.use_safetensors else None,
                output_loading_info=True,
                **{name: value for name, value in arguments.items() if value is not None},
            )
    except CheckpointError:
        raise
    except RuntimeError as error:
        other = "ignore_mismatched_sizes" in str(error)  # which Transformers says of shapes, whose report is not shown
        what = "its config.json describes other shapes than its weights have" if other else str(error)
        raise CheckpointError(
            f"{checkpoint.name!r} cannot be loaded as {model_class.__name__}: {what}."
            f"{likely_entries(checkpoint.folder, str(error))}"
        ) from error
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint.name!r} cannot be loaded as {model_class.__name__}: {error}"
            f"{likely_entries(checkpoint.folder, str(error))}"
        ) from error
    return model, sorted(info["missing_keys"])


def read_tensors(checkpoint: Checkpoint, names: Collection[str]) -> dict[str, Tensor]:
    """Those of these tensors that the safetensors files of a checkpoint hold."""
    found: dict[str, Tensor] = {}
    for path in checkpoint.weights():
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stored:
                found |= {name: stored.get_tensor(name) for name in stored.keys() if name in names}  # noqa: SIM118
    return found


def copy_weights(module: nn.Module, stored: Mapping[str, Tensor], *, of: str, optional: tuple[str, ...] = ()) -> None:
    """Copy stored tensors into a module; every one must be there, with the right shape, and no others.

    Args:
        module: takes the weights, in place.
        stored: tensors by the module's names for them.
        of: the checkpoint's name, for the errors.
        optional: parts of the names of tensors that only one of the two may have.

    Raises:
        MissingWeightsError: a tensor is missing.
        CheckpointError: one is unexpected, or of another shape.
    """
    state = unique_state(module)

    def told(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if not any(part in name for part in optional))

    missing, unexpected = told(state.keys() - stored.keys()), told(stored.keys() - state.keys())
    if missing:
        raise MissingWeightsError(f"{of} lacks weights: {name_some(missing)}. Save the checkpoint again.")
    if unexpected:
        raise CheckpointError(f"{of} holds weights that do not belong to its config.json: {name_some(unexpected)}.")
    shared = state.keys() & stored.keys()
    shapes = sorted(name for name in shared if state[name].shape != stored[name].shape)
    if shapes:
        wrong = [f"{name} {tuple(stored[name].shape)}, expected {tuple(state[name].shape)}" for name in shapes]
        raise CheckpointError(f"{of} holds weights of other shapes: {name_some(wrong)}.")
    for name in shared:
        take(state[name], stored[name])


def only_pools(key: str, parts: Parts) -> bool:
    """Whether a missing weight is one that only pooled features need."""
    if parts.base is None:
        return not key.startswith(("embedder.", "encoder."))
    if parts.base is parts.model:
        return key.startswith(("pooler.", "head."))
    inside = next(name for name, child in parts.model.named_children() if child is parts.base)
    return not key.startswith(f"{inside}.") or key.startswith((f"{inside}.pooler.", f"{inside}.head."))


def missing_error(keys: Sequence[str], *, of: str) -> MissingWeightsError:
    """The error for weights that a checkpoint should hold."""
    return MissingWeightsError(
        f"{of} lacks weights that its maps need: {name_some(keys)}. Use a checkpoint that holds the whole trunk, or "
        "AutoBackbone.from_config for random weights."
    )
