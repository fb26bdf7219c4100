"""What writes files, killed before each of its steps: `python -m tests.killed FOLDER [ACT …]`.

Each act is done by a process that is forked for it and has this one's libraries. After each kill a reader finds what
was there before, or what is new, whole; the act done once more leaves what it leaves alone, and nothing else. A line of
JSON says of each act how often it was killed, and what was wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STEPS = frozenset(
    (
        *("open", "close", "__exit__", "read", "write", "writelines", "tofile", "encode_to_file", "flush", "fsync"),
        *("truncate", "ftruncate", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "chmod", "flock"),
    )
)
"""Functions in C that change files, or order what others see of them; of all others nothing is seen from outside."""

IN_MEMORY = (str, bytes, io.StringIO, io.BytesIO)


@dataclass(frozen=True)
class Act:
    """Something that writes into a folder.

    Attributes:
        write: writes the first or the second version.
        read: what a reader finds there, None where there is nothing yet.
        fits: whether that is a whole version, given what was found before and what is found after.
        named: the files that it leaves; those with generated names by how these begin.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], Any]
    fits: Callable[[Any, Any, Any], bool] = lambda now, old, new: now in (old, new)
    named: Callable[[Path], Any] = lambda folder: sorted(
        re.sub("-g[0-9a-f]{12}", "-g", str(path.relative_to(folder))) for path in folder.rglob("*")
    )


def digest(*names: str) -> Callable[[Path], Any]:
    """Reads files of a folder."""
    return lambda folder: [content(folder / name) for name in names]


def content(path: Path) -> str | None:
    """What tells a file from another; an archive's members have the time of day beside them."""
    if not path.exists():
        return None
    if path.suffix != ".npz":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(path) as archive:
        return repr({name: hashlib.sha256(archive[name].tobytes()).hexdigest() for name in archive.files})


def arrays(version: int, *shape: int) -> Any:
    return np.random.default_rng(version).random((50 + version, *shape), dtype=np.float32)


def results(folder: Path, version: int) -> None:
    """Whatever a result is saved as. One file after the other, so that some may be old and some new."""

    from sensorium.results import Labels

    Labels([f"a label of version {version}"] * 9, [0.5] * 9).save(folder / "labels.json")


def embedding(folder: Path, version: int) -> None:
    from sensorium.results import Embedding

    Embedding(arrays(version, 4), [arrays(version, 2, 2)], ["stage"]).save(folder / "x.npz")


def vector(folder: Path, version: int) -> None:
    from sensorium.results import Embedding

    Embedding(arrays(version)).save(folder / "x.npy")


def segments(folder: Path, version: int) -> None:
    from sensorium.results import Segments

    Segments(np.full((40, 40), version), [version], ["thing"]).save(folder / "x.png")


def transcript(folder: Path, version: int) -> None:
    from sensorium.results import Transcript

    Transcript(f"words of version {version}").save(folder / "x.txt")


def outcomes(version: int) -> list[Any]:
    from sensorium.results import Labels

    return [Labels([f"version {version}"], [0.5], index=i) for i in range(5 + version)]


def table(suffix: str) -> Callable[[Path, int], None]:
    from sensorium.cli.typed_file import TypedFile

    def write(folder: Path, version: int) -> None:
        sink = TypedFile(str(folder / f"x{suffix}"))
        sink.begin()
        for outcome in outcomes(version):
            sink.add("a.jpg", outcome)
        sink.finish()
        sink.close()

    return write


def archive(folder: Path, version: int) -> None:
    from sensorium.cli.sinks import Archive
    from sensorium.results import Embedding

    sink = Archive(str(folder / "x.npz"))
    for i, row in enumerate(arrays(version, 3)):
        sink.add("a.jpg", Embedding(row, index=i))
    sink.finish()
    sink.close()


def page(folder: Path, version: int) -> None:
    from sensorium.report import Report

    report = Report("a page")
    for outcome in outcomes(version):
        report.add("a.jpg", outcome)
    report.save(folder / "x.html")


def checkpoint(folder: Path, version: int) -> None:
    from sensorium.checkpoints.writing import checkpoint_written

    with checkpoint_written(folder) as new:
        (new / "1_Pooling").mkdir()
        for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
            (new / name).write_text(f"{name} of version {version}")


CHECKPOINT = digest("config.json", "model.safetensors", "1_Pooling/config.json")


def opened_checkpoint(folder: Path) -> Any:
    """What is there once somebody opens it, of a copy."""

    from sensorium.checkpoints.writing import finish_saving

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        copy = Path(place, "copy")
        shutil.copytree(folder, copy)
        finish_saving(copy)
        return CHECKPOINT(copy)


