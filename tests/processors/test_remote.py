"""Files on remote file systems: opened where they are allowed, within the limits, and nowhere else."""

from __future__ import annotations

import sys
import threading

import fsspec
import pytest

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors.limits import MediaLimits
from sensorium.processors.media import load_image
from sensorium.processors.remote import open_file_system
from tests import media

ALLOWED = MediaLimits(allow_remote=("memory://shop/photos",), timeout_s=250)


@pytest.fixture
def shop():
    """A shop with two pictures, only one of which lies among its photos."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for path in ("/shop/photos/cat.jpg", "/shop/photos-private/cat.jpg"):
        system.pipe_file(path, media.jpeg(32, 24))
    system.pipe_file("/shop/photos/notes.jpg", b"no picture")
    system.pipe_file("/shop/photos/empty.jpg", b"")
    yield system
    system.store.clear()


def fault(address, limits=ALLOWED):
    with pytest.raises(InputError) as caught:
        load_image(address, limits=limits)
    return caught.value


def test_an_allowed_address_is_read_as_a_file(shop):
    assert load_image("memory://shop/photos/cat.jpg", limits=ALLOWED).shape == (3, 24, 32)
    assert load_image("MEMORY://shop/photos/cat.jpg", limits=MediaLimits(allow_remote=("memory://",))).shape[0] == 3


@pytest.mark.parametrize(
    ("address", "limits"),
    [
        ("memory://shop/photos/cat.jpg", MediaLimits()),  # nothing is allowed unless it is said
        ("memory://shop/photos/cat.jpg", MediaLimits(allow_remote=("memory://",), allow_urls=False)),
        ("memory://shop/photos/cat.jpg", MediaLimits(allow_remote=("s3://",))),
        ("memory://shop/photos-private/cat.jpg", ALLOWED),  # begins alike, and is another folder
        ("memory://shop/photos/../photos-private/cat.jpg", ALLOWED),
        ("memory://shop/photos/%2e%2e/photos-private/cat.jpg", ALLOWED),
        (r"memory://shop/photos/..\photos-private/cat.jpg", ALLOWED),
        ("file:///etc/passwd", MediaLimits(allow_remote=("memory://",))),
        ("zip://cat.jpg::memory://shop/photos/cat.zip", MediaLimits(allow_remote=("memory://",))),
    ],
)
def test_what_is_not_allowed_is_not_opened(shop, monkeypatch, address, limits):
    monkeypatch.setattr("sensorium.processors.remote.open_file_system", lambda _: pytest.fail("it was opened"))
    error = fault(address, limits)
    assert isinstance(error, LimitError) and error.code == "url-not-allowed" and "allow_remote" in error.message


def test_a_chain_is_no_address(shop):
    assert fault("simplecache::memory://shop/photos/cat.jpg").code == "missing-file"
    assert fault("memory://shop/photos/x::memory://shop/photos/cat.jpg").code == "missing-file"  # one name, as it is


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("memory://shop/photos/none.jpg", "missing-file"),
        ("memory://shop/photos/notes.jpg", "not-a-picture"),
        ("memory://shop/photos/empty.jpg", "empty-file"),
    ],
)
def test_faults_have_their_codes(shop, address, code):
    assert fault(address).code == code


def test_what_is_too_large_is_not_read_whole(shop, monkeypatch):
    monkeypatch.setattr("sensorium.processors.remote._CHUNK", 100)
    error = fault("memory://shop/photos/cat.jpg", MediaLimits(allow_remote=("memory://",), max_bytes=150))
    assert error.code == "too-many-bytes" and "got 200 or more" in error.message


def test_what_does_not_answer_in_time_is_given_up(shop, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(type(shop), "_open", lambda *_, **__: go_on.wait() and None)
    try:
        error = fault("memory://shop/photos/cat.jpg", MediaLimits(allow_remote=("memory://",), timeout_s=0.01))
    finally:
        go_on.set()
    assert error.code == "url-timeout"


def test_a_fault_of_the_file_system_is_told(shop, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("the token has expired")

    monkeypatch.setattr(type(shop), "_open", refuse)
    error = fault("memory://shop/photos/cat.jpg")
    assert error.code == "dead-url" and "the token has expired" in error.message


def test_a_package_that_is_missing_is_named(monkeypatch):
    cellar = {"class": "cellar_files.CellarFileSystem", "err": "Install cellar-files to access cellars"}
    monkeypatch.setitem(sys.modules["fsspec.registry"].known_implementations, "cellar", cellar)
    with pytest.raises(OptionError, match=r"cellar:// needs a package.*Install cellar-files"):
        open_file_system("cellar://a/b.jpg")
    error = fault("cellar://a/b.jpg", MediaLimits(allow_remote=("cellar://",)))
    assert error.code == "missing-library" and "Install cellar-files" in error.message
    with pytest.raises(OptionError, match="no file system is known for attic://"):
        open_file_system("attic://a/b.jpg")
    with pytest.raises(OptionError, match="by its path"):
        open_file_system("file:///etc/passwd")


@pytest.mark.parametrize("wrong", ["s3://bucket", ("bucket/",), ("https://x/",), ("file:///",), ("zip://",), (3,)])
def test_wrong_beginnings_are_refused(wrong):
    with pytest.raises(OptionError, match=r"s3://bucket/"):
        MediaLimits(allow_remote=wrong)
