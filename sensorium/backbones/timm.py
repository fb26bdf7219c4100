"""Backbones from timm: one forward gives the maps, the tokens and what timm's own classifier is fed."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sensorium.backbones.backbone import Backbone, BackboneOutput, OutIndices, select_stages
from sensorium.backbones.spending import building
from sensorium.backbones.unfilled import Unfilled
from sensorium.backbones.weights import copy_weights
from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError, UnknownNameError

PREFIX = "timm/"
_WRAPPER_PREFIXES = ("timm_model.", "_backbone.")  # of TimmWrapper's and TimmBackbone's weights


class TimmBackbone(Backbone):
    """A timm model without its classifier.

    The maps are those of timm's `features_only=True`, the pooled features those of `forward_head(…, pre_logits=True)`.
    """

    def __init__(self, model: nn.Module, *, out_indices: Sequence[int], spec: dict[str, Any]) -> None:
        super().__init__(stage_names=_stage_names(model), out_indices=out_indices, spec=spec)
        self.model = model
        self.channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        input_size = _input_size(model, spec["model_args"])
        self.measure(input_size[1:], channels=input_size[0])
        reductions = [int(_infos(model)[index]["reduction"]) for index in self.out_indices]
        self.geometry = replace(self.geometry, strides=reductions)

    def forward(
        self,
        pixel_values: Tensor,
        *,
        feature_maps: bool = True,
        pooled: bool | None = None,
        tokens: bool | None = None,
    ) -> BackboneOutput:
        """As `Backbone.forward`; whatever is asked for comes from one pass through the model."""
        model: Any = self.model
        if isinstance(model, _MapsAlone):
            if pooled or tokens:
                raise MissingWeightsError(
                    "this checkpoint is of a backbone alone (timm's features_only), which gives no pooled features and "
                    "no tokens. Load a checkpoint of the whole model."
                )
            pooled = tokens = False
        pooled, tokens = pooled is not False, tokens is not False
        maps: list[Tensor] = []
        if not (pooled or tokens):
            maps = model.forward_intermediates(
                pixel_values, indices=list(self.out_indices), stop_early=True, intermediates_only=True
            )
            return BackboneOutput(feature_maps=tuple(maps))
        if feature_maps:
            last, maps = model.forward_intermediates(pixel_values, indices=list(self.out_indices))
        else:
            last = model.forward_features(pixel_values)
        sequence, prefix_tokens = self._tokens(last) if tokens else (None, 0)
        return BackboneOutput(
            feature_maps=tuple(maps),
            pooled=model.forward_head(last, pre_logits=True).flatten(1) if pooled else None,
            tokens=sequence,
            prefix_tokens=prefix_tokens,
        )

    def _tokens(self, last: Any) -> tuple[Tensor | None, int]:
        """The last state as `(B, N, D)`, and how many prefix tokens it holds; None where it is not one tensor."""
        if not isinstance(last, Tensor):
            return None, 0
        if last.ndim == 4:
            return (last.flatten(1, 2) if self.channels_last else last.flatten(2).transpose(1, 2)), 0
        if last.ndim == 3:
            return last, int(getattr(self.model, "num_prefix_tokens", 0) or 0)
        return None, 0


class _MapsAlone(nn.Module):
    """timm's `features_only=True` model, of which Transformers' TimmBackbone is made: it gives maps and no more."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.feature_info = [net.feature_info[index] for index in net.feature_info.out_indices]
        self.pretrained_cfg = dict(getattr(net, "pretrained_cfg", None) or {})
        self.num_classes = 0

    def forward_intermediates(self, x: Tensor, *, indices: Sequence[int], **_: Any) -> list[Tensor]:
        """The maps of these positions; there is nothing else to give."""
        maps = self.net(x)
        nhwc = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        return [maps[index].permute(0, 3, 1, 2) if nhwc else maps[index] for index in indices]


