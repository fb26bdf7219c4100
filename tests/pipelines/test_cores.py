"""The cores that a process may use, as Linux tells of its affinity and of its control group."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
import torch

import sensorium
from sensorium.pipelines import cores, runtime, workers
from sensorium.pipelines.cores import usable_cores
from tests import tiny

IS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "800000 100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "what is this\n"}, 64),
    ],
)
def test_quotas_of_control_groups(files, expected, tmp_path):
    assert usable_cores(tree(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
    ids=["nothing", "another-count", "a-policy"],
)
def test_openmp_is_told_to_wait_briefly_before_torch_is_imported(given, told):
    code = "import os, sys, sensorium; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    got = subprocess.run([sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True)
    assert got.stdout.split() == [str(told), "False"], got.stderr


@pytest.mark.parametrize(
    "given",
    [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}],
    ids=str,
)
@pytest.mark.skipif(not IS_GLIBC, reason="another C library than glibc, or another system than Linux")
def test_memory_is_kept_by_a_pipeline_unless_somebody_has_chosen(given):
    """A block that is freed at the end of the heap is there for the next one, and its pages are."""
    code = (
        "import ctypes, sensorium.pipelines.allocator as allocator\n"
        "faults = lambda: int(open('/proc/self/stat').read().rpartition(')')[2].split()[7])\n"
        "library = ctypes.CDLL(None)\n"
        "library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "def used():\n"
        "    block = library.malloc(16 * 2**20)\n"
        "    ctypes.memset(block, 1, 16 * 2**20)\n"
        "    library.free(block)\n"
        "allocator.keep_memory()\n"
        "used()\n"
        "before = faults()\n"
        "used()\n"
        "print(faults() - before)\n"
    )
    kept = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "TUNABLES" not in name}
    got = subprocess.run([sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True)
    assert (int(got.stdout) < 100) == (not given), got  # of 4,096 pages


def test_pipelines_ask_for_that(monkeypatch):
    asked = []
    monkeypatch.setattr(runtime, "keep_memory", lambda: asked.append(True))
    sensorium.pipeline("image-classification", tiny.folder("vit"), device="cpu")
    assert asked


@pytest.mark.skipif(sys.platform != "linux", reason="torch's OpenMP is GNU's on Linux")
@pytest.mark.parametrize(
    ("given", "first", "told"),
    [
        ({}, "sensorium", "2000 times, then sleep"),
        ({"GOMP_SPINCOUNT": "7"}, "sensorium", "7 times, then sleep"),
        ({"OMP_WAIT_POLICY": "active"}, "sensorium", "by OMP_WAIT_POLICY=active"),
        ({}, "torch", "by OpenMP's own rule: torch was imported before sensorium"),
    ],
    ids=["nothing", "another-count", "a-policy", "torch-first"],
)
def test_whether_openmp_was_told_in_time(given, first, told):
    read = "from sensorium.cli.doctor import examine; print(examine()['auto']['openmp spins'])"
    code = f"import {first}, sensorium, torch; {read}"
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    got = subprocess.run([sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True)
    assert got.stdout.strip() == told, got.stderr


def test_workers_and_torch_s_threads_follow(monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    assert workers.automatic_workers() == 2
    assert workers.automatic_workers(isolated=True) == 4
    threads = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    cores.use_no_more_threads()
    assert threads == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores.use_no_more_threads()
    assert threads == [2]
