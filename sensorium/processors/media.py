"""Whatever a user calls a picture → pixels: `load_image` for a tensor, `load_pil` for a PIL image.

A picture is a path (`str` or `Path`), an http(s) URL, a `data:` URI, bytes, a binary file, a PIL image, a NumPy array,
a torch tensor or a film's frame. Everything is checked before it is decoded (`MediaLimits`), and every fault is an
`InputError` or `LimitError` with a code. All functions are safe to call from several threads at once; decoding releases
the GIL.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.processors import arrays, files, image_decoding, urls
from sensorium.processors.addresses import OF_THE_WEB
from sensorium.processors.image_isolation import decode_apart
from sensorium.processors.limits import DEFAULT_LIMITS, MediaLimits
from sensorium.processors.remote import read_remote
from sensorium.processors.shortage import shortage_mapped
from sensorium.processors.video_frame import VideoFrame

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DEFAULT_LIMITS", "MediaLimits", "describe", "expand_batches", "is_array", "is_batch", "load_image",
           "load_pil", "open_source", "split_batch"]  # fmt: skip

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_SHOWN = 120  # characters of a path in a message


def load_image(source: Any, *, limits: MediaLimits = DEFAULT_LIMITS) -> Tensor:
    """Decode one picture to RGB, upright.

    Args:
        source: a path, an http(s) URL, a `data:` URI, bytes (or bytearray, memoryview), a binary file object (read from
            its start where it can seek), a PIL image, or a NumPy array or torch tensor of `(H, W)`, `(C, H, W)` or
            `(H, W, C)`: 1, 3 (red, green, blue; OpenCV's are the other way round) or 4 channels (RGBA, laid over
            white), uint8, uint16, bool, or floating point in [0, 1]; or a `VideoFrame`.
        limits: what the picture may cost, and where it may come from.

    Returns:
        `(3, H, W)` RGB in [0, 255], on the CPU unless a pipeline decodes JPEGs on a GPU (`decode="cuda"`): float32 for
        a floating-point array, uint8 for all else. Mostly channels-last in memory. It may share memory with the source,
        so it is not to be written to.
        Files and PIL images convert as in Transformers' pipelines: EXIF orientation applied, an alpha channel
        dropped, the first frame of an animation (a PIL image's current one), 16 bit scaled to 8.

    Raises:
        InputError: not a picture, or a damaged one; `code` says what is wrong.
        LimitError: a picture, or an address, beyond the limits.
    """
    with shortage_mapped(describe(source), "a picture"):
        return _load(source, limits)


def _load(source: Any, limits: MediaLimits) -> Tensor:
    if isinstance(source, VideoFrame):
        return source.pixels
    if isinstance(source, np.ndarray):
        return arrays.from_array(source, name=describe(source), limits=limits)
    if _is_tensor(source):
        return arrays.from_tensor(source, name=describe(source), limits=limits)
    if is_array(source):
        return arrays.from_array(np.asarray(source), name=describe(source), limits=limits)
    if isinstance(source, Image.Image):
        return image_decoding.pil_to_tensor(image_decoding.convert_pil(source, name=describe(source), limits=limits))
    with open_source(source, limits=limits) as (stream, name):
        return (decode_apart if limits.isolate else image_decoding.decode)(stream, name=name, limits=limits)


def load_pil(source: Any, *, limits: MediaLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode one picture to an RGB PIL image, upright.

    Args:
        source: anything that `load_image` takes; floating point is rounded to 8 bit.
        limits: as in `load_image`.

    Returns:
        The picture; a PIL image that is RGB and upright already is returned itself.

    Raises:
        InputError: as in `load_image`.
        LimitError: as in `load_image`.
    """
    with shortage_mapped(describe(source), "a picture"):
        return _load_pil(source, limits)


def _load_pil(source: Any, limits: MediaLimits) -> Image.Image:
    if isinstance(source, Image.Image):
        return image_decoding.convert_pil(source, name=describe(source), limits=limits)
    if isinstance(source, (np.ndarray, VideoFrame)) or _is_tensor(source) or is_array(source):
        return _to_pil(load_image(source, limits=limits))
    with open_source(source, limits=limits) as (stream, name):
        if limits.isolate:
            return _to_pil(decode_apart(stream, name=name, limits=limits))
        return image_decoding.decode_pil(stream, name=name, limits=limits)


@contextmanager
def open_source(
    source: Any, *, limits: MediaLimits, kind: str = "picture", forms: str = "a PIL image, an array or a tensor"
) -> Iterator[tuple[IO[bytes], str]]:
    """Open whatever holds an encoded picture or sound as a seekable stream, with its name for messages.

    Args:
        source: a path, an http(s) URL, a `data:` URI, bytes or a binary file object.
        limits: the stream is at most `max_bytes` long; a sound's or a film's file may be longer.
        kind: what it is expected to hold: "picture", "sound" or "film".
        forms: what else the caller takes, for a message.

    Raises:
        InputError: `unsupported-type`, and those of `files` and `urls`.
        LimitError: `too-many-bytes`, and those of `urls`.
    """
    name = describe(source)
    if isinstance(source, str):
        scheme = _SCHEME.match(source)
        if scheme and (scheme[1].lower() in OF_THE_WEB or not os.path.exists(source)):  # noqa: PTH110 - a Path raises for a long name
            read = urls.fetch if scheme[1].lower() in OF_THE_WEB else read_remote
            yield io.BytesIO(read(source, name=name, limits=limits, kind=kind)), name
            return
        if source[:5].lower() == "data:":
            yield io.BytesIO(files.decode_data_uri(source, name=name, limits=limits, kind=kind)), name
            return
    if isinstance(source, str | os.PathLike):
        with files.open_path(source, name=name, limits=limits, kind=kind) as stream:
            yield stream, name
    elif isinstance(source, bytes | bytearray | memoryview):
        limits.check_bytes(memoryview(source).nbytes, name=name, kind=kind)
        yield io.BytesIO(source.tobytes() if isinstance(source, memoryview) else source), name
    elif callable(getattr(source, "read", None)):
        yield io.BytesIO(files.read_file_object(source, name=name, limits=limits, kind=kind)), name
    else:
        raise InputError(
            f"{name}: expected a path, an http(s) or data: URL, bytes, a binary file, {forms}, got "
            f"{type(source).__name__}. Convert it to one of these.",
            code="unsupported-type",
            source=name,
        )


def is_batch(source: Any) -> bool:
    """Whether `source` is several pictures: a list, a tuple, or a 4-D array or tensor."""
    return isinstance(source, list | tuple) or _is_4d(source)


def is_array(source: Any) -> bool:
    """Whether `source` is no array itself, but says what it is as one: part of a picture, another library's array."""
    known = isinstance(source, Image.Image | np.ndarray | np.generic) or _is_tensor(source)
    return not known and callable(getattr(source, "__array__", None)) and not hasattr(source, "read")


def _is_4d(source: Any) -> bool:
    return (isinstance(source, np.ndarray) or _is_tensor(source)) and source.ndim == 4


def split_batch(source: Any) -> list[Any]:
    """Take a batch apart: a list's or tuple's members, 4-D ones expanded, or the 3-D views of a 4-D array or tensor."""
    return list(expand_batches([source] if _is_4d(source) else source))


def expand_batches(inputs: Iterable[Any]) -> Iterator[Any]:
    """Go through inputs lazily, a 4-D array or tensor among them as its 3-D views, one by one."""
    for source in inputs:
        if _is_4d(source):
            yield from source
        else:
            yield source


def describe(source: Any) -> str:
    """Name an input in a few words for a message: its path or URL, or its type and size; never its content."""
    if isinstance(source, str):
        return _describe_text(source)
    if isinstance(source, os.PathLike):
        return _cut(os.fsdecode(source))
    if isinstance(source, bytes | bytearray | memoryview):
        size = f"{memoryview(source).nbytes:,} bytes"
        return size if isinstance(source, bytes) else f"{type(source).__name__} of {size}"
    if isinstance(source, Image.Image):
        return f"PIL image {source.mode} {source.width}x{source.height}"
    if isinstance(source, np.ndarray):
        return f"array {source.shape} {source.dtype}"
    if _is_tensor(source):
        return f"tensor {tuple(source.shape)} {str(source.dtype).removeprefix('torch.')}"
    if source is None:
        return "None"
    if isinstance(source, VideoFrame):
        return repr(source)
    if isinstance(source, Mapping):  # inputs by name: the first says which it is
        return describe(next(iter(source.values()))) if source else "an empty mapping"
    if isinstance(named := getattr(source, "name", None), str) and hasattr(source, "read"):
        return f"file {_cut(named)}"
    return f"{type(source).__name__} object"


def _to_pil(pixels: Tensor) -> Image.Image:
    pixels = pixels.round() if pixels.is_floating_point() else pixels
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8)))


def _describe_text(text: str) -> str:
    if text[:5].lower() == "data:":
        head, comma, payload = text[:100].partition(",")
        return f"{_cut(head)}{comma}… ({len(text):,} characters)" if payload else _cut(text)
    return _cut(urls.public_url(text), 2 * _SHOWN) if _SCHEME.match(text) else _cut(text)


def _cut(text: str, length: int = _SHOWN) -> str:
    if len(text) > length:  # the end of a path tells more than its start
        text = f"{text[: length // 3]}…{text[-length // 2 :]} ({len(text):,} characters)"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _is_tensor(source: Any) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")  # whoever has a tensor has imported torch
    return torch is not None and isinstance(source, torch.Tensor)
