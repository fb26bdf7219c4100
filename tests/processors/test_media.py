"""What counts as a picture, how it is named in a message, batches, and every bad source."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from sensorium.errors import InputError
from sensorium.processors.media import (
    MediaLimits,
    describe,
    expand_batches,
    is_batch,
    load_image,
    load_pil,
    split_batch,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(PIXELS).permute(2, 0, 1)


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


class Unseekable(io.RawIOBase):
    """A pipe: gives few bytes at a time and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken, self.rest = self.rest[: min(size, 7)], self.rest[min(size, 7) :]
        return taken


@pytest.mark.parametrize(
    "make",
    [
        str,
        Path,
        os.fspath,
        lambda path: path.relative_to(Path.cwd()),
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: np.frombuffer(path.read_bytes(), np.uint8).data,
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: Unseekable(path.read_bytes()),
        lambda path: URI,
        lambda path: URI.replace("data:image/png;base64", "DATA:;Base64"),
        lambda path: "data:image/png," + "".join(f"%{byte:02x}" for byte in path.read_bytes()),
        lambda path: URI.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D\n"),
        lambda path: Image.open(io.BytesIO(path.read_bytes())),
        lambda path: Image.fromarray(PIXELS),
        lambda path: PIXELS,
        lambda path: PIXELS.transpose(2, 0, 1),
        lambda path: torch.from_numpy(PIXELS),
        lambda path: EXPECTED,
    ],
)
def test_every_kind_of_source_gives_the_same_pixels(make, path, monkeypatch):
    monkeypatch.chdir(path.parent.parent)
    assert torch.equal(load_image(make(path)), EXPECTED)
    assert np.array_equal(np.asarray(load_pil(make(path))), PIXELS)


def test_a_file_object_is_read_from_its_start_and_left_open(path):
    with path.open("rb") as file:
        file.seek(40)
        assert torch.equal(load_image(file), EXPECTED)
        assert torch.equal(load_image(file), EXPECTED)
        assert not file.closed


def test_a_file_named_like_a_url_or_in_odd_letters_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http_not_a_url.png", "naïve ✓.png", "data.png", "100%.png"):
        Path(name).write_bytes(PNG)
        assert torch.equal(load_image(name), EXPECTED)


def test_a_large_file_is_closed_again(tmp_path):
    big = tmp_path / "big.bmp"
    Image.new("RGB", (2000, 1500), (1, 2, 3)).save(big)
    assert load_image(big)[:, 7, 7].tolist() == [1, 2, 3]
    big.write_bytes(big.read_bytes()[: -(10**6)])
    with pytest.raises(InputError, match="ends too early"):
        load_image(big)


# Descriptions


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("photos/cat.jpg", "photos/cat.jpg"),
        (Path("photos/cat.jpg"), "photos/cat.jpg"),
        (b"12345", "5 bytes"),
        (PIXELS, "array (13, 17, 3) uint8"),
        (EXPECTED, "tensor (3, 13, 17) uint8"),
        (Image.new("L", (5, 4)), "PIL image L 5x4"),
        (None, "None"),
        (3, "int object"),
        ("https://user:secret@example.com/a.png?q=1", "https://example.com/a.png?q=1"),
        ("https://example.com?mail=a@b", "https://example.com?mail=a@b"),
        ("two\nlines.jpg", "two\\nlines.jpg"),
    ],
)
def test_describe_names_an_input(source, text):
    assert describe(source) == text


def test_describe_never_shows_the_payload():
    assert describe(URI) == f"data:image/png;base64,… ({len(URI):,} characters)"
    long = base64.b64encode(bytes(10**5)).decode()
    for source in (long, long.encode(), "data:" + long, "https://example.com/" + long, Path(long), [long], {long}):
        assert len(describe(source)) < 250


# Batches


def test_a_4d_array_or_tensor_is_a_batch_of_views():
    for batch in (np.stack([PIXELS, PIXELS[::-1]]), torch.stack([EXPECTED, EXPECTED.flip(1)])):
        assert is_batch(batch)
        views = split_batch(batch)
        assert [view.shape for view in views] == [batch.shape[1:]] * 2
        views[1][0, 0, 0] = 77
        assert batch[1, 0, 0, 0] == 77
        assert torch.equal(load_image(views[0]), EXPECTED)
    assert split_batch(np.zeros((0, 4, 4, 3), np.uint8)) == []


def test_lists_expand_the_batches_in_them_and_keep_the_rest_in_order():
    batch = np.stack([PIXELS, PIXELS])
    assert is_batch(["a.jpg"])
    assert is_batch(())
    assert [describe(member) for member in split_batch(["a", batch, b"b"])] == [
        "a",
        *[describe(PIXELS)] * 2,
        describe(b"b"),
    ]
    for single in ("a.jpg", b"a", PIXELS, EXPECTED, None, Image.new("L", (1, 1))):
        assert not is_batch(single)


def test_expand_batches_is_lazy():
    def endless():
        while True:
            yield np.zeros((2, 4, 4), np.uint8)[None]

    stream = expand_batches(endless())
    assert next(stream).shape == (2, 4, 4)
    assert next(stream).shape == (2, 4, 4)


# The module itself


def test_many_threads_load_at_once(path):
    jpeg = encoded("JPEG")
    expected = load_image(jpeg)
    wrong: list[object] = []

    def work() -> None:
        for _ in range(20):
            if not torch.equal(load_image(jpeg), expected) or not torch.equal(load_image(path), EXPECTED):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_importing_loads_no_heavy_library():
    code = (
        "import sys, sensorium.processors.media as m; m.describe('a');"
        "assert not {'torch', 'torchvision', 'transformers', 'timm', 'huggingface_hub'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_decoding_changes_no_global_of_pillow():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    load_image(PNG, limits=MediaLimits(max_pixels=10**9))
    with pytest.raises(InputError):
        load_image(PNG[:-40])
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
