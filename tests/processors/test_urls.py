"""URLs against a real server on loopback: what is fetched, what is refused, and when it is given up."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import io
import select
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.errors import InputError, LimitError
from sensorium.processors import urls
from sensorium.processors.media import MediaLimits, describe, load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(PIXELS).permute(2, 0, 1)
_BUFFER = io.BytesIO()
Image.fromarray(PIXELS).save(_BUFFER, "PNG")
PNG = _BUFFER.getvalue()
LOCAL = MediaLimits(allow_private_addresses=True, timeout_s=250)  # no answer comes late, however busy the machine


class Routes(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"]))
        name, _, rest = self.path.lstrip("/").partition("/")
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client hangs up, as it should
            getattr(self, f"get_{name.partition('?')[0].partition('.')[0]}")(rest)

    def reply(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def get_cat(self, _rest: str) -> None:
        self.reply(PNG)

    def get_spaces(self, rest: str) -> None:
        self.reply(PNG if rest == "a%20b%C3%A9.png?q=%201" else b"wrong", 200 if "%20" in rest else 400)

    def get_unsized(self, _rest: str) -> None:
        self.reply(PNG, length=-1)

    def get_chunked(self, rest: str) -> None:
        self.reply(b"", length=-1, Transfer_Encoding="chunked")
        for start in range(0, len(PNG), 100):
            part = PNG[start : start + 100]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"" if rest == "cut" else b"0\r\n\r\n")

    def get_gzip(self, _rest: str) -> None:
        self.reply(gzip.compress(PNG), Content_Encoding="gzip")

    def get_deflate(self, _rest: str) -> None:
        self.reply(zlib.compress(PNG), Content_Encoding="deflate")

    def get_gzipcut(self, _rest: str) -> None:
        self.reply(gzip.compress(PNG)[:-20], Content_Encoding="gzip")

    def get_notgzip(self, _rest: str) -> None:
        self.reply(PNG, Content_Encoding="gzip")

    def get_brotli(self, _rest: str) -> None:
        self.reply(PNG, Content_Encoding="br")

    def get_zipbomb(self, _rest: str) -> None:
        self.reply(gzip.compress(bytes(50 * 2**20)), Content_Encoding="gzip")

    def get_trailing(self, _rest: str) -> None:
        self.reply(gzip.compress(PNG), length=-1, Content_Encoding="gzip")
        while True:
            self.wfile.write(bytes(2**16))

    def get_declared(self, _rest: str) -> None:
        self.reply(PNG, length=400 * 2**20)

    def get_endless(self, _rest: str) -> None:
        self.reply(b"", length=-1)
        while True:
            self.wfile.write(bytes(2**16))

    def get_negative(self, rest: str) -> None:
        self.reply(b"", length=-1, Transfer_Encoding="chunked")
        self.wfile.write(f"{rest}\r\n".encode())
        for _ in range(64):
            self.wfile.write(bytes(2**16))

    def get_astray(self, _rest: str) -> None:
        self.reply(b"", status=302, Location="http://[::1/a.png")

    def get_cut(self, _rest: str) -> None:
        self.reply(PNG[:200], length=len(PNG))

    def get_drip(self, _rest: str) -> None:
        self.reply(b"", length=10**8)
        self.drip(b"x")

    def get_driphead(self, _rest: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        self.drip(b"y")

    def drip(self, drop: bytes) -> None:
        """Until the client hangs up: whoever has no deadline never ends, nor does the test."""
        while not select.select([self.connection], [], [], 0.05)[0]:
            self.wfile.write(drop)

    def get_silent(self, _rest: str) -> None:
        self.rfile.read(1)  # which comes, as the end of the file, when the client hangs up

    def get_empty(self, _rest: str) -> None:
        self.reply(b"")

    def get_page(self, _rest: str) -> None:
        self.reply(b"<html>Hello</html>", Content_Type="text/html")

    def get_missing(self, _rest: str) -> None:
        self.reply(b"gone", 404)

    def get_nothing(self, _rest: str) -> None:
        self.reply(b"", 204)

    def get_garbage(self, _rest: str) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    def get_redirect(self, rest: str) -> None:
        """`/redirect/N` leads over N hops to the picture, `/redirect/?URL` to the URL."""
        if rest.startswith("?"):
            self.reply(b"", 302, Location=rest[1:])
        elif int(rest) > 1:
            self.reply(b"", 307, Location=f"{int(rest) - 1}")
        else:
            self.reply(b"", 301, Location="/cat.png")

    def log_message(self, *_args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        pass  # clients that hang up mid-way are what is tested


def serve(tls: ssl.SSLContext | None = None):
    server = Server(("127.0.0.1", 0), Routes)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.fixture(scope="module")
def base():
    server = serve()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fault(url: str, limits: MediaLimits = LOCAL) -> InputError:
    with pytest.raises(InputError) as caught:
        load_image(url, limits=limits)
    assert caught.value.source == describe(url)
    assert "expected" in caught.value.message
    return caught.value


def resolve(monkeypatch, answers: dict[str, list[list[str]]]) -> list[str]:
    """Let names resolve to the given addresses, one list a look-up; returns the names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host, port, *args, **options):
        if host not in answers:
            return real(host, port, *args, **{**options, "flags": socket.AI_NUMERICHOST})
        asked.append(host)
        addresses = answers[host][min(asked.count(host), len(answers[host])) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(urls.socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "path",
    [
        "cat.png",
        "unsized",
        "chunked",
        "gzip",
        "deflate",
        "redirect/1",
        "redirect/5",
        "spaces/a b\u00e9.png?q= 1",
        "cat#part",
    ],
)
def test_a_picture_is_fetched(base, path):
    assert torch.equal(load_image(f"{base}/{path}", limits=LOCAL), EXPECTED)


def test_the_scheme_may_be_in_capitals(base):
    assert torch.equal(load_image(base.replace("http", "HTTP") + "/cat.png", limits=LOCAL), EXPECTED)


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("missing.png", "dead-url", "404"),
        ("nothing", "dead-url", "204"),
        ("garbage", "dead-url", "BadStatusLine"),
        ("brotli", "dead-url", "br"),
        ("notgzip", "dead-url", "header"),
        ("redirect/6", "dead-url", "5 redirects"),
        ("page.jpg", "not-a-picture", "html"),
        ("empty", "empty-file", "0 bytes"),
        ("cut", "truncated", "early"),
        ("chunked/cut", "truncated", "early"),
        ("negative/-3", "dead-url", "non-negative"),
        ("astray", "dead-url", "IPv6"),
        ("gzipcut", "truncated", "early"),
    ],
)
def test_an_answer_without_a_picture(base, path, code, words):
    error = fault(f"{base}/{path}")
    assert error.code == code
    assert words in error.message


