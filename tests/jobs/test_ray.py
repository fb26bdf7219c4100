"""Jobs on Ray: the files of the local engine, whatever becomes of workers, actors and nodes."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from sensorium.errors import OptionError
from sensorium.jobs import crew
from sensorium.jobs.cluster import Share
from sensorium.jobs.gauge import Gauge, GaugeReading
from sensorium.jobs.seat import Seat, read_gauge
from sensorium.jobs.settings import RunSettings
from tests import tiny

from .conftest import MODEL, make_job, parts_of, rows_of

ROOT = Path(__file__).parents[2]
with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: sensorium[ray]")


@pytest.fixture
def on_ray(pictures, tmp_path, monkeypatch):
    """Runs something of `on_ray.py` over the pictures, in a process of its own."""
    place = tempfile.mkdtemp(prefix="r")  # no other cluster of this machine is seen; paths of sockets are short
    monkeypatch.setenv("RAY_TMPDIR", place)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "600000")  # of Ray's own start, where the machine is busy
    monkeypatch.setenv("RAY_worker_niceness", "0")  # where it is, what yields to everything else would never come

    def on_ray(name):
        out = tmp_path / "ray"
        given = {"model": str(tiny.folder("vit")), "inputs": str(pictures), "out": str(out), "settings": MODEL}
        command = [sys.executable, "-m", "tests.jobs.on_ray", name, json.dumps(given)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0
        return json.loads(done.stdout.splitlines()[-1]), parts_of(out)

    yield on_ray
    shutil.rmtree(place, ignore_errors=True)


@with_ray
def test_a_job_on_ray_has_the_files_of_a_local_one_and_quarantines_what_ends_workers(
    pictures, tmp_path, on_ray, request
):
    (pictures / "99-segfault.jpg").write_bytes((pictures / "00.jpg").read_bytes())
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    local = make_job(pictures, tmp_path / "local", shard_size=4)
    local.run()  # where nothing falls over the last picture
    expected = parts_of(tmp_path / "local")
    request.getfixturevalue("poison")
    said, parts = on_ray("begins")
    report = said["report"]
    assert (report["ok"], report["quarantined"], report["codes"]) == (20, 1, {"crashed": 1})
    assert parts[:-1] == expected[:-1]  # their names are digests of their content
    assert len(parts) == len(expected) == 6
    last = rows_of(make_job(pictures, tmp_path / "ray", shard_size=4))[-1]
    assert last["source"].endswith("99-segfault.jpg")
    assert last["status"] == "quarantined"
    assert "signal 11" in last["error_message"]
    assert report["workers_started"] <= 4
    assert said["ended"], "a cluster that was started for the run ends with it"
    assert said["left"], "one that was there stays"
    assert len(said["warned"]) == 1
    assert "no Ray cluster runs here" in said["warned"][0]
    assert "3 CPUs of a node" in said["refused"]
    assert "1 node: " in said["refused"]
    assert "(1 CPU)" in said["refused"]
    assert "'10.0.0.1:6379'" in said["elsewhere"]
    assert not said["torch"]
    assert said["mode"] == "token"


@with_ray
@pytest.mark.slow
def test_an_actor_and_a_node_are_lost_and_no_row_is(pictures, tmp_path, on_ray):
    make_job(pictures, tmp_path / "local", shard_size=4).run()
    said, parts = on_ray("loses")
    assert said["killed"] == 1
    assert (said["report"]["ok"], said["report"]["quarantined"]) == (20, 0)
    assert parts == parts_of(tmp_path / "local")


GPU_NODE, CPU_NODE = {"CPU": 32.0, "GPU": 4.0}, {"CPU": 16.0}


@pytest.mark.parametrize(
    ("given", "device", "nodes", "share", "room"),
    [
        ({}, None, [CPU_NODE, CPU_NODE], Share(1, 0.0), 32),
        ({}, None, [GPU_NODE, CPU_NODE], Share(8, 1.0), 4),
        ({}, "cpu", [GPU_NODE, CPU_NODE], Share(1, 0.0), 48),
        ({"gpus_per_worker": 0.5}, None, [GPU_NODE], Share(4, 0.5), 8),
        ({"cpus_per_worker": 3}, None, [CPU_NODE], Share(3, 0.0), 5),
        ({"gpus_per_worker": 0.0}, None, [GPU_NODE], Share(1, 0.0), 32),
        ({"cpus_per_worker": 64}, None, [CPU_NODE], Share(64, 0.0), 0),
    ],
)
def test_a_worker_takes_its_share_of_a_node(given, device, nodes, share, room):
    made = Share.of(RunSettings(engine="ray", **given), device, nodes)
    assert made == share
    assert sum(map(made.fits, nodes)) == room


def test_what_is_of_ray_is_refused_without_it(pictures, tmp_path, monkeypatch):
    job = make_job(pictures, tmp_path / "out")
    for wrong in ({"ray_address": "auto"}, {"cpus_per_worker": 2}, {"gpus_per_worker": 0.5}):
        with pytest.raises(OptionError, match='engine="ray"'):
            job.run(**wrong)
    with pytest.raises(OptionError, match="engine"):
        job.run(engine="spark")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"sensorium\[ray\]"):
        job.run(engine="ray")
    assert not list((tmp_path / "out").glob("parts/*"))


def test_the_gauge_of_a_worker_is_read_when_its_seat_has_ended():
    gauge = Gauge.make()
    gauge.taken, gauge.given, gauge.failed = 9, 7, 1
    assert read_gauge(str(gauge.path)) == GaugeReading(9, 7, 1)
    assert not gauge.path.exists()
    assert read_gauge(str(gauge.path)) == GaugeReading()


def test_what_a_seat_leaves_can_be_read_by_another_process(monkeypatch):
    process = Mock(stdin=io.BytesIO(), stdout=io.BytesIO())
    monkeypatch.setattr(crew, "subprocess", SimpleNamespace(Popen=lambda *_, **__: process, PIPE=None))
    monkeypatch.setitem(sys.modules, "ray", Mock())
    seat = Seat()
    path = seat.begin(1, {}, {}).gauge
    seat._worker.gauge.taken = 3
    code = "import sys; from sensorium.jobs.seat import Seat, read_gauge; print(read_gauge(sys.argv[1]))"
    read = subprocess.run([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert read.stdout == f"{GaugeReading(3, 0, 0)}\n"
