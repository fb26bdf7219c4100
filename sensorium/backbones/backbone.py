"""What every backbone is: one forward that gives maps, pooled features and tokens, as asked."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from sensorium.backbones.layouts import stride_of
from sensorium.errors import MissingWeightsError, OptionError, UnknownNameError

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
OutIndices = Sequence[int] | Literal["all"] | None


@dataclass
class BackboneOutput:
    """The features of one batch.

    Attributes:
        feature_maps: one `(B, C, H, W)` tensor for each of the backbone's `out_indices`; empty where not asked for.
        pooled: `(B, D)`, what the architecture's own classifier is fed; None where not asked for.
        tokens: `(B, N, D)`, the last hidden state, prefix tokens first, then the positions row by row;
            None where not asked for.
        token_mask: `(B, N)` bool, True at tokens that are real; None where none is padding.
        prefix_tokens: how many of the tokens stand for no position (class, distillation, registers).
    """

    feature_maps: tuple[Tensor, ...] = ()
    pooled: Tensor | None = None
    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    prefix_tokens: int = 0


@dataclass(frozen=True)
class Geometry:
    """The sizes of what a backbone gives, as measured by one forward without arithmetic.

    Attributes:
        channels: the channels of each selected map.
        strides: for each selected map, the px of the input that one of its cells stands for.
        num_features: the width of the pooled features; 0 where the checkpoint cannot give any.
        prefix_tokens: how many of the tokens stand for no position.
    """

    channels: list[int]
    strides: list[int]
    num_features: int
    prefix_tokens: int = 0


class Backbone(nn.Module):
    """Tensors in, features out.

    Attributes:
        stage_names: the names of all maps that the architecture can give, from fine to coarse.
        out_indices: the positions among `stage_names` of the maps that `forward` gives, ascending.
        spec: what rebuilds this architecture without a checkpoint, JSON only (`AutoBackbone.from_config` takes it).
    """

    def __init__(self, *, stage_names: Sequence[str], out_indices: Sequence[int], spec: dict[str, Any]) -> None:
        super().__init__()
        self.stage_names = list(stage_names)
        self.out_indices = tuple(out_indices)
        self.spec = spec
        self.frozen = False
        self.geometry = Geometry([], [], 0)

    @property
    def out_features(self) -> list[str]:
        """The names of the maps that `forward` gives."""
        return [self.stage_names[index] for index in self.out_indices]

    @property
    def channels(self) -> list[int]:
        """The channels of each map that `forward` gives."""
        return list(self.geometry.channels)

    @property
    def strides(self) -> list[int]:
        """For each map that `forward` gives, the px of the input that one of its cells stands for."""
        return list(self.geometry.strides)

    @property
    def num_features(self) -> int:
        """The width of the pooled features."""
        return self.geometry.num_features

    @abstractmethod
    def forward(
        self,
        pixel_values: Tensor,
        *,
        feature_maps: bool = True,
        pooled: bool | None = None,
        tokens: bool | None = None,
    ) -> BackboneOutput:
        """Compute what is asked for, and nothing else where the architecture allows it.

        Args:
            pixel_values: `(B, 3, H, W)` float, as the checkpoint's own processor gives them.
            feature_maps: whether to give the maps of `out_indices`.
            pooled: whether to give the pooled features; None for where the checkpoint has what they need.
            tokens: whether to give the last hidden state as tokens; None for where the architecture has one.

        Raises:
            MissingWeightsError: the pooled features or tokens are asked for and the checkpoint lacks their weights.
        """

    def pool(self, pixel_values: Tensor) -> Tensor:
        """The pooled features `(B, D)` of `(B, 3, H, W)` pictures, and nothing else computed."""
        pooled = self.forward(pixel_values, feature_maps=False, pooled=True, tokens=False).pooled
        if pooled is None:
            raise MissingWeightsError("this checkpoint has no pooled features; use its feature_maps.")
        return pooled

    def freeze(self) -> Self:
        """Stop training here: no gradients, and evaluation mode even after `.train()`."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, except that a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def measure(self, size: tuple[int, int], *, channels: int = 3) -> None:
        """Fill in `geometry` from one forward on an empty picture.

        Args:
            size: height and width in px of a picture that the architecture accepts.
            channels: the colour channels that it expects.
        """
        outputs: BackboneOutput = traced(self, _run, (1, channels, *size))
        maps = outputs.feature_maps
        self.geometry = Geometry(
            channels=[int(feature_map.shape[1]) for feature_map in maps],
            strides=[stride_of(size[0], feature_map.shape[2]) for feature_map in maps],
            num_features=0 if outputs.pooled is None else int(outputs.pooled.shape[-1]),
            prefix_tokens=outputs.prefix_tokens,
        )


