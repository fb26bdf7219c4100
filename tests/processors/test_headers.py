"""Picture bombs: refused from the header, in bounded time and memory, whatever the format."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from sensorium.errors import LimitError
from sensorium.processors import headers
from sensorium.processors.media import MediaLimits, load_image, load_pil


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


SCENE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 67, 3), dtype=np.uint8))
FILES = {kind: encode(SCENE, kind) for kind in ("JPEG", "BMP", "AVIF")}
FILES["AVIF animation"] = encode(SCENE, "AVIF", save_all=True, append_images=[SCENE.rotate(90), SCENE])


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(width: int, height: int, *extra: bytes) -> bytes:
    rows = zlib.compress(bytes(((width + 7) // 8 + 1) * height), 9)  # one bit a pixel
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(width: int, height: int, *, frames: int, box: tuple[int, int] = (1, 1)) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, *box, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def webp(width: int, height: int, *, frames: int) -> bytes:
    picture = encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    body = bytes(12) + b"\x64\0\0\0" + picture
    frame = b"ANMF" + struct.pack("<I", len(body)) + body
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame * frames
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def patched(data: bytes, mark: bytes, skip: int, *values: int) -> bytes:
    place = data.index(mark) + len(mark) + skip
    new = struct.pack(f">{len(values)}I", *values)
    return data[:place] + new + data[place + len(new) :]


SOF = FILES["JPEG"].index(b"\xff\xc0") + 5
BOMBS = {
    "PNG of 400 MP": (png(20_000, 20_000), "too-many-pixels"),
    "JPEG of 4 GP": (FILES["JPEG"][:SOF] + b"\xff\xff\xff\xff" + FILES["JPEG"][SOF + 4 :], "too-many-pixels"),
    "APNG of many frames": (png(9, 9, chunk(b"acTL", struct.pack(">II", 20_000, 0))), "too-many-frames"),
    "GIF of a huge canvas": (gif(60_000, 60_000, frames=1), "too-many-pixels"),
    "GIF of a frame larger than its canvas": (gif(1, 1, frames=1, box=(60_000, 60_000)), "too-many-pixels"),
    "GIF of many frames": (gif(9, 9, frames=100_000), "too-many-frames"),
    "WebP of a huge canvas": (webp(2**24, 2**24, frames=1), "too-many-pixels"),
    "WebP of 268 MP": (
        encode(Image.new("RGB", (1, 1)), "WEBP")[:26] + b"\xff\x3f\xff\x3f" + bytes(99),
        "too-many-pixels",
    ),
    "WebP of many frames": (webp(9, 9, frames=100_000), "too-many-frames"),
    "AVIF of a huge canvas": (patched(FILES["AVIF"], b"ispe", 4, 20_000, 20_000), "too-many-pixels"),
    "AVIF of many frames": (patched(FILES["AVIF animation"], b"stsz", 8, 10**6), "too-many-frames"),
    "BMP of 400 MP": (FILES["BMP"][:18] + struct.pack("<ii", 20_000, 20_000) + FILES["BMP"][26:], "too-many-pixels"),
    "PPM of 400 MP": (b"P6 20000 20000 255\n" + bytes(99), "too-many-pixels"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_from_its_header(bomb, tmp_path):
    data, code = BOMBS[bomb]
    (tmp_path / "bomb").write_bytes(data)
    times = []
    before = psutil.Process().memory_info().rss
    for _ in range(3):
        start = time.perf_counter()
        with pytest.raises(LimitError) as caught:
            load_image(tmp_path / "bomb")
        times.append(time.perf_counter() - start)
    assert caught.value.code == code
    assert min(times) < 0.05  # the fault table's bound
    assert psutil.Process().memory_info().rss - before < 50e6


def test_a_png_of_400_megapixels_is_small_enough_to_be_a_bomb():
    assert len(BOMBS["PNG of 400 MP"][0]) < 60_000


def test_limits_are_arguments_and_pillows_own_does_not_warn():
    data = png(10_000, 9_500)  # above Pillow's warning at 89 MP, below ours
    image = load_pil(data)
    assert image.size == (10_000, 9_500)
    with pytest.raises(LimitError):
        load_pil(data, limits=MediaLimits(max_pixels=90_000_000))
    assert load_image(gif(9, 9, frames=20), limits=MediaLimits(max_frames=20)).shape == (3, 9, 9)
    with pytest.raises(LimitError):
        load_image(gif(9, 9, frames=21), limits=MediaLimits(max_frames=20))


def test_animations_within_the_limit_built_by_hand_are_valid():
    assert load_image(webp(9, 7, frames=3)).shape == (3, 7, 9)
    assert load_image(gif(9, 7, frames=3)).shape == (3, 7, 9)
    assert load_image(png(9, 7, chunk(b"acTL", struct.pack(">II", 2, 0)))).shape == (3, 7, 9)


def test_a_gif_of_endless_blocks_is_refused_in_bounded_time():
    data = gif(9, 9, frames=1)[:-2] + b"\x01\0" * (headers.MAX_BLOCKS + 10)
    start = time.perf_counter()
    with pytest.raises(LimitError) as caught:
        load_image(data)
    assert caught.value.code == "too-many-frames"
    assert time.perf_counter() - start < 5


def test_a_bomb_as_pil_image_is_refused_unloaded():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(png(13_000, 13_000)))
    with pytest.raises(LimitError) as caught:
        load_image(image)
    assert caught.value.code == "too-many-pixels"
