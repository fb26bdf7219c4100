"""TIFF and WebP bombs."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator

from tests.hostile.bomb import FINE, MIB, Bomb, zeros
from tests.hostile.pictures import DAMAGED, LARGE, WORK, bomb, encode

# TIFF

_FORMS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 16: "Q"}


def tiff(*, width=64, height=64, data=b"", order="<", big=False, following=0, pad=0, **tags) -> bytes:
    """A TIFF of one directory; tags are `t<number>=(type, count, value)`, a value as a number or bytes."""
    entries = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 16),
               277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, len(data))}  # fmt: skip
    entries |= {int(name[1:]): value for name, value in tags.items()}
    entries = {tag: value for tag, value in entries.items() if value}
    body = data + bytes(-len(data) % 2)
    mark = {"<": b"II", ">": b"MM"}[order]
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16 + len(body))
    else:
        head = mark + struct.pack(order + "HI", 42, 16 + len(body))
    out = head.ljust(16, b"\0") + body + struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        form = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
        cell = value if isinstance(value, bytes) else struct.pack(order + form, value)
        out += struct.pack(order + "HH" + ("Q" if big else "I"), tag, kind, count) + cell.ljust(8 if big else 4, b"\0")
    return out + struct.pack(order + ("Q" if big else "I"), following) + bytes(pad)


def _lzma(count: int) -> bytes:
    return lzma.compress(bytes(count * MIB), preset=0)


def _lzw(count: int) -> bytes:
    """Nothing but the code that empties the table: three bytes a pair."""
    return b"\x80\x20\x08\x02\0\x80\x20\x08" * (count * MIB // 8)


PACKED = {8: lambda: zeros(200), 32_946: lambda: zeros(200), 34_925: lambda: _lzma(64), 5: lambda: _lzw(4),
          32_773: lambda: b"\x81\0" * 2**20, 2: lambda: bytes(2**20), 3: lambda: b"\xff" * 2**20,
          4: lambda: bytes(2**20), 7: lambda: encode("JPEG", (640, 480)), 6: lambda: encode("JPEG"),
          50_000: lambda: b"\x28\xb5\x2f\xfd\xa4\xff\xff\xff\x7f" + bytes(64),
          50_001: lambda: encode("WEBP", (640, 480)),
          34_712: lambda: bytes(64), 99: lambda: bytes(64), 65_000: lambda: bytes(64)}  # fmt: skip


def tiff_bombs() -> Iterator[Bomb]:
    for scheme, made in PACKED.items():
        for size in (64, 5_000):

            def one(scheme=scheme, made=made, size=size) -> bytes:
                return tiff(width=size, height=size, data=made(), t259=(3, 1, scheme))

            yield bomb(
                f"TIFF of {size} px, packed as {scheme}", one, (FINE, *DAMAGED, "unsupported-format", "too-many-pixels")
            )
        yield bomb(
            f"TIFF, tile of 9,000 px packed as {scheme}",
            lambda s=scheme, m=made: tiff(
                data=m(),
                t259=(3, 1, s),
                t273=None,
                t279=None,
                t322=(4, 1, 9_008),
                t323=(4, 1, 9_008),
                t324=(4, 1, 16),
                t325=(4, 1, 2**20),
            ),
            (FINE, *DAMAGED, "unsupported-format"),
        )
    for order in "<>":
        for big in (False, True)[: 1 + (order == "<")]:
            kind = f"TIFF, {order}{' big' * big}"
            yield bomb(f"{kind}, of 2**31 px", tiff(width=2**31 - 1, height=2**31 - 1, order=order, big=big), LARGE)
            yield bomb(
                f"{kind}, directory that follows itself",
                tiff(data=bytes(4_096), order=order, big=big, following=16 + 4_096),
                (FINE, *DAMAGED),
            )
            yield bomb(
                f"{kind}, directory beyond the end",
                tiff(data=bytes(4_096), order=order, big=big, following=2**31),
                (FINE, *DAMAGED),
            )
            yield bomb(
                f"{kind}, tile of 46,000 px",
                tiff(order=order, big=big, t322=(4, 1, 46_000), t323=(4, 1, 46_000), t324=(4, 1, 16), t325=(4, 1, 9)),
                LARGE,
            )
            yield bomb(
                f"{kind}, a million strips", tiff(order=order, big=big, t273=(4, 10**6, 16), t279=(4, 10**6, 16)), WORK
            )
            for tag in (258, 305, 33_432, 34_377, 34_675, 700, 34_665, 330, 347):
                yield bomb(
                    f"{kind}, tag {tag} of 2**32 bytes",
                    tiff(data=bytes(4_096), order=order, big=big, **{f"t{tag}": (7, 2**32 - 1, 16)}),
                    (FINE, *DAMAGED, *WORK),
                )
    chain = b"".join(struct.pack("<HI", 0, 24 + 6 * i) for i in range(100_000))
    yield bomb(
        "TIFF, 100,000 directories",
        lambda: tiff(data=bytes(4_096), following=16 + 4_096 + 2 + 9 * 12 + 4) + chain,
        (FINE, *DAMAGED),
    )
    yield bomb(
        "TIFF, 200,000 strips of the same bytes",
        lambda: tiff(
            width=9_000,
            height=9_000,
            data=struct.pack("<I", 16) * 200_000,
            t278=(4, 1, 1),
            t273=(4, 200_000, 16),
            t279=(4, 200_000, 16),
        ),
        (FINE, *DAMAGED),
    )
    for samples in (0, 5, 64, 65, 65_535):
        yield bomb(
            f"TIFF of {samples} channels",
            tiff(data=bytes(4_096), t277=(3, 1, samples)),
            (FINE, *DAMAGED, *WORK, "unsupported-format"),
        )
    for bits in (0, 1, 16, 32, 64, 65_535):
        yield bomb(
            f"TIFF of {bits} bits", tiff(data=bytes(4_096), t258=(3, 1, bits)), (FINE, *DAMAGED, "unsupported-format")
        )
    yield bomb(
        "TIFF, profile of 20 MB", lambda: tiff(data=bytes(20_000_000), t34675=(7, 20_000_000, 16)), (FINE, *DAMAGED)
    )
    yield bomb(
        "TIFF, 20 MB of tags",
        lambda: tiff(data=bytes(20_000_000), t700=(7, 20_000_000, 16), t33432=(2, 20_000_000, 16)),
        (FINE, *DAMAGED),
    )
    yield bomb(
        "TIFF, 60,000 tags",
        lambda: tiff(data=bytes(4_096), **{f"t{tag}": (4, 1, 1) for tag in range(1_000, 33_000)}),
        (FINE, *DAMAGED),
    )


# WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        mark + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for mark, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _canvas(width: int, height: int, flags: int = 2) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _frame(x=0, y=0, width=1, height=1, image: bytes | None = None) -> tuple[bytes, bytes]:
    box = b"".join(value.to_bytes(3, "little") for value in (x // 2, y // 2, width - 1, height - 1))
    inner = encode("WEBP", (width, height), lossless=True)[12:] if image is None else image
    return b"ANMF", box + b"\x64\0\0\0" + inner


def webp_bombs() -> Iterator[Bomb]:
    animated = (b"ANIM", bytes(6))
    for width, height in ((2**24, 2**24), (16_384, 16_384), (2**24, 10), (10_001, 10_000)):
        yield bomb(f"WebP of {width} x {height}", riff(_canvas(width, height), animated, _frame()), (*LARGE, *DAMAGED))
    for size in (1_000, 4_000):
        yield bomb(
            f"WebP of {size} px in a hundred bytes", riff(_canvas(size, size), animated, _frame()), (FINE, *DAMAGED)
        )
    for box in ((2**24, 0, 1, 1), (0, 0, 2**24, 2**24), (8, 8, 16, 16)):
        yield bomb(
            f"WebP, frame at {box}", riff(_canvas(9, 9), animated, _frame(*box, image=encode("WEBP")[12:])), DAMAGED
        )
    for frames in (9_000, 10_001, 200_000):
        yield bomb(
            f"WebP of {frames} frames",
            lambda f=frames: riff(_canvas(9, 9), animated, *[_frame(image=b"")] * f),
            (*DAMAGED, "too-many-frames"),
        )
    for mark in (b"EXIF", b"XMP ", b"ICCP", b"abcd"):
        for count, size in ((1, 20_000_000), (50_000, 0), (1_100_000, 0)):
            yield bomb(
                f"WebP, {count} chunks {mark.decode()} of {size} bytes",
                lambda m=mark, c=count, s=size: riff(
                    _canvas(16, 16, 0x2C), *[(m, bytes(s))] * c, (b"VP8 ", encode("WEBP")[20:])
                ),
                (FINE, *DAMAGED, "too-many-frames"),
            )
    data = encode("WEBP")
    for size in (0, 4, 100, 2**32 - 1):
        yield bomb(f"WebP of {size} bytes", data[:4] + struct.pack("<I", size) + data[8:], (FINE, *DAMAGED))
    lossless = encode("WEBP", lossless=True)
    yield bomb("WebP, lossless of 268 MP", lossless[:21] + b"\xff\xff\xff\x0f" + lossless[25:], LARGE)
    yield bomb("WebP of 268 MP", data[:26] + b"\xff\x3f\xff\x3f" + data[30:], LARGE)
    yield bomb(
        "WebP of 25 MP in a kilobyte", data[:26] + struct.pack("<HH", 5_000, 5_000) + data[30:], (FINE, *DAMAGED)
    )


def all_bombs() -> Iterator[Bomb]:
    yield from tiff_bombs()
    yield from webp_bombs()
