"""The encoding of an index as a job: passages are listed in its folder, and their vectors come from its parts.

A job's folder is named by what is listed and by the encoder, so that the same build goes on where it stopped, and one
of other passages begins another job beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sensorium.checkpoints.passing import is_passing, passing_folder
from sensorium.errors import InputError, JobStoppedError, OptionError, UnknownNameError
from sensorium.jobs.asking import SETTINGS, plain_setting
from sensorium.jobs.description import PASSAGES, write_description
from sensorium.jobs.job import Job
from sensorium.jobs.listing import Listing, write_listing
from sensorium.jobs.parts import find_parts
from sensorium.jobs.settings import RunSettings
from sensorium.jobs.tables import PREFIX
from sensorium.results.surrogates import storable
from sensorium.retrieval.building import EncodedPassages, LeftOut, check_some
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.encoding.sides import long_first
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.rows import CHUNK, IndexItem, RowIntake

INDEX = "index of the input"
"""A column that tables have until it is known which passages have vectors."""

_ADDRESS = re.compile("(https?|data|s3|gs):")
_NAME = re.compile(r"job-[0-9a-f]{32}")
_LISTING = "listing-"


def check(run: Mapping[str, Any]) -> None:
    """Refuses arguments that `Job.run` does not take.

    Raises:
        UnknownNameError, OptionError: an unknown name, or an invalid value.
    """
    known = [name for name in inspect.signature(Job.run).parameters if name not in ("self", "progress")]
    for name in run:
        if name not in known:
            raise UnknownNameError("argument of Index.build", name, known)
    RunSettings(**run)


def encode(
    chunks: Iterable[list[IndexItem]],
    encoder: Encoder,
    intake: RowIntake,
    left_out: LeftOut,
    resume: str | os.PathLike[str] | None,
    *,
    progress: bool,
    run: Mapping[str, Any],
) -> EncodedPassages:
    """Encodes passages in worker processes.

    Args:
        chunks: of passages that were checked.
        encoder: what encodes them; each worker loads it.
        intake: has checked them.
        left_out: what becomes of those that cannot be encoded.
        resume: the folder in which the job lies; None for one that passes.
        progress: shows a progress bar on standard error.
        run: arguments of `Job.run`.

    Raises:
        InputError: a passage that cannot be encoded, or no passages.
        OptionError: an encoder or passages that cannot be written down.
        JobError: as `Job.run` raises it.
    """
    with contextlib.ExitStack() as opened:
        if resume is None:
            resume = opened.enter_context(passing_folder("sensorium-build-"))
        folder = Path(resume)
        if folder.exists() and not folder.is_dir():
            raise OptionError(f"resume is a folder, got the file {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        tables: list[PassageTable] = []
        job = _begun(folder, _listed(chunks, encoder, intake, tables), encoder)
        first_ends = {"max_failures": 0} if left_out.on_error == "raise" else {}
        try:
            job.run(progress=progress, **{**first_ends, **run})
        except JobStoppedError:
            if first_ends and job.status().done:
                _assembled(job, encoder, intake, left_out, tables)  # raises the error of the first that failed
            raise
        return _assembled(job, encoder, intake, left_out, tables)


def remove(folder: Path) -> None:
    """Removes the jobs in a folder, and what was left of those that were being listed, and nothing else."""
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) or is_passing(path.name, _LISTING):
            shutil.rmtree(path, ignore_errors=True)


def are_in(folder: Path) -> bool:
    """Whether a folder keeps a job that was begun."""
    return folder.is_dir() and any(_NAME.fullmatch(path.name) for path in folder.iterdir())


def _begun(folder: Path, batches: Iterator[pa.RecordBatch], encoder: Encoder) -> Job:
    """The job of these passages: the one that is there, or a new one."""
    with passing_folder(_LISTING, within=folder) as listed:
        facts: dict[str, Any] = {"kind": "table"}
        if encoder.modality != "text":
            facts = {"kind": "files", "input": encoder.modality}
        first = next(batches, None)
        check_some(0 if first is None else len(first))
        assert first is not None
        write_listing(listed, _after(first, batches), facts, shard_size=CHUNK)
        digest = Listing(listed).digest
        described = _described(encoder, digest)
        write_description(listed, described)
        told = json.dumps(described, sort_keys=True).encode()
        target = folder / f"job-{hashlib.sha256(told).hexdigest()[:32]}"
        if not target.exists():
            with contextlib.suppress(OSError):  # another build of the same passages was faster
                listed.rename(target)
    return Job.open(target)


def _described(encoder: Encoder, listing: str) -> dict[str, Any]:
    """What `job.json` says."""
    names = [name for name in SETTINGS if name in inspect.signature(Encoder.from_pretrained).parameters]
    settings, spec = encoder.settings, encoder.spec()
    given = {name: getattr(settings if hasattr(settings, name) else settings.access, name) for name in names}
    given.pop("revision")  # is part of the model's name there
    plain = {name: plain_setting(name, value) for name, value in given.items() if value is not None}
    return {
        "task": PASSAGES,
        "model": spec["model"],
        "settings": {**plain, "spec": spec, "fingerprint": encoder.fingerprint},
        "options": {},
        "inputs": {"given": "passages of an index", "columns": {}, "carry": ["place"], "named": {}, "exclude": []},
        "shard_size": CHUNK,
        "cwd": None,
        "listing": listing,
    }


def _listed(
    chunks: Iterable[list[IndexItem]], encoder: Encoder, intake: RowIntake, tables: list[PassageTable]
) -> Iterator[pa.RecordBatch]:
    """The columns of a listing, in the order in which an encoder takes the passages of a chunk; fills `tables`."""
    start = 0
    for chunk in chunks:
        order = long_first([item.read for item in chunk])
        tables.append(PassageTable.of([{**item.row, INDEX: item.index} for item in chunk], intake.columns.types))
        some = [chunk[i] for i in order]
        columns = _texts(some) if encoder.modality == "text" else _files(some, encoder.modality)
        yield pa.RecordBatch.from_pydict({**columns, "place": pa.array([start + i for i in order], pa.int64())})
        start += len(chunk)


def _texts(items: list[IndexItem]) -> dict[str, pa.Array]:
    read = [item.read if isinstance(item.read, tuple) else ("", item.read) for item in items]
    return {
        "source": pa.array([item.row["source"] for item in items], pa.string()),
        f"{PREFIX}title": pa.array([title for title, _ in read], pa.string()),
        f"{PREFIX}text": pa.array([text for _, text in read], pa.large_string()),
    }


def _files(items: list[IndexItem], modality: str) -> dict[str, pa.Array]:
    """Pictures or sounds by their names, and what tells whether a file is the one that was listed."""
    names, stamps = [], []
    for item in items:
        (given,) = item.read.values()
        if not isinstance(given, (str, os.PathLike)):
            raise OptionError(
                f"workers read each {modality} by its name, got {type(given).__name__}; give paths or URLs, or build "
                "without workers="
            )
        name = os.fspath(given)
        name = name if _ADDRESS.match(name) else os.path.abspath(name)  # noqa: PTH100 - links are not followed
        status = os.stat(name) if os.path.isfile(name) else None  # noqa: PTH113, PTH116
        names.append(name)
        stamps.append("" if status is None else f"{status.st_size}-{status.st_mtime_ns}")
    return {"source": pa.array(storable(names), pa.string()), "stamp": pa.array(stamps, pa.string())}


def _assembled(
    job: Job, encoder: Encoder, intake: RowIntake, left_out: LeftOut, tables: list[PassageTable]
) -> EncodedPassages:
    """The passages that have vectors, which lie in a file that has no name and goes with them."""
    count, width = sum(map(len, tables)), encoder.dimension
    with tempfile.TemporaryFile(prefix="vectors-", dir=Path(job.folder).parent) as file:
        vectors = np.memmap(file, np.float32, "w+", shape=(count, width))
    done = cut = 0
    for number, part in sorted(find_parts(job.folder).items()):
        outcomes = _PassageOutcomes.of(part.read(), width)
        for place, error in outcomes.errors:
            at = place - number * CHUNK
            index, source = (tables[number].table[name][at].as_py() for name in (INDEX, "source"))
            error.index, error.source = index, source
            left_out.take(error)
        vectors[done : done + len(outcomes.vectors)] = outcomes.vectors
        tables[number] = tables[number].keep(outcomes.places - number * CHUNK)
        done += len(outcomes.vectors)
        cut += outcomes.cut
    encoder.warn_of_cut(cut, done)
    left_out.warn(done)
    check_some(done)
    whole = PassageTable.stacked(
        [PassageTable(each.table.drop_columns([INDEX])) for each in tables], intake.columns.types
    )
    return EncodedPassages(whole, vectors[:done])


@dataclass(frozen=True)
class _PassageOutcomes:
    """What a part says, in the order of the passages."""

    places: NDArray[np.int64]
    vectors: NDArray[np.float32]
    errors: list[tuple[int, InputError]]
    cut: int

    @classmethod
    def of(cls, part: pa.Table, width: int) -> Self:
        part = part.sort_by("place")
        good = part.filter(pc.equal(part["status"], "ok"))
        bad = part.filter(pc.not_equal(part["status"], "ok")).select(["place", "error_code", "error_message"])
        errors = [(row["place"], InputError(row["error_message"], code=row["error_code"])) for row in bad.to_pylist()]
        flat = good["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        cut = pc.sum(good["cut"]).as_py() or 0
        return cls(good["place"].to_numpy(), flat.reshape(-1, width), errors, cut)


def _after(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others
