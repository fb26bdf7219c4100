"""Bombs of sound: durations, rates, channels and packets that headers tell of, and what stands around them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.audio import encoded, make_audio
from tests.hostile.bomb import FINE, MIB, Bomb, gzipped_zeros
from tests.hostile.ogg import pages, with_granule

RATE = 16_000
DAMAGED = ("corrupt", "truncated", "zero-sized")
LONG = ("too-long", *DAMAGED)


def bomb(name: str, data, ends) -> Bomb:
    return Bomb(
        name, "sound", lambda _: data() if callable(data) else data, ends if isinstance(ends, tuple) else (ends,)
    )


def put(data: bytes, at: int, form: str, value) -> bytes:
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def sound(form: str, seconds=3.0, **options) -> bytes:
    return encoded(make_audio(seconds), form=form, **options)


def wav(
    data: bytes = b"", *, size: int | None = None, channels=1, rate=RATE, bits=16, form=1, align=None, before=b""
) -> bytes:
    align = channels * bits // 8 if align is None else align
    head = struct.pack("<HHIIHH", form, channels % 2**16, rate % 2**32, rate * align % 2**32, align % 2**16, bits)
    size = len(data) if size is None else size
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (len(body) + len(data)) % 2**32) + body + data


def hours(folder: Path, count: float, *, size: int) -> None:
    """A WAV of so many hours, nearly all of it a hole on the disk, whose header tells of another size."""
    with (folder / "bomb").open("wb") as file:
        file.write(wav(b"\x81" * 10_000, size=size, bits=8))
        file.truncate(round(count * 3600 * RATE))


def wav_bombs() -> Iterator[Bomb]:
    for size in (100, 0, 2**31, 2**32 - 1):
        ends = ("corrupt",) if size == 100 else ("too-long",)
        yield Bomb(f"WAV of 5 hours that tells of {size} bytes", "sound", lambda f, s=size: hours(f, 5, size=s), ends)
    small = make_audio(1.0)
    samples = (small * 32_000).astype("<i2").tobytes()
    for size in (2, 200, 16_000, 31_000, 32_000, 32_044, 33_000, 2**30, 2**31 - 1, 0x7FFFF000, 2**32 - 1, 0):
        fine = size in (0, 31_000, 32_000, 32_044) or size > 2**30
        yield bomb(f"WAV of a second that tells of {size} bytes", wav(samples, size=size), FINE if fine else DAMAGED)
    for channels in (0, 33, 1_000, 65_535):
        yield bomb(
            f"WAV of {channels} channels", wav(bytes(60_000), channels=channels), ("too-many-channels", *DAMAGED)
        )
    for rate in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        yield bomb(f"WAV of {rate} Hz", wav(samples, rate=rate), (FINE, "bad-rate", *LONG))
    for bits in (0, 1, 7, 64, 255, 65_535):
        yield bomb(f"WAV of {bits} bits", wav(samples, bits=bits), (FINE, *DAMAGED))
    for align in (0, 1, 3, 65_535):
        yield bomb(f"WAV in frames of {align} bytes", wav(samples, align=align), (FINE, *LONG))
    for form in (0, 2, 6, 7, 17, 49, 80, 85, 0xFFFE, 0xFFFF):
        yield bomb(f"WAV of form {form}", wav(samples, form=form), (FINE, *DAMAGED, "not-finite"))
    for mark in (b"LIST", b"junk", b"fact", b"id3 ", b"bext", b"cue ", b"smpl", b"fmt ", b"\0\0\0\0"):
        for count, size in ((90_000, 0), (1, 2**32 - 1), (1, 20_000_000)):

            def one(mark=mark, count=count, size=size) -> bytes:
                return wav(samples, before=(mark + struct.pack("<I", size) + bytes(min(size, 20_000_000))) * count)

            yield bomb(
                f"WAV, {count} chunks {mark.strip(bytes(1)).decode()} of {size} bytes before its samples",
                one,
                (FINE, *LONG),
            )
    yield bomb("WAV, 200,000 chunks behind", lambda: wav(samples) + b"junk\0\0\0\0" * 200_000, (FINE, *DAMAGED))
    yield bomb("WAV, two of its samples", wav(samples, size=100) + wav(samples)[36:], DAMAGED)
    yield bomb("WAV behind a WAV", wav(samples) * 2, DAMAGED)
    yield bomb("WAV of not a number", wav(np.full(9_000, np.nan, "<f4").tobytes(), bits=32, form=3), "not-finite")


def other_riffs() -> Iterator[Bomb]:
    aiff, rf64 = sound("AIFF"), sound("RF64")
    for size in (8, 208, 96_008, 10**6, 2**31 - 1, 2**32 - 1, 0):
        fine = size in (0, 96_008, 2**31 - 1, 2**32 - 1)
        yield bomb(
            f"AIFF that tells of {size} bytes",
            put(aiff, aiff.index(b"SSND") + 4, ">I", size),
            FINE if fine else DAMAGED,
        )
    for count in (0, 1, 2**31, 2**32 - 1):
        yield bomb(
            f"AIFF that tells of {count} samples", put(aiff, aiff.index(b"COMM") + 10, ">I", count), (FINE, *LONG)
        )
    for name, at, value in (
        ("channels", 8, 65_535),
        ("channels", 8, 0),
        ("bits", 14, 65_535),
        ("bits", 14, 0),
        ("rate", 16, 0x7FFF),
    ):
        yield bomb(
            f"AIFF, {name} {value}",
            put(aiff, aiff.index(b"COMM") + at, ">H", value),
            (FINE, "bad-rate", "too-many-channels", *LONG),
        )
    for size in (0, 200, 96_000, 10**6, 2**62, 2**64 - 1):
        fine = size in (0, 96_000, 2**62, 2**64 - 1)
        yield bomb(
            f"RF64 that tells of {size} bytes",
            put(rf64, rf64.index(b"ds64") + 16, "<Q", size),
            FINE if fine else DAMAGED,
        )


def _flac_of(samples: int) -> bytes:
    data = sound("FLAC")
    told = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + told.to_bytes(8, "big") + data[26:]


def flac_bombs() -> Iterator[Bomb]:
    for samples in (0, 1, 47_999, 48_001, 10**6, 2**35, 2**36 - 1):
        ends = FINE if samples == 0 else LONG
        yield bomb(f"FLAC that tells of {samples} samples", _flac_of(samples), ends)
    data = sound("FLAC", 1.0)
    for kind in (1, 2, 4, 6, 126, 127):
        for count, size in ((5_000, 0), (1, 2**24 - 1)):
            head = bytes([kind]) + size.to_bytes(3, "big")
            yield bomb(
                f"FLAC, {count} blocks {kind} of {size} bytes",
                lambda h=head, s=size, c=count: data[:42] + (h + bytes(s)) * c + data[42:],
                (FINE, *DAMAGED),
            )
    yield bomb(
        "FLAC of 10 hours of silence", lambda: encoded(np.zeros(600 * RATE, np.float32), form="FLAC") * 60, "too-long"
    )
    yield bomb("FLAC, 20,000 in one", lambda: data[:60] * 20_000, LONG)
    packed = struct.pack(">I", int.from_bytes(data[18:22], "big") | 0xFFFFF000)
    yield bomb("FLAC of a million Hz", data[:18] + packed + data[22:], (FINE, "bad-rate", *LONG))


def ogg_bombs() -> Iterator[Bomb]:
    for subtype in ("VORBIS", "OPUS"):
        data = sound("OGG", subtype=subtype)
        parts = pages(data)
        for granule in (0, 1, 100, 20_000, 2**27, 2**31, 2**40, 2**61, 2**62, 2**63 - 1, -1, -(2**63)):
            ends = (*LONG, "unreadable-file")
            yield bomb(
                f"{subtype}, last page at {granule}", b"".join(parts[:-1]) + with_granule(parts[-1], granule), ends
            )
        for granule in (0, -1, 100, 2**62):
            moved = [with_granule(part, granule) for part in parts[2:]]
            yield bomb(f"{subtype}, all pages at {granule}", b"".join([*parts[:2], *moved]), LONG)
        empty = b"OggS\0\0" + parts[-1][6:18] + bytes(8) + b"\0"
        yield bomb(
            f"{subtype}, 300,000 empty pages",
            lambda p=parts, e=empty: b"".join(p[:-1]) + e * 300_000 + p[-1],
            (FINE, *LONG),
        )
        packets = b"OggS\0\0" + parts[-1][6:18] + bytes(8) + b"\xff" + bytes(255)
        yield bomb(
            f"{subtype}, 60 million empty packets",
            lambda p=parts, e=packets: b"".join(p[:-1]) + e * 240_000 + p[-1],
            (FINE, *LONG),
        )
        yield bomb(f"{subtype}, 12,000 in one", lambda p=parts: (p[0] + p[1]) * 12_000, LONG)
        comment = with_granule(parts[1][:26] + b"\xff" + b"\xff" * 255 + bytes(255 * 255), 0)
        yield bomb(
            f"{subtype}, tags of 20 MB", lambda p=parts, c=comment: p[0] + c * 300 + b"".join(p[1:]), (FINE, *LONG)
        )
        for at, value in ((8, 0), (9, 0), (9, 255), (10, 255), (18, 255), (12, 255), (28, 0xDE), (28, 0xFF), (28, 0)):
            head = bytearray(parts[0])
            if 28 + at >= len(head):
                continue
            head[28 + at] = value
            yield bomb(
                f"{subtype}, byte {at} of its head {value}",
                with_granule(bytes(head), 0) + b"".join(parts[1:]),
                (FINE, "bad-rate", "too-many-channels", *LONG),
            )


def mp3_bombs() -> Iterator[Bomb]:
    data = sound("MP3")
    at = next(at for mark in (b"Xing", b"Info") if (at := data.find(mark)) > 0)
    for count in (0, 1, 10, 2**24, 2**31, 2**32 - 1):
        ends = FINE if count <= 10 else LONG
        yield bomb(f"MP3 that tells of {count} frames", put(put(data, at + 4, ">I", 1), at + 8, ">I", count), ends)
    for flags in (0, 2, 0xFF):
        yield bomb(f"MP3, what it tells {flags}", put(data, at + 4, ">I", flags), (FINE, *LONG))
    first = data[at - 36 if data[at - 36] == 0xFF else 0 :]
    frame = data[: data.index(b"\xff\xf3", 40) if b"\xff\xf3" in data[40:] else 400]
    yield bomb("MP3, 30,000 headers", lambda: frame * 30_000, (FINE, *LONG))
    yield bomb("MP3 of half an hour", lambda: first[:4_000] * 1_800, (FINE, *LONG))
    yield bomb("MP3 of 20 MB of frames that begin", lambda: b"\xff\xfb\x90\0" * 15_000_000, (FINE, *LONG))
    yield bomb("MP3 of 20 MB of nothing but ones", lambda: b"\xff" * 20_000_000, (FINE, *LONG, "not-a-sound"))
    for size in (0, 10, 2**28 - 1):
        tag = b"ID3\4\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
        yield bomb(f"MP3, tag of {size} bytes", tag + data, (FINE, *DAMAGED, "not-a-sound"))
    yield bomb(
        "MP3, 1,000 tags", lambda: (b"ID3\4\0\0\0\0\0\x0a" + bytes(10)) * 1_000 + data, (FINE, *DAMAGED, "not-a-sound")
    )
    yield bomb(
        "MP3, 1,000 APE tags",
        lambda: (b"APETAGEX" + struct.pack("<II", 2_000, 32) + bytes(48)) * 1_000 + data,
        (FINE, *DAMAGED, "not-a-sound"),
    )


def other_sounds() -> Iterator[Bomb]:
    refused = ("not-a-sound", "unsupported-format", "format-not-allowed", *DAMAGED)
    yield bomb("gzip of 10 GB for a sound", lambda: gzipped_zeros(10_000), refused)
    yield bomb("100 MB of zeros for a sound", lambda: iter([bytes(MIB)] * 300), refused)
    for mark in (
        b".snd",
        b"caff\0\1\0\0",
        b"riff\x2e\x91\xcf\x11",
        b"\0\0\0\x18ftypM4A ",
        b"\x1aE\xdf\xa3",
        b"MThd",
        b"wvpk",
        b"DSD ",
    ):
        yield bomb(f"{mark[:8].decode('latin-1')!r} for a sound", mark + b"\xff" * 9_000, refused)
    for form in ("WAV", "AIFF", "FLAC", "OGG", "MP3"):
        data = sound(form, 1.0)
        yield bomb(f"{form} of its head alone", data[:60], refused)
        yield bomb(
            f"{form} whose middle is ones",
            data[: len(data) // 3] + b"\xff" * len(data) + data[len(data) // 3 :],
            (FINE, *LONG),
        )


def all_bombs() -> Iterator[Bomb]:
    for kind in (wav_bombs, other_riffs, flac_bombs, ogg_bombs, mp3_bombs, other_sounds):
        yield from kind()
