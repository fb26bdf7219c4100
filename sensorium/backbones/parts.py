"""The parts of a Transformers architecture, and what one look at them shows. Torch only: it names no library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sensorium.backbones.backbone import traced
from sensorium.backbones.layouts import Layout, count_prefix_tokens, read_layout
from sensorium.backbones.shells import Given, GivenPair, GivenState, Tail, make_shell, share_weights
from sensorium.errors import CheckpointError

_SIZE_WITHOUT_CONFIG = (256, 256)  # px, a multiple of every usual stride
_EXTRA_TOKENS = {"dinov3_convnext": 1}  # prefix tokens that are computed rather than learned

# Architectures whose backbone class computes the very hidden states that their model does: what stands where the
# bare model's trunk was, or the name of the final norm where nothing else follows the trunk. Swin, Swin V2, DiNAT and
# Hiera are not here: their backbone classes partition or order otherwise, so that the last hidden states differ.
_CONVOLUTIONAL: dict[str, Callable[[], nn.Module]] = {"embedder": Given, "encoder": GivenState}
_TRUNKS: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "beit": {"embeddings": Given, "layers": nn.ModuleList},
    "bit": _CONVOLUTIONAL,
    "convnext": {"embeddings": Given, "encoder": GivenState},
    "convnextv2": {"embeddings": Given, "encoder": GivenState},
    "focalnet": {"embeddings": GivenPair, "encoder": GivenState},
    "pvt_v2": {"encoder": GivenState},
    "resnet": _CONVOLUTIONAL,
    "textnet": {"stem": Given, "encoder": GivenState},
}
_NORMS = {"dinov2": "layernorm", "dinov2_with_registers": "layernorm", "dinov3_vit": "norm"}


@dataclass
class BackbonePlan:
    """What one look at an architecture shows: its maps, and how its hidden states are laid out.

    Attributes:
        stage_names: of all maps.
        size: height and width in px of a picture that it accepts.
        colours: the channels that it expects.
        states: the layouts of all hidden states, where maps are made of them.
        last: the layout of the last hidden state.
    """

    stage_names: list[str]
    size: tuple[int, int]
    colours: int
    states: list[Layout]
    last: Layout

    def maps_of(self, output: Any, indices: Sequence[int], pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The selected maps from a bare model's output."""
        states, size = _states(output), _size(pixel_values)
        return tuple(self.states[index].to_map(states[index], size) for index in indices)

    def as_maps(self, maps: Sequence[Tensor], pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The maps of a backbone class, those that come as tokens (VitPose's) brought into `(B, C, H, W)`."""
        size = _size(pixel_values)
        return tuple(
            feature_map
            if feature_map.ndim == 4
            else read_layout(feature_map.shape, size, prefix=0).to_map(feature_map, size)
            for feature_map in maps
        )


@dataclass
class Parts:
    """The modules that one architecture is made of; they share their parameters.

    Attributes:
        maps: the backbone class, or None.
        model: the classification class without its classifier, or the bare model, or None.
        base: the bare model (`model`, a child of it, or a child of `maps`), or None.
        tail: what makes the bare model's output of the last hidden state that `maps` computes, or None.
        neck: what makes the pooled features of the bare model's output, or None.
        classifies: whether `model` is a classification class, whose logits are the pooled features now.
        lacking: weights that pooled features and tokens need and the checkpoint does not have.
    """

    maps: Any = None
    model: Any = None
    base: Any = None
    classifies: bool = False
    tail: Tail | None = None
    neck: Any = None
    lacking: tuple[str, ...] = ()


def look(parts: Parts, config: Any, stage_names: list[str]) -> BackbonePlan:
    """Find out the layouts of the hidden states by one forward without arithmetic."""
    inner = getattr(config, "vision_config", config)
    size = getattr(inner, "image_size", None) or _SIZE_WITHOUT_CONFIG
    size = (int(size), int(size)) if isinstance(size, int | float) else (int(size[0]), int(size[1]))
    colours = int(getattr(inner, "num_channels", 3))
    if parts.base is None:
        return BackbonePlan(stage_names, size, colours, [], Layout("channels-first", (1, 1)))
    try:
        prefix = count_prefix_tokens(parts.base) + _EXTRA_TOKENS.get(config.model_type, 0)
        states = {"output_hidden_states": True} if parts.maps is None else {}
        output: Any = traced(parts.base, lambda base, pixels: base(pixels, **states), (1, colours, *size))
        patch = _patch_of(inner)
        last = read_layout(output.last_hidden_state.shape, size, prefix=prefix, patch=patch)
        seen = _states(output) if states else []
        layouts = [read_layout(state.shape, size, prefix=prefix, patch=patch) for state in seen]
        _check_patches(layouts, inner)
    except (CheckpointError, AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError(
            f"{type(parts.model).__name__} is not a backbone: its hidden states cannot be read as maps ({error}). Use "
            "a model with a backbone class, or one whose hidden states are tokens or maps of the picture."
        ) from error
    return BackbonePlan(stage_names or _state_names(len(layouts), inner), size, colours, layouts, last)


def _check_patches(layouts: Sequence[Layout], config: Any) -> None:
    """Refuses tokens that are not the config's patches: a model that leaves some out, as masked ones do."""
    patch = _patch_of(config)
    strides = {layout.stride for layout in layouts if layout.kind == "tokens"}
    if len(layouts) > 1 and len(strides) == 1 and patch is not None:
        stride = strides.pop()
        if layouts[0].kind == "tokens" and stride != patch:
            raise CheckpointError(f"its tokens stand for {stride} px each, its patches are {patch} px")


def _patch_of(config: Any) -> tuple[int, int] | None:
    """Height and width in px of a config's patches; None where it does not say, or has several sizes."""
    patch = getattr(config, "patch_size", None)
    patch = (patch, patch) if isinstance(patch, int) else patch
    if not isinstance(patch, tuple | list) or len(patch) != 2 or not all(isinstance(side, int) for side in patch):
        return None
    return int(patch[0]), int(patch[1])


def _states(output: Any) -> Sequence[Tensor]:
    """The hidden states of an output, as maps where the model gives them so too."""
    reshaped = getattr(output, "reshaped_hidden_states", None)
    states: Sequence[Tensor] | None = reshaped if reshaped is not None else getattr(output, "hidden_states", None)
    if states is None:
        raise CheckpointError("it gives no hidden_states")
    return states


def _state_names(count: int, config: Any) -> list[str]:
    """Names for hidden states, as backbone classes name theirs where it is certain which state is which."""
    layers, depths = getattr(config, "num_hidden_layers", None), getattr(config, "depths", None)
    if layers == count - 1:
        return ["stem", *(f"stage{index}" for index in range(1, count))]
    if isinstance(depths, list | tuple) and len(depths) == count:
        return [f"stage{index}" for index in range(1, count + 1)]
    return [f"hidden{index}" for index in range(count)]


def _size(pixel_values: Tensor) -> tuple[int, int]:
    return pixel_values.shape[-2], pixel_values.shape[-1]


def make_neck(parts: Parts) -> Any:
    """What turns the bare model's output into pooled features; None where no module does that."""
    if parts.model is None or not parts.classifies:
        return None
    names = [name for name, child in parts.model.named_children() if child is parts.base]
    names = names or [name for name in ("embedder", "encoder") if hasattr(parts.model, name)]
    return make_shell(parts.model, {name: Given() for name in names})


def make_tail(parts: Parts, config: Any) -> Tail | None:
    """What continues from the backbone class's last hidden state, where that is also the model's."""
    if parts.base is None or parts.maps is None or getattr(config, "use_shared_relative_position_bias", False):
        return None
    if config.model_type in _NORMS:
        return Tail(getattr(parts.base, _NORMS[config.model_type]), is_norm=True)
    if config.model_type in _TRUNKS:
        stubs = {name: stub() for name, stub in _TRUNKS[config.model_type].items()}
        return Tail(make_shell(parts.base, stubs), is_norm=False)
    return None


def join(parts: Parts, *, compare: bool) -> None:
    """Let the backbone class use the model's weights, so that they are held once.

    Args:
        parts: of one architecture.
        compare: whether both were loaded from one checkpoint, so that they must be equal.

    Raises:
        CheckpointError: they are not.
    """
    if parts.model is None:
        return
    theirs = parts.model if parts.base is None else parts.base
    inner = next((child for child in parts.maps.children() if type(child) is type(theirs)), parts.maps)
    different = share_weights(inner, theirs, compare=compare)
    if different:
        raise CheckpointError(
            f"Transformers gave the backbone and the model of one checkpoint different weights "
            f"({name_some(different)}). Report this with the name of the checkpoint."
        )


def name_some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
