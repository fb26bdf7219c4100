"""Runs the targets of tests/fuzzing with atheris: `scripts/fuzz` tells how.

An input is a fault where anything but a target's refusals comes out, where it takes more than 5 s of processor time, or
where the process grows by more than 1 GiB. Faults of one place are kept once, and the fuzzer goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CORPUS = ROOT / "tests/fuzzing/corpus"
BUILT = ROOT / "build/fuzz"
PACKAGE = str(ROOT / "sensorium")

WATCHED = ["sensorium", "tarfile", "numpy.lib._format_impl"]
"""What is imported of these tells the fuzzer where an input leads."""
SECONDS = 600.0
LONGEST_S = 5.0
MOST_KIB = 2**20
LARGEST = 16_384
"""Bytes of an input; those that are grown in the end are larger."""
GROWN = (2**16, 2**20, 2**22)
GROWING = 0.1
"""The share of the time in which inputs are grown: what takes a time that grows with a power of their length."""
KEPT = 4096
"""Bytes of an input that is kept in the corpus, unless it is a seed."""


class Run:
    """One target's time.

    Args:
        name: of the target.
        target: it itself.
        seconds: of processor time.
    """

    def __init__(self, name: str, target: Any, seconds: float) -> None:
        self.name, self.target, self.seconds = name, target, seconds
        self.found, self.corpus = BUILT / name / "found", BUILT / name / "corpus"
        self.places: set[str] = set()
        self.count, self.slowest = 0, 0.0
        self.began = time.process_time()

    def feed(self, data: bytes) -> None:
        """Tries an input; ends the process when the time is over."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        try:
            self.target.feed(data)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            self._note(data, "".join(traceback.format_exception(error)), _place(error))
        took = time.process_time() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        self.count, self.slowest = self.count + 1, max(self.slowest, took)
        if took > LONGEST_S:
            self._note(data, f"took {took:.1f} s", "time")
        if grown > MOST_KIB:
            self._note(data, f"took {grown:,} KiB", "memory")

    def step(self, data: bytes) -> None:
        """As `feed`, for the fuzzer."""
        self.feed(data)
        if time.process_time() - self.began > self.seconds * (1 - GROWING):
            self._grow()
            self._end()

    def _grow(self) -> None:
        """Tries inputs in which a part comes very often."""
        draw = random.Random(0)
        known = [path.read_bytes() for path in sorted(self.corpus.iterdir())]
        while known and time.process_time() - self.began < self.seconds:
            data, size = draw.choice(known), draw.choice(GROWN)
            start = draw.randrange(len(data) + 1)
            part = data[start : start + draw.choice((1, 2, 4, 16, 64, 1024))]
            if part:
                repeated = part * (size // len(part))
                self.feed(data[:start] + repeated + draw.choice((data[start:], b"")))

    def _note(self, data: bytes, told: str, place: str) -> None:
        if place in self.places:
            return
        self.places.add(place)
        self.found.mkdir(parents=True, exist_ok=True)
        name = _name(data)
        (self.found / name).write_bytes(data)
        (self.found / f"{name}.txt").write_text(told, encoding="utf-8", errors="backslashreplace")
        print(f"{self.name}: {place}: {self.found / name}", flush=True)

    def _end(self) -> NoReturn:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        inputs = len(list(self.corpus.iterdir()))
        print(
            f"{self.name}: {time.process_time() - self.began:.0f} s, {self.count:,} executions, {inputs:,} inputs, "
            f"{len(self.places)} faults, slowest {self.slowest:.2f} s, {peak:,} MiB",
            flush=True,
        )
        shutil.rmtree(_scratch(), ignore_errors=True)
        os._exit(1 if self.places else 0)  # atheris would go on


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in frame.filename]
    at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"
    return f"{type(error).__name__} at {at}"


def _scratch() -> Path:
    from tests.fuzzing.target import scratch

    return scratch()


def fuzz(names: Sequence[str], seconds: float) -> int:
    """Runs targets one after another, each in a fork of this process, which atheris would not let go on.

    Returns:
        How many of them have found a fault.
    """
    import atheris

    found = 0
    os.nice(19 - os.nice(0))
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=WATCHED):  # it names each module
        from tests.fuzzing.targets import target as find

        targets = {name: find(name) for name in names}
    for name, target in targets.items():
        child = os.fork()
        if not child:
            _fuzz(name, target, seconds)
        found += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    return found


