"""What stops a job, and what its workers fall over: nothing is lost, nothing is done twice."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest

from sensorium.errors import JobError, JobStoppedError
from sensorium.jobs import work
from sensorium.jobs.driving import Driver
from sensorium.jobs.settings import RunSettings
from sensorium.jobs.stores import local, open_store
from sensorium.jobs.stores.lock import locked
from tests import tiny
from tests.tiny_embedding import encoder

from .conftest import make_job, parts_of, rows_of

ROOT = Path(__file__).parents[2]


def test_inputs_that_end_or_hold_a_worker_are_quarantined_and_their_neighbours_done(pictures, tmp_path, poison):
    for name in ("03-segfault.jpg", "04-segfault.jpg", "11-hang.jpg", "15-once.jpg"):
        (pictures / name).write_bytes((pictures / "00.jpg").read_bytes())
    job = make_job(pictures, tmp_path / "out", shard_size=12)
    report = job.run(timeout_s=8.0)
    rows = {os.path.basename(row["source"]): row for row in rows_of(job)}  # noqa: PTH119
    assert (report.inputs, report.ok, report.quarantined, report.failed) == (24, 21, 3, 0)
    assert report.codes == {"crashed": 2, "timed-out": 1}
    assert (
        rows["03-segfault.jpg"]["status"] == "quarantined" and "signal 11" in rows["03-segfault.jpg"]["error_message"]
    )
    assert rows["11-hang.jpg"]["error_code"] == "timed-out"
    assert rows["15-once.jpg"]["status"] == "ok"  # what ended one worker may have been its neighbour
    assert rows["15-once.jpg"]["labels"] == rows["00.jpg"]["labels"]
    assert report.workers_started <= 9


def test_a_run_that_is_killed_goes_on_and_gives_the_same_files(pictures, tmp_path):
    expected, out = tmp_path / "expected", tmp_path / "out"
    make_job(pictures, expected, shard_size=2).run()
    code = (
        "import sys\nfrom sensorium.jobs import Job\n"
        "Job('image-classification', sys.argv[1], inputs=sys.argv[2], out=sys.argv[3], shard_size=2, device='cpu', "
        "dtype='float32').run()"
    )
    for parts in (1, 5):
        process = subprocess.Popen([sys.executable, "-c", code, str(tiny.folder("vit")), str(pictures), str(out)])
        try:
            while not ((out / "parts").is_dir() and len(_whole(out)) >= parts):
                assert process.poll() is None or len(_whole(out)) >= parts
                threading.Event().wait(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    make_job(str(pictures), out, shard_size=2).run()
    assert parts_of(out) == parts_of(expected)  # their names are digests of their content
    left = ["inputs.parquet", "job.json", "job.lock", "parts", "report.html", "timings.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == left


def test_two_runs_do_not_mix(pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with (
        locked(out),
        pytest.raises(JobError, match=rf"in use by another run \(process {os.getpid()} on"),
        locked(out, wait_s=0.0),
    ):
        pass
    with (out / "job.lock").open() as file:  # is let go with the process, however that ends
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_files_are_the_same_whatever_workers_did_before_and_however_many_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums of another number of threads may round otherwise
    texts = pa.table({"text": [" ".join(["word"] * (1 + i * 7 % 23)) for i in range(40)]})
    settings = {
        "task": "feature-extraction",
        "model": str(encoder("bert")),
        "shard_size": 10,
        "options": {"pool": "mean"},
    }
    make_job(texts, tmp_path / "one", **settings).run()
    report = make_job(texts, tmp_path / "several", **settings).run(workers=2, max_inputs_per_worker=20)
    assert report.ok == 40
    assert parts_of(tmp_path / "several") == parts_of(tmp_path / "one")


def test_batches_of_a_worker_are_steady_and_short_texts_fill_them(tmp_path):
    settings = {"device": "cpu", "dtype": "float32"}
    pipe = work._pipeline({"task": "feature-extraction", "model": str(encoder("bert")), "settings": settings}, 0)
    with pipe:
        assert pipe.stats()["batch_size"] == 8
        for _ in range(2):
            pipe.reset_stats()
            pipe(["word"] * 64)
            assert pipe.stats()["batch_size"] == 8  # has not grown
            assert pipe.stats()["batches"] < 8  # of short texts there are more than 8 in one
        assert not pipe.stats()["compiled"]


def test_a_second_run_is_refused_while_the_first_lives_and_goes_on_when_it_is_killed(
    pictures, tmp_path, poison, monkeypatch
):
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    (pictures / "99-hang.jpg").write_bytes((pictures / "00.jpg").read_bytes())
    code = (
        "import sys\nfrom sensorium.jobs import Job\n"
        "Job('image-classification', sys.argv[1], inputs=sys.argv[2], out=sys.argv[3], shard_size=6, device='cpu', "
        "dtype='float32').run()"
    )
    words = [sys.executable, "-c", code, str(tiny.folder("vit")), str(pictures), str(out)]
    process = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(temporary)})
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the second run's workers do not fall over it
    monkeypatch.setattr(local, "locked", lambda path, *, wait_s: locked(path, wait_s=0.1))
    try:
        while not ((out / "parts").is_dir() and len(_whole(out)) >= 3):
            assert process.poll() is None
            threading.Event().wait(0.01)
        before = parts_of(out)
        with pytest.raises(JobError, match=rf"in use by another run \(process {process.pid} on"):
            make_job(str(pictures), out).run()
        assert parts_of(out) == before and process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert list(temporary.iterdir()) == []  # nothing that nobody would remove
    monkeypatch.setattr(local, "locked", locked)  # waits until the workers have gone, too
    assert make_job(str(pictures), out).run().ok == 21


def test_a_worker_that_does_not_come_to_an_end_with_loading_ends_the_run(pictures, tmp_path):
    with pytest.raises(JobStoppedError, match=r"load_timeout_s=0\.1 s"):
        make_job(pictures, tmp_path / "out").run(load_timeout_s=0.1)
    driver = Driver(open_store(tmp_path), {}, RunSettings(load_timeout_s=9.0), Mock())
    worker = Mock(ready=True, order=None)
    driver._workers, driver._begun = [worker], {worker: float("-inf")}
    driver._step()
    worker.ready = False  # one that was started while others work
    with pytest.raises(JobStoppedError, match=r"load_timeout_s=9 s"):
        driver._step()


def test_a_worker_is_replaced_after_so_many_inputs(pictures, tmp_path):
    report = make_job(pictures, tmp_path / "out", shard_size=10).run(max_inputs_per_worker=10)
    assert (report.ok, report.workers_started) == (20, 2)


def test_two_workers_share_the_shards(pictures, tmp_path):
    job = make_job(pictures, tmp_path / "out", shard_size=4)
    report = job.run(workers=2)
    assert (report.ok, report.workers_started) == (20, 2)
    assert [row["input_id"] for row in rows_of(job)] == list(range(20))


def _whole(out):
    return [path for path in (out / "parts").iterdir() if path.suffix == ".parquet"]
