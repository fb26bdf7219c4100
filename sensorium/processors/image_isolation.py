"""Untrusted pictures, decoded by helper processes: a hostile file can crash a decoder, or keep it busy for ever."""

from __future__ import annotations

import functools
import json
import marshal
import os
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.isolation.pool import Helper, HelperEndedError, HelperFullError, HelperPool, HelperTooSlowError
from sensorium.processors.image_helper import SIZE
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from torch import Tensor

_KEPT_BYTES = str(32 * 2**20)  # the most that glibc takes
SETTINGS = {
    # memory is kept from picture to picture: to ask the system for it anew costs as much as copying it does
    "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
    "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
    "PILLOW_BLOCKS_MAX": "4",
    "OPENBLAS_NUM_THREADS": "1",  # a process that is to be forked has no others
}
"""What helpers that decode have in their environment."""

HELPERS = HelperPool("sensorium.processors.image_helper", SETTINGS)
"""Those of this process: they serve all its pipelines."""


def decode_apart(stream: IO[bytes], *, name: str, limits: MediaLimits) -> Tensor:
    """Decode an encoded picture in a helper process; as `image_decoding.decode` otherwise.

    Safe to call from several threads: each has a helper to itself while it waits.

    Raises:
        InputError: as `image_decoding.decode`; `crashed`, where the picture ends two helpers.
        LimitError: as there; `decoding-timeout`, `too-much-memory`.
    """
    import torch

    return torch.from_numpy(_asked(stream, name, limits, layered=False)).permute(2, 0, 1)


def decode_layers_apart(stream: IO[bytes], *, name: str, limits: MediaLimits) -> NDArray[Any]:
    """Decode an encoded picture in a helper process with all that it holds; as `image_layers.decode_layers` otherwise.

    Returns:
        `(H, W, C)` uint8 or uint16.

    Raises:
        InputError: as `decode_apart`; `unsupported-depth` for colours of 16 bit, which helpers do not decode.
        LimitError: as `decode_apart`.
    """
    return _asked(stream, name, limits, layered=True)


def _asked(stream: IO[bytes], name: str, limits: MediaLimits, *, layered: bool) -> NDArray[Any]:
    _check_system()
    stream.seek(0)
    work = functools.partial(_decoded, stream.read(), name, limits, layered)
    try:
        found = HELPERS.run(work, limits.decode_s)
    except HelperTooSlowError as error:
        raise _timed_out(name, limits) from error
    except HelperEndedError as error:
        raise _crashed(name) from error
    except HelperFullError as error:
        raise _too_large(name) from error
    if isinstance(found, dict):
        raise _told(found, name)
    return found


def _check_system() -> None:
    if not hasattr(os, "fork"):
        raise OptionError(
            "MediaLimits.isolate needs a system that forks processes, which this one does not. Pass "
            "MediaLimits(isolate=False), and decode untrusted pictures in a process of your own."
        )


def _decoded(
    data: bytes, name: str, limits: MediaLimits, layered: bool, helper: Helper
) -> NDArray[Any] | dict[str, Any]:
    """`(H, W, C)` uint8 or uint16; or what a helper says is wrong with the picture."""
    helper.file.write([data])
    answer = helper.ask(marshal.dumps((name, len(data), _described(limits), layered)), limits.decode_s)
    if len(answer) != SIZE.size:
        told: dict[str, Any] = json.loads(answer)
        return told
    width, height, channels, depth = SIZE.unpack(answer)
    limits.check_size(width, height, name=name)
    if not (1 <= channels <= 4 and depth in (1, 2)):  # a helper that its picture has taken over may say anything
        raise HelperEndedError
    pixels: NDArray[Any] = helper.get(depth * channels * width * height)
    return (pixels if depth == 1 else pixels.view(np.uint16)).reshape(height, width, channels)


@functools.lru_cache(16)
def _described(limits: MediaLimits) -> str:
    return json.dumps(asdict(limits))


def _told(answer: dict[str, Any], name: str) -> Exception:
    if answer["kind"] == "option":
        return OptionError(answer["message"])
    refusal = LimitError if answer["kind"] == "limit" else InputError
    return refusal(answer["message"], code=answer["code"], source=name)


def _timed_out(name: str, limits: MediaLimits) -> LimitError:
    return LimitError(
        f"{name}: expected a picture that is decoded in {limits.decode_s:g} s, got one that takes longer. Convert it, "
        f"or raise MediaLimits.decode_s if you trust it.",
        code="decoding-timeout",
        source=name,
    )


def _too_large(name: str) -> LimitError:
    return LimitError(
        f"{name}: expected a picture that is decoded in the memory that MediaLimits.max_pixels stands for, got one "
        f"that needs more, or a machine that has no more. Convert it, or pass MediaLimits(isolate=False) if you trust "
        f"it.",
        code="too-much-memory",
        source=name,
    )


def _crashed(name: str) -> InputError:
    return InputError(
        f"{name}: expected a picture, got one that ends the process that decodes it, twice. Write or fetch it again, "
        f"and check whether the machine ran out of memory.",
        code="crashed",
        source=name,
    )
