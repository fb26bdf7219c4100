"""The state of a text that is being written, restored after others have used the device between two tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn


class seeded:  # noqa: N801 - a context manager that reads as a word
    """Draws from a separate generator while `seed` is set; the caller's random state is untouched.

    Args:
        seed: None to go on drawing from what torch draws from anyway.
        device: whose generator is meant, beside the CPU's.
    """

    def __init__(self, seed: int | None, device: torch.device) -> None:
        self._seed = seed
        self._device = device if device.type == "cuda" else None
        self._others: list[Tensor] = []

    def __enter__(self) -> Self:
        if self._seed is not None:
            self._others = self._states()
            torch.manual_seed(self._seed)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._seed is not None:
            self._set(self._others)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Lets others draw from their own random state, then goes on where it was."""
        if self._seed is None:
            yield
            return
        own = self._states()
        self._set(self._others)
        try:
            yield
        finally:
            self._others = self._states()
            self._set(own)

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return states if self._device is None else [*states, torch.cuda.get_rng_state(self._device)]

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device is not None:
            torch.cuda.set_rng_state(states[1], self._device)


class OwnTensors:
    """Tensors that modules keep about the text being written, beside their weights, buffers and cache.

    Such as Qwen-VL's `rope_deltas`: by how much the places of tokens are off after a picture. Another text begins by
    writing its own over them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._places: list[tuple[dict[str, Any], str]] = [
            (vars(module), name)
            for module in model.modules()
            for name, value in vars(module).items()
            if (value is None or isinstance(value, Tensor)) and not name.startswith("_")
        ]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Lets others write over them."""
        own = [attributes.get(name) for attributes, name in self._places]
        try:
            yield
        finally:
            for (attributes, name), value in zip(self._places, own, strict=True):
                attributes[name] = value
