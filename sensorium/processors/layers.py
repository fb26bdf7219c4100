"""Whatever a user calls a picture → all that it holds: `load_layers` keeps grey, alpha and 16 bit.

`media.load_image` gives what most models take, which is RGB of 8 bit. This is for tasks that give a picture back.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.processors import arrays, image_decoding
from sensorium.processors.image_isolation import decode_apart, decode_layers_apart
from sensorium.processors.image_layers import check_depth, decode_layers, layers_of
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.media import describe, is_array, open_source
from sensorium.processors.shortage import shortage_mapped
from sensorium.processors.video_frame import VideoFrame


def load_layers(source: Any, *, limits: MediaLimits = DEFAULT_LIMITS) -> NDArray[Any]:
    """Decode one picture with all its channels and bits, upright.

    Args:
        source: as `media.load_image` takes it.
        limits: what the picture may cost, and where it may come from.

    Returns:
        `(H, W, C)`: grey, grey and alpha, RGB or RGBA, as C says. uint8 in [0, 255]; uint16 in [0, 65535] for 16-bit
        greys (PNG, TIFF, PPM, PIL's I;16), 16-bit PNGs in colour, uint16 arrays and PIL's modes I and F; float32 in
        [0, 1] for floating-point arrays. It may share memory with the source, so it is not to be written to.

    Raises:
        InputError: as `media.load_image`; `unsupported-depth` for 16-bit colours in another format than PNG, or where
            pictures are isolated, of which half the bits would be lost.
        LimitError: as `media.load_image`.
    """
    name = describe(source)
    with shortage_mapped(name, "a picture"):
        if isinstance(source, VideoFrame):
            pixels = source.pixels
            return _last(pixels / 255 if pixels.is_floating_point() else pixels)
        if is_array(source):
            source = np.asarray(source)
        if isinstance(source, np.ndarray):
            return _last(arrays.channels_of_array(source, name=name, limits=limits))
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(source, torch.Tensor):
            return _last(arrays.channels_of_tensor(source, name=name, limits=limits))
        if isinstance(source, Image.Image):
            check_depth(source, name=name)  # loading it would lose what is looked for
            with image_decoding.loaded(source, name=name, limits=limits):
                return layers_of(source, name=name)
        with open_source(source, limits=limits) as (stream, name):
            return _decode(stream, name=name, limits=limits)


def _decode(stream: IO[bytes], *, name: str, limits: MediaLimits) -> NDArray[Any]:
    plain = image_decoding.plain_header(stream, name=name, limits=limits)
    if plain is not None and plain.channels == 3:  # all that it holds is RGB of 8 bit
        decode = decode_apart if limits.isolate else image_decoding.decode
        return _last(decode(stream, name=name, limits=limits).cpu())
    if limits.isolate:
        return decode_layers_apart(stream, name=name, limits=limits)
    return decode_layers(stream, name=name, limits=limits)


def _last(pixels: Any) -> NDArray[Any]:
    """`(C, H, W)` → `(H, W, C)`."""
    found: NDArray[Any] = pixels.permute(1, 2, 0).numpy()
    return found
