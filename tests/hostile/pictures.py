"""PNG, GIF and JPEG bombs."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterator

from tests.hostile.bomb import FINE, MIB, Bomb, zeros
from tests.media import make_image

DAMAGED = ("corrupt", "truncated")
LARGE = ("too-many-pixels",)
WORK = ("too-much-work",)
SIZES = [(2**31 - 1, 1), (1, 2**31 - 1), (65_535, 65_535), (20_000, 20_000), (10_001, 10_000), (2**31 - 1, 2**31 - 1)]


@functools.cache
def encode(kind: str, size=(16, 16), **options) -> bytes:
    """A small picture of a format."""
    buffer = io.BytesIO()
    make_image(*size).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(name: str, data, ends, what: str = "picture") -> Bomb:
    return Bomb(name, what, lambda _: data() if callable(data) else data, ends if isinstance(ends, tuple) else (ends,))


# PNG


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(width=16, height=16, *, depth=8, colour=2, interlaced=0, before=b"", data: bytes | None = None) -> bytes:
    """A PNG with these chunks before its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    rows = zlib.compress(bytes((width * 3 + 1) * height)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _profile(count: int) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zeros(count))


def png_bombs() -> Iterator[Bomb]:
    for width, height in SIZES:
        yield bomb(f"PNG of {width} x {height}", png(width, height, data=zeros(1)), LARGE)
    for width, height in ((0, 5), (5, 0), (2**32 - 1, 2**32 - 1)):
        yield bomb(f"PNG of {width} x {height}", png(width, height, data=b""), (*DAMAGED, "zero-sized", *LARGE))
    for count in (1, 16, 256, 1024):
        yield bomb(f"PNG, profile of {count} MiB", lambda c=count: png(before=_profile(c)), (FINE, *DAMAGED))
        yield bomb(f"PNG, pixels of {count} MiB", lambda c=count: png(data=zeros(c)), (FINE, *DAMAGED))
        text = chunk(b"zTXt", b"Comment\0\0" + zeros(count))
        yield bomb(f"PNG, text of {count} MiB", lambda t=text: png(before=t), (FINE, *DAMAGED))
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(count))
        yield bomb(f"PNG, XMP of {count} MiB", lambda t=text: png(before=t), (FINE, *DAMAGED))
    for kind, payload in ((b"zTXt", b"k%d\0\0" + zeros(1)), (b"tEXt", b"k%d\0" + b"x" * 1000), (b"iCCP", b"%d\0\0")):

        def many(kind=kind, payload=payload) -> bytes:
            return png(before=b"".join(chunk(kind, payload.replace(b"%d", b"%d" % i, 1)) for i in range(5_000)))

        yield bomb(f"PNG, 5,000 chunks {kind.decode()}", many, (FINE, *DAMAGED, *WORK))
    for kind in (b"IDAT", b"tEXt", b"abCd", b"PLTE", b"tRNS", b"fdAT", b"eXIf", b"sPLT"):
        yield bomb(
            f"PNG, 200,000 empty chunks {kind.decode()}", lambda k=kind: png(before=chunk(k, b"") * 200_000), WORK
        )
    for length in (2**31 - 1, 2**32 - 1):
        for kind in (b"IDAT", b"tEXt", b"iCCP", b"eXIf", b"PLTE"):
            yield bomb(
                f"PNG, chunk {kind.decode()} of {length} bytes",
                png(before=struct.pack(">I", length) + kind),
                (FINE, *DAMAGED),
            )
    for frames in (0, 1, 10_001, 2**31, 2**32 - 1):
        ends = (FINE, *DAMAGED) if frames < 10_001 else ("too-many-frames", *DAMAGED)
        yield bomb(f"APNG of {frames} frames", png(before=chunk(b"acTL", struct.pack(">II", frames, 0))), (FINE, *ends))
    for box in ((65_535, 65_535, 0, 0), (16, 16, 2**31, 2**31), (0, 0, 0, 0), (2**32 - 1, 1, 0, 0)):
        control = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(
            b"fcTL", struct.pack(">IIIIIHHBB", 0, *box, 1, 1, 0, 0)
        )
        yield bomb(f"APNG, frame at {box}", png(before=control), (FINE, *DAMAGED))
    for depth, colour in ((16, 6), (1, 0), (1, 3), (16, 2)):
        bits = {0: 1, 2: 3, 3: 1, 6: 4}[colour] * depth
        size = 5_000
        rows = zeros((size * bits // 8 + 1) * size // MIB + 1)
        before = chunk(b"PLTE", bytes(6)) if colour == 3 else b""
        for interlaced in (0, 1):
            yield bomb(
                f"PNG, 25 MP of kind {colour}, {depth} bits{', interlaced' * interlaced}",
                png(size, size, depth=depth, colour=colour, interlaced=interlaced, before=before, data=rows),
                (FINE, *DAMAGED),
            )
    yield bomb("PNG, 32 bits deep", png(depth=32), DAMAGED)
    yield bomb(
        "PNG, palette of 100 MB", lambda: png(colour=3, before=chunk(b"PLTE", bytes(100_000_000))), (FINE, *DAMAGED)
    )
    yield bomb(
        "PNG, EXIF of 20 MB",
        lambda: png(before=chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff" * 20_000_000)),
        (FINE, *DAMAGED),
    )


# GIF


def gif(width=16, height=16, *, frames=b"", before=b"", box=None, code=2, data=b"\x02\x44\x01\0") -> bytes:
    box = box or (0, 0, width, height)
    first = b"," + struct.pack("<HHHHB", *box, 0) + bytes([code]) + data
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + before + first + frames + b";"


def gif_bombs() -> Iterator[Bomb]:
    for width, height in ((65_535, 65_535), (65_535, 1_600), (1_600, 65_535), (20_000, 20_000)):
        yield bomb(f"GIF of {width} x {height}", gif(width, height), LARGE)
    for box in ((65_535, 65_535, 65_535, 65_535), (0, 0, 65_535, 65_535), (65_535, 0, 1, 65_535)):
        yield bomb(f"GIF, first frame at {box}", gif(9, 9, box=box), (*LARGE, *DAMAGED, FINE))
    one = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    for frames in (10_000, 100_000, 1_000_000):
        yield bomb(f"GIF of {frames} frames more", lambda f=frames: gif(frames=one * f), "too-many-frames")
    for code in (0, 1, 8, 11, 12, 13, 255):
        yield bomb(
            f"GIF, codes of {code} bits",
            gif(5_000, 5_000, code=code, data=b"\xff" + b"\0" * 255 + b"\0"),
            (FINE, *DAMAGED),
        )
    grown = b"".join(b"\xff" + bytes([i % 251]) * 255 for i in range(4_000)) + b"\0"
    yield bomb("GIF, 25 MP in a megabyte of codes", gif(5_000, 5_000, code=8, data=grown), (FINE, *DAMAGED))
    for block in (b"!\xfe\0", b"!\xf9\x04\0\0\0\0\0", b"!\xff\x0bNETSCAPE2.0\x03\1\0\0\0", b"!\x01\0", b"\0"):
        for count in (1_000, 1_100_000):
            ends = (FINE, *DAMAGED) if count == 1_000 else ("too-many-frames",)
            yield bomb(f"GIF, {count} blocks {block[:3].hex()}", lambda b=block, c=count: gif(1, 1, before=b * c), ends)
    yield bomb(
        "GIF, comment of 20 MB", lambda: gif(1, 1, before=b"!\xfe" + (b"\xff" + b"x" * 255) * 240_000 + b"\0"), FINE
    )
    yield bomb(
        "GIF, 2 M data blocks", lambda: gif(data=b"\1\0" * 2_000_000 + b"\0"), ("too-many-frames", FINE, *DAMAGED)
    )


# JPEG


def jpeg(before=b"", *, size=(16, 16), **options) -> bytes:
    data = encode("JPEG", size, **options)
    return data[:2] + before + data[2:]


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def sized(data: bytes, width: int, height: int) -> bytes:
    at = next(at for mark in (b"\xff\xc0", b"\xff\xc2") if (at := data.find(mark)) > 0) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def scans(times: int, size=(64, 48)) -> bytes:
    data = encode("JPEG", size, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + data[-2:]


def exif(entries: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + body + struct.pack("<I", following) + tail


METADATA = {
    "that names itself": exif([(0x8769, 4, 1, 8)]),
    "whose directory follows itself": exif([(0x0112, 3, 1, 1)], following=8),
    "of values that are not there": exif([(0x9286, 7, 2**32 - 1, 26)]),
    "of a thousand values of the same bytes": exif([(0x9286 + i, 7, 60_000, 8) for i in range(1_000)], bytes(50_000)),
    "of an orientation of a million values": exif([(0x0112, 3, 2**20, 26)], bytes(60_000)),
    "of fractions": exif([(0x829A, 5, 2**28, 26)], bytes(60_000)),
    "of 5,000 entries": exif([(i, 4, 1, i) for i in range(5_000)]),
    "with a maker note of a maker note": exif([(0x927C, 7, 4, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8)]),
    "cut off": exif([(0x0112, 3, 1, 1)])[:12],
    "of an unknown order": b"XX*\0" + bytes(100),
}


def jpeg_bombs() -> Iterator[Bomb]:
    for width, height in ((65_535, 65_535), (65_500, 2_000), (20_000, 20_000), (1_600, 65_535)):
        yield bomb(f"JPEG of {width} x {height}", sized(jpeg(), width, height), LARGE)
        yield bomb(f"JPEG of {width} x {height}, progressive", sized(jpeg(progressive=True), width, height), LARGE)
    for width, height in ((0, 0), (16, 0), (0, 16)):
        yield bomb(f"JPEG of {width} x {height}", sized(jpeg(), width, height), (*DAMAGED, "zero-sized"))
    yield bomb("JPEG of 80 MP in a kilobyte", sized(jpeg(), 10_000, 8_000), (FINE, *DAMAGED))
    yield bomb(
        "JPEG of 25 MP in a kilobyte, progressive", sized(jpeg(progressive=True), 5_000, 5_000), (FINE, *DAMAGED)
    )
    for times in (900, 1_100, 5_000, 50_000):
        yield bomb(f"JPEG of {times} scans", lambda t=times: scans(t), (FINE,) if times < 1_000 else WORK)
    yield bomb("JPEG of 300 scans over 16 MP", lambda: sized(scans(300), 4_000, 4_000), (*WORK, FINE, *DAMAGED))
    for marker in (0xC4, 0xDB, 0xDD, 0xE1, 0xE2, 0xED, 0xEE, 0xFE):
        payload = {0xDD: b"\0\1", 0xC4: bytes(17), 0xDB: bytes(65)}.get(marker, b"")
        yield bomb(f"JPEG, 20,000 segments {marker:X}", lambda m=marker, p=payload: jpeg(segment(m, p) * 20_000), WORK)
    for interval in (0, 1, 65_535):
        yield bomb(
            f"JPEG, restart every {interval}",
            jpeg(segment(0xDD, struct.pack(">H", interval)), size=(640, 480)),
            (FINE, *DAMAGED),
        )
    for count in (1, 255):
        profile = b"".join(
            segment(0xE2, b"ICC_PROFILE\0" + bytes([i % 255 + 1, 255]) + bytes(65_000)) for i in range(count)
        )
        yield bomb(f"JPEG, profile in {count} pieces", lambda p=profile: jpeg(p), (FINE, *DAMAGED))
    yield bomb(
        "JPEG, 3,000 segments of XMP",
        lambda: jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<" * 65_000) * 3_000),
        (FINE, *DAMAGED, *WORK),
    )
    yield bomb(
        "JPEG, Photoshop's blocks",
        lambda: jpeg(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000) * 500),
        (FINE, *DAMAGED),
    )
    for name, data in METADATA.items():
        yield bomb(f"JPEG, EXIF {name}", jpeg(segment(0xE1, b"Exif\0\0" + data[:65_000])), (FINE, *DAMAGED))
    for marker in (0xC1, 0xC3, 0xC5, 0xC9, 0xCA, 0xCF):
        yield bomb(f"JPEG of kind {marker:X}", jpeg().replace(b"\xff\xc0", bytes([0xFF, marker]), 1), (FINE, *DAMAGED))
    for channels in (0, 2, 4, 5, 255):
        data = bytearray(jpeg())
        data[data.index(b"\xff\xc0") + 9] = channels
        yield bomb(f"JPEG of {channels} channels", bytes(data), (FINE, *DAMAGED))
    for factor in (0x00, 0x44, 0xFF, 0x14):
        data = bytearray(sized(jpeg(), 3_000, 3_000))
        data[data.index(b"\xff\xc0") + 11] = factor
        yield bomb(f"JPEG, sampled {factor:02x}", bytes(data), (FINE, *DAMAGED))
    yield bomb("JPEG, 20 MB of fill bytes", lambda: jpeg(b"\xff" * 20_000_000), WORK)
    yield bomb("JPEG, 20 MB of zeros in its scan", lambda: jpeg()[:-2] + bytes(20_000_000), (FINE, *DAMAGED))
    yield bomb("JPEG, 20 MB of restarts", lambda: jpeg()[:-2] + b"\xff\xd0" * 10_000_000, (FINE, *DAMAGED))
    second = jpeg()
    index = segment(0xE2, b"MPF\0" + exif([(0xB000, 7, 4, 0x30303130), (0xB001, 4, 1, 2**31), (0xB002, 7, 2**31, 50)]))
    yield bomb("MPO of two thousand million pictures", jpeg(index) + second, (FINE, *DAMAGED, "too-many-frames"))


def all_bombs() -> Iterator[Bomb]:
    for kind in (png_bombs, gif_bombs, jpeg_bombs):
        yield from kind()
