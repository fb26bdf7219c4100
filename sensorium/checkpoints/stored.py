"""Which tensors a checkpoint's safetensors files hold, by their headers: each is checked before a library opens it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import CheckpointError

MAX_HEADER_BYTES = 16 * 2**20  # a hundred bytes a tensor: far more than any file has

_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "C128": 128,
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensors:
    """What the headers of the weight files say.

    Attributes:
        shapes: of all tensors, by name; empty where there are only pickled ones, which have no header.
        nbytes: of the files together.
    """

    shapes: dict[str, tuple[int, ...]]
    nbytes: int

    @property
    def numbers(self) -> int:
        """How many numbers the tensors hold together."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def read_headers(paths: Iterable[Path], *, of: str) -> StoredTensors:
    """Reads the headers of weight files.

    Args:
        paths: of the files.
        of: the checkpoint's name, for the errors.

    Raises:
        CheckpointError: a file ending in `.safetensors` is not one, or its header and its content do not agree; or two
            files hold a tensor of one name.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    nbytes = 0
    for path in paths:
        nbytes += path.stat().st_size
        if path.suffix != ".safetensors":
            continue
        own = read_header(path, of=of)
        twice = shapes.keys() & own.keys()
        if twice:
            raise _damaged(of, path, f"the tensor {min(twice)!r} is in another file of the checkpoint, too")
        shapes |= own
    return StoredTensors(shapes, nbytes)


def read_header(path: Path, *, of: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in one safetensors file.

    Raises:
        CheckpointError: it is not such a file, or what its header says is not what it holds.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= size - 8:
                raise _damaged(of, path, _no_header(start, length, size))
            if length > MAX_HEADER_BYTES:
                raise _damaged(of, path, f"its header is {length:,} bytes long, of {MAX_HEADER_BYTES:,} at most")
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{of!r}: {path.name} cannot be read ({error}). Check the file {path}.") from error
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(of, path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _damaged(of, path, "its header is not a JSON object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(of, path, "its __metadata__ should be texts by name")
    return _shapes(header, size - 8 - length, path, of=of)


def _shapes(header: dict[str, Any], room: int, path: Path, *, of: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors, which lie side by side and fill the file."""
    shapes: dict[str, tuple[int, ...]] = {}
    places = []
    for name, entry in header.items():
        known: dict[str, Any] = entry if isinstance(entry, dict) else {}
        kind: Any = known.get("dtype")
        shape: Any = known.get("shape")
        place: Any = known.get("data_offsets")
        if not isinstance(kind, str) or kind not in _BITS:
            raise _damaged(of, path, f"the tensor {name[:80]!r} has the dtype {kind!r:.40}, which is not known")
        if not _are_sizes(shape) or not _are_sizes(place) or len(place) != 2:
            raise _damaged(of, path, f"the tensor {name[:80]!r} has the shape {shape!r:.40} at {place!r:.40}")
        taken = place[1] - place[0]
        if math.prod(shape) * _BITS[kind] != taken * 8:
            raise _damaged(
                of, path, f"the tensor {name[:80]!r} of shape {shape!r:.60} in {kind} lies in {taken:,} bytes"
            )
        shapes[name] = tuple(shape)
        places.append((place[0], place[1]))
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise _damaged(of, path, f"its tensors overlap, or leave room between them, at byte {min(first, end):,}")
        end = last
    if end != room:
        raise _damaged(of, path, f"its tensors take {end:,} bytes, and it has {room:,} for them")
    return shapes


def _are_sizes(value: Any) -> bool:
    plain = isinstance(value, list) and len(value) <= 64
    return plain and all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**63 for one in value)


def _no_header(start: bytes, length: int, size: int) -> str:
    if start[:1] == b"\x80" or start[:2] == b"PK":
        return "it begins like a pickle of torch, which is not opened under this name"
    return f"it has {size:,} bytes, and begins with a header of {length:,}"


def _damaged(of: str, path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{of!r}: {path.name} is not a safetensors file that can be read: {why}. It is damaged, or was cut off; get it "
        "again from its source."
    )
