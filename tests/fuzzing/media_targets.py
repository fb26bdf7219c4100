"""Pictures, sounds, and the addresses that they may come from."""

from __future__ import annotations

import functools
import io
import struct
from unittest import mock

from PIL import Image

from sensorium.processors import addresses, audio_headers, files, image_headers, image_jpeg, image_sniffing, urls
from sensorium.processors.audio_flac import true_length
from sensorium.processors.audio_reading import load_audio
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import describe, load_image
from tests.audio import encoded, make_audio
from tests.fuzzing.target import OnDisk, Target
from tests.media import make_image

SOUNDS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "RF64", "W64", "AU", "CAF")
LIMITS = MediaLimits(max_pixels=2**20, max_frames=100, max_seconds=20, sound_formats=SOUNDS, allow_urls=False)


def picture_header(data: bytes) -> None:
    stream = OnDisk(data)
    image_jpeg.plain_jpeg(data)
    image_jpeg.is_whole_baseline_jpeg(data)
    kind = image_sniffing.sniff(stream, name="x", limits=LIMITS)
    image_headers.check_container(kind, stream, name="x", limits=LIMITS)


def pictures():
    picture = make_image(24, 16)
    other = make_image(24, 16, seed=1)
    forms = [("JPEG", {"quality": 30}), ("JPEG", {"progressive": True, "quality": 30}), ("GIF", {}), ("TIFF", {}),
             ("JPEG", {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}), ("AVIF", {}),
             ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("PPM", {}), ("MPO", {}),
             ("TIFF", {"compression": "tiff_lzw", "big_tiff": True}), ("TGA", {}), ("ICO", {})]  # fmt: skip
    several = [(form, {"save_all": True, "append_images": [other]}) for form in ("GIF", "WEBP", "PNG", "AVIF", "MPO")]
    for form, settings in (*forms, *several):
        with io.BytesIO() as file:
            picture.save(file, form, **settings)
            yield file.getvalue()
    yield b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with io.BytesIO() as file:
        Image.new("P", (9, 7)).save(file, "BMP", compression="rle")
        yield file.getvalue()


def sound_header(data: bytes) -> None:
    stream = OnDisk(data)
    kind, start = audio_headers.sniff(stream, name="x", limits=LIMITS)
    for section in audio_headers.sections(stream, kind, start, name="x"):
        section.read(64)
        if kind == "FLAC":
            true_length(section)


def sounds():
    sound = make_audio(0.1)
    made = {form: encoded(sound, form=form) for form in SOUNDS}
    yield from made.values()
    yield encoded(sound[:400], form="OGG", subtype="OPUS")
    for form in ("MP3", "OGG", "FLAC"):  # put together from several, as `cat` does
        yield made[form] + made[form]
    yield b"ID3\4\0\0\0\0\0\x05hello" + made["MP3"]
    yield bytes(30) + made["MP3"]
    yield made["MP3"] + b"TAG" + bytes(125)
    yield _wav(b"\x55\0", made["MP3"])
    yield made["WAV"][:40] + bytes(4) + made["WAV"][44:]


def _wav(form: bytes, content: bytes) -> bytes:
    chunk = b"fmt " + struct.pack("<I", 16) + form + struct.pack("<HIIHH", 1, 16000, 2000, 1, 0)
    body = b"WAVE" + chunk + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def address(data: bytes) -> None:
    """A text as a picture's source, and as the place that a server redirects to."""
    text = data.decode("utf-8", "surrogateescape")
    describe(text)
    addresses.is_allowed(text, ("s3://bucket/photos/",))
    if addresses.scheme_of(text):
        try:
            addresses.checked_beginnings((text,))
        finally:
            urls._target(text, name="x")
    if text[:5].lower() == "data:":
        files.decode_data_uri(text, name="x", limits=LIMITS)


ADDRESSES = (
    b"https://example.org/cat.jpg?size=3#part", b"http://user:name@[::1]:80/a%20b", b"s3://bucket/photos/../x.jpg",
    b"data:image/png;base64,iVBORw0KGgo=", b"data:,a%20b", b"DATA:;BASE64,  QUJD\n", b"http://\xc3\xa4.de:99999/",
    b"file:///etc/passwd", b"zip://x::s3://bucket/photos/y", b"gs://b/%2e%2e/x", b"http://1.2.3.4\0/\xed\xa0\x80",
)  # fmt: skip


class _Wire:
    """A connection on which a server says something, and hears nothing."""

    def __init__(self, said: bytes) -> None:
        self._said = io.BytesIO(said)

    def settimeout(self, seconds):
        pass

    def sendall(self, data):
        pass

    def close(self):
        pass

    def recv_into(self, buffer):
        return self._said.readinto(buffer)


def answer(data: bytes) -> None:
    """What a web server answers, to the end of its redirects."""
    limits = MediaLimits(max_bytes=2**20)
    with (
        mock.patch.object(urls, "_resolve", lambda host, port, deadline: ["93.184.216.34"]),
        mock.patch.object(urls._PinnedConnection, "_dial", lambda self: _Wire(data)),
        mock.patch.object(urls, "_tls", lambda: mock.Mock(wrap_socket=lambda wire, server_hostname: wire)),
    ):
        urls.fetch("http://example.org/x", name="x", limits=limits)


def answers():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
    yield head + b"Content-Length: 5\r\n\r\nhello"
    yield head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    yield head + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n-3\r\n\r\n"
    yield (
        head
        + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\x02\xff\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\5\0\0\0"
    )
    yield b"HTTP/1.0 302 Found\r\nLocation: //other.org/[x?y\r\n\r\n"
    yield b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Gone\r\n\r\n"


IN_PICTURES = (
    b"\xff\xda",
    b"\xff\xc2",
    b"IHDR",
    b"VP8X",
    b"ANMF",
    b"ispe\0\0\0\0",
    b"stsz",
    b"\x2b\0\x08\0",
    b"\x42\1",
)
IN_SOUNDS = (
    b"OggS",
    b"fLaC\0\0\0\x22",
    b"RIFF",
    b"data",
    b"ds64",
    b"Xing",
    b"VBRI",
    b"ID3",
    b"TAG",
    b"APETAGEX",
    b"SSND",
)
IN_ADDRESSES = (b"data:", b";base64,", b"http://", b"s3://", b"[", b"::", b"%2e%2e", b"\xed\xa0\x80", b"\0")
IN_ANSWERS = (b"Content-Length: ", b"Transfer-Encoding: chunked", b"Location: ", b"http://[", b"Content-Encoding: ")

TARGETS = {
    "picture-headers": Target(picture_header, pictures, words=IN_PICTURES),
    "sound-headers": Target(sound_header, sounds, words=IN_SOUNDS),
    "pictures": Target(functools.partial(load_image, limits=LIMITS), pictures, words=IN_PICTURES),
    "sounds": Target(functools.partial(load_audio, limits=LIMITS), sounds, words=IN_SOUNDS),
    "addresses": Target(address, lambda: ADDRESSES, words=IN_ADDRESSES),
    "web-answers": Target(answer, answers, words=IN_ANSWERS),
}
