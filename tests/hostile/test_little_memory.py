"""Pictures in a process with 3 GB of addresses beyond its libraries': each is decoded, or has its own error.

A few are tried always; all of them, and those as large as they may be, by

    python -m pytest tests/hostile -m slow
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.hostile import pictures, plain_pictures, rarer_pictures
from tests.hostile.bomb import FINE, Bomb, zeros
from tests.hostile.pictures import bomb, encode, jpeg, png, sized
from tests.hostile.reader import Reader, tried
from tests.hostile.test_bombs import some

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux bounds it")
SHORT = (FINE, "out-of-memory")


def flat(kind: str, mode: str = "RGB", size: tuple[int, int] = (9_400, 9_400), **options: object) -> bytes:
    """A large picture of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def large() -> Iterator[Bomb]:
    """Pictures of nearly as many pixels as are allowed."""
    side = 9_900
    for depth, colour, samples in ((8, 2, 3), (8, 6, 4), (16, 6, 4), (16, 2, 3), (16, 0, 1)):
        for interlaced in (0, 1):
            data = zeros((side * samples * depth // 8 + 1) * side // 2**20 + 1)
            made = png(side, side, depth=depth, colour=colour, interlaced=interlaced, data=data)
            yield bomb(f"PNG of 98 MP, kind {colour}, {depth} bits{', interlaced' * interlaced}", made, SHORT)
    for progressive in (False, True):
        made = sized(jpeg(progressive=progressive), side, side)
        yield bomb(f"JPEG of 98 MP{', progressive' * progressive}", made, (*SHORT, "corrupt", "truncated"))
    for kind, mode in (("BMP", "RGB"), ("PPM", "RGB"), ("GIF", "P"), ("TIFF", "RGB")):
        yield bomb(f"{kind} of 88 MP, {mode}", lambda k=kind, m=mode: flat(k, m), SHORT)
    for mode in ("F", "CMYK", "RGBA"):  # 4 bytes a pixel: 262 MB, of the 268 MB that a file may have
        yield bomb(f"TIFF of 66 MP, {mode}", lambda m=mode: flat("TIFF", m, (8_100, 8_100)), SHORT)
        yield bomb(f"TIFF of 88 MP, {mode}", lambda m=mode: flat("TIFF", m), "too-many-bytes")
    for packed in ("tiff_deflate", "tiff_lzw", "packbits", "tiff_lzma"):
        yield bomb(f"TIFF of 88 MP, {packed}", lambda p=packed: flat("TIFF", compression=p), SHORT)
    for mode in ("RGB", "RGBA"):
        yield bomb(f"WebP of 64 MP, {mode}", lambda m=mode: flat("WEBP", m, (8_000, 8_000), method=0), SHORT)


KINDS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "AVIF")
VALID = [bomb(f"a {kind}", lambda kind=kind: encode(kind, (640, 480)), FINE) for kind in KINDS]


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader(3 * 10**9)
    yield made
    made.close()


def short_of_memory(given: Bomb) -> Bomb:
    return Bomb(given.name, given.what, given.make, (*given.ends, "out-of-memory"), given.suffix)


@pytest.mark.parametrize(
    "given", [*VALID, *some("pictures", 2), *some("plain_pictures", 2)], ids=lambda given: given.name
)
def test_a_few_pictures_in_little_memory(given, reader, tmp_path):
    tried(short_of_memory(given), reader, tmp_path)


ALL = [*VALID, *(made for room in (pictures, rarer_pictures, plain_pictures) for made in room.all_bombs())]


@pytest.mark.slow
@pytest.mark.parametrize("given", ALL, ids=lambda given: given.name)
def test_pictures_in_little_memory(given, reader, tmp_path):
    tried(short_of_memory(given), reader, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("given", list(large()), ids=lambda given: given.name)
def test_large_pictures_in_little_memory(given, reader, tmp_path):
    """They may take more than a bomb: up to 24 bytes a pixel."""
    tried(given, reader, tmp_path, most_bytes=3 * 10**9)
