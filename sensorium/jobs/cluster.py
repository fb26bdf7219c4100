"""A cluster of Ray: how it is reached, what a worker takes of it, and what there is."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.errors import JobError, OptionError
from sensorium.jobs.settings import RunSettings
from sensorium.pipelines.cores import usable_cores

LOCAL = "local"
QUIET: dict[str, Any] = {"logging_level": "warning", "log_to_driver": True}


@dataclass(frozen=True)
class Share:
    """What a worker takes of a node.

    Attributes:
        cpus: CPUs, as many as it has threads.
        gpus: GPUs, or a part of one.
    """

    cpus: int
    gpus: float

    @classmethod
    def of(cls, settings: RunSettings, device: Any, nodes: Sequence[Mapping[str, float]]) -> Share:
        """What was asked for, and what is usual on these nodes where nothing was.

        Args:
            settings: how to run.
            device: the job's, as `pipeline()` takes it.
            nodes: what each node has.
        """
        with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
        wanted = bool(with_gpus) and (device is None or str(device).startswith("cuda"))
        gpus = settings.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if wanted else 0.0
        cpus = settings.cpus_per_worker
        if cpus is None and gpus:
            cpus = max(1, min((int(node.get("CPU", 0) / node["GPU"] * gpus) for node in with_gpus), default=1))
        return cls(cpus or 1, gpus)

    def fits(self, node: Mapping[str, float]) -> int:
        """How many such shares a node has."""
        by_cpu = int(node.get("CPU", 0) / self.cpus)
        return min(by_cpu, int(node.get("GPU", 0) / self.gpus)) if self.gpus else by_cpu

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU" + "s" * (self.cpus > 1)
        return f"{self.gpus:g} GPU and {cpus}" if self.gpus else cpus


def connect(address: str | None) -> tuple[Any, bool]:
    """Reaches a cluster, with token authentication unless `RAY_AUTH_MODE` says otherwise.

    Args:
        address: where it is; that which runs here unless given, or else one that is started on this machine, as
            "local" does at once.

    Returns:
        Ray, and whether it was connected to here, and is to be left again.

    Raises:
        OptionError: Ray is not installed, or connected to another cluster.
        JobError: the cluster is not reached.
    """
    ray = _imported()
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", joined):
            raise OptionError(
                f"this process has joined the Ray cluster at {joined}, and ray_address is {address!r}; ray.shutdown() "
                "leaves it"
            )
        return ray, False
    if address == LOCAL:
        _started(ray, LOCAL)
    elif address is not None:
        _join(ray, address)
    else:
        _join_or_start(ray)
    return ray, True


def _join_or_start(ray: Any) -> None:
    """Joins the cluster that `ray start` has made this machine part of, or starts one."""
    try:
        _started(ray, None)
    except ValueError:  # one is there, which has its CPUs already
        _join(ray, None)
    else:
        told = "no Ray cluster runs here: one was started on this machine, and ends with the run"
        warnings.warn(told, UserWarning, stacklevel=2)


def _started(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, num_cpus=usable_cores(), include_dashboard=False, **QUIET)
    except ValueError:
        raise
    except Exception as error:
        raise JobError(f"Ray cannot be started on this machine: {error}") from error


def _join(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, **QUIET)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise JobError(
            f"the Ray cluster cannot be reached: {error}. It takes the token that it was started with: in "
            "RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names (~/.ray/auth_token unless set). One that "
            'has ended without a word is forgotten by `ray stop`; ray_address="local" starts another'
        ) from error


def _imported() -> Any:
    """Ray, with token authentication unless it was imported, or told otherwise, before."""
    unset = "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules
    if unset:
        os.environ["RAY_AUTH_MODE"] = "token"  # is read when Ray is imported
    try:
        import ray
    except ImportError as error:
        if unset:
            del os.environ["RAY_AUTH_MODE"]
        raise OptionError(
            'engine="ray" needs Ray, which is not installed. pip install "sensorium[ray]" installs it'
        ) from error
    return ray


def nodes_of(ray: Any) -> list[dict[str, Any]]:
    """The nodes that are there."""
    return [node for node in ray.nodes() if node["Alive"]]


def what_there_is(ray: Any) -> str:
    """The nodes of a cluster with their CPUs and GPUs, and what of them is free."""
    told = []
    nodes = nodes_of(ray)
    for node in nodes[:8]:
        has = node["Resources"]
        gpus = f", {has['GPU']:g} GPU" if has.get("GPU") else ""
        told.append(f"{node['NodeManagerAddress']} ({has.get('CPU', 0):g} CPU{gpus})")
    free = ray.available_resources()
    more = f" and {len(nodes) - 8} more" if len(nodes) > 8 else ""
    return (
        f"{len(nodes)} node{'s' * (len(nodes) != 1)}: {', '.join(told)}{more}; {free.get('CPU', 0):g} CPU and "
        f"{free.get('GPU', 0):g} GPU of all are free"
    )