def select_stages(
    stage_names: Sequence[str], out_indices: OutIndices, out_features: Sequence[str] | None
) -> tuple[int, ...]:
    """Turn the ways to name maps into positions among `stage_names`; the last map where none is given.

    Raises:
        UnknownNameError: a name in `out_features` that the architecture does not have.
        OptionError: an index out of range, a duplicate, an order other than the stages', or two selections that differ.
    """
    count = len(stage_names)
    if isinstance(out_indices, str):
        if out_indices != "all":
            raise OptionError(f'out_indices are positions of maps, or "all"; got {out_indices!r}.')
        out_indices = range(count)
    if isinstance(out_indices, int) or isinstance(out_features, str):
        got = out_indices if isinstance(out_indices, int) else out_features
        raise OptionError(f"out_indices and out_features are sequences; got {got!r}. Write ({got!r},).")
    by_index = by_name = None
    if out_indices is not None:
        for index in out_indices:
            if not -count <= index < count:
                raise OptionError(
                    f"out_indices must lie in [{-count}, {count - 1}]; got {index}. The stages are {list(stage_names)}."
                )
        by_index = tuple(index % count for index in out_indices)
    if out_features is not None:
        for name in out_features:
            if name not in stage_names:
                raise UnknownNameError("feature", name, stage_names)
        by_name = tuple(list(stage_names).index(name) for name in out_features)
    if by_index is not None and by_name is not None and by_index != by_name:
        raise OptionError(
            f"out_indices {tuple(out_indices or ())} and out_features {list(out_features or ())} select "
            f"different maps of {list(stage_names)}. Give one of the two."
        )
    chosen = by_index if by_index is not None else by_name
    if chosen is None:
        chosen = (count - 1,)
    if list(chosen) != sorted(set(chosen)):
        raise OptionError(
            f"maps are given from fine to coarse, each once; got positions {list(chosen)} of "
            f"{list(stage_names)}. Write {sorted(set(chosen))}."
        )
    return chosen


def unique_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with each shared tensor once, under the first of its names."""
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state


def _run(backbone: Backbone, pixel_values: Tensor) -> BackboneOutput:
    outputs: BackboneOutput = backbone(pixel_values)
    return outputs


def traced(module: M, call: Callable[[M, Tensor], T], shape: tuple[int, ...]) -> T:
    """Run a module on an empty picture for the shapes of its results only.

    A copy without storage runs, so that no cache inside the module keeps anything of it. Only where an architecture
    looks at values on its way, the module itself runs on zeros.

    Args:
        module: what to run.
        call: takes the module and the pixels.
        shape: `(B, C, H, W)` of the picture.
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            try:
                return call(_without_storage(module), torch.zeros(shape, device="meta", dtype=_dtype(module)))
            except (RuntimeError, NotImplementedError, TypeError, ValueError):
                device = next(module.parameters()).device
                return call(module, torch.zeros(shape, device=device, dtype=_dtype(module)))
    finally:
        module.train(training)


def _without_storage(module: M) -> M:
    """A copy of a module whose parameters and buffers have a shape and no values."""
    stand_ins: dict[int, Any] = {}
    for parameter in module.parameters():
        stand_ins[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        stand_ins[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, stand_ins)


def _dtype(module: nn.Module) -> torch.dtype:
    return next((parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()), torch.float32)
