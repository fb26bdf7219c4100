"""Fetches a picture or a sound from a URL without letting the URL reach into a private network or stall the program.

The address that was checked is the address that is connected to: a name is resolved once per hop, so an answer that
changes between check and connection (DNS rebinding) gains nothing. Proxies of the environment are not used, as
they would resolve the name again.
"""

from __future__ import annotations

import functools
import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
import zlib
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urljoin, urlsplit

from sensorium.errors import InputError, LimitError
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_USER = re.compile(r"(?<=://)[^/?#]*@")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def fetch(url: str, *, name: str, limits: MediaLimits, kind: str = "picture") -> bytes:
    """Fetch the body of an http or https URL, within the limits.

    Args:
        url: absolute; a name or an address as host, no user name or password.
        name: what to call the URL in an error: `public_url` of it.
        limits: `allow_urls`, `allow_private_addresses`, `timeout_s` and `max_bytes` apply.
        kind: what is expected there: "picture" or "sound".

    Returns:
        The body, decompressed, never empty.

    Raises:
        LimitError: `url-not-allowed` (URLs are off, a scheme other than http and https, a private address,
            on any hop), `url-timeout`, `too-many-bytes`.
        InputError: `dead-url` (no such host, no connection, bad certificate, a status other than 200),
            `truncated` (the connection ended early), `empty-file`.
    """
    if not limits.allow_urls:
        raise _refused(name, "a local source", "a URL", "Fetch it yourself, or set MediaLimits.allow_urls=True")
    deadline = time.monotonic() + limits.timeout_s
    try:
        for _ in range(MAX_REDIRECTS + 1):
            body, url = _hop(url, deadline, name=name, limits=limits, kind=kind)
            if body is not None:
                limits.check_bytes(len(body), name=name, kind=kind)
                return body
    except TimeoutError as error:
        raise LimitError(
            f"{name}: expected the whole answer within {limits.timeout_s:g} s, got none. Try again, or raise "
            f"MediaLimits.timeout_s.",
            code="url-timeout",
            source=name,
        ) from error
    except http.client.IncompleteRead as error:
        raise _cut_off(name) from error
    except InputError:  # a ValueError, as is raised for an answer that is none, and a redirect that leads nowhere
        raise
    except (OSError, ValueError, http.client.HTTPException, zlib.error) as error:
        raise _dead(name, f"{type(error).__name__}: {error}", kind) from error
    raise _dead(name, f"more than {MAX_REDIRECTS} redirects", kind)


def public_url(url: str) -> str:
    """Cut a URL to what may stand in a message: no user name or password, 200 characters at most."""
    url = _USER.sub("", url)
    return url if len(url) <= 200 else f"{url[:199]}…"


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address belongs to the public internet, addresses within addresses included."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _hop(url: str, deadline: float, *, name: str, limits: MediaLimits, kind: str) -> tuple[bytes | None, str]:
    """Ask one server: its body, or else the URL that it redirects to."""
    secure, host, port, path = _target(url, name=name)
    addresses = _resolve(host, port, deadline)
    if not limits.allow_private_addresses:
        for address in addresses:
            if not is_public(address):
                at = f"{host} ({address})" if host != address else host
                raise _refused(
                    name,
                    "a public address",
                    f"{at}, which is private or local",
                    "Fetch it yourself, or set MediaLimits.allow_private_addresses=True",
                )
    read = _Read(name, kind, limits)
    connection = _PinnedConnection(host, port, addresses=addresses, secure=secure, deadline=deadline, read=read)
    try:
        accept = f"{'audio' if kind == 'sound' else 'image'}/*,*/*;q=0.5"
        headers = {"User-Agent": "sensorium", "Accept": accept, "Accept-Encoding": "identity"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            return None, urljoin(url, location)
        if response.status != http.client.OK:
            raise _dead(name, f"status {response.status} {response.reason}", kind)
        return _body(response, name=name, limits=limits, kind=kind), url
    finally:
        connection.hang_up()


def _target(url: str, *, name: str) -> tuple[bool, str, int, str]:
    """Take a URL apart: whether it is https, its host in ASCII, its port, its path with the query."""
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise _refused(name, "an http or https URL", f"{scheme}:", "Pass a local file by its path")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host = host if ":" in host else host.encode("idna").decode()  # a colon: an IPv6 address
        port = parts.port or (443 if scheme == "https" else 80)
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]|")
    except ValueError as error:  # UnicodeError is one
        raise _refused(name, "a well-formed URL", str(error), "Correct it") from error
    if not host:
        raise _refused(name, "a URL with a host", "none", "Correct it")
    if parts.username is not None:
        raise _refused(name, "a URL without user name and password", "one with them", "Fetch it and pass its bytes")
    return scheme == "https", host, port, f"{path}?{query}" if query else path


