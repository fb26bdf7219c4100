"""JPEGs decoded on a GPU, those of several threads together, for threads that ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

TOGETHER = 64
"""Pictures that are decoded in one call, at most: their bytes and pixels lie on the device at once."""


@dataclass(slots=True, eq=False)
class _Waiting:
    data: Tensor
    pixels: Tensor | None = None
    answered: bool = False


class JpegDecoder:
    """Decodes JPEGs on a GPU by torchvision, which runs nvJPEG. Safe to use from many threads.

    Whoever comes while others' pictures are being decoded waits, and the first of those who wait decodes for all of
    them: nvJPEG is fast with many at once. Pictures are decoded on a stream of their own, and what is done with them in
    `here` runs on a second one, so that neither waits for the model.

    Args:
        device: a CUDA device.
        count: told "decoded_on_device" and "refused_by_device", with a number of pictures.
    """

    def __init__(self, device: torch.device, count: Callable[[str, int], None]) -> None:
        self._device, self._count = device, count
        self._decoding, self._working = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []

    @contextmanager
    def here(self) -> Iterator[None]:
        """Within it this thread's JPEGs are decoded on the device, and its work there is on the decoder's stream."""
        before = current_decoder()
        _here.decoder = self
        try:
            with torch.cuda.stream(self._working):
                yield
        finally:
            _here.decoder = before

    def decode(self, data: Tensor) -> Tensor | None:
        """Decodes one picture, within `here`.

        Args:
            data: `(N,)` uint8 on the CPU, a baseline JPEG.

        Returns:
            `(3, H, W)` uint8 RGB on the device, not turned by its EXIF orientation; None if the device refuses it.
        """
        mine = _Waiting(data)
        with self._lock:
            self._waiting.append(mine)
        while not mine.answered:
            with self._turn:
                if not mine.answered:
                    with self._lock:
                        batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                    self._answer(batch)
        return mine.pixels

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            pixels = self._decode([request.data for request in batch])
            if pixels is None and len(batch) > 1:  # it does not say which of them it refuses
                alone = [self._decode([request.data]) for request in batch]
                found = [None if one is None else one[0] for one in alone]
            else:
                found = [None] * len(batch) if pixels is None else [*pixels]
            for request, one in zip(batch, found, strict=True):
                request.pixels = one
            refused = sum(one is None for one in found)
            self._count("refused_by_device", refused)
            self._count("decoded_on_device", len(batch) - refused)
        finally:
            for request in batch:
                request.answered = True

    def _decode(self, data: list[Tensor]) -> list[Tensor] | None:
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            # nothing else allocates on this stream: nvJPEG writes on one of its own, and would not wait for the last
            # use of memory that is given to it again
            with torch.cuda.stream(self._decoding):
                pixels: list[Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=self._device)
        except RuntimeError:  # a kind of JPEG that it does not know, damage, or too little memory: the CPU's turn
            return None
        self._working.wait_stream(self._decoding)
        for image in pixels:
            image.record_stream(self._working)
        return pixels


def current_decoder() -> JpegDecoder | None:
    """The decoder in whose `here` this thread is."""
    return getattr(_here, "decoder", None)


_here = threading.local()
