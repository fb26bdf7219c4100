"""Bombs of files of passages."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

from tests.hostile.bomb import FINE, MIB, Bomb, gzipped_zeros
from tests.hostile.documents import bomb


def all_bombs() -> Iterator[Bomb]:
    refused = (
        "bad-row",
        "bad-id",
        "bad-offsets",
        "not-text",
        "bad-encoding",
        "bad-header",
        "corrupt",
        "too-many-bytes",
        "passage-too-long",
        "empty-text",
        FINE,
    )
    for name, data in {
        "objects in objects": lambda: b'{"text": "x", "a": ' + b'{"a": ' * 500_000 + b"1" + b"}" * 500_000 + b"}",
        "lists in lists": lambda: b'{"text": "x", "a": ' + b"[" * 1_000_000,
        "a number of a megabyte": lambda: b'{"text": "x", "n": ' + b"9" * MIB + b"}",
        "a number of 4,000 digits": lambda: b'{"text": "x", "n": ' + b"9" * 4_000 + b"}",
        "1e999": lambda: b'{"text": "x", "n": 1e999}',
        "NaN": lambda: b'{"text": "x", "n": NaN}',
        "an exponent of 10**9": lambda: b'{"text": "x", "n": 1e1000000000}',
        "a line of 20 MB": lambda: b'{"text": "' + b"x" * 20_000_000 + b'"}',
        "a million names": lambda: b'{"text": "x"' + b"".join(b', "a%d": 1' % i for i in range(500_000)) + b"}",
        "a name a million times": lambda: b'{"text": "x"' + b', "a": 1' * 900_000 + b"}",
        "escapes": lambda: b'{"text": "' + b"\\ud83d" * 1_000_000 + b'"}',
        "20 million empty lines": lambda: b"\n" * 20_000_000 + b'{"text": "x"}',
        "a million rows of nothing": lambda: b"1\n" * 1_000_000,
        "another code": lambda: '{"text": "x"}'.encode("utf-16"),
        "an id of 2**70": lambda: json.dumps({"text": "x", "id": 2**70}).encode(),
        "an end of 2**80": lambda: json.dumps({"text": "x", "start": 0, "end": 2**80}).encode(),
    }.items():
        yield bomb(f"rows, {name}", ".jsonl", data, refused, "passages")
    for name, data in {
        "10 GB of zeros in gzip": lambda: gzipped_zeros(1_000),
        "a million short rows in gzip": lambda: gzip.compress(b"x\n" * 1_000_000),
        "gzip cut off": lambda: gzip.compress(b'{"text": "x"}\n' * 10_000)[:-20],
        "gzip in gzip": lambda: gzip.compress(gzipped_zeros(1_000)),
        "a thousand gzips": lambda: gzip.compress(b'{"text": "x"}\n') * 1_000,
    }.items():
        yield bomb(f"rows, {name}", ".jsonl.gz", data, refused, "passages")
    for name, data in {
        "a million columns": lambda: b"text\t" + b"\t".join(b"%d" % i for i in range(900_000)) + b"\nx\n" * 100,
        "quotes that do not end": lambda: b'id\ttext\n1\t"' + b"x" * 20_000_000,
        "quotes": lambda: b"id\ttext\n" + b'1\t"' + b'""' * 3_000_000 + b'"\n',
    }.items():
        yield bomb(f"rows, {name}", ".tsv", data, refused, "passages")
