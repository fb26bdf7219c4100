"""The modules that sentence-transformers puts behind a model: pooling, dense layers, normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.backbones.weights import copy_weights
from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.config import read_json
from sensorium.checkpoints.sentence_transformers import Module, Stored, module_file
from sensorium.errors import CheckpointError, MissingWeightsError, UnsafeCheckpointError
from sensorium.tasks.embedding.pooling import MODES, pool

ACTIVATIONS = ("ELU", "GELU", "Identity", "LeakyReLU", "ReLU", "SELU", "SiLU", "Sigmoid", "Softplus", "Tanh")
"""The classes of torch.nn that a dense layer may name."""

_LEGACY = {  # what a kind of pooling was called when each had a switch of its own
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_VECTOR = "sentence_embedding"


class SentenceModules(nn.Module):
    """Hidden states to vectors, as the checkpoint's own files say.

    Attributes:
        modes: the kinds of pooling whose vectors are put beside each other.
        include_prompt: whether the tokens of a prompt count.
        unit: whether the vectors are to have unit length; that last step is left to the caller.
    """

    def __init__(self, modes: Sequence[str], layers: Sequence[nn.Module], *, include_prompt: bool = True) -> None:
        super().__init__()
        self.modes, self.include_prompt = tuple(modes), include_prompt
        self.unit = bool(layers) and isinstance(layers[-1], Normalize)
        self.layers = nn.ModuleList(layers[:-1] if self.unit else layers)

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        """`(B, D)` float32, not of unit length yet, from `(B, L, D)` states and the `(B, L)` tokens that count."""
        vectors = torch.cat([pool(hidden, counted, mode) for mode in self.modes], dim=-1)
        for layer in self.layers:
            weight = next(layer.parameters(), None)
            vectors = layer(vectors if weight is None else vectors.to(weight.dtype)).float()
        return vectors


class Normalize(nn.Module):
    """Divides vectors by their Euclidean norm."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors."""
        return F.normalize(vectors, dim=-1)


