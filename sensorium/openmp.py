"""How long the threads of OpenMP, in which torch computes on CPUs, wait awake for their next work."""

from __future__ import annotations

import os

SPINS = 2_000
"""How often a thread looks for work before it sleeps."""


def wait_briefly() -> None:
    """Lets the threads of GNU's OpenMP, torch's on Linux, spin for microseconds before they sleep, not milliseconds.

    A thread that spins keeps a core from those that decode, and from other processes. OpenMP itself spins 100 times
    where it has more threads than cores, and 300,000 times elsewhere, but does not know of others' threads. It reads
    this from the environment when it is loaded: where torch is imported already, nothing changes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
