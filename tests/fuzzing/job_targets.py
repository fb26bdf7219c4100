"""Tables and archives as inputs of a job, and the files in its folder."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq

from sensorium.errors import JobError
from sensorium.jobs import Job
from sensorium.jobs.archives import Wanted, open_archive
from sensorium.jobs.description import NAME, digest_of, write_description
from sensorium.jobs.listing import Listing, write_listing
from sensorium.jobs.parts import find_parts, write_part
from sensorium.jobs.stores import open_store
from sensorium.jobs.tables import open_table
from sensorium.jobs.timings import NAME as TIMINGS
from sensorium.jobs.timings import TimingSummary, read_timings
from sensorium.results import Labels, to_table
from tests.fuzzing.target import NUMBERS, Target, on_disk, picked, scratch

ROWS = pa.table({"image": ["a.jpg", None, "ü.jpg"], "question": ["x", "y", ""], "n": [1, 2, None]})
TABLE_SUFFIXES = [".csv", ".jsonl", ".parquet", ".arrow", ".feather"]


def table(data: bytes) -> None:
    suffix, rest = picked(data, TABLE_SUFFIXES)
    path = on_disk(f"table{suffix}", rest)
    for batch in open_table(str(path), {"question": "question"}, ["n"], ["image"], ["question"], at_once=1_000):
        batch.to_pylist()


def tables():
    writers = [
        lambda file: pa.csv.write_csv(ROWS, file),
        lambda file: file.write(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS.to_pylist())),
        lambda file: pq.write_table(ROWS, file),
        _write_arrow,
        lambda file: pa.feather.write_feather(ROWS, file, compression="uncompressed"),
    ]
    for i, write in enumerate(writers):
        with io.BytesIO() as file:
            write(file)
            yield bytes([i]) + file.getvalue()


def _write_arrow(file: io.BytesIO) -> None:
    with pa.ipc.new_file(file, ROWS.schema) as writer:
        writer.write_table(ROWS)


def archive(data: bytes) -> None:
    wanted = Wanted.of(("image",), ("question",), {"question": "txt"}, ("json",))
    for batch in open_archive(str(on_disk("samples.tar", data)), wanted, Counter(), at_once=2):
        batch.to_pylist()


def archives():
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with io.BytesIO() as file:
            with tarfile.open(fileobj=file, mode="w", format=form) as tar:
                for name in ("a.jpg", "a.json", "a.txt", "ü/b.seg.png", "folder/", ".hidden", "x" * 120 + ".jpg"):
                    if form == tarfile.USTAR_FORMAT and len(name) > 100:
                        continue
                    info = tarfile.TarInfo(name)
                    info.size, info.type = (0, tarfile.DIRTYPE) if name.endswith("/") else (3, tarfile.REGTYPE)
                    tar.addfile(info, io.BytesIO(b"abc"[: info.size]))
                link = tarfile.TarInfo("link.jpg")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(link)
            yield file.getvalue().rstrip(b"\0") + bytes(1024)


ASKED = {
    "task": "image-classification", "model": "m", "settings": {"device": "cpu"}, "options": {"top_k": 1},
    "inputs": {"words": ["a"]}, "shard_size": 2, "cwd": "/x",
}  # fmt: skip


@functools.cache
def job_folder() -> Path:
    """A job that was done, of which files are written anew."""
    folder = scratch() / "job"
    sources = pa.RecordBatch.from_pydict({"source": ["a", "b", "c"], "input:image": ["a", "b", "c"]})
    write_listing(folder, [sources], {"kind": "files", "skipped": {}}, shard_size=2)
    store = open_store(folder)
    description = {**ASKED, "checkpoint": "c", "result": "Labels", "listing": Listing(store).digest}
    write_description(store, description)
    rows = to_table([Labels(["cat"], [0.5], index=i) for i in range(3)])
    for shard, some in enumerate((rows.slice(0, 2), rows.slice(2))):
        write_part(folder, some, digest_of(description), shard, 0)
    timing = {"generation": 0, "ended": 9.5, "shard": 1, "seconds": 2.0, "ran": 2, "slowest": [[1, 0.5]]}
    store.write(TIMINGS, json.dumps(timing).encode() + b"\n" + b"cut short")
    shutil.copytree(folder, scratch() / "job-as-done")
    return folder


def read_job() -> None:
    """What a job's folder says, as the command line asks for it."""
    job = Job.open(job_folder())
    job.status()
    job.results()
    for found in find_parts(job_folder()).values():
        for row in found.read().to_pylist():
            Labels.from_row(row)
        list(found.rows(["source", "status"], failed=True))


def job_file(name: str) -> bytes:
    job_folder()
    return (scratch() / "job-as-done" / name).read_bytes()


def description(data: bytes) -> None:
    path = job_folder() / NAME
    path.write_bytes(data)
    try:
        read_job()
    finally:
        path.write_bytes(job_file(NAME))


def listing(data: bytes) -> None:
    path = on_disk("listing/inputs.parquet", data)
    found = Listing(path.parent)
    for shard in range(min(found.shards, 3)):
        found.size(shard)
        found.read(shard).to_pylist()


def part(data: bytes) -> None:
    """A part whose name has the digest of what it holds."""
    name = f"000001-1.{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    path = job_folder() / "parts" / name
    path.write_bytes(data)
    try:
        read_job()
    finally:
        path.unlink()


def parts():
    job_folder()
    return [path.read_bytes() for path in sorted((scratch() / "job-as-done/parts").iterdir())]


def timings(data: bytes) -> None:
    store = open_store(job_folder())
    (job_folder() / TIMINGS).write_bytes(data)
    TimingSummary(read_timings(store), slowest=3).rates()


KEYS = (*(f'"{name}"'.encode() for name in (*ASKED, "listing", "refreshed", "checkpoint")), *NUMBERS)
PAX = (b"GNU.sparse.size=3", b"path=", b"size=-1", b"30 size=3\n", b"ustar\000", b"ustar  \0", b"././@LongLink")
REFUSALS = (JobError, ValueError)

TARGETS = {
    "tables": Target(table, tables, words=(*NUMBERS, b'"image"', b"PAR1", b"ARROW1\0\0", b"\n", b'""', b",,")),
    "archives": Target(archive, archives, words=PAX),
    "job-description": Target(description, lambda: [job_file(NAME)], (JobError,), words=KEYS, json_from=0),
    "job-listing": Target(listing, lambda: [job_file("inputs.parquet")], (JobError,), words=(b"PAR1",)),
    "job-parts": Target(part, parts, REFUSALS, words=(b"PAR1",)),
    "job-timings": Target(timings, lambda: [job_file(TIMINGS)], words=(*NUMBERS, b'"slowest"', b"[[1,0.5]]")),
}
