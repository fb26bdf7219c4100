"""How many cores this process may use: its affinity, and the quota of its control group, as containers set it."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """The cores that the process may keep busy, at least one.

    `docker --cpus=2`, Kubernetes' limits and systemd's CPUQuota leave the affinity as it is, and stop the threads of a
    process that has used up its time: with a thread for each core of the machine it stands still most of the time.

    Args:
        root: of the file system in which Linux tells of control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [affinity, *(math.ceil(quota) for quota in _quotas(root))]
    return max(1, min(quotas))


def use_no_more_threads() -> None:
    """Lets torch use no more threads than the process may keep busy, unless `OMP_NUM_THREADS` says how many."""
    import torch  # the number of cores is told where torch does not load, too

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())


def _quotas(root: Path) -> list[float]:
    """The quotas of the process's control group and of those above it, in cores."""
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if not controllers else "cpu")
        folder = mount / group.lstrip("/")
        for place in (folder, *folder.parents):  # in a container the group's own path may not be there, but its root
            if place.is_relative_to(mount):
                quota = _quota_v2(place) if not controllers else _quota_v1(place)
                quotas += [] if quota is None else [quota]
    return quotas


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """None where there is no limit: "max", or -1."""
    if not (quota.strip().isdigit() and period.strip().isdigit() and int(period)):
        return None
    return int(quota) / int(period) or None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
