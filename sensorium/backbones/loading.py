"""Weights of Transformers checkpoints: how they get into a class, and what is said of those that are missing."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sensorium.backbones.parts import Parts, name_some
from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, MissingWeightsError

_LOGGERS = ("transformers.modeling_utils", "transformers.distributed.tensor_parallel")


def load_weights(model_class: Any, config: Any, checkpoint: Checkpoint) -> tuple[Any, list[str]]:
    """A class with the checkpoint's weights, and the keys that the checkpoint lacks."""
    options = checkpoint.options
    given = {
        "attn_implementation": options.attn_implementation,
        "device_map": options.device_map,
        "quantization_config": options.quantization_config,
        "dtype": options.dtype,
        "trust_remote_code": (options.trust_remote_code and checkpoint.needs_remote_code) or None,
    }
    try:
        with _quiet():
            model, info = model_class.from_pretrained(
                checkpoint.folder,
                config=copy.deepcopy(config),
                local_files_only=True,
                use_safetensors=True if options.use_safetensors else None,
                output_loading_info=True,
                **{name: value for name, value in given.items() if value is not None},
            )
    except (RuntimeError, OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.name!r} cannot be loaded as {model_class.__name__}: {error}") from error
    return model, sorted(info["missing_keys"])


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Transformers from reporting missing and unused weights, which are checked here."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
