"""Jobs on Ray: nodes and drivers that are killed, a network that is cut, and what Ray costs against local workers.

    python -m benchmarks.clusters
    python -m benchmarks.clusters --parts nodes --kills 20 --pictures 2000

`nodes` needs root: it gives each of three nodes a network namespace of its own on this machine, kills nodes and drivers
at random moments, starts them again, cuts one off in the end, and compares the files with those of a local run.
`against` runs the same job with as many local workers and on Ray, in turn, and compares the time from the first part to
the last.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
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

PARTS = ("against", "nodes")
NODES = ("sensorium1", "sensorium2", "sensorium3")
BRIDGE, NET, PORT = "sensorium0", "10.77.41", 6390
HEAD = f"{NET}.11"

RUN = (
    "import sys\nfrom sensorium.jobs import Job\n"
    "job = Job('image-classification', sys.argv[1], inputs='@' + sys.argv[2], out=sys.argv[3], device='cpu', "
    "dtype='float32', compile=False, shard_size=int(sys.argv[4]))\n"
    "print(job.run(**eval(sys.argv[5])))"
)


class Net:
    """Three nodes of Ray, each in a network namespace of its own, joined by a bridge."""

    def __init__(self) -> None:
        self.close()
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for i, node in enumerate(NODES):
            _ip("netns", "add", node)
            _ip("link", "add", f"{node}v", "type", "veth", "peer", "name", "eth0", "netns", node)
            _ip("link", "set", f"{node}v", "master", BRIDGE, "up")
            _ip("-n", node, "addr", "add", f"{NET}.{11 + i}/24", "dev", "eth0")
            _ip("-n", node, "link", "set", "eth0", "up")
            _ip("-n", node, "link", "set", "lo", "up")

    def start(self, node: str) -> None:
        """Starts Ray on a node; the first is the head, and has no CPU for workers."""
        i = NODES.index(node)
        words = (
            ["--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false"]
            if i == 0
            else [f"--address={HEAD}:{PORT}", "--num-cpus=1"]
        )
        words += [f"--node-ip-address={NET}.{11 + i}", "--disable-usage-stats"]
        command = [str(Path(sys.executable).with_name("ray")), "start", *words]
        subprocess.run(["ip", "netns", "exec", node, *command], check=True, stdout=subprocess.DEVNULL)

    def kill(self, node: str) -> None:
        """Kills everything on a node."""
        for pid in _pids(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def driver(self, words: list[Any]) -> subprocess.Popen[bytes]:
        """Starts a run of the job on the head."""
        command = ["ip", "netns", "exec", NODES[0], sys.executable, "-W", "ignore", "-c", RUN, *map(str, words)]
        return subprocess.Popen(command)

    def cut(self, node: str) -> None:
        """Takes a node's cable out."""
        _ip("link", "set", f"{node}v", "down")

    def close(self) -> None:
        """Removes it all."""
        for node in NODES:
            self.kill(node)
            subprocess.run(["ip", "netns", "del", node], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "link", "del", f"{node}v"], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, stderr=subprocess.DEVNULL)
        current = Path(tempfile.gettempdir(), "ray", "ray_current_cluster")  # what Ray takes to run on this machine
        if current.is_file() and HEAD in current.read_text():
            current.unlink()


