"""A disk that is full and a folder that is out of reach, at every step: the run says so, and the same call goes on."""

from __future__ import annotations

import errno
import itertools
import json

import pyarrow.parquet
import pytest

from sensorium.errors import JobError
from sensorium.jobs import Job
from sensorium.jobs.stores import LocalStore, RemoteStore, lease, local, open_store
from tests import media

from . import in_process
from .conftest import make_job

STEPS = ("make", "is_file", "names", "read", "open", "source", "footers", "draft", "publish", "delete", "create", "put")


class Faults:
    """Counts the steps of a run, and lets one of them fail, or that one and all that come after it."""

    def __init__(self, monkeypatch, kind):
        self.count, self.at, self.lasting, self.done = 0, 0, False, False
        for name in STEPS:
            if hasattr(kind, name):
                monkeypatch.setattr(kind, name, self._failing(getattr(kind, name)))
        monkeypatch.setattr(local, "sync", self._failing(local.sync))
        monkeypatch.setattr(pyarrow.parquet, "write_table", self._failing(pyarrow.parquet.write_table))

    def fail(self, at, *, lasting, done):
        self.count, self.at, self.lasting, self.done = 0, at, lasting, done

    def _failing(self, step):
        def stepped(*given, **named):
            self.count += 1
            fails = self.count == self.at or (self.lasting and 0 < self.at <= self.count)
            if fails and self.done:  # it was done, and the answer was lost
                made = step(*given, **named)
                if hasattr(made, "close"):
                    made.close()
            if fails:
                raise OSError(errno.ENOSPC, "No space left on device")
            return step(*given, **named)

        return stepped


@pytest.fixture
def few(tmp_path):
    """Three inputs, one of which fails."""
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(2):
        (folder / f"{i}.jpg").write_bytes(media.jpeg(40, 30, seed=i))
    return [str(folder / "0.jpg"), str(folder / "nowhere.jpg"), str(folder / "1.jpg")]


@pytest.fixture
def clock(monkeypatch):
    """A clock for leases that goes on when it is waited for."""
    now = [0.0]
    monkeypatch.setattr(lease, "_now", lambda: now[0])
    monkeypatch.setattr(lease, "_wait", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)
    return now


def held(store):
    """What there is when a job is done."""
    told = json.loads(store.read("job.json"))
    told["counts"] = {name: told["counts"][name] for name in ("inputs", "ok", "failed", "shards_done", "complete")}
    names = {name for name in store.names() if not name.startswith("job.lock")} - {"timings.jsonl"}  # is no state
    return names, store.names("parts"), told


@pytest.mark.filterwarnings("ignore:what the run has done is kept")
@pytest.mark.parametrize(("lasting", "done"), [(True, False), (False, True)])
@pytest.mark.parametrize("kind", ["local", "remote"])
def test_whatever_step_fails_the_same_call_goes_on(few, tmp_path, monkeypatch, clock, kind, lasting, done):
    in_process.use(monkeypatch)
    make_job(few, tmp_path / "expected", shard_size=2).run()
    expected = held(open_store(tmp_path / "expected"))
    faults = Faults(monkeypatch, LocalStore if kind == "local" else RemoteStore)
    for at in itertools.count(1):
        out = tmp_path / f"{at}" if kind == "local" else f"memory://faults-{lasting}-{done}/{at}"
        faults.fail(at, lasting=lasting, done=done)
        try:
            make_job(few, out, shard_size=2).run()
        except JobError as error:
            assert "No space left" in str(error), error
            failed = True
        else:
            failed = False
        passed = faults.count < at
        faults.fail(0, lasting=False, done=False)
        make_job(few, out, shard_size=2).run()
        assert held(open_store(out)) == expected, at
        assert Job.open(out).results().to_table().column("status").to_pylist() == ["ok", "failed", "ok"]
        assert not [name for name in open_store(out).names() if name.endswith(".part")]
        if passed and not failed:
            break
    assert at > 40


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_whoever_reads_is_told_what_failed(few, tmp_path, monkeypatch, clock, kind):
    in_process.use(monkeypatch)
    out = tmp_path / "out" if kind == "local" else "memory://faults/read"
    make_job(few, out, shard_size=2).run()
    faults = Faults(monkeypatch, LocalStore if kind == "local" else RemoteStore)
    for ask in (Job.open, lambda out: Job.open(out).status(), lambda out: Job.open(out).failures()):
        for at in itertools.count(1):
            faults.fail(at, lasting=True, done=False)
            try:
                ask(out)
            except JobError as error:
                assert "No space left" in str(error)
            else:
                break
        assert at > 1