class Dense(nn.Module):
    """A linear layer with an activation, optionally added to its input."""

    def __init__(self, wide: int, narrow: int, *, bias: bool, activation: nn.Module, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(wide, narrow, bias=bias)
        self.activation = activation
        self.adds = residual
        if residual and wide != narrow:
            self.residual = nn.Linear(wide, narrow, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(B, narrow)` from `(B, wide)`."""
        out: Tensor = self.activation(self.linear(vectors))
        if not self.adds:
            return out
        return out + (self.residual(vectors) if hasattr(self, "residual") else vectors)


class LayerNorm(nn.Module):
    """Normalises over the features of each vector."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(B, D)` from `(B, D)`."""
        out: Tensor = self.norm(vectors)
        return out


def load_sentence_modules(checkpoint: Checkpoint, stored: Stored) -> SentenceModules | None:
    """The modules behind the model, with their weights; None where the checkpoint has none.

    Raises:
        CheckpointError: a module or a setting that is not supported.
        MissingWeightsError: a layer without its weights.
        UnsafeCheckpointError: a layer's weights are pickled.
    """
    if not stored.modules:
        return None
    first, *rest = stored.modules
    _check_transformer(checkpoint, first, stored.settings)
    if not rest:
        return None
    for module in rest:
        ours = module.type.startswith("sentence_transformers.")
        if not ours or module.kind not in ("Pooling", *_LAYERS) or (module.kind == "Pooling") != (module is rest[0]):
            raise CheckpointError(
                f"{checkpoint.name!r} lists the module {module.type} in modules.json; expected Transformer, Pooling, "
                "and then Dense, LayerNorm or Normalize, which are supported. Use such a checkpoint, or "
                "sentence-transformers itself."
            )
    modes, include_prompt = _pooling(_config(checkpoint, rest[0]), of=checkpoint.name)
    layers = [_LAYERS[module.kind](checkpoint, module) for module in rest[1:]]
    return SentenceModules(modes, layers, include_prompt=include_prompt)


def _check_transformer(checkpoint: Checkpoint, module: Module, settings: Mapping[str, Any]) -> None:
    method = (settings.get("modality_config") or {}).get("text", {"method": "forward"})
    plain = settings.get("transformer_task", "feature-extraction") == "feature-extraction"
    states = method.get("method") == "forward" and method.get("method_output_name", "") in ("", "last_hidden_state")
    is_transformer = module.kind == "Transformer" and module.type.startswith("sentence_transformers.")
    if not (is_transformer and plain and states) or settings.get("processing_kwargs"):
        raise CheckpointError(
            f"{checkpoint.name!r} begins with the module {module.type} and the settings {dict(settings)!r:.200}; "
            "expected a Transformer whose hidden states are taken, without further settings of its tokenizer. Use a "
            "checkpoint of that kind, or sentence-transformers itself."
        )


def _pooling(config: Mapping[str, Any], *, of: str) -> tuple[tuple[str, ...], bool]:
    named = config.get("pooling_mode")
    if named is None:
        modes = tuple(mode for mode in MODES if config.get(_LEGACY[mode])) or ("mean",)
    else:
        modes = (named,) if isinstance(named, str) else tuple(named)
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        raise CheckpointError(f"{of!r} pools by {unknown[0]!r}; expected one of {', '.join(MODES)}.")
    return modes, bool(config.get("include_prompt", True))


def _dense(checkpoint: Checkpoint, module: Module) -> nn.Module:
    config = _config(checkpoint, module)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    namespace, _, kind = name.rpartition(".")
    if not namespace.startswith("torch.nn") or kind not in ACTIVATIONS:
        raise CheckpointError(
            f"{checkpoint.name!r}: the activation {name!r} of {module.path} is not supported; expected one of "
            f"torch.nn: {', '.join(ACTIVATIONS)}."
        )
    layer = Dense(
        int(config["in_features"]),
        int(config["out_features"]),
        bias=bool(config.get("bias", True)),
        activation=getattr(nn, kind)(),
        residual=bool(config.get("use_residual", False)),
    )
    return _with_weights(layer, checkpoint, module)


def _layer_norm(checkpoint: Checkpoint, module: Module) -> nn.Module:
    return _with_weights(LayerNorm(int(_config(checkpoint, module)["dimension"])), checkpoint, module)


def _normalize(checkpoint: Checkpoint, module: Module) -> nn.Module:
    _config(checkpoint, module, required=False)
    return Normalize()


_LAYERS = {"Dense": _dense, "LayerNorm": _layer_norm, "Normalize": _normalize}


def _config(checkpoint: Checkpoint, module: Module, *, required: bool = True) -> dict[str, Any]:
    path = module_file(checkpoint, module, "config.json")
    if path is None:
        if required:
            raise CheckpointError(f"{checkpoint.name!r} lacks {module.path}/config.json, which modules.json refers to.")
        return {}
    config = read_json(path, of=checkpoint.name)
    for key in ("module_input_name", "module_output_name"):
        if config.get(key, _VECTOR) not in (_VECTOR, None):
            raise CheckpointError(
                f"{checkpoint.name!r}: {module.path} has {key} {config[key]!r}; expected {_VECTOR!r}."
            )
    needed = {"Dense": ("in_features", "out_features"), "LayerNorm": ("dimension",)}.get(module.kind, ())
    wrong = [key for key in needed if not isinstance(config.get(key), int)]
    if wrong:
        raise CheckpointError(f"{checkpoint.name!r}: {module.path}/config.json should hold a number for {wrong[0]}.")
    return config


def _with_weights(layer: nn.Module, checkpoint: Checkpoint, module: Module) -> nn.Module:
    from safetensors.torch import load_file

    path = module_file(checkpoint, module, "model.safetensors")
    if path is None:
        if module_file(checkpoint, module, "pytorch_model.bin") is not None:
            raise UnsafeCheckpointError(
                f"{checkpoint.name!r}: the weights of {module.path} are pickled, which can run code when they are "
                "opened. Convert them where you trust them (sentence-transformers writes safetensors when it saves), "
                "or look for a revision with safetensors."
            )
        raise MissingWeightsError(f"{checkpoint.name!r} lacks {module.path}/model.safetensors; they would be random.")
    copy_weights(layer, load_file(path), of=f"{checkpoint.name!r} ({module.path})")
    return layer