def load(checkpoint: Checkpoint, *, out_indices: OutIndices, out_features: Sequence[str] | None) -> TimmBackbone:
    """Build the architecture that a checkpoint names, with its weights, as a backbone.

    Raises:
        CheckpointError: as `load_model`, or the architecture gives no maps.
    """
    config = checkpoint.config
    arguments = _arguments(config)
    if config.get("model_type") != "timm_backbone":
        return _finish(load_model(checkpoint), _architecture_of(config), arguments, out_indices, out_features)
    if config.get("features_only", True):
        arguments |= {"features_only": True, "out_indices": list(config.get("out_indices") or [-1])}
    if config.get("output_stride") is not None:
        arguments["output_stride"] = config["output_stride"]
    if int(config.get("num_channels") or 3) != 3:
        arguments["in_chans"] = int(config["num_channels"])
    with building(checkpoint, with_memory=True):
        backbone = build(
            _architecture_of(config), model_args=arguments, out_indices=out_indices, out_features=out_features
        )
    net = getattr(backbone.model, "net", backbone.model)
    copy_weights(net, _read_weights(checkpoint.weights()), of=checkpoint.name)
    return backbone.to(device=checkpoint.options.device, dtype=checkpoint.options.dtype)


def load_model(checkpoint: Checkpoint) -> nn.Module:
    """Build the architecture that a checkpoint names, classifier and all, with its weights, in evaluation mode.

    Raises:
        UnknownNameError: this timm has no such architecture.
        MissingWeightsError: the weights lack something that the architecture needs.
        CheckpointError: the weights do not fit the architecture.
        OptionError: an option that is for Transformers checkpoints.
    """
    options, config = checkpoint.options, checkpoint.config
    for option in ("attn_implementation", "device_map", "quantization_config"):
        if getattr(options, option) is not None:
            raise OptionError(f"{option} is for Transformers checkpoints; {checkpoint.name!r} is timm's.")
    name = _architecture_of(config)
    pretrained_cfg = {**(config.get("pretrained_cfg") or {}), "architecture": name}
    num_classes = _num_classes(config, pretrained_cfg)
    pretrained_cfg.update(num_classes=num_classes, state_dict=_read_weights(checkpoint.weights()), source=None)
    for source in ("url", "file", "hf_hub_id", "custom_load"):
        pretrained_cfg.pop(source, None)
    arguments = {**_arguments(config), "num_classes": num_classes}
    with building(checkpoint, with_memory=True):
        model: Any = _create(name, arguments, pretrained=True, pretrained_cfg=pretrained_cfg, of=repr(checkpoint.name))
    if isinstance(getattr(model, "pretrained_cfg", None), dict):
        model.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    loaded: nn.Module = model.to(device=options.device, dtype=options.dtype).eval()
    return loaded


def build(
    name: str,
    *,
    model_args: Mapping[str, Any] | None,
    out_indices: OutIndices,
    out_features: Sequence[str] | None,
) -> TimmBackbone:
    """Build an architecture with random weights.

    Args:
        name: timm's name, with or without `timm/` before it.
        model_args: arguments of `timm.create_model`, such as `img_size`.
        out_indices: positions of maps, negative ones from the end.
        out_features: names of maps.

    Raises:
        UnknownNameError: this timm has no such architecture.
        OptionError: an argument that it does not take.
    """
    name, args = name.removeprefix(PREFIX), dict(model_args or {})
    model = _create(name, {**args, "num_classes": 0}, pretrained=False, pretrained_cfg=None, of=f"timm/{name}")
    return _finish(model, name, args, out_indices, out_features)


def _architecture_of(config: Mapping[str, Any]) -> str:
    name = config.get("architecture") or config.get("backbone")
    if not isinstance(name, str):
        raise CheckpointError(
            "config.json of a timm checkpoint should name its architecture, as timm's save_for_hf writes it; "
            f"got the keys {sorted(config)}."
        )
    return name.removeprefix(PREFIX)


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `timm.create_model` needs to build this architecture again, pretrained_cfg's settings included."""
    pretrained_cfg = config.get("pretrained_cfg") or {}
    arguments = {name: value for name, value in (config.get("model_args") or {}).items() if name != "num_classes"}
    if pretrained_cfg.get("global_pool") is not None:
        arguments.setdefault("global_pool", pretrained_cfg["global_pool"])
    if pretrained_cfg.get("input_size") and pretrained_cfg.get("fixed_input_size"):
        arguments.setdefault("img_size", list(pretrained_cfg["input_size"][-2:]))
    if pretrained_cfg.get("input_size") and pretrained_cfg["input_size"][0] != 3:
        arguments.setdefault("in_chans", pretrained_cfg["input_size"][0])
    return arguments