def nodes(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kills nodes and drivers until the job is done, cuts one off, and compares its files with a local run's."""
    listed = _listed(images, folder, arguments.pictures)
    shard = max(1, arguments.pictures // (40 * arguments.kills + 8))  # a node takes its time to start again
    local, out = folder / "local", folder / "out"
    _run([model, listed, local, shard, {"workers": 1}])
    expected, rng, ended = _names(local), random.Random(0), {"node": 0, "driver": 0}
    words = [model, listed, out, shard, {"engine": "ray", "ray_address": f"{HEAD}:{PORT}"}]
    net = Net()
    try:
        for node in NODES:
            net.start(node)
        driver = net.driver(words)
        for turn in range(arguments.kills):
            _wait_for(out, min(len(_names(out)) + 1, len(expected) - 8), driver)
            if len(_names(out)) >= len(expected) - 8:  # too little is left: what is killed now says nothing
                break
            time.sleep(rng.random() * 0.3)
            node = rng.choice(NODES[1:])
            if turn % 2:
                driver.kill()
                ended["driver"] += 1
            else:
                net.kill(node)
                ended["node"] += 1
                net.start(node)
            if driver.poll() is not None or turn % 2:
                driver.wait()
                driver = net.driver(words)
        left = len(expected) - len(_names(out))
        _wait_for(out, len(expected) - left + 1, driver)
        began = time.perf_counter()
        net.cut(NODES[1])  # and it stays so: its shard is to be done by the other
        driver.wait()
        seconds = time.perf_counter() - began
    finally:
        net.close()
    same = _names(out) == expected
    print(f"nodes: {ended}, {arguments.pictures} inputs in shards of {shard}: the same files: {same}")
    print(f"cut off with {left} shards to do: done after {seconds:.0f} s")
    return {"inputs": arguments.pictures, "shard_size": shard, "kills": ended, "same_files": same, "s_cut": seconds}


def against(model: Path, images: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Inputs a second of local workers and of as many on Ray, from the first part to the last, in turn."""
    listed = _listed(images, folder, arguments.images)
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(arguments.rounds):
        for engine, found in rates.items():
            settings = {"engine": engine, **({"ray_address": "local"} if engine == "ray" else {})}
            out, marks = folder / f"{engine}-{turn}", list[tuple[float, int]]()
            shards = -(-arguments.images // 128)
            watch = threading.Thread(target=_watch, args=(out, shards, marks))
            watch.start()
            _run([model, listed, out, 128, {**settings, "workers": arguments.workers}])
            watch.join()
            found.append((marks[-1][1] - marks[0][1]) * 128 / (marks[-1][0] - marks[0][0]))
    medians = {engine: statistics.median(found) for engine, found in rates.items()}
    ratio = statistics.median(b / a for a, b in zip(rates["local"], rates["ray"], strict=True))
    print(f"against: {medians['local']:.0f} inputs/s local, {medians['ray']:.0f} on Ray: {ratio:.3f} of local")
    return {"inputs": arguments.images, "workers": arguments.workers, "inputs_per_s": medians, "ratio": ratio}


def _listed(images: list[str], folder: Path, count: int) -> Path:
    copies, listed = folder / "copies", folder / "pictures.txt"
    copies.mkdir()
    for i in range(count):
        shutil.copy(images[i % len(images)], copies / f"{i:06}.jpg")
    listed.write_text("".join(f"{path}\n" for path in sorted(copies.iterdir())))
    return listed


def _run(words: list[Any]) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", RUN, *map(str, words)], check=True)


def _wait_for(out: Path, count: int, driver: subprocess.Popen[bytes]) -> None:
    while len(_names(out)) < count and driver.poll() is None:
        time.sleep(0.02)


def _watch(out: Path, shards: int, marks: list[tuple[float, int]]) -> None:
    """Notes when the first parts came, and the last one."""
    while not marks or marks[-1][1] < shards:
        count = len(_names(out))
        if count > (marks[-1][1] if marks else 0):
            marks.append((time.perf_counter(), count))
        time.sleep(0.005)


def _names(out: Path) -> set[str]:
    place = out / "parts"
    return {path.name for path in place.iterdir() if path.suffix == ".parquet"} if place.is_dir() else set()


def _pids(node: str) -> list[int]:
    told = subprocess.run(["ip", "netns", "pids", node], check=False, capture_output=True, text=True).stdout
    return [int(word) for word in told.split()]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def parser() -> Parser:
    """The arguments."""
    made = Parser(__doc__, rounds=3)
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    made.add_argument("--images", type=int, default=20_000, help="small pictures of `against`")
    made.add_argument("--workers", type=int, default=2, help="of `against`")
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--pictures", type=int, default=20_000, help="of `nodes`")
    return made


def main() -> None:
    arguments = parser().parse_args()
    kept = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    images = photographs(kept / "small", 500, size=(160, 120))
    model = tiny_vit(kept / "tiny-vit")
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_agent_register_timeout_ms": "600000", "RAY_worker_niceness": "0"}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="sensorium-clusters-") as place:
        for part in arguments.parts:
            folder = Path(place, part)
            folder.mkdir()
            save(f"clusters-{part}", globals()[part](model, images, folder, arguments), arguments)


if __name__ == "__main__":
    main()
