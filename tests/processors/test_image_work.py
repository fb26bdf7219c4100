"""Pictures whose decoding takes out of all proportion to their pixels: refused before a decoder sees them."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from sensorium.errors import InputError, LimitError
from sensorium.processors import image_headers, image_jpeg, image_text, image_tiff
from sensorium.processors.media import MediaLimits, load_image
from tests.media import jpeg, make_image
from tests.processors.test_image_decoding import encode


def scans(data, times):
    """A progressive JPEG whose last scan comes so often."""
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + data[-2:]


def tiff(width=16, height=16, *, order="<", big=False, **tags):
    """A deflated grey TIFF with one tile; `tags` are (type, count, value as bytes or a number)."""
    data = zlib.compress(bytes(width * height))
    number = "Q" if big else "I"
    entries = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1), 277: (3, 1, 1),
               322: (4, 1, 16), 323: (4, 1, 16), 324: (4, 1, 16), 325: (4, 1, len(data))}  # fmt: skip
    entries |= {int(name[1:]): value for name, value in tags.items()}
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    body = data + bytes(-len(data) % 2)
    head += struct.pack(order + "HHQ", 8, 0, 16 + len(body)) if big else struct.pack(order + "I", 16 + len(body))
    out = head.ljust(16, b"\0") + body + struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        form = {3: "H", 4: "I", 16: "Q"}[kind]
        cell = value if isinstance(value, bytes) else struct.pack(order + form, value)
        out += struct.pack(order + "HH" + number, tag, kind, count) + cell.ljust(8 if big else 4, b"\0")
    return out + bytes(8)


def png_with(chunk, times):
    data = encode(make_image(16, 16), "PNG")
    at = data.index(b"IDAT") - 4
    empty = struct.pack(">I", 0) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:at] + empty * times + data[at:]


def rle(commands):
    body = b"\xff\x01" * commands
    head = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + head + bytes(1024) + body


PROGRESSIVE = encode(make_image(64, 48), "JPEG", progressive=True)
WITH_EXIF = encode(make_image(64, 48), "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")


def separate(times):
    """A baseline JPEG with a scan for each channel, of which the last comes so often."""
    data = bytearray(jpeg(16, 16))
    at = data.index(b"\xff\xda")
    data[at + 4] = 1
    return bytes(data[: at + 14]) + bytes(data[at : at + 14]) * times + b"\xff\xd9"


ATTACKS = {
    "scans": lambda: scans(PROGRESSIVE, image_jpeg.MAX_SCANS),
    "scans, EXIF": lambda: scans(WITH_EXIF, image_jpeg.MAX_SCANS),
    "scans of one channel": lambda: separate(image_jpeg.MAX_SCANS),
    "fill bytes": lambda: jpeg()[:2] + b"\xff" * 2**17 + jpeg()[2:],
    "junk": lambda: jpeg()[:2] + b"\xff\0" * 2**17 + jpeg()[2:],
    "junk, not 0xFF": lambda: jpeg()[:20] + bytes(2**17) + jpeg()[20:],
    "comments": lambda: jpeg()[:2] + b"\xff\xfe\0\2" * 10_000 + jpeg()[2:],
    "IDAT": lambda: png_with(b"IDAT", image_headers.MAX_CHUNKS),
    "tEXt": lambda: png_with(b"tEXt", image_headers.MAX_CHUNKS),
    "unknown chunks": lambda: png_with(b"abCd", image_headers.MAX_CHUNKS),
    "RLE": lambda: rle(image_headers.MAX_SLOW_BYTES // 2),
    "a PPM as text": lambda: b"P3\n4000 4000\n255\n" + b"1 " * (image_headers.MAX_SLOW_BYTES // 2),
    "comments in a PPM as text": lambda: b"P3 2 2 255\n" + b"#x\n" * (image_text.MAX_COMMENTS + 1),
    "comments in a PBM as text": lambda: b"P1 9 9\n" + b"1 #\r" * (image_text.MAX_COMMENTS + 1),
    "comments among numbers": lambda: b"P2 999 999 255\n" + (b"1 " * 99 + b"#\n") * (image_text.MAX_COMMENTS + 1),
    "a comment in a header": lambda: b"P6 #" + b"x" * 2**16 + b"\n16 16 255\n" + bytes(768),
    "comments in a header": lambda: b"P5 16 " + b"#\n" * 2**15 + b"16 255\n" + bytes(768),
    "blanks in a header": lambda: b"P4" + b"\r\n" * 2**15 + b"16 16\n" + bytes(768),
    "blanks after the size": lambda: b"P3 2 2" + b" " * 2**16 + b"255\n" + b"1 " * 12,
    "a comment in an entry": lambda: b"P6 1#\n6 16 #" + b"x" * 2**17 + b"\n255\n" + bytes(768),
    "a comment after an entry": lambda: b"P6 16 16 255#" + b"x" * 2**17 + b"\n\n" + bytes(768),
    "a comment that does not end": lambda: b"Pf 2 2 #" + b"x" * 2**17,
    "a PGM of 7 bits": lambda: b"P5\n8000 8000\n100\n" + bytes(image_headers.MAX_SLOW_BYTES),
    "tiles": lambda: tiff(t324=(4, image_tiff.MAX_PIECES + 1, 16)),
    "strips": lambda: tiff(t273=(3, image_tiff.MAX_PIECES + 1, 16)),
    "channels": lambda: tiff(t277=(3, 1, 65)),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("isolate", [False, True])
def test_it_is_refused(attack, isolate):
    with pytest.raises(LimitError) as caught:
        load_image(ATTACKS[attack](), limits=MediaLimits(isolate=isolate))
    assert caught.value.code == "too-much-work"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", [4, 16])
def test_a_tile_is_no_larger_than_a_picture_may_be(order, big, kind):
    if not big or order == "<":  # Pillow does not read the other
        assert load_image(tiff(order=order, big=big)).shape == (3, 16, 16)
    size = 46_000 if kind == 4 or big else struct.pack(order + "I", 8)
    data = bytearray(tiff(order=order, big=big, t322=(kind, 1, size), t323=(kind, 1, size)))
    if isinstance(size, bytes):  # it stands elsewhere: where the header leaves room
        data[8:16] = struct.pack(order + "Q", 46_000)
    with pytest.raises(LimitError) as caught:
        load_image(bytes(data))
    assert caught.value.code == "too-many-pixels"


def test_the_last_of_two_tags_counts():
    data = tiff(t322=(4, 1, 46_000), t323=(4, 1, 46_000))
    directory = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, directory)[0]
    small = struct.pack("<HHII", 322, 4, 1, 16) + struct.pack("<HHII", 323, 4, 1, 16)
    twice = data[:directory] + struct.pack("<H", count + 2) + small + data[directory + 2 :]
    with pytest.raises(LimitError):
        load_image(twice)


def test_scans_are_counted_against_pixels(monkeypatch):
    monkeypatch.setattr(image_jpeg, "MAX_SCANNED", 64 * 48 * 10)
    assert PROGRESSIVE.count(b"\xff\xda") == 10
    assert load_image(PROGRESSIVE).shape == (3, 48, 64)
    with pytest.raises(LimitError, match="at most 10 scans, got 11"):
        load_image(scans(PROGRESSIVE, 2))


def test_what_is_ordinary_passes():
    for data in (scans(PROGRESSIVE, 20), WITH_EXIF, jpeg()[:2] + b"\xff" * 50 + jpeg()[2:], png_with(b"tEXt", 50),
                 tiff(), b"P2\n2 2\n9\n1 2 3 4 ", b"P6 2 #x\n2\t255\n" + bytes(12), b"P4 8 1 \xff",
                 b"P3 #" + b"x" * 999 + b"\n1 1 9 #\r1\n2 #3\n4 5", b"P6 300 300 255\n" + b"#" * 270_000):  # fmt: skip
        assert load_image(data).ndim == 3


def test_an_xpm_is_short():
    head = b'/* XPM */\nstatic char *x[] = {\n"2 1 1 1",\n"a c #ff0000",\n"aa"};\n'
    limits = MediaLimits(formats=("XPM",))
    assert load_image(head, limits=limits)[:, 0, 0].tolist() == [255, 0, 0]
    with pytest.raises(LimitError) as caught:
        load_image(head + b"\n" * image_text.MAX_XPM_BYTES, limits=limits)
    assert caught.value.code == "too-much-work"


def test_what_is_cut_off_is_the_decoders():
    for data in (jpeg()[:30], tiff()[:-40], tiff()[:20], png_with(b"tEXt", 5)[:60]):
        with pytest.raises(InputError) as caught:
            load_image(data)
        assert caught.value.code in ("truncated", "corrupt")


def test_large_pictures_are_copied_in_parts(monkeypatch):
    image = make_image(50, 33)
    whole = load_image(image)
    monkeypatch.setattr("sensorium.processors.image_decoding._LARGE", 160)
    assert (load_image(image) == whole).all()
    assert load_image(Image.open(io.BytesIO(encode(image, "PNG")))).stride() == whole.stride()
