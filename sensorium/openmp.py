"""How long the threads of OpenMP, in which torch computes on CPUs, wait awake for their next work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SPINS = 2_000
"""How often a thread looks for work before it sleeps."""


def wait_briefly() -> None:
    """Lets the threads of GNU's OpenMP, torch's on Linux, spin for microseconds before they sleep, not milliseconds.

    A thread that spins keeps a core from those that decode, and from other processes. OpenMP itself spins 100 times
    where it has more threads than cores, and 300,000 times elsewhere, but does not know of others' threads. It reads
    this from the environment when it is loaded: where torch is imported already, nothing changes.
    """
    _asked["in time"] = "torch" not in sys.modules
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def told() -> str:
    """Whether that is in effect, in words, once torch is imported."""
    if not _asked.get("in time"):
        return "by OpenMP's own rule: torch was imported before sensorium"
    if "OMP_WAIT_POLICY" in os.environ:
        return f"by OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}"
    if not _is_gnu():
        return "by OpenMP's own rule: torch's is not GNU's"
    return f"{os.environ.get('GOMP_SPINCOUNT')} times, then sleep"


def _is_gnu() -> bool:
    """Whether GNU's OpenMP is loaded in this process, as Linux tells it."""
    try:
        return "libgomp" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


_asked: dict[str, bool] = {}
