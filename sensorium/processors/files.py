"""Paths, file objects and `data:` URIs → encoded bytes, their size checked before they are read."""

from __future__ import annotations

import base64
import binascii
import errno
import io
import os
import re
import stat
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits

READ_AT_ONCE = 8 * 2**20  # bytes; a larger file's header is checked before the rest is read
_CHUNK = 2**20
_MEDIA_TYPES = {"picture": "image", "sound": "audio", "film": "video"}
_EXAMPLES = {"picture": "png", "sound": "wav", "film": "mp4"}
_IN_PIECES = ("sound", "film")
_NO_SUCH_NAME = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{200,}={0,2}\s*")  # no name of a file is like this: it has no point
_SPACE = re.compile(rb"[ \t\r\n\f]+")


def open_path(
    path: str | os.PathLike[Any], *, name: str, limits: MediaLimits, kind: str = "picture"
) -> AbstractContextManager[IO[bytes]]:
    """Open a regular file of at most `max_bytes`, in memory if it is small.

    Args:
        path: of the file.
        name: what to call the input in an error.
        limits: `max_bytes` applies, but not to a sound or a film, which are read in pieces.
        kind: what is expected of it: "picture", "sound" or "film".

    Raises:
        InputError: `missing-file`, `is-a-directory`, `unreadable-file` (no permission, a pipe or device),
            `empty-file`.
        LimitError: `too-many-bytes`.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path object costs more than the call
    except ValueError as error:  # a NUL character
        raise _missing(path, name, kind) from error
    except OSError as error:
        raise _missing(path, name, kind) if error.errno in _NO_SUCH_NAME else _unreadable(name, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{name}: expected a {kind} file, got a directory. Pass it by itself, or the files in it.",
            code="is-a-directory",
            source=name,
        )
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(name, "a pipe, socket or device")
    limits.check_bytes(min(status.st_size, 1) if kind in _IN_PIECES else status.st_size, name=name, kind=kind)
    try:
        if status.st_size > READ_AT_ONCE:
            return open(path, "rb")  # noqa: PTH123 - the caller's with closes it
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return nullcontext(io.BytesIO(file.read()))
    except OSError as error:
        raise _unreadable(name, error) from error


def read_file_object(file: Any, *, name: str, limits: MediaLimits, kind: str = "picture") -> bytes:
    """Read a binary file object from its start, or from where it stands if it cannot seek.

    Raises:
        InputError: `unsupported-type` (opened as text), `unreadable-file` (it fails to read), `empty-file`.
        LimitError: `too-many-bytes`, at the first chunk beyond the limit.
    """
    body = bytearray()
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        while chunk := file.read(_CHUNK):
            if not isinstance(chunk, bytes | bytearray | memoryview):
                raise InputError(
                    f"{name}: expected a file opened in binary mode, got one that gives {type(chunk).__name__}. "
                    f"Open it with mode 'rb'.",
                    code="unsupported-type",
                    source=name,
                )
            body += chunk
            limits.check_bytes(len(body), name=name, kind=kind)
    except InputError:  # a ValueError, as a read from a closed file is
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    limits.check_bytes(len(body), name=name, kind=kind)
    return bytes(body)


def decode_data_uri(uri: str, *, name: str, limits: MediaLimits, kind: str = "picture") -> bytes:
    """Decode `data:[<media type>][;base64],<data>`; what it holds is judged by content, not by media type.

    Raises:
        InputError: `bad-data-uri`, `empty-file`.
        LimitError: `too-many-bytes`, before anything is decoded.
    """
    head, comma, payload = uri.partition(",")
    coded = head.lower().endswith(";base64")
    size = len(payload) * 3 // 4 if coded else len(payload) // 3 or len(payload)
    limits.check_bytes(size, name=name, kind=kind)
    try:
        if not comma:
            raise ValueError("it has no comma")
        data = unquote_to_bytes(payload)
        if coded:
            data = base64.b64decode(_SPACE.sub(b"", data), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError(
            f"{name}: expected data:{_MEDIA_TYPES[kind]}/…;base64,… with valid base64, got {error}. Encode it again.",
            code="bad-data-uri",
            source=name,
        ) from error
    limits.check_bytes(len(data), name=name, kind=kind)
    return data


def _missing(path: str | os.PathLike[str], name: str, kind: str) -> InputError:
    text = os.fsdecode(path)
    tried = os.path.abspath(text) if len(text) < 1000 else f"a name of {len(text):,} characters"  # noqa: PTH100
    advice = "Check the path."
    if _BASE64.fullmatch(text):
        head = f"data:{_MEDIA_TYPES[kind]}/{_EXAMPLES[kind]};base64,"
        advice = f"If it is the {kind} itself as base64, put {head!r} before it."
    return InputError(
        f"{name}: expected a {kind} file, found none at {tried!r}. {advice}", code="missing-file", source=name
    )


def _unreadable(name: str, why: object) -> InputError:
    return InputError(
        f"{name}: expected a file that can be read, got {why}. Check its permissions, or pass its bytes.",
        code="unreadable-file",
        source=name,
    )
