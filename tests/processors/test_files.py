"""Sources that cannot be read or hold no picture: each fault by its code, for tensors and PIL images alike."""

from __future__ import annotations

import base64
import io
import os
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError, LimitError
from sensorium.processors.media import MediaLimits, describe, load_image, load_pil

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)


def encoded(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    return buffer.getvalue()


PNG = encoded()
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def path(tmp_path) -> Path:
    place = tmp_path / "a picture.png"
    place.write_bytes(PNG)
    return place


def fault(source, **limits) -> InputError:
    for load in (load_image, load_pil):
        with pytest.raises(InputError) as caught:
            load(source, limits=MediaLimits(**limits))
    error = caught.value
    assert "expected" in error.message
    assert error.source == describe(source)
    assert error.message.startswith(error.source)
    assert len(error.message) < 1000
    assert pickle.loads(pickle.dumps(error)).code == error.code
    return error


class Unseekable(io.RawIOBase):
    """A pipe: gives few bytes at a time and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken, self.rest = self.rest[: min(size, 7)], self.rest[min(size, 7) :]
        return taken


def test_a_missing_file_names_the_absolute_path_tried(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("no.jpg", Path("no.jpg"), "sub/no.jpg"):
        error = fault(source)
        assert error.code == "missing-file"
        assert str(tmp_path / source) in error.message
        assert isinstance(error.__cause__, FileNotFoundError)
    assert fault("nul\0.jpg").code == "missing-file"
    assert fault("").code == "missing-file"
    assert fault(base64.b64encode(PNG * 20).decode()).code == "missing-file"  # base64 without data:
    Path("file").write_bytes(PNG)
    assert fault("file/inside.jpg").code == "missing-file"


def test_a_directory_a_pipe_and_a_socket_are_no_files(tmp_path, monkeypatch):
    assert fault(tmp_path).code == "is-a-directory"
    os.mkfifo(tmp_path / "pipe")
    assert fault(tmp_path / "pipe").code == "unreadable-file"
    assert fault("/dev/zero").code == "unreadable-file"
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
        server.bind("socket")
        assert fault(tmp_path / "socket").code == "unreadable-file"


def test_a_file_without_permission_is_unreadable(path, monkeypatch):
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(*_args, **_options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    assert fault(path).code == "unreadable-file"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"This is not a picture at all.", "not-a-picture"),
        (b"x", "not-a-picture"),
        (b"<html>404</html>", "not-a-picture"),
        (encoded("JPEG")[:30], "truncated"),
        (encoded("JPEG")[:-20], "truncated"),
        (encoded("JPEG")[:-2], "truncated"),
        (encoded("JPEG")[:100], "truncated"),
        (PNG[:-40], "truncated"),
        (PNG[:20], "truncated"),
    ],
    ids=[
        "empty",
        "text",
        "one byte",
        "html",
        "jpeg's first 30",
        "jpeg less 20",
        "jpeg less 2",
        "jpeg's first 100",
        "png less 40",
        "png's first 20",
    ],
)
def test_content_that_is_no_whole_image(content, code, tmp_path):
    place = tmp_path / "a.jpg"
    place.write_bytes(content)
    for source in (place, content, io.BytesIO(content), f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"):
        assert fault(source).code == code


def test_too_many_bytes_are_refused_before_they_are_read(path, monkeypatch):
    monkeypatch.setattr(Image, "OPEN", {})
    for source in (path, PNG, io.BytesIO(PNG), Unseekable(PNG), URI):
        error = fault(source, max_bytes=100)
        assert isinstance(error, LimitError)
        assert error.code == "too-many-bytes"
    endless = Unseekable(b"")
    endless.read = lambda size=-1: bytes(2**20)
    assert fault(endless, max_bytes=5 * 2**20).code == "too-many-bytes"


@pytest.mark.parametrize(
    "uri",
    ["data:", "data:image/png;base64", "data:image/png;base64,!!!!", "data:image/png;base64,abcde", "data:,%zz;é"],
)
def test_a_bad_data_uri(uri):
    assert fault(uri).code in ("bad-data-uri", "empty-file", "not-a-picture")
    if "base64," in uri or "," not in uri:
        assert fault(uri).code in ("bad-data-uri", "empty-file")


@pytest.mark.parametrize("source", [None, 3, 2.5, object(), {"a": 1}, [PNG], (1, 2), {3}, np.uint8(3), Image])
def test_a_source_of_no_known_type(source):
    error = fault(source)
    assert error.code == "unsupported-type"
    assert type(source).__name__ in error.message


def test_files_that_fail_to_read():
    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError("the disk is gone")

    closed = io.BytesIO(PNG)
    closed.close()
    assert fault(Broken()).code == "unreadable-file"
    assert fault(closed).code == "unreadable-file"
    assert fault(io.StringIO("text")).code == "unsupported-type"


def test_urls_can_be_switched_off():
    assert fault("http://example.com/a.png", allow_urls=False).code == "url-not-allowed"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "gopher://x/",
        "s3://bucket/a.png",
        pytest.param("x://" + "a" * 5000, id="long"),
    ],
)
def test_other_schemes_are_refused(url):
    error = fault(url)
    assert error.code == "url-not-allowed"
    assert "http" in error.message


@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_a_missing_file_is_not_spoken_of_as_base64_unless_it_looks_like_it(kind, tmp_path):
    from sensorium.processors.audio_reading import load_audio

    load = load_image if kind == "picture" else load_audio
    paths = ["nowhere.jpg", tmp_path / "none.wav", "a/" * 200 + "long.png", "x" * 300 + ".jpg", "photo of a cat"]
    for path in paths:
        with pytest.raises(InputError) as caught:
            load(path)
        assert caught.value.code == "missing-file"
        assert "base64" not in str(caught.value)
        assert "Check the path" in str(caught.value)
    with pytest.raises(InputError, match=r"data:.*base64") as caught:
        load(base64.b64encode(bytes(range(256)) * 8).decode())
    assert caught.value.code == "missing-file"