def _num_classes(config: Mapping[str, Any], pretrained_cfg: Mapping[str, Any]) -> int:
    for entries in (config, pretrained_cfg):
        if isinstance(entries.get("num_classes"), int):
            return int(entries["num_classes"])
    return 1000  # timm's own default


def _read_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            state.update(load_file(path))
        else:
            state.update(torch.load(path, map_location="cpu", weights_only=True))
    for prefix in _WRAPPER_PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _create(
    name: str, arguments: Mapping[str, Any], *, pretrained: bool, pretrained_cfg: dict[str, Any] | None, of: str
) -> nn.Module:
    """`timm.create_model`, with its kinds of failure told apart."""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=8, cutoff=0.5)
        raise UnknownNameError(
            "timm architecture", architecture, near, f"Asked for by {of}; timm.list_models() has all."
        )
    stored = (pretrained_cfg or {}).get("state_dict", {})
    try:
        with _missing_keys() as missing, Unfilled(stored.values()) if pretrained else nullcontext():
            model = timm.create_model(
                architecture if pretrained_cfg else name,
                pretrained=pretrained,
                pretrained_cfg=pretrained_cfg,
                **arguments,
            )
    except (TypeError, RuntimeError, ValueError, KeyError, AssertionError) as error:
        if "Missing key(s)" in str(error):
            raise _lacks(of, name, str(error)) from error
        if pretrained:
            raise CheckpointError(f"{of}: its weights or config.json do not fit timm's {name}. {error}") from error
        raise OptionError(f"{of}: timm's {name} cannot be built with {dict(arguments)}: {error}") from error
    if missing:
        raise _lacks(of, name, missing[0])
    assert isinstance(model, nn.Module)
    return model


@contextmanager
def _missing_keys() -> Iterator[list[str]]:
    """Collects what timm logs about missing weights where it loads without strictness, as for some families."""
    messages: list[str] = []
    logger = logging.getLogger("timm.models._builder")
    listener = _Listener(messages)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield messages
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate


class _Listener(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.INFO)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Missing keys ("):
            self.messages.append(record.getMessage())


def _lacks(of: str, name: str, detail: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"{of}: the weights lack what timm's {name} needs. {detail} Use weights of this architecture, or "
        "AutoBackbone.from_config for random ones."
    )


def _finish(
    model: Any,
    name: str,
    model_args: dict[str, Any],
    out_indices: OutIndices,
    out_features: Sequence[str] | None,
) -> TimmBackbone:
    """Take the classifier off, and select the maps."""
    if model_args.get("features_only"):
        model = _MapsAlone(model)
        if out_indices is None and out_features is None:
            out_indices = "all"  # those that it was saved for
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        raise CheckpointError(f"timm's {name} has no forward_intermediates, so its maps are not available.")
    if model.num_classes:
        model.reset_classifier(0)
    chosen = select_stages(_stage_names(model), out_indices, out_features)
    spec = {"library": "timm", "architecture": name, "model_args": model_args, "out_indices": list(chosen)}
    return TimmBackbone(model, out_indices=chosen, spec=spec).eval()


def _stage_names(model: Any) -> list[str]:
    return [str(info["module"]) for info in _infos(model)]


def _infos(model: Any) -> list[dict[str, Any]]:
    """What timm says about each map: its module, channels and reduction."""
    return list(getattr(model.feature_info, "info", model.feature_info))


def _input_size(model: Any, model_args: Mapping[str, Any]) -> tuple[int, int, int]:
    """The channels, height and width that a model accepts: the `img_size` asked for, else the published one."""
    channels, height, width = model.pretrained_cfg.get("input_size") or (3, 224, 224)
    size = model_args.get("img_size") or getattr(getattr(model, "patch_embed", None), "img_size", None)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
    return int(getattr(model, "in_chans", channels)), int(height), int(width)
