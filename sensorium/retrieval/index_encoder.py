"""The encoder of an index: a loaded one, or what is stored of one that is opened when it is first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import torch

from sensorium.errors import OptionError
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.rows import Modality


class IndexEncoder:
    """Opens an encoder once, and refuses one that would give other vectors than the index was built with.

    Args:
        source: the encoder, what `facts` gave of it, or None where the index was made of vectors.
        width: of the index's vectors.
        device: where an encoder is opened.
    """

    def __init__(self, source: Encoder | Mapping[str, Any] | None, *, width: int, device: torch.device) -> None:
        self._width, self._device = width, device
        self._encoder = source if isinstance(source, Encoder) else None
        self._stored = None if isinstance(source, Encoder) else source
        self._lock = threading.Lock()

    @property
    def modality(self) -> Modality:
        """What passages are: texts, where nothing else is known."""
        if self._encoder is not None:
            return self._encoder.modality
        return "text" if self._stored is None else self._stored["modality"]

    def get(self) -> Encoder:
        """The encoder.

        Raises:
            OptionError: there is none, or its name now stands for another one.
            CheckpointError: it cannot be opened.
        """
        with self._lock:
            if self._encoder is None:
                if self._stored is None:
                    raise OptionError("this index has no encoder: give it vectors, or name one with encoder=…")
                self._take(Encoder.from_spec(self._stored["spec"], device=self._device))
            assert self._encoder is not None
            return self._encoder

    def replace(self, encoder: Encoder) -> None:
        """Takes a loaded encoder instead of opening it by its stored name.

        Raises:
            OptionError: it is another one.
        """
        with self._lock:
            self._take(encoder)

    def facts(self) -> Mapping[str, Any] | None:
        """What to store of it."""
        encoder = self._encoder
        if encoder is None:
            return self._stored
        return {"spec": encoder.spec(), "fingerprint": encoder.fingerprint, "modality": encoder.modality}

    def _take(self, encoder: Encoder) -> None:
        """Refuses an encoder whose vectors cannot be compared with those of the index."""
        if encoder.dimension != self._width:
            raise OptionError(
                f"the index has vectors of {self._width} dimensions, and {encoder.name!r} gives {encoder.dimension}"
            )
        if self._stored is not None and encoder.fingerprint != self._stored["fingerprint"]:
            raise OptionError(
                f"the index was built with {self._stored['spec'].get('model')!r}, and {encoder.name!r} has other "
                "weights, another tokenizer or other prompts: their vectors cannot be compared. Open the one that "
                "it was built with, or build the index again."
            )
        self._encoder = encoder


def opened(encoder: str | os.PathLike[str] | Encoder, device: str | int | torch.device | None) -> Encoder:
    """The encoder that is given, or that a name stands for."""
    return encoder if isinstance(encoder, Encoder) else Encoder.from_pretrained(encoder, device=device)