def processor(folder: Path, version: int) -> None:
    from sensorium.processors.image import ImageProcessor

    ImageProcessor.from_timm({"input_size": [3, 8 + version, 8 + version]}).save_pretrained(folder)


def index(folder: Path, version: int) -> None:
    from sensorium.retrieval import Index

    Index.from_vectors(arrays(version, 8), device="cpu").save(folder / "index")


def opened_index(folder: Path) -> Any:
    from sensorium.retrieval import Index

    return len(Index.load(folder / "index", device="cpu")) if (folder / "index" / "index.json").exists() else None


def vectors(folder: Path, version: int) -> None:
    """A build that keeps what it encodes, and is not told to remove it."""

    from sensorium.retrieval.keeping import KeptVectors

    kept = KeptVectors(folder, "an encoder")
    for i in range(6 + 6 * version):
        key = bytes([i]) * 16
        if kept.get(key) is None:
            kept.put(key, np.full(4, i, np.float32), cut=False)
        if i % 3 == 2:
            kept.write()
    kept.join()


def keys(folder: Path) -> Counter[bytes]:
    """How often each vector is there."""
    return Counter(bytes(key) for path in folder.glob("*.npy") for key in np.load(path)["key"])


def kept_once(folder: Path) -> Any:
    return [path.name for path in folder.glob("*.part")], max(keys(folder).values(), default=1)


def passing(folder: Path, version: int) -> None:
    from sensorium.checkpoints.passing import passing_folder

    with passing_folder("passing-") as new:
        (new / "a file").write_text("what is on its way")


def sorted_names(folder: Path, version: int) -> None:
    from sensorium.processors.ordering import in_order

    assert len(list(in_order(map(str, range(50)), at_once=10))) == 50


ACTS = {
    "results": Act(results, digest("labels.json")),
    "embedding": Act(embedding, digest("x.npz")),
    "vector": Act(vector, digest("x.npy")),
    "segments": Act(segments, digest("x.png")),
    "transcript": Act(transcript, digest("x.txt")),
    "csv": Act(table(".csv"), digest("x.csv")),
    "parquet": Act(table(".parquet"), digest("x.parquet")),
    "archive": Act(archive, digest("x.npz")),
    "page": Act(page, digest("x.html")),
    "checkpoint": Act(checkpoint, opened_checkpoint),
    "processor": Act(processor, digest("preprocessor_config.json")),
    "index": Act(index, opened_index),
    "vectors": Act(
        vectors,
        lambda folder: set(keys(folder)),
        fits=lambda now, old, new: old <= now <= new,
        named=kept_once,
    ),
    "passing": Act(passing, lambda folder: None),
    "names": Act(sorted_names, lambda folder: None),
}


def killed(act: Act, folder: Path, last_step: int) -> int:
    """Has a process write the second version, and be killed before a step; gives the signal that ended it."""
    child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    how = signal.SIGABRT
    try:
        sys.setprofile(killer(last_step))
        act.write(folder, 1)
        sys.setprofile(None)
        how = 0
    finally:
        os.kill(os.getpid(), how)
        os._exit(0)


def killer(last_step: int) -> Callable[..., None]:
    steps = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal steps
        if event == "c_call" and argument.__name__ in STEPS and not isinstance(argument.__self__, IN_MEMORY):
            steps += 1
            if steps > last_step:
                os.kill(os.getpid(), signal.SIGKILL)

    return count


def killed_at_each_step(act: Act, place: Path) -> dict[str, Any]:
    """Kills an act at its first step, at its second, and so on until it ends by itself."""
    before, after, temporary, folder = (place / name for name in ("before", "after", "temporary", "folder"))
    for each in (before, temporary):
        each.mkdir(parents=True)
    tempfile.tempdir = str(temporary)
    act.write(before, 0)
    shutil.copytree(before, after)
    act.write(after, 1)
    old, new, named, wrong, kills = act.read(before), act.read(after), act.named(after), [], 0
    while not wrong:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        how = killed(act, folder, kills)
        if how != signal.SIGKILL:
            wrong += [f"ended by {how}"] if how else []
            break
        if not act.fits(now := act.read(folder), old, new):
            wrong.append(f"step {kills}: found {now!r}, neither {old!r} nor {new!r}")
        act.write(folder, 1)
        left = [act.read(folder), act.named(folder), *map(str, temporary.iterdir())]
        if left != [new, named]:
            wrong.append(f"step {kills}: the next has left {left}, and not {[new, named]}")
        kills += 1
    return {"kills": kills, "wrong": wrong}


if __name__ == "__main__":
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(sys.argv[1]) / "inductor")  # torch makes it when it is imported
    for name in sys.argv[2:] or ACTS:
        print(json.dumps({"act": name, **killed_at_each_step(ACTS[name], Path(sys.argv[1]) / name)}), flush=True)
