"""AVIF, BMP and PPM bombs, and what is no picture that is read."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator

from tests.hostile.bomb import FINE, MIB, Bomb, gzipped_zeros
from tests.hostile.pictures import DAMAGED, LARGE, WORK, bomb, encode, exif

# AVIF


def _ispe(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def avif_bombs() -> Iterator[Bomb]:
    data = encode("AVIF")
    for width, height in ((65_535, 65_535), (20_000, 20_000), (2**31, 2**31)):
        yield bomb(f"AVIF of {width} x {height}", _ispe(data, width, height), LARGE)
    for width, height in ((1, 1), (16, 1), (9_000, 9_000), (0, 0), (0, 16)):
        yield bomb(f"AVIF that tells of {width} x {height}", _ispe(data, width, height), (FINE, *DAMAGED, "zero-sized"))
    yield bomb(
        "AVIF of a megapixel that tells of 16 px",
        lambda: _ispe(encode("AVIF", (1_000, 1_000), speed=10), 4, 4),
        (FINE, *DAMAGED),
    )
    for mark in (b"iloc", b"iinf", b"ipma", b"meta", b"iprp", b"pitm", b"mdat", b"ftyp"):
        at = data.index(mark)
        for size in (0, 8, 2**31):
            yield bomb(
                f"AVIF, box {mark.decode()} of {size} bytes",
                data[: at - 4] + struct.pack(">I", size) + data[at:],
                (FINE, *DAMAGED, "not-a-picture", "format-not-allowed"),
            )
    yield bomb("AVIF, boxes in boxes", data[:32] + b"\0\0\x10\0meta" * 10_000 + data[32:], (*DAMAGED, FINE))
    yield bomb(
        "AVIF, 20 MB of free boxes", lambda: data[:32] + b"\0\0\0\x08free" * 7_000_000 + data[32:], (FINE, *DAMAGED)
    )


# BMP and PPM


def bmp(width=16, height=16, *, bits=24, packed=0, colours=0, data=b"", size=40, offset=54) -> bytes:
    head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, packed, len(data), 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, offset) + head + data


def bmp_bombs() -> Iterator[Bomb]:
    for width, height in ((20_000, 20_000), (20_000, -20_000), (2**31 - 1, 1), (2**31 - 1, -(2**31)), (65_536, 65_536)):
        yield bomb(f"BMP of {width} x {height}", bmp(width, height), (*LARGE, *DAMAGED))
    for width in (0, -5, -(2**31)):
        yield bomb(f"BMP of {width} px", bmp(width), (*DAMAGED, "zero-sized", *LARGE))
    for bits in (0, 1, 4, 8, 16, 32, 48, 64, 65_535):
        yield bomb(
            f"BMP of {bits} bits",
            bmp(5_000, 5_000, bits=bits, data=bytes(2_000)),
            (FINE, *DAMAGED, "unsupported-format"),
        )
    for packed in (1, 2, 3, 4, 5, 6, 99, 2**32 - 1):
        for name, body in (
            ("jumps", b"\0\2\xff\xff"),
            ("runs", b"\xff\1"),
            ("ends of lines", b"\0\0"),
            ("runs of none", b"\0\1"),
        ):
            yield bomb(
                f"BMP packed as {packed}, {name}",
                bmp(
                    3_000,
                    3_000,
                    bits=4 if packed == 2 else 8,
                    packed=packed,
                    colours=256,
                    data=bytes(1_024) + body * 100_000,
                    offset=1_078,
                ),
                (FINE, *DAMAGED, "unsupported-format"),
            )
    for colours in (2**32 - 1, 2**24):
        yield bomb(f"BMP of {colours} colours", bmp(bits=8, colours=colours, data=bytes(9_000)), (FINE, *DAMAGED))
    for size in (0, 12, 13, 64, 124, 2**31, 2**32 - 1):
        yield bomb(
            f"BMP, head of {size} bytes", bmp(size=size, data=bytes(9_000)), (FINE, *DAMAGED, "unsupported-format")
        )
    yield bomb("BMP, pixels at byte 2**32", bmp(offset=2**32 - 1, data=bytes(900)), (FINE, *DAMAGED))


def ppm_bombs() -> Iterator[Bomb]:
    for name, data in {
        "of 400 MP": lambda: b"P6 20000 20000 255\n" + bytes(99),
        "of 10**30 px": lambda: b"P6 " + b"9" * 30 + b" 1 255\n",
        "with a number of a megabyte": lambda: b"P6 " + b"0" * MIB + b"16 16 255\n" + bytes(768),
        "as text, with a number of a megabyte": lambda: b"P3 2 2 255\n" + b"9" * MIB,
        "with a comment of 20 MB": lambda: b"P6 #" + b"x" * 20_000_000 + b"\n16 16 255\n" + bytes(768),
        "with 20 MB of blanks": lambda: b"P6" + b" " * 20_000_000 + b"16 16 255\n" + bytes(768),
        "as text with 30 MB of comments": lambda: b"P3 2 2 255\n" + b"#x\n" * 10_000_000,
        "as text of 20 MB": lambda: b"P2 4000 2500 255\n" + b"1 " * 10_000_000,
        "as text of 16 MiB": lambda: b"P2 2800 2900 255\n" + b"1 " * (8 * MIB - 20),
        "as text of bits with 15 MB of comments": lambda: b"P1 9 9\n" + b"#\r" * 7_500_000,
        "as text with 15 MB of blanks": lambda: b"P2 2000 2000 9\n" + b"\n" * 15_000_000,
        "as text with 9,000 comments": lambda: b"P3 3000 800 255\n" + (b"1 " * 700 + b"#\n") * 9_000,
        "with 200 MB of blanks": lambda: b"P6" + b" " * 200_000_000 + b"16 16 255\n" + bytes(768),
        "with 200 MB of comments": lambda: b"P5 16 " + b"#x\n" * 66_000_000 + b"16 255\n" + bytes(768),
        "of 254 values in 16 MiB": lambda: b"P5 4096 4095 254\n" + bytes(4_096 * 4_095),
        "of 10**9 values": lambda: b"P6 16 16 1000000000\n" + bytes(9_000),
        "of no value": lambda: b"P6 16 16 0\n" + bytes(9_000),
        "of less than no width": lambda: b"P6 -16 16 255\n" + bytes(9_000),
        "of 25 MP of single bits": lambda: b"P4 5000 5000\n" + bytes(625 * 5_000),
        "in floating point": lambda: b"PF 16 16 -1.0\n" + b"\xff" * 3_072,
        "as an arbitrary map": lambda: b"P7\nWIDTH 99999\nHEIGHT 99999\nDEPTH 9\nMAXVAL 255\nENDHDR\n",
    }.items():
        yield bomb(
            f"PPM {name}",
            data,
            (
                FINE,
                *DAMAGED,
                *LARGE,
                *WORK,
                "zero-sized",
                "not-a-picture",
                "format-not-allowed",
                "not-finite",
                "bad-range",
                "unsupported-format",
            ),
        )


# what is no picture, or none that is read

REFUSED = ("not-a-picture", "format-not-allowed", "unsupported-format", "too-many-bytes")


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for i in range(5):
            file.writestr(f"{i}.png", bytes(20 * MIB))
    return buffer.getvalue()


def other_bombs() -> Iterator[Bomb]:
    for name, data in {
        "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n{ } loop\n",
        "PSD": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 56, 30_000, 30_000, 16, 3) + bytes(99),
        "ICNS": lambda: b"icns" + struct.pack(">I", 2**31) + b"ic10" + struct.pack(">I", 2**31),
        "ICO": lambda: b"\0\0\1\0\xff\xff" + bytes(16) * 100,
        "FITS": lambda: b"SIMPLE  =                    T".ljust(80) + b"NAXIS1  =             99999999".ljust(80),
        "DDS": lambda: b"DDS |\0\0\0" + b"\xff" * 120,
        "SGI": lambda: b"\x01\xda\1\1\0\3" + b"\xff" * 506,
        "PCX": lambda: b"\n\5\1\x08" + b"\0\0\0\0\xff\xff\xff\xff" + bytes(120),
        "XPM": lambda: b'/* XPM */ static char *x[] = {"99999 99999 9 9"};',
        "JPEG 2000": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200),
        "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g>" * 100_000,
        "XML": lambda: b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a '" + b"a" * 99 + b"'>]><x>&a;</x>",
        "gzip of 10 GB": lambda: gzipped_zeros(10_000),
        "a zip": _zip,
        "XZ": lambda: lzma.compress(bytes(64 * MIB), preset=0),
        "EXIF alone": lambda: exif([(0x0112, 3, 1, 1)]),
        "gzip of a picture": lambda: gzip.compress(encode("PNG")),
        "zlib": lambda: zlib.compress(bytes(MIB)),
        "text of 20 MB": lambda: b"P" * 20_000_000,
        "100 MB of zeros": lambda: bytes(100 * MIB),
    }.items():
        yield bomb(f"{name} for a picture", data, (*REFUSED, *DAMAGED))


def all_bombs() -> Iterator[Bomb]:
    for kind in (avif_bombs, bmp_bombs, ppm_bombs, other_bombs):
        yield from kind()
