"""The nests of lists, tuples and dicts that operations take and give; faster than pytree, which knows more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def leaves_of(tree: Any) -> list[Any]:
    """All that is no list, tuple or dict, in order."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """The tensors of a nest."""
    return [leaf for leaf in leaves_of(tree) if isinstance(leaf, torch.Tensor)]


def replace(kind: type, function: Callable[[Any], Any], tree: Any) -> Any:
    """The nest with `function(leaf)` in the place of each leaf of a kind."""
    nest = type(tree)
    if nest is tuple or nest is list:
        return nest([replace(kind, function, value) for value in tree])
    if nest is dict:
        return {key: replace(kind, function, value) for key, value in tree.items()}
    return function(tree) if isinstance(tree, kind) else tree


def _collect(tree: Any, found: list[Any]) -> None:
    kind = type(tree)
    if kind is list or kind is tuple:
        for value in tree:
            _collect(value, found)
    elif kind is dict:
        for value in tree.values():
            _collect(value, found)
    else:
        found.append(tree)
