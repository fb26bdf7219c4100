"""Bombs of what jobs take: tables and archives."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tests.hostile.bomb import FINE, MIB, Bomb, gzipped_zeros

REFUSED = ("OptionError", "UnknownNameError")
ANY = (FINE, *REFUSED)


def bomb(name: str, what: str, suffix: str, data, ends=ANY) -> Bomb:
    return Bomb(
        name, what, lambda _: data() if callable(data) else data, ends if isinstance(ends, tuple) else (ends,), suffix
    )


# tables


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def _repeated(count: int, text: str = "x.jpg") -> bytes:
    """So many rows of one text, which a dictionary makes a few bytes."""
    import pyarrow as pa

    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))
    return _parquet({"image": column}, compression="zstd")


def _of_nothing(rows: int, kind: str, columns: int = 0) -> bytes:
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    table = pa.table({"image": pa.nulls(rows, pa.string())})
    for i in range(columns):
        table = table.append_column(f"a{i}", table.column(0))
    buffer = io.BytesIO()
    if kind == "ipc":
        pyarrow.feather.write_feather(table, buffer, compression="zstd")
    else:
        pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _nested(depth: int) -> bytes:
    import pyarrow as pa

    value, kind = 1, pa.int64()
    for _ in range(depth):
        value, kind = [value], pa.list_(kind)
    return _parquet({"image": pa.array(["x.jpg"]), "deep": pa.array([value], kind)})


def _changed(data: bytes, at: int, value: bytes) -> bytes:
    at %= len(data)
    return data[:at] + value + data[at + len(value) :]


def table_bombs() -> Iterator[Bomb]:
    for name, data in {
        "objects in objects": lambda: b'{"image": "x", "a": ' + b'{"a": ' * 200_000 + b"1" + b"}" * 200_000 + b"}\n",
        "lists in lists": lambda: b'{"image": "x", "a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
        "a number of a megabyte": lambda: b'{"image": "x", "n": ' + b"9" * MIB + b"}\n",
        "an input of 1e999": lambda: b'{"image": 1e999}\n',
        "1e999": lambda: b'{"image": "x", "n": 1e999}\n',
        "1e999 in a list": lambda: b'{"image": "x", "n": [1, -1e999]}\n',
        "NaN": lambda: b'{"image": "x", "n": NaN}\n',
        "a line of 20 MB": lambda: b'{"image": "' + b"x" * 20_000_000 + b'"}\n',
        "100,000 names": lambda: b'{"image": "x"' + b"".join(b', "a%d": 1' % i for i in range(100_000)) + b"}\n",
        "a name 100,000 times": lambda: b'{"image": "x"' + b', "a": 1' * 100_000 + b"}\n",
        "other names in each row": lambda: b"".join(b'{"image": "x", "a%d": 1}\n' % i for i in range(20_000)),
        "names of a first row in a million rows": lambda: (
            b'{"image": "x"' + b"".join(b', "a%d": 1' % i for i in range(50_000)) + b"}\n" + b"{}\n" * 1_000_000
        ),
        "other names in each object of a list": lambda: (
            b'{"image": "x", "of": [' + b",".join(b'{"a%d": 1}' % i for i in range(60_000)) + b"]}\n"
        ),
        "names in names": lambda: b"".join(
            b'{"image": "x", "a%d": {"b%d": {"c%d": 1}}}\n' % (i, i, i) for i in range(16_000)
        ),
        "lists of nothing in a million rows": lambda: b'{"image": "x", "of": [{}, {}, {}, {}]}\n' * 1_000_000,
        "a column of all types": lambda: b'{"image": 1}\n{"image": "x"}\n{"image": [1]}\n{"image": {}}\n' * 1_000,
        "another code": lambda: '{"image": "x"}\n'.encode("utf-16"),
        "bytes that are no text": lambda: b'{"image": "\xff\xfe"}\n' * 9,
        "halves of pairs": lambda: b'{"image": "\\ud83d"}\n',
        "zeros": lambda: bytes(50 * MIB),
        "20 million empty lines": lambda: b"\n" * 20_000_000 + b'{"image": "x"}\n',
        "a million rows of nothing": lambda: b"{}\n" * 1_000_000,
        "gzip": lambda: gzipped_zeros(1_000),
    }.items():
        ends = REFUSED if "1e999" in name or name == "NaN" else ANY
        yield bomb(f"JSON Lines, {name}", "table", ".jsonl", data, ends)
    for name, data in {
        "500,000 columns": lambda: b"image," + b",".join(b"%d" % i for i in range(500_000)) + b"\nx\n",
        "a field of 20 MB": lambda: b"image,b\n" + b"x" * 20_000_000 + b",1\n",
        "a name of 20 MB": lambda: b"image," + b"x" * 20_000_000 + b"\na,b\n",
        "quotes that do not end": lambda: b'image,b\nx,"' + b"y\n" * 10_000_000,
        "quotes that do not end in the head": lambda: b'image,"' + b"y\n" * 10_000_000,
        "rows of other lengths": lambda: (
            b"image,b\n" + b"".join(b"x" + b"," * (i % 50) + b"\n" for i in range(100_000))
        ),
        "zeros": lambda: b"image,b\n" + bytes(50 * MIB),
        "20 million empty lines": lambda: b"image\n" + b"\n" * 20_000_000,
        "two columns of a name": lambda: b"image,image\na,b\n",
        "bytes that are no text": lambda: b"image\n\xff\xfe\n",
        "gzip": lambda: gzipped_zeros(1_000),
    }.items():
        yield bomb(f"CSV, {name}", "table", ".csv", data)
    whole = partial(_parquet, {"image": [f"{i}.jpg" for i in range(1_000)], "n": list(range(1_000))})
    for name, data in {
        "5 million rows of a kilobyte": lambda: _repeated(5_000_000, "x" * 1_024),
        "100 million rows": lambda: _repeated(100_000_000),
        "100 million rows of nothing": lambda: _of_nothing(100_000_000, "parquet"),
        "a million rows of 500 columns of nothing": lambda: _of_nothing(1_000_000, "parquet", 500),
        "lists of 60 levels": lambda: _nested(60),
        "2,000 columns": lambda: _parquet({"image": ["x"], **{f"a{i}": [1] for i in range(2_000)}}),
        "an end that tells of 2 GB": lambda: _changed(whole(), -8, struct.pack("<I", 2**31 - 1)),
        "an end that tells of nothing": lambda: _changed(whole(), -8, bytes(4)),
        "its head alone": lambda: whole()[:100],
        "its marks alone": lambda: b"PAR1" + bytes(8) + b"PAR1",
        "100 MB of zeros and its marks": lambda: b"PAR1" + bytes(100 * MIB) + struct.pack("<I", 100 * MIB) + b"PAR1",
    }.items():
        yield bomb(f"Parquet, {name}", "table", ".parquet", data)
    for at in range(-400, -8, 24):
        yield bomb(f"Parquet, ones at byte {at}", "table", ".parquet", lambda a=at: _changed(whole(), a, b"\xff" * 12))
    for name, data in {
        "100 million rows of nothing": lambda: _of_nothing(100_000_000, "ipc"),
        "a million rows of 50 columns of nothing": lambda: _of_nothing(1_000_000, "ipc", 50),
    }.items():
        yield bomb(f"Feather, {name}", "table", ".feather", data)
    for mark in (b"ARROW1\0\0", b"FEA1"):
        for value in (b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xff\0\0\0\0"):
            yield bomb(f"Arrow, {mark[:4].decode()} {value.hex()}", "table", ".arrow", mark + value * 1_000 + mark)


# archives


def _tar(*members: tuple[str, int], **entries: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            for key, value in entries.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(bytes(size)) if info.isreg() else None)
    return buffer.getvalue()


def _header(**fields: bytes) -> bytes:
    """A header of a member with other fields, and its right checksum."""
    block = bytearray(_tar(("a.jpg", 0))[:512])
    places = {"name": 0, "size": 124, "kind": 156, "link": 157, "prefix": 345}
    for name, value in fields.items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def archive_bombs() -> Iterator[Bomb]:
    end = bytes(1_024)
    for name, data in {
        "a member of 8 EB": lambda: _header(size=b"\x80\0\0\0\x7f" + b"\xff" * 7) + end,
        "a member of less than nothing": lambda: _header(size=b"\xff" * 12) + end,
        "members that lead back": lambda: _header(size=b"\xff" * 11 + b"\0") * 100 + end,
        "a name of 1 GB": lambda: _header(kind=b"L", size=b"%011o" % 2**30) + end,
        "a name of 20 MB": lambda: (
            _header(kind=b"L", size=b"%011o" % 20_000_000) + b"x" * 20_000_000 + bytes(256) + end
        ),
        "a name for a name": lambda: (
            (_header(kind=b"L", size=b"%011o" % 5) + b"a.jpg".ljust(512, b"\0")) * 20_000 + end
        ),
        "extended headers": lambda: (
            (_header(kind=b"x", size=b"%011o" % 512) + b"20 size=99999999999\n".ljust(512, b"\0")) * 20_000 + end
        ),
        "an extended header of a long number": lambda: _header(kind=b"x", size=b"%011o" % 60_000) + b"9" * 60_416 + end,
        "headers for all": lambda: (
            (_header(kind=b"g", size=b"%011o" % 512) + b"12 path=abc\n".ljust(512, b"\0")) * 50_000 + end
        ),
        "a sparse file": lambda: _header(kind=b"S", size=b"%011o" % 0) + end,
        "sparse maps without end": lambda: (_header(kind=b"S")[:482] + b"\1" + bytes(29)) + (b"\1" * 512) * 50_000,
        "links to itself": lambda: _header(kind=b"1", link=b"a.jpg") * 50_000 + end,
        "devices": lambda: _header(kind=b"3") * 50_000 + end,
        "300,000 empty pictures": lambda: _header() * 300_000 + end,
        "names that climb": lambda: _header(name=b"../../../../etc/passwd.jpg".ljust(99, b"\0")) * 9 + end,
        "zeros": lambda: bytes(100 * MIB),
        "ones": lambda: b"\xff" * 60 * MIB,
        "gzip": lambda: gzipped_zeros(10_000),
        "nothing": lambda: b"",
        "half a header": lambda: _header()[:300],
        "a picture that is cut off": lambda: _header(size=b"%011o" % 10**6) + bytes(1_000),
    }.items():
        yield bomb(f"tar, {name}", "archive", ".tar", data)


def all_bombs() -> Iterator[Bomb]:
    yield from table_bombs()
    yield from archive_bombs()
