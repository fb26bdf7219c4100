"""Encodings of pictures, kept on the device for the next question about the same picture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from torch import Tensor, nn

MOST_BYTES = 256 * 2**20
"""What is kept at most: the encodings of 150 pictures for BLIP in float32."""


class Encodings:
    """Encodings by the key of their picture; the least recently used are dropped first.

    They are kept between calls, and forgotten when the encoder's weights change. Not to be used by several threads at
    once.

    Args:
        encoder: the module that they come from.
        most_bytes: how much to keep.
    """

    def __init__(self, encoder: nn.Module, *, most_bytes: int = MOST_BYTES) -> None:
        self._encoder, self._most_bytes = encoder, most_bytes
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._state: Hashable = None

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, keys: Sequence[Hashable], encode: Callable[[list[int]], Sequence[Tensor] | Tensor]) -> list[Tensor]:
        """The encodings of pictures.

        Args:
            keys: of the pictures.
            encode: computes the encodings of those at the given positions of `keys`, in one batch.
        """
        state = _state(self._encoder)
        if state != self._state:
            self._kept.clear()
            self._state = state
        encodings = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: i for i, key in enumerate(keys) if key not in encodings}
        if missing:
            # Copies: a view would keep the whole batch alive.
            new = [encoding.clone() for encoding in encode(list(missing.values()))]
            encodings.update(zip(missing, new, strict=True))
        for key in keys:
            self._kept[key] = encodings[key]
            self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(tensor.nbytes for tensor in self._kept.values()) > self._most_bytes:
            self._kept.popitem(last=False)
        return [encodings[key] for key in keys]


def _state(module: nn.Module) -> Hashable:
    """Changes when weights are moved, exchanged or written to in place."""
    return tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in module.parameters())
