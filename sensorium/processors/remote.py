"""Files on remote file systems, by fsspec: `s3://`, `gs://`, `az://`, `sftp://` and whatever else is installed.

An address is opened by the file system of its own scheme, and by no other: fsspec's chains (`zip::`, `simplecache::`)
are not taken apart. Credentials and endpoints are those that the file system finds itself, in its files and environment
variables.
"""

from __future__ import annotations

import threading
import time
from typing import IO, Any

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors.addresses import NOT_REMOTE, is_allowed, scheme_of
from sensorium.processors.limits import MediaLimits

_CHUNK = 4 * 2**20


def open_file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        OptionError: no such scheme, or one whose package is not installed.
    """
    import fsspec

    scheme = scheme_of(address) or ""
    if scheme in NOT_REMOTE:
        raise OptionError(f"{scheme}:// leads to no remote file system: name a file of this machine by its path")
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise OptionError(f"{scheme}:// needs a package that is not installed. {error}") from error
    except ValueError as error:
        raise OptionError(f"no file system is known for {scheme}://: expected s3://, gs://, az://, …") from error
    path = f"{scheme}://{address.partition('://')[2]}"
    return kind(**kind._get_kwargs_from_urls(path)), kind._strip_protocol(path)


def read_remote(address: str, *, name: str, limits: MediaLimits, kind: str = "picture") -> bytes:
    """Reads a file, within the limits of a URL.

    Args:
        address: `s3://bucket/cat.jpg`.
        name: what to call it in an error.
        limits: `allow_urls`, `allow_remote`, `max_bytes` and `timeout_s` apply.
        kind: what is expected there: "picture" or "sound".

    Raises:
        LimitError: `url-not-allowed`, `url-timeout`, `too-many-bytes`.
        InputError: `missing-library` (no package for the scheme), `missing-file`, `is-a-directory`, `unreadable-file`
            (no permission), `dead-url` (any other fault of the file system), `empty-file`.
    """
    if not (limits.allow_urls and is_allowed(address, limits.allow_remote)):
        raise LimitError(
            f"{name}: expected a local file or an http(s) URL. If you trust whoever names other addresses, allow them: "
            f'MediaLimits(allow_remote=("{str(scheme_of(address))[:20]}://…/",)), --allow-remote.',
            code="url-not-allowed",
            source=name,
        )
    reading = _Reading(address, name, limits, kind)
    reading.start()
    reading.join(limits.timeout_s)
    if reading.is_alive():
        raise LimitError(
            f"{name}: expected the whole file within {limits.timeout_s:g} s. Try again, or raise "
            "MediaLimits.timeout_s.",
            code="url-timeout",
            source=name,
        )
    if reading.error is not None:
        raise reading.error
    limits.check_bytes(len(reading.body), name=name, kind=kind)
    return bytes(reading.body)


class _Reading(threading.Thread):
    """Reads one file, on a thread, as file systems have no time limit of their own; ends itself soon after it."""

    def __init__(self, address: str, name: str, limits: MediaLimits, kind: str) -> None:
        super().__init__(name="sensorium-remote", daemon=True)
        self._address, self._name, self._limits, self._kind = address, name, limits, kind
        self._deadline = time.monotonic() + limits.timeout_s
        self.body = bytearray()
        self.error: InputError | None = None

    def run(self) -> None:
        try:
            system, path = open_file_system(self._address)
            with system.open(path, "rb") as file:
                self._read(file)
        except InputError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - each file system raises errors of its own
            self.error = _fault(error, self._name, self._kind)

    def _read(self, file: IO[bytes]) -> None:
        while time.monotonic() < self._deadline and (chunk := file.read(_CHUNK)):
            self.body += chunk
            self._limits.check_bytes(len(self.body), name=self._name, kind=self._kind)


_CODES: tuple[tuple[type[Exception], str, str], ...] = (
    (OptionError, "missing-library", "{error}"),
    (FileNotFoundError, "missing-file", "expected a {kind} file, found none there. Check the address."),
    (IsADirectoryError, "is-a-directory", "expected a {kind} file, got a folder. Pass the files in it."),
    (PermissionError, "unreadable-file", "expected a file that can be read, got {error}. Check the permissions."),
    (Exception, "dead-url", "expected a {kind} file, got {type}: {error}. Check the address and the connection."),
)


def _fault(error: Exception, name: str, kind: str) -> InputError:
    code, text = next((code, text) for each, code, text in _CODES if isinstance(error, each))
    message = text.format(error=error, kind=kind, type=type(error).__name__)
    failed = InputError(f"{name}: {message}", code=code, source=name)
    failed.__cause__ = error
    return failed