def _resolve(host: str, port: int, deadline: float) -> list[str]:
    """Look a name up on a thread, as getaddrinfo knows no time limit."""
    addresses: list[str] = []
    failed: list[Exception] = []

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except (OSError, ValueError) as error:  # ValueError: no text of a name, such as one with a NUL
            failed.append(error)

    thread = threading.Thread(target=look_up, name="sensorium-resolve", daemon=True)
    thread.start()
    thread.join(_left(deadline))
    if failed:
        raise OSError(f"no such host: {host}") from failed[0]
    if thread.is_alive() or not addresses:
        raise TimeoutError(f"no address for {host}")
    return addresses


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to one of the given addresses, which speaks to `host` by name (Host, SNI, certificate)."""

    def __init__(
        self, host: str, port: int, *, addresses: list[str], secure: bool, deadline: float, read: _Read
    ) -> None:
        super().__init__(host, port)
        self.default_port = 443 if secure else 80  # the Host header omits the default port
        self._addresses, self._secure, self._deadline, self._read = addresses, secure, deadline, read
        self._wire: socket.socket | None = None

    def connect(self) -> None:
        self._wire = self._dial()
        if self._secure:
            self._wire.settimeout(_left(self._deadline))
            self._wire = _tls().wrap_socket(self._wire, server_hostname=self.host)
        self.sock = cast("socket.socket", _TimedSocket(self._wire, self._deadline, self._read))

    def hang_up(self) -> None:
        self.close()
        if self._wire is not None:
            self._wire.close()

    def _dial(self) -> socket.socket:
        for tries_left in range(len(self._addresses), 0, -1):
            address = self._addresses[-tries_left]
            try:
                return socket.create_connection((address, self.port), timeout=_left(self._deadline) / tries_left)
            except OSError:
                if tries_left == 1:
                    raise
        raise OSError("no address to connect to")


class _TimedSocket:
    """What http.client needs of a socket, every wait cut at one deadline: a slow trickle cannot stretch it."""

    def __init__(self, wire: socket.socket, deadline: float, read: _Read) -> None:
        self._wire, self._deadline, self._read = wire, deadline, read

    def sendall(self, data: ReadableBuffer) -> None:
        self._wire.settimeout(_left(self._deadline))
        self._wire.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._wire, self._deadline, self._read), _CHUNK)

    def close(self) -> None:
        """Nothing: http.client closes before the body is read; `hang_up` closes the wire."""


class _TimedReader(io.RawIOBase):
    def __init__(self, wire: socket.socket, deadline: float, read: _Read) -> None:
        self._wire, self._deadline, self._read = wire, deadline, read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._wire.settimeout(_left(self._deadline))
        count = self._wire.recv_into(buffer)
        self._read.add(count)
        return count


class _Read:
    """What an answer has sent, whatever its head says of its length: http.client reads a chunk of -1 bytes to the end.

    Args:
        name: of the URL, for an error.
        kind: what is expected there.
        limits: `max_bytes` applies, and an eighth more for the heads of chunks.
    """

    def __init__(self, name: str, kind: str, limits: MediaLimits) -> None:
        self._name, self._kind, self._limits = name, kind, limits
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count
        self._limits.check_bytes(max(1, self._count - self._count // 8 - 2**20), name=self._name, kind=self._kind)


def _body(response: http.client.HTTPResponse, *, name: str, limits: MediaLimits, kind: str) -> bytes:
    """Read a body chunk by chunk; the limit holds for what came over the wire and for what it unpacks to."""
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise _dead(name, f"a body in content-encoding {encoding!r}, though identity was asked for", kind)
    unpack = None if encoding == "identity" else zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    if response.length is not None:
        limits.check_bytes(response.length, name=name, kind=kind)
    body, received = bytearray(), 0
    while not (unpack and unpack.eof) and (chunk := response.read(_CHUNK)):
        received += len(chunk)
        body += unpack.decompress(chunk, limits.max_bytes + 1 - len(body)) if unpack else chunk
        limits.check_bytes(max(received, len(body)), name=name, kind=kind)
    if (unpack and not unpack.eof) or (not unpack and response.length):
        raise _cut_off(name)
    return bytes(body)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("out of time")
    return left


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _refused(name: str, expected: str, got: str, advice: str) -> LimitError:
    return LimitError(f"{name}: expected {expected}, got {got}. {advice}.", code="url-not-allowed", source=name)


def _dead(name: str, got: str, kind: str) -> InputError:
    message = f"{name}: expected an answer with a {kind}, got {got}. Check the URL, or fetch it and pass its bytes."
    return InputError(message, code="dead-url", source=name)


def _cut_off(name: str) -> InputError:
    message = f"{name}: expected the whole body, but the connection ended early. Try again."
    return InputError(message, code="truncated", source=name)
