"""Backbones from Transformers: its backbone classes, and its vision models that have none.

Maps come from the architecture's backbone class where there is one, as `transformers.AutoBackbone` gives them; else
from the hidden states. Pooled features are what the architecture's `…ForImageClassification` feeds its classifier;
where there is no such class, the model's own `pooler_output`, and where there is none, the mean of the positions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_BACKBONE_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
)

from sensorium.backbones.backbone import Backbone, BackboneOutput, OutIndices, select_stages
from sensorium.backbones.parts import BackbonePlan, Parts, join, look, make_neck, make_tail, name_some
from sensorium.backbones.shells import ModelState, take_off_classifier
from sensorium.backbones.weights import load_weights, missing_error, only_pools, read_tensors
from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError, UnsafeCheckpointError

_FRESH = "hidden_states_norms."  # a backbone class's own norms: ones and zeros until trained, in Transformers too


class TransformersBackbone(Backbone):
    """A Transformers vision model as a backbone.

    Maps and pooled features asked for together are one pass, except where the backbone class computes other values
    than the model does (Swin's shifts windows that fill the picture, Hiera's does not unroll) or is not known to
    compute the same. There they are two passes through shared weights, and both stay what Transformers gives.
    """

    def __init__(self, parts: Parts, *, plan: BackbonePlan, out_indices: Sequence[int], spec: dict[str, Any]) -> None:
        super().__init__(stage_names=plan.stage_names, out_indices=out_indices, spec=spec)
        self.maps, self.model = parts.maps, parts.model
        self._parts, self._plan = parts, plan  # Parts is not a module: the neck shares what is registered already
        self.measure(plan.size, channels=plan.colours)

    def forward(
        self,
        pixel_values: Tensor,
        *,
        feature_maps: bool = True,
        pooled: bool | None = None,
        tokens: bool | None = None,
    ) -> BackboneOutput:
        """As `Backbone.forward`."""
        parts = self._parts
        has_tokens = parts.model is not None or not parts.lacking
        if (pooled and parts.lacking) or (tokens and not has_tokens):
            raise MissingWeightsError(
                f"this checkpoint lacks {name_some(parts.lacking)}, which pooled features"
                f"{'' if has_tokens else ' and tokens'} need. Load a checkpoint of the whole model."
            )
        pooled, tokens = pooled is not False and not parts.lacking, tokens is not False and has_tokens
        last: Any = None
        maps: tuple[Tensor, ...] = ()
        if parts.maps is not None and (feature_maps or ((pooled or tokens) and parts.base is None)):
            one_pass = parts.tail is not None and (pooled or tokens)
            output = parts.maps(pixel_values, **({"output_hidden_states": True} if one_pass else {}))
            maps = self._plan.as_maps(output.feature_maps, pixel_values)
            if parts.tail is not None and one_pass:
                last = parts.tail(output.hidden_states[-1])
            elif parts.base is None:
                last = ModelState(maps[-1])
        if last is None and (pooled or tokens or parts.maps is None):
            states = {"output_hidden_states": True} if feature_maps and parts.maps is None else {}
            last = parts.base(pixel_values, **states)
            if states:
                maps = self._plan.maps_of(last, self.out_indices, pixel_values)
        layout = self._plan.last
        return BackboneOutput(
            feature_maps=maps[: len(self.out_indices)] if feature_maps else (),
            pooled=self._pool(last) if pooled else None,
            tokens=layout.to_tokens(last.last_hidden_state) if tokens and last is not None else None,
            prefix_tokens=layout.prefix if tokens else 0,
        )

    def _pool(self, last: Any) -> Tensor:
        """The pooled features from the bare model's output."""
        if self._parts.neck is not None:
            output = self._parts.neck(last)
            logits: Tensor = output.logits if hasattr(output, "logits") else output.last_hidden_state
            return logits.flatten(1)
        pooler_output: Tensor | None = getattr(last, "pooler_output", None)
        if pooler_output is not None:
            return pooler_output.flatten(1)
        layout = self._plan.last
        return layout.to_tokens(last.last_hidden_state)[:, layout.prefix :].mean(1)