@pytest.mark.parametrize("path", ["endless", "declared", "zipbomb", "trailing"])
def test_no_more_of_a_body_is_read_than_the_limit(base, path, monkeypatch):
    received = []
    read = urls._TimedReader.readinto
    monkeypatch.setattr(urls._TimedReader, "readinto", lambda *args: received.append(read(*args)) or received[-1])
    limits = replace(LOCAL, max_bytes=10**6)
    if path == "trailing":  # what follows the end of a gzip stream is never read
        assert torch.equal(load_image(f"{base}/{path}", limits=limits), EXPECTED)
    else:
        error = fault(f"{base}/{path}", limits)
        assert isinstance(error, LimitError)
        assert error.code == "too-many-bytes"
    most = {"endless": 10**6, "declared": 0, "zipbomb": len(gzip.compress(bytes(50 * 2**20))), "trailing": len(PNG)}
    assert sum(received) <= most[path] + 2 * 2**16  # the head, and the rest of what came at once


def test_a_chunk_of_minus_one_byte_is_not_read_to_the_end(base):
    error = fault(f"{base}/negative/-1", replace(LOCAL, max_bytes=10**5))
    assert (type(error), error.code) == (LimitError, "too-many-bytes")


@pytest.mark.parametrize("path", ["drip", "driphead", "silent"])
def test_a_dripping_or_silent_server_is_left_at_the_deadline(base, path):
    """These servers go on for as long as somebody listens, so that without a deadline this would not end."""
    error = fault(f"{base}/{path}", replace(LOCAL, timeout_s=0.4))
    assert isinstance(error, LimitError)
    assert error.code == "url-timeout"
    assert "within 0.4 s" in error.message


def test_a_name_server_that_never_answers_is_left_at_the_deadline(monkeypatch):
    left = threading.Event()
    monkeypatch.setattr(urls.socket, "getaddrinfo", lambda *_args, **_options: left.wait() and [])
    try:
        assert fault("http://slow.test/", MediaLimits(timeout_s=0.2)).code == "url-timeout"
    finally:
        left.set()


