"""Picture bombs: refused from the header, in bounded steps and memory, whatever the format."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image, ImageFile, _avif, _webp

from sensorium.errors import InputError, LimitError
from sensorium.processors import files, image_decoding, image_headers
from sensorium.processors.media import DEFAULT_LIMITS, MediaLimits, load_image, load_pil


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
    image = encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    body = bytes(12) + b"\x64\0\0\0" + image
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


def told(data: bytes, width: int, height: int) -> bytes:
    """An AVIF whose boxes tell of another size."""
    return b"".join(
        part if not number else b"ispe\0\0\0\0" + struct.pack(">II", width, height) + part[12:]
        for number, part in enumerate(data.split(b"ispe"))
    )


@pytest.mark.parametrize("kind", ["AVIF", "AVIF animation"])
@pytest.mark.usefixtures("no_decoder")
def test_an_avif_is_as_large_as_what_is_coded_in_it(kind):
    with pytest.raises(LimitError) as caught:
        load_image(told(FILES[kind], 4, 4), limits=MediaLimits(max_pixels=41 * 67 - 1))
    assert caught.value.code == "too-many-pixels"


def sequence(*fields: tuple[int, int], size=(20_000, 10_000)) -> bytes:
    """An AV1 sequence header of these fields, each a number of bits and a value, behind a delimiter."""
    fields = (*fields, (4, 15), (4, 15), (16, size[0] - 1), (16, size[1] - 1))
    bits = "".join(f"{value:0{count}b}" for count, value in fields)
    data = int(bits.ljust(800, "0"), 2).to_bytes(100, "big")
    return b"\x12\0\x0a\x64" + data


SEQUENCES = {
    "of a single picture": sequence((3, 0), (2, 3), (5, 0)),
    "of one point": sequence((3, 0), (3, 0), (1, 0), (5, 0), (12, 0), (5, 9), (1, 0)),
    "with times and delays": sequence(
        (3, 0), (2, 0), (1, 1), (64, 5), (1, 1), (5, 0b00101), (1, 1), (5, 9), (42, 0), (1, 1), (5, 1),
        *((12, 0), (5, 3), (1, 1), (21, 7), (1, 1), (4, 2)), *((12, 0), (5, 8), (1, 1), (1, 0), (1, 0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("coded", SEQUENCES.values(), ids=SEQUENCES.keys())
@pytest.mark.parametrize("version", [0, 1, 2])
def test_coded_sizes_are_found_wherever_they_stand(coded, version):
    wide = "H" if version < 2 else "I"
    cells = struct.pack(f">4B2B{wide}{wide}", version, 0, 0, 0, 0x44, 0, 1, 1)
    cells += (b"\0\1" if version else b"") + bytes(2) + struct.pack(">HII", 1, 0 if version else 60, len(coded))
    data = (b"iloc" + cells + b"idat").ljust(60, b"\0") if not version else b"iloc" + cells + b"idat"
    image_headers.check_container("AVIF", io.BytesIO(data), name="x", limits=DEFAULT_LIMITS)
    for cut in (len(coded), 60):
        with pytest.raises(LimitError) as caught:
            image_headers.check_container("AVIF", io.BytesIO(data + coded[:cut]), name="x", limits=DEFAULT_LIMITS)
        assert caught.value.code == "too-many-pixels"
    for cut in range(4):
        image_headers.check_container("AVIF", io.BytesIO(data + coded[:cut]), name="x", limits=DEFAULT_LIMITS)


@pytest.mark.parametrize("at", range(0, 300, 7))
def test_any_lists_of_an_avif_are_gone_through(at):
    data = FILES["AVIF"]
    for value in (b"\xff" * 8, bytes(8), b"iloc\2\0\0\0"):
        image = data[:at] + value + data[at + len(value) :]
        with contextlib.suppress(InputError):
            image_headers.check_container("AVIF", io.BytesIO(image), name="x", limits=DEFAULT_LIMITS)


class Counted(io.BytesIO):
    """A file that counts the calls of it, and the bytes that are read."""

    calls = taken = 0

    def read(self, size=-1, /):
        self.calls += 1
        got = super().read(size)
        self.taken += len(got)
        return got

    def seek(self, *place):
        self.calls += 1
        return super().seek(*place)


@pytest.fixture
def no_decoder(monkeypatch):
    """Whatever would make pixels, or room for them, fails."""

    def decode(*_args, **_options):
        pytest.fail("a decoder was called")

    for where, name in (
        (_webp, "WebPAnimDecoder"),
        (_avif, "AvifDecoder"),
        (Image, "_getdecoder"),
        (Image.core, "new"),
        (ImageFile.ImageFile, "load"),
        (image_decoding, "_decode_jpeg"),
    ):
        monkeypatch.setattr(where, name, decode)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_from_its_header(bomb, tmp_path):
    """A time would say how fast the machine is: what is bounded is how much is read of it, and in how many steps."""
    data, code = BOMBS[bomb]
    (tmp_path / "bomb").write_bytes(data)
    before = psutil.Process().memory_info().rss
    with pytest.raises(LimitError) as caught:
        load_image(tmp_path / "bomb")
    assert caught.value.code == code
    assert psutil.Process().memory_info().rss - before < 50e6
    file = Counted(data)
    with pytest.raises(LimitError):
        image_decoding.decode(file, name="bomb", limits=DEFAULT_LIMITS)
    frames = DEFAULT_LIMITS.max_frames if code == "too-many-frames" else 0
    assert file.calls <= 60 + 2 * frames
    assert file.taken <= 2**17 + 16 * frames


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


def test_a_gif_of_endless_blocks_is_refused_after_the_millionth():
    data = gif(9, 9, frames=1)[:-2] + b"\x01\0" * 2 * image_headers.MAX_BLOCKS
    file = Counted(data)
    with pytest.raises(LimitError) as caught:
        image_decoding.decode(file, name="endless", limits=DEFAULT_LIMITS)
    assert caught.value.code == "too-many-frames"
    assert image_headers.MAX_BLOCKS <= file.taken < 2 * image_headers.MAX_BLOCKS + 2**17  # a block has one byte, or two
    assert file.calls < 100  # it is read in pieces, not block by block


@pytest.mark.parametrize("junk", [b"\0", b"!\xfe\0", b"!\xfe\x01x\0", b"x"])
def test_whatever_stands_between_the_frames_of_a_gif_counts(junk, monkeypatch):
    monkeypatch.setattr(image_headers, "MAX_BLOCKS", 5_000)
    whole = gif(9, 9, frames=1)[:-1] + junk * 500 + gif(1, 1, frames=2)[19:]
    assert whole.count(b",") == 3
    image_headers.check_container("GIF", io.BytesIO(whole), name="x", limits=MediaLimits(max_frames=3))
    with pytest.raises(LimitError):
        image_headers.check_container("GIF", io.BytesIO(whole), name="x", limits=MediaLimits(max_frames=2))
    endless = gif(9, 9, frames=1)[:-1] + junk * image_headers.MAX_BLOCKS
    with pytest.raises(LimitError) as caught:
        image_headers.check_container("GIF", io.BytesIO(endless), name="x", limits=DEFAULT_LIMITS)
    assert caught.value.code == "too-many-frames"


@pytest.mark.parametrize("cut", range(13, 40))
def test_a_gif_that_is_cut_off_is_left_to_the_decoder(cut):
    image_headers.check_container("GIF", io.BytesIO(gif(9, 9, frames=2)[:cut]), name="x", limits=DEFAULT_LIMITS)


def test_frames_are_counted_over_the_pieces_in_which_a_gif_is_read():
    image = Image.effect_noise((400, 300), 90)
    data = encode(image, "GIF", save_all=True, append_images=[image.rotate(90), image.rotate(180)])
    assert len(data) > 3 * 2**16
    image_headers.check_container("GIF", io.BytesIO(data), name="x", limits=MediaLimits(max_frames=3))
    with pytest.raises(LimitError):
        image_headers.check_container("GIF", io.BytesIO(data), name="x", limits=MediaLimits(max_frames=2))


def test_a_bomb_as_pil_image_is_refused_unloaded():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(png(13_000, 13_000)))
    with pytest.raises(LimitError) as caught:
        load_image(image)
    assert caught.value.code == "too-many-pixels"


@pytest.mark.parametrize("offset", [2**40, 2**62, 2**63, 2**64 - 1])
def test_a_place_beyond_the_end_of_any_file_is_damage(tmp_path, offset, monkeypatch):
    monkeypatch.setattr(files, "READ_AT_ONCE", 0)  # so that the file is read where it lies, as a large one is
    path = tmp_path / "x.tif"
    path.write_bytes(b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", offset) + bytes(100))
    with pytest.raises(InputError) as caught:
        load_image(path)
    assert caught.value.code in ("truncated", "corrupt")
