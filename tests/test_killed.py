"""Whatever writes files may be killed at any moment: nothing is lost, and nothing is left by the next that writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_nothing_is_lost_and_nothing_left_at_any_step(tmp_path):
    """Each is killed before its first step, before its second, and so on until it ends by itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.killed", tmp_path],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0
    told = {found["act"]: found for found in map(json.loads, done.stdout.splitlines())}
    assert len(told) >= 15
    assert {name: found["wrong"] for name, found in told.items() if found["wrong"]} == {}
    assert all(found["kills"] >= 4 for found in told.values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_commands_lose_nothing_and_leave_nothing_wherever_they_are_killed(tmp_path):
    """200 that build, change and save indexes, write results and save a checkpoint, at random moments."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.kills", "--kills", "200", "--results", tmp_path],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    (figures,) = (json.loads(path.read_text()) for path in tmp_path.glob("kills-*.json"))
    assert (figures["lost"], figures["left"]) == ([], [])
    assert sum(figures["kills"].values()) >= 200