@pytest.mark.parametrize("waits", [1, 6, 11])
def test_all_hops_share_one_deadline(base, monkeypatch, waits):
    """By a clock of our own, on which each wait begins 100 s after the one before; four hops have four waits each."""
    asked = 0

    def tick():
        nonlocal asked
        asked += 1
        return 100.0 * asked

    monkeypatch.setattr(urls, "time", SimpleNamespace(monotonic=tick))
    assert fault(f"{base}/redirect/3", replace(LOCAL, timeout_s=100.0 * waits)).code == "url-timeout"
    assert asked == 1 + waits
    assert torch.equal(load_image(f"{base}/redirect/3", limits=replace(LOCAL, timeout_s=1e5)), EXPECTED)


def test_dead_ports_and_hosts(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    error = fault(f"http://127.0.0.1:{port}/a.png")
    assert error.code == "dead-url"
    assert isinstance(error.__cause__, ConnectionRefusedError)
    resolve(monkeypatch, {})
    error = fault("http://no-such-host.test/a.png")
    assert error.code == "dead-url"
    assert "no-such-host.test" in error.message


# Addresses


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1",
     "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not urls.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_addresses_that_are_public(address):
    assert urls.is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"]
)
def test_local_addresses_are_refused_however_they_are_written(host):
    Routes.seen.clear()
    error = fault(f"http://{host}:9/cat.png", MediaLimits())
    assert isinstance(error, LimitError)
    assert error.code == "url-not-allowed"
    assert "private" in error.message
    assert Routes.seen == []


def test_a_redirect_into_a_private_network_is_refused(base, monkeypatch):
    monkeypatch.setattr(urls, "is_public", lambda address: address == "127.0.0.1")  # our server plays the public one
    for target in ("http://169.254.169.254/latest", "http://127.0.0.2/", "http://[::1]/"):
        error = fault(f"{base}/redirect/?{target}", MediaLimits())
        assert error.code == "url-not-allowed"
        assert "private" in error.message
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a.png"):
        assert fault(f"{base}/redirect/?{target}", MediaLimits()).code == "url-not-allowed"


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch):
    asked = resolve(monkeypatch, {"rebinding.test": [["8.8.8.8"], ["127.0.0.1"]]})
    dialled: list[tuple[str, int]] = []

    def dial(address, timeout):
        dialled.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(urls.socket, "create_connection", dial)
    assert fault("http://rebinding.test:81/a.png", MediaLimits()).code == "dead-url"
    assert dialled == [("8.8.8.8", 81)]
    assert asked == ["rebinding.test"]


def test_one_private_address_among_several_is_enough_to_refuse(monkeypatch):
    resolve(monkeypatch, {"two.test": [["8.8.8.8", "10.0.0.1"]]})
    assert fault("http://two.test/", MediaLimits()).code == "url-not-allowed"


def test_a_second_address_is_tried_when_the_first_is_dead(base, monkeypatch):
    port = int(base.rpartition(":")[2])
    resolve(monkeypatch, {"two.test": [["127.0.0.9", "127.0.0.1"]]})
    assert torch.equal(load_image(f"http://two.test:{port}/cat.png", limits=LOCAL), EXPECTED)
    assert Routes.seen[-1] == ("/cat.png", f"two.test:{port}")


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///a.png", "http://[::1/a.png", "http://host:99999/a.png", "http://user:pw@example.com/a.png",
     "http://" + "a" * 70 + ".com/", "http://a..b/", "http://a\0b/", "http://a.test/\ud800", "http://a.test/?\ud800"],
)  # fmt: skip
def test_malformed_urls(url):
    error = fault(url, MediaLimits())
    assert error.code in ("url-not-allowed", "dead-url")
    assert "pw" not in error.message


def test_environment_proxies_are_not_used(base, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert torch.equal(load_image(f"{base}/cat.png", limits=LOCAL), EXPECTED)


# TLS


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=pictures.test", "-addext", "subjectAltName=DNS:pictures.test",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(context)
    yield server.server_port, functools.partial(ssl.create_default_context, cafile=str(certificate))
    server.shutdown()
    server.server_close()


def test_https_checks_the_certificate_for_the_name_and_not_the_address(secure, monkeypatch):
    port, trusting = secure
    resolve(monkeypatch, {"pictures.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    assert fault(f"https://pictures.test:{port}/cat.png").code == "dead-url"  # nobody trusts it yet
    monkeypatch.setattr(urls, "_tls", trusting)
    assert torch.equal(load_image(f"https://pictures.test:{port}/cat.png", limits=LOCAL), EXPECTED)
    assert Routes.seen[-1] == ("/cat.png", f"pictures.test:{port}")
    error = fault(f"https://other.test:{port}/cat.png")
    assert error.code == "dead-url"
    assert "certificate" in error.message.lower()


def test_a_server_without_tls_behind_https(base, monkeypatch):
    assert fault(base.replace("http", "https") + "/cat.png").code == "dead-url"