def _fuzz(name: str, target: Any, seconds: float) -> NoReturn:
    import atheris

    run = Run(name, target, seconds)
    run.corpus.mkdir(parents=True, exist_ok=True)
    for data in (*target.seeds(), *_kept(name)):
        (run.corpus / _name(data)).write_bytes(data)
    words = BUILT / name / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    warnings.simplefilter("error")
    run.began = time.process_time()
    options = [f"-max_len={LARGEST}", "-timeout=1200", "-rss_limit_mb=0", "-verbosity=0"]
    options += [f"-dict={words}"] if target.words else []
    more = {} if target.json_from is None else {"custom_mutator": _mutator(target.json_from)}
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={BUILT / name}/", str(run.corpus)], run.step, **more)
    atheris.Fuzz()
    os._exit(1)


def _mutator(start: int) -> Callable[[bytes, int, int], bytes]:
    """Changes JSON as JSON half of the time, and as bytes the other half."""
    import atheris

    from tests.mutations import changed_json

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.5:
            changed = changed_json(data[start:], draw)
            if changed is not None and start + len(changed) <= max_size:
                return data[:start] + changed
        return bytes(atheris.Mutate(data, max_size))

    return mutate


def _kept(name: str) -> list[bytes]:
    return [path.read_bytes() for path in _files(CORPUS / name)]


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix != ".txt")


def keep(name: str) -> None:
    """Writes the corpus of a target anew: its smallest inputs that together reach all that any of them does.

    Those in which faults were found stay, by names of their own.
    """
    from tests.fuzzing.targets import target as find

    target, built, corpus = find(name), BUILT / name, CORPUS / name
    paths = [*_files(corpus, "found-*"), *_files(built / "found"), *_files(built, "crash-*")]
    faults = {data for data in (path.read_bytes() for path in paths) if len(data) <= KEPT}
    known = {*_kept(name), *(path.read_bytes() for path in _files(built / "corpus"))} - faults
    seeds = set(target.seeds())
    reached: set[tuple[str, int, int]] = set()
    for data in (*seeds, *sorted(faults)):
        reached |= _reached(target, data)
    chosen = []
    for data in sorted((data for data in known - seeds if len(data) <= KEPT), key=lambda data: (len(data), data)):
        new = _reached(target, data) - reached
        if new:
            reached |= new
            chosen.append(data)
    shutil.rmtree(corpus, ignore_errors=True)
    corpus.mkdir(parents=True)
    for start, inputs in (("found-", faults), ("", chosen)):
        for data in inputs:
            (corpus / f"{start}{_name(data)}").write_bytes(data)
    print(f"{name}: {len(faults)} + {len(chosen)} inputs, {sum(map(len, (*faults, *chosen))):,} bytes", flush=True)


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _reached(target: Any, data: bytes) -> set[tuple[str, int, int]]:
    """The steps from line to line of the package's code that an input leads to."""
    steps: set[tuple[str, int, int]] = set()

    def enter(frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        name, last = frame.f_code.co_filename, 0

        def go(frame: Any, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return go

        return go

    sys.settrace(enter)
    try:
        target.feed(data)
    except Exception as error:  # noqa: BLE001 - a fault that is not mended yet
        print(f"{_place(error)}", flush=True)
    finally:
        sys.settrace(None)
    return steps


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all unless given")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time for each")
    parser.add_argument("--list", action="store_true", help="prints their names")
    parser.add_argument("--keep", action="store_true", help="writes the corpus anew")
    asked = parser.parse_args()
    from tests.fuzzing.targets import NAMES

    names = asked.targets or NAMES
    if set(names) - set(NAMES):
        parser.error(f"unknown target {min(set(names) - set(NAMES))!r}; known: {', '.join(NAMES)}")
    if asked.list:
        print(*names, sep="\n")
    elif asked.keep:
        for name in names:
            keep(name)
    else:
        return int(fuzz(names, asked.seconds) > 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
