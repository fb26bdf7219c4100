"""Untrusted pictures, decoded by helper processes: a hostile file can crash a decoder, or keep it busy for ever."""

from __future__ import annotations

import functools
import json
import marshal
import os
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

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
    _check_system()
    stream.seek(0)
    work = functools.partial(_decoded, stream.read(), name, limits)
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


def _decoded(data: bytes, name: str, limits: MediaLimits, helper: Helper) -> Tensor | dict[str, Any]:
    """`(3, H, W)` uint8, channels-last in memory; or what a helper says is wrong with the picture."""
    import torch

    helper.file.write([data])
    answer = helper.ask(marshal.dumps((name, len(data), _described(limits))), limits.decode_s)
    if len(answer) != SIZE.size:
        told: dict[str, Any] = json.loads(answer)
        return told
    width, height = SIZE.unpack(answer)
    limits.check_size(width, height, name=name)
    pixels = helper.get(3 * width * height).reshape(height, width, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1)


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
