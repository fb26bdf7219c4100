"""Jobs: against a stream of the same inputs, going on with a long one, memory, runs that are killed, and poison.

    python -m benchmarks.jobs
    python -m benchmarks.jobs --parts throughput kills --kills 200 --pictures 2000

`throughput` compares a job with `pipe.stream` over the same small pictures, in turn. `resume` makes a job of many
inputs of which all but a thousand are done, and times the way to the first new part. `memory` lists many inputs and
reads what the process that does it holds at most. `kills` ends runs at random moments, workers and driver, until the
job is done, and compares its files with those of a run that was left alone. `poison` has broken pictures, some that end
a worker by a segmentation fault, and one that holds it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.harness import photographs, save
from benchmarks.overhead import tiny_vit

FLOAT = {"device": "cpu", "dtype": "float32"}
PARTS = ("throughput", "resume", "memory", "kills", "poison")

RUN = (
    "import sys\nfrom sensorium.jobs import Job\n"
    "Job('image-classification', sys.argv[1], inputs='@' + sys.argv[2], out=sys.argv[3], device='cpu', "
    "dtype='float32', shard_size=int(sys.argv[4])).run(workers=int(sys.argv[5]))"
)

FALLS = """
import ctypes, os, sys, threading

def _fall(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = os.fsdecode(arguments[0])
        if name.endswith("segfault.jpg"):
            ctypes.string_at(0)
        if name.endswith("hang.jpg"):
            threading.Event().wait()

if "sensorium.jobs.worker" in sys.orig_argv:
    sys.addaudithook(_fall)
"""


def throughput(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Inputs a second of a stream, and of a job with one worker and with two, in turn; start-up apart."""
    import sensorium
    from sensorium.jobs import Job

    pipe = sensorium.pipeline("image-classification", model, device="cpu", dtype="float32", compile=False, batch_size=8)
    pipe.warmup()
    cores = sorted(os.sched_getaffinity(0))
    jobs = {"job": (1, cores), "job of two workers": (2, cores), "job on one core": (1, cores[:1])}
    rates: dict[str, list[float]] = {name: [] for name in ("stream", *jobs)}
    busy: dict[str, list[float]] = {name: [] for name in rates}
    for turn in range(arguments.rounds):
        began, used = time.perf_counter(), time.process_time()
        assert sum(1 for _ in pipe.stream(images)) == len(images)
        seconds = time.perf_counter() - began
        rates["stream"].append(len(images) / seconds)
        busy["stream"].append((time.process_time() - used) / seconds)
        for name, (workers, on) in jobs.items():
            out = folder / f"throughput-{turn}-{name}"
            job = Job("image-classification", model, inputs=images, out=out, compile=False, **FLOAT)
            marks: list[tuple[float, int, float]] = []
            watch = threading.Thread(target=_watch, args=(out, len(images), marks), daemon=True)
            watch.start()
            os.sched_setaffinity(0, on)  # of this thread, and so of what it starts
            job.run(workers=workers)
            os.sched_setaffinity(0, cores)
            watch.join()
            (first, done, before), (last, all_done, after) = marks[0], marks[-1]
            rates[name].append((all_done - done) / (last - first))
            busy[name].append((after - before) / (last - first))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    used_cores = {name: statistics.median(found) for name, found in busy.items()}
    for name, rate in medians.items():
        share, per_core = rate / medians["stream"], rate / used_cores[name]
        print(f"{name:<20} {rate:8.1f} inputs/s   {share:.2f} of the stream   {per_core:8.1f} for a second of a core")
    return {"inputs": len(images), "inputs_per_s": medians, "cores_busy": used_cores}


def resume(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the call to the first new part of a job of which nearly all is done."""
    from sensorium.jobs import Job
    from sensorium.jobs.description import digest_of, read_description
    from sensorium.jobs.listing import Listing
    from sensorium.jobs.parts import find_parts, write_part

    out, several = folder / "resume", folder / "many.csv"
    with several.open("w") as file:
        file.write("image\n")
        file.writelines(f"{images[i % len(images)]}\n" for i in range(arguments.inputs))
    settings = {"inputs": several, "out": out, "device": "cpu", "dtype": "float32", "compile": False}
    _begin(model, settings)
    listing, made = Listing(out), find_parts(out)
    table, job = next(iter(made.values())).read(), digest_of(read_description(out) or {})
    for shard in range(listing.shards - 2):
        if shard not in made:
            ids = listing.read(shard).column("input_id")
            write_part(out, table.set_column(0, "input_id", ids), job, shard, 0)
    done = len(find_parts(out))
    began = time.perf_counter()
    marks: list[tuple[float, int]] = []
    watch = threading.Thread(target=_watch_parts, args=(out, done, marks), daemon=True)
    watch.start()
    report = Job("image-classification", model, **settings).run()
    watch.join()
    seconds = marks[0][0] - began
    print(f"resume: {report.inputs:,} inputs, {report.ran:,} to do: {seconds:.1f} s to the first new part")
    return {"inputs": report.inputs, "to_do": report.ran, "seconds_to_first_part": seconds}


def memory(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """MB that the driver holds at most while it lists many inputs."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from sensorium.jobs.inputs import Inputs\nfrom sensorium.jobs.listing import Listing, write_listing\n"
        "facts = {}\nbegan = time.perf_counter()\n"
        "batches = Inputs('@' + sys.argv[1]).batches(('image',), (), facts)\n"
        "write_listing(Path(sys.argv[2]), batches, facts, shard_size=512)\n"
        "seconds = time.perf_counter() - began\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(Listing(Path(sys.argv[2])).inputs, int(peak.split()[1]) / 1024, seconds)"
    )
    names, out = folder / "names.txt", folder / "memory"
    out.mkdir()
    with names.open("w") as file:
        file.writelines(f"photographs/of/a/folder/{i:012}.jpg\n" for i in range(arguments.listed))
    told = subprocess.run([sys.executable, "-c", code, names, out], check=True, capture_output=True, text=True).stdout
    count, peak, seconds = told.split()
    print(f"memory: {int(count):,} inputs listed in {float(seconds):.1f} s with {float(peak):.0f} MB at most")
    return {"inputs": int(count), "peak_mb": float(peak), "seconds": float(seconds)}


def kills(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Ends runs at random moments, of one job after the other until there were enough, and compares their files."""
    pictures = (images * (arguments.pictures // len(images) + 1))[: arguments.pictures]
    listed = folder / "pictures.txt"
    copies = folder / "copies"
    copies.mkdir()
    for i, path in enumerate(pictures):
        os.link(path, copies / f"{i:06}.jpg") if not (copies / f"{i:06}.jpg").exists() else None
    listed.write_text("".join(f"{path}\n" for path in sorted(copies.iterdir())))
    shard = max(1, arguments.pictures // (2 * arguments.kills))
    alone, out = folder / "alone", folder / "killed"
    subprocess.run([sys.executable, "-c", RUN, model, listed, alone, str(shard), "2"], check=True)
    expected, rng, ended, same = _names(alone), random.Random(0), {"driver": 0, "worker": 0}, []
    while sum(ended.values()) < arguments.kills:
        process = subprocess.Popen([sys.executable, "-c", RUN, model, listed, out, str(shard), "2"])
        before, at = len(_names(out)), 1 + rng.randrange(2)
        while process.poll() is None and len(_names(out)) < before + at:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.2)
        whom = rng.choice(("driver", "worker"))
        children = _children(process.pid)
        if process.poll() is None and (whom == "driver" or children):
            os.kill(process.pid if whom == "driver" else rng.choice(children), signal.SIGKILL)
            ended[whom] += 1
        if whom == "worker":
            time.sleep(rng.random())
            process.kill()
        process.wait()
        if len(_names(out)) == len(expected) or sum(ended.values()) == arguments.kills:
            subprocess.run([sys.executable, "-c", RUN, model, listed, out, str(shard), "2"], check=True)
            same.append(_names(out) == expected)
            shutil.rmtree(out)
    print(
        f"kills: {ended}, {len(same)} jobs of {len(pictures)} inputs in shards of {shard}: the same files: {all(same)}"
    )
    return {"inputs": len(pictures), "shard_size": shard, "kills": ended, "jobs": len(same), "same_files": all(same)}


def poison(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Broken pictures among good ones, some that end a worker, and one that holds it."""
    from sensorium.jobs import Job

    place, site = folder / "poison", folder / "site"
    place.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(FALLS)
    whole = Path(images[0]).read_bytes()
    broken = [b"", b"text", whole[:50], whole[: len(whole) // 2], whole[:2], b"\x89PNG\r\n\x1a\n", b"GIF89a"]
    broken += [b"RIFF", b"BM", b"II*\0", b"\0" * 1000, whole[:-1000]]
    for i in range(arguments.poisoned):
        path = place / f"{i:06}.jpg"
        path.write_bytes(broken[i // 20 % len(broken)]) if i % 20 == 7 else os.link(images[i % len(images)], path)
    for name in ("001000-segfault.jpg", "003000-segfault.jpg", "003001-segfault.jpg", "005000-hang.jpg"):
        shutil.copy(images[0], place / name)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    job = Job("image-classification", model, inputs=str(place), out=folder / "poisoned", device="cpu", dtype="float32")
    began = time.perf_counter()
    report = job.run(timeout_s=20.0)
    good = sum(i % 20 != 7 for i in range(arguments.poisoned))
    figures = {**report.to_dict(), "expected_ok": good, "seconds": time.perf_counter() - began}
    print(f"poison: {report}; {good} were good; {report.workers_started} processes started")
    return figures


def _begin(model: Path, settings: dict[str, Any]) -> None:
    """Lists the inputs of a job and makes its first part."""
    from sensorium.errors import JobStoppedError
    from sensorium.jobs import Job
    from sensorium.jobs.driving import Driver

    finish = Driver._finish

    def finish_once(self: Any, *args: Any) -> None:
        finish(self, *args)
        raise JobStoppedError("the first part is there")

    Driver._finish = finish_once  # type: ignore[method-assign]
    try:
        Job("image-classification", model, **settings).run()
    except JobStoppedError:
        pass
    finally:
        Driver._finish = finish  # type: ignore[method-assign]


def _watch(out: Path, inputs: int, marks: list[tuple[float, int, float]]) -> None:
    """Notes when the first part came, and the last one, and what time of processors the workers had used by then."""
    shards = -(-inputs // 512)
    while len(marks) < 2:
        count = len(_names(out))
        if count and not marks:
            marks.append((time.perf_counter(), count * 512, _used_by_children()))
        if count == shards:
            marks.append((time.perf_counter(), inputs, _used_by_children()))
        time.sleep(0.005)


def _used_by_children() -> float:
    """Seconds of processors that the children of this process have used, those that run and those that have ended."""
    ended, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for pid in _children(os.getpid()):
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(told[11]) + int(told[12])
    return ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _watch_parts(out: Path, known: int, marks: list[tuple[float, int]]) -> None:
    while not marks:
        if len(_names(out)) > known:
            marks.append((time.perf_counter(), 0))
        time.sleep(0.01)


def _names(out: Path) -> set[str]:
    place = out / "parts"
    return {path.name for path in place.iterdir() if path.suffix == ".parquet"} if place.is_dir() else set()


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def parser() -> Parser:
    """The arguments."""
    made = Parser(__doc__, rounds=3)
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    made.add_argument("--images", type=int, default=5000, help="small pictures of `throughput`")
    made.add_argument("--inputs", type=int, default=1_000_000, help="of `resume`")
    made.add_argument("--listed", type=int, default=10_000_000, help="inputs of `memory`")
    made.add_argument("--kills", type=int, default=40)
    made.add_argument("--pictures", type=int, default=2000, help="of `kills`")
    made.add_argument("--poisoned", type=int, default=10_000, help="pictures of `poison`")
    return made


def main() -> None:
    arguments = parser().parse_args()
    kept = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    images = photographs(kept / "small", 500, size=(160, 120))
    model = tiny_vit(kept / "tiny-vit")
    with tempfile.TemporaryDirectory(prefix="sensorium-jobs-") as place:
        for part in arguments.parts:
            folder = Path(place, part)
            folder.mkdir()
            inputs = images
            if part == "throughput":
                inputs = [str(folder / f"{i:06}.jpg") for i in range(arguments.images)]
                for i, path in enumerate(inputs):
                    shutil.copy(images[i % len(images)], path)
            save(f"jobs-{part}", globals()[part](model, inputs, folder, arguments), arguments)


if __name__ == "__main__":
    main()