def load(
    checkpoint: Checkpoint, *, out_indices: OutIndices, out_features: Sequence[str] | None
) -> TransformersBackbone:
    """Build the architecture of a Transformers checkpoint, with its weights.

    Raises:
        MissingWeightsError: the checkpoint lacks weights that the maps need.
        UnsafeCheckpointError: it needs code of its own.
        CheckpointError: Transformers has no model for it, or one whose hidden states are no maps.
    """
    checkpoint.weights()
    config = _remote_config(checkpoint) or _config_of(checkpoint.config, of=repr(checkpoint.name))

    def make(model_class: Any, config: Any) -> tuple[Any, list[str]]:
        model, missing = load_weights(model_class, config, checkpoint)
        if model_class.__name__ == "PixioBackbone":
            _put_norms_right(model, checkpoint)
        return model, missing

    return _assemble(config, make, out_indices, out_features, of=repr(checkpoint.name), trained=True)


def _put_norms_right(model: Any, checkpoint: Checkpoint) -> None:
    """Gives Pixio's backbone class its own norm, and its model that one's: Transformers reads each for the other."""
    stored = {"encoder.layernorm": model.pixio.layernorm, "layernorm": model.layernorm}
    wanted = [f"{name}.{part}" for name in stored for part in ("weight", "bias")]
    tensors = read_tensors(checkpoint, wanted)
    if len(tensors) == len(wanted):  # a checkpoint of the model alone has but one norm
        for name, norm in stored.items():
            norm.load_state_dict({part: tensors[f"{name}.{part}"] for part in ("weight", "bias")})


def build(config: Any, *, out_indices: OutIndices, out_features: Sequence[str] | None) -> TransformersBackbone:
    """Build the architecture of a Transformers config with random weights.

    Raises:
        CheckpointError: Transformers has no model for it, or one whose hidden states are no maps.
    """
    if isinstance(config, Mapping):
        config = _config_of(config, of="the config")

    def make(model_class: Any, config: Any) -> tuple[Any, list[str]]:
        return model_class(config), []

    return _assemble(copy.deepcopy(config), make, out_indices, out_features, of=type(config).__name__, trained=False)


_Make = Callable[[Any, Any], tuple[Any, list[str]]]  # a class and its config → an instance and the keys that it lacks


def _assemble(
    config: Any,
    make: _Make,
    out_indices: OutIndices,
    out_features: Sequence[str] | None,
    *,
    of: str,
    trained: bool,
) -> TransformersBackbone:
    """Make the parts, look at them, and select the maps."""
    spec = {"library": "transformers", "config": config.to_dict()}
    config.return_dict = True
    stage_names = _backbone_stages(config)
    chosen = _select(config, stage_names, out_indices, out_features) if stage_names else ()
    try:
        parts = _make_model(config, make, maps_only=bool(stage_names), of=of)
        if stage_names:
            _make_maps(parts, copy.deepcopy(config), chosen, make, of=of, trained=trained)
        parts.neck, parts.tail = make_neck(parts), make_tail(parts, config)
        _install_hooks(parts)
        plan = look(parts, config, stage_names)
    except ImportError as error:
        raise CheckpointError(f"{of}: {error}") from error
    if not stage_names:
        chosen = select_stages(plan.stage_names, out_indices, out_features)
    spec["out_indices"] = list(chosen)
    return TransformersBackbone(parts, plan=plan, out_indices=chosen, spec=spec).eval()


def _install_hooks(parts: Parts) -> None:
    """Installs Transformers' hooks that capture hidden states now, not in the first call, which may be compiled."""
    try:
        from transformers.utils.output_capturing import maybe_install_capturing_hooks
    except ImportError:  # a Transformers whose models return their hidden states themselves
        return
    for module in parts.base.modules() if parts.base is not None and parts.maps is None else ():
        if isinstance(module, transformers.PreTrainedModel):
            maybe_install_capturing_hooks(module)


def _select(
    config: Any, stage_names: list[str], out_indices: OutIndices, out_features: Sequence[str] | None
) -> tuple[int, ...]:
    """As `select_stages`, for MaskFormer's Swin without its stem, which its backbone class does not give."""
    without_stem = config.model_type == "maskformer-swin"
    if without_stem and out_indices == "all":
        out_indices = range(1, len(stage_names))
    if out_indices is None and out_features is None:
        out_indices = config.out_indices  # the config's own choice, the last map if it has none
    chosen = select_stages(stage_names, out_indices, out_features)
    if without_stem and 0 in chosen:
        raise OptionError(f"MaskFormer's Swin does not give its stem; choose among {stage_names[1:]}.")
    return chosen


