"""Parts of a model that go on from what another module has computed, without computing it again.

A shell is a shallow copy of a module in which some children are replaced by `Given`, so that the module's own forward
runs from there on. It shares all other children, and so all weights, with the module that it was made from.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn


class Given(nn.Module):
    """Stands where a module was, and passes on what it is called with first."""

    def forward(self, pixel_values: Any, *_: Any, **__: Any) -> Any:
        """The argument itself, whatever it is."""
        return pixel_values


@dataclass
class ModelState:
    """A bare model's or encoder's output, for shells that go on from it."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    hidden_states: None = None
    reshaped_hidden_states: None = None
    attentions: None = None

    def __getitem__(self, index: int) -> Tensor | None:
        return (self.last_hidden_state, self.pooler_output)[index]


class GivenPair(Given):
    """As `Given`, for embeddings that also tell their height and width."""

    def forward(self, pixel_values: Any, *_: Any, **__: Any) -> Any:
        """The argument, and nothing about its size."""
        return pixel_values, None


class GivenState(Given):
    """As `Given`, for an encoder, which gives an output object."""

    def forward(self, pixel_values: Any, *_: Any, **__: Any) -> Any:
        """The argument as the last hidden state."""
        return ModelState(pixel_values)


@dataclass
class Tail:
    """Makes a bare model's output of the last hidden state that a backbone class has computed.

    Attributes:
        module: the bare model as a shell without its trunk, or its final norm.
        is_norm: whether it is the norm; the first token is the pooled one then.
    """

    module: Any
    is_norm: bool

    def __call__(self, hidden_state: Tensor) -> Any:
        """The bare model's output."""
        if not self.is_norm:
            return self.module(hidden_state)
        normed = self.module(hidden_state)
        return ModelState(normed, normed[:, 0])


def make_shell(module: nn.Module, replaced: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of `module` with some of its descendants replaced; the rest is shared.

    Args:
        module: what to copy.
        replaced: the new modules by their dotted paths in `module`.
    """
    shell = copy.copy(module)
    shell._modules = dict(module._modules)
    for path, child in replaced.items():
        name, _, rest = path.partition(".")
        shell._modules[name] = make_shell(cast(nn.Module, getattr(shell, name)), {rest: child}) if rest else child
    return shell


def take_off_classifier(model: Any) -> tuple[str, ...]:
    """Replace a classification model's last layers by the identity, so that its logits are the pooled features.

    Returns:
        The dotted paths of the layers that were replaced: one, or two where a distilled head is averaged with it.
    """
    paths = []
    for name in ("classifier", "fc", "head", "dist_head"):
        layer = getattr(model, name, None)
        if isinstance(layer, nn.Sequential):
            paths += [f"{name}.{index}" for index, child in enumerate(layer) if isinstance(child, nn.Linear)]
        elif isinstance(layer, nn.Module) and not isinstance(layer, nn.ModuleList):
            paths.append(name)
    for path in paths:
        model.set_submodule(path, nn.Identity())
    return tuple(paths)


def share_weights(target: nn.Module, source: nn.Module, *, compare: bool) -> list[str]:
    """Let `target` use the parameters and buffers of `source` that have the same names, shapes and dtypes.

    Args:
        target: whose own tensors are dropped.
        source: whose tensors are used by both.
        compare: whether to look for differences first.

    Returns:
        The names for which the two held different values, if they were compared.
    """
    theirs: dict[str, Any] = {**dict(source.named_parameters()), **dict(source.named_buffers())}
    different = []
    for path, module in target.named_modules():
        for store in (module._parameters, module._buffers):
            for name in list(store):
                mine: Tensor | None = store[name]
                full = f"{path}.{name}" if path else name
                other = theirs.get(full)
                if mine is None or other is None or other.shape != mine.shape or other.dtype != mine.dtype:
                    continue
                if compare and not _equal(mine, other):
                    different.append(full)
                store[name] = other
    return different


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same values; taken as true where they lie apart or nowhere (offloaded weights)."""
    if one.device != other.device or one.is_meta:
        return True
    return torch.equal(one, other) or torch.equal(one.nan_to_num(), other.nan_to_num())
