"""What tests do on a cluster of Ray, in a process of its own: `python -m tests.jobs.on_ray NAME ARGUMENTS`."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

PLACES_NONE_S = 3.0


def run(given: dict[str, Any], out: str, **settings: Any) -> dict[str, Any]:
    """Runs a job of pictures, and gives its report."""
    from sensorium.jobs import Job

    job = Job(
        "image-classification", given["model"], inputs=given["inputs"], out=out, shard_size=4, **given["settings"]
    )
    return job.run(engine="ray", **settings).to_dict()


def parts(out: str) -> int:
    try:
        return sum(name.endswith(".parquet") for name in os.listdir(os.path.join(out, "parts")))  # noqa: PTH118, PTH208
    except FileNotFoundError:
        return 0


def wait_for_parts(out: str, count: int) -> None:
    while parts(out) < count:
        threading.Event().wait(0.01)


def end_seats(signal: int) -> int:
    """Sends a signal to the actors of this process's cluster."""
    import psutil

    found = [p for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::Seat")]
    for process in found:
        process.send_signal(signal)
    return len(found)


def begins(given: dict[str, Any]) -> dict[str, Any]:
    """A cluster that the job starts itself: a run, and one whose workers have no place."""
    import warnings

    from sensorium.errors import JobStoppedError, OptionError
    from sensorium.jobs import ray_crew

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = run(given, given["out"])
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    import ray

    ended = not ray.is_initialized()
    ray.init(num_cpus=1, include_dashboard=False, logging_level="error")
    ray_crew.PLACE_S = PLACES_NONE_S
    try:
        run(given, given["out"] + "-none", cpus_per_worker=3)
        refused = ""
    except JobStoppedError as error:
        refused = str(error)
    try:
        run(given, given["out"] + "-none", ray_address="10.0.0.1:6379")
        elsewhere = ""
    except OptionError as error:
        elsewhere = str(error)
    left = ray.is_initialized()
    ray.shutdown()
    return {
        "report": report,
        "warned": told,
        "ended": ended,
        "left": left,
        "refused": refused,
        "elsewhere": elsewhere,
        "torch": "torch" in sys.modules,
        "mode": os.environ["RAY_AUTH_MODE"],
    }


def loses(given: dict[str, Any]) -> dict[str, Any]:
    """A cluster whose actor is killed, which a node then joins, and which another leaves."""
    import signal

    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    first = cluster.add_node(num_cpus=1)
    said: list[dict[str, Any]] = []
    job = threading.Thread(target=lambda: said.append(run(given, given["out"])))
    job.start()
    wait_for_parts(given["out"], 1)
    killed = end_seats(signal.SIGKILL)
    wait_for_parts(given["out"], 2)
    cluster.add_node(num_cpus=1)
    cluster.remove_node(first, allow_graceful=False)
    job.join()
    ray.shutdown()
    cluster.shutdown()
    return {"report": said[0], "killed": killed}


if __name__ == "__main__":
    print(json.dumps({"begins": begins, "loses": loses}[sys.argv[1]](json.loads(sys.argv[2]))))