def _make_model(config: Any, make: _Make, *, maps_only: bool, of: str) -> Parts:
    """The part that gives tokens and pooled features; empty where the checkpoint lacks it and maps will do."""
    model_class, classifies = _model_class(config)
    parts = Parts(classifies=classifies)
    if model_class is None:
        if maps_only:
            return parts
        raise CheckpointError(
            f"{of}: Transformers {transformers.__version__} has neither a backbone class nor a vision model that takes "
            f"pixel_values for {type(config).__name__}."
        )
    if maps_only and not classifies and _holds(MODEL_FOR_BACKBONE_MAPPING[type(config)], model_class, config):
        return parts  # the backbone class brings it
    parts.model, missing = make(model_class, config)
    parts.base = _base_of(parts.model) if classifies else parts.model
    gone = tuple(f"{path}." for path in take_off_classifier(parts.model)) if classifies else ()
    parts.lacking = tuple(key for key in missing if not key.startswith(gone))
    in_base = [key for key in parts.lacking if not only_pools(key, parts)]
    if in_base and not maps_only:
        raise missing_error(in_base, of=of)
    if in_base:
        parts.model = parts.base = None
    return parts


def _make_maps(parts: Parts, config: Any, chosen: Sequence[int], make: _Make, *, of: str, trained: bool) -> None:
    """Add the backbone class to the parts; its weights are the model's where both have them."""
    maps_class = MODEL_FOR_BACKBONE_MAPPING[type(config)]
    names = config.stage_names
    brought = parts.model is None and not parts.lacking  # the model's part, if there is one, comes with this class
    alone = parts.base is None and (brought or parts.model is not None)  # its last map is the last hidden state
    wanted = sorted({*chosen, len(names) - 1}) if alone else chosen
    config.set_output_features_output_indices([names[index] for index in wanted], None)
    parts.maps, missing = make(maps_class, config)
    needed = [key for key in missing if not key.startswith(_FRESH)]
    if needed:
        raise missing_error(needed, of=of)
    model_class, _ = _model_class(config)
    if brought and model_class is not None:
        parts.base = next(child for child in parts.maps.children() if isinstance(child, model_class))
    join(parts, compare=trained)


def _remote_config(checkpoint: Checkpoint) -> Any:
    """The config of an architecture that comes as the checkpoint's own Python code, if that was asked for."""
    if not checkpoint.needs_remote_code:
        return None
    if not checkpoint.options.trust_remote_code:
        raise UnsafeCheckpointError(
            f"{checkpoint.name!r} needs its own Python code, which is not run unless asked for. If you trust it, pass "
            "LoadOptions(trust_remote_code=True)."
        )
    return transformers.AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=True, local_files_only=True)


def _config_of(values: Mapping[str, Any], *, of: str) -> Any:
    """The Transformers config of a parsed config.json."""
    model_type = values.get("model_type")
    if model_type not in transformers.CONFIG_MAPPING:
        raise CheckpointError(
            f"{of}: expected a model_type that Transformers {transformers.__version__} has, got {model_type!r}. "
            "A timm checkpoint's config.json has 'architecture' and 'pretrained_cfg' instead."
        )
    return transformers.CONFIG_MAPPING[model_type].from_dict(dict(values))


def _backbone_stages(config: Any) -> list[str]:
    """The names of the maps of the architecture's backbone class; empty if it has none."""
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        return []
    return list(getattr(config, "stage_names", None) or [])


def _model_class(config: Any) -> tuple[Any, bool]:
    """The class that pools as the architecture's classifier does, and whether it is a classification class."""
    if type(config).__module__.startswith("transformers_modules."):
        return transformers.AutoModel, False  # it finds the class in the checkpoint's own code
    classes: Any = None
    if type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    classifies = classes is not None
    if classes is None and type(config) in MODEL_MAPPING:
        classes = MODEL_MAPPING[type(config)]
    if isinstance(classes, tuple | list):
        classes = classes[0]
    if classes is None or classes.__name__.endswith("Backbone") or classes.main_input_name != "pixel_values":
        return None, False
    return classes, classifies


def _base_of(model: Any) -> Any:
    """The bare model in a classification model, None if its layers are not grouped in one."""
    for name in (model.base_model_prefix, "vision_model"):
        child = getattr(model, name, None) if name else None
        if isinstance(child, transformers.PreTrainedModel):
            return child
    return None


def _holds(maps_class: Any, model_class: Any, config: Any) -> bool:
    """Whether a backbone class has the whole bare model as a child."""
    with torch.device("meta"):
        return any(isinstance(child, model_class) for child in maps_class(copy.deepcopy(config)).children())
