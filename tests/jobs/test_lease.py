"""One run at a time on an object store: who holds a folder, who takes it over, and what the other one learns."""

from __future__ import annotations

import json
import threading

import pytest

from sensorium.errors import JobError, JobStoppedError
from sensorium.jobs.stores import lease, open_store
from sensorium.jobs.stores.remote import RemoteStore


@pytest.fixture
def store(request):
    return open_store(f"memory://leases/{request.node.name}")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is set, or waited for; a waiting run does what `meanwhile` says."""
    clock = Clock()
    monkeypatch.setattr(lease, "_now", lambda: clock.now)
    monkeypatch.setattr(lease, "_wait", clock.wait)
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)  # they are done by hand
    return clock


class Clock:
    now = 0.0

    def __init__(self):
        self.meanwhile = lambda: None

    def wait(self, seconds):
        self.now += seconds
        self.meanwhile()


def names(store):
    return [name for name in store.names() if name.startswith("job.lock")]


def test_a_run_that_lives_keeps_the_folder(store, clock):
    with store.lock() as held:
        clock.meanwhile = held.beat
        with pytest.raises(JobError, match=r"in use by another run \(process \d+ on"), store.lock():
            pass
        assert clock.now < 60
        held.confirm()
    with store.lock(wait_s=0.0):  # is given back, and had at once
        assert clock.now < 60
        assert names(store) == ["job.lock.000002"]


def test_a_run_that_has_ended_is_succeeded_after_a_minute_of_the_successors_own_clock(store, clock):
    store.create("job.lock.000007", json.dumps({"owner": {"pid": 1, "host": "far", "at": 4e9}, "beats": 3}).encode())
    with store.lock():
        assert 60 < clock.now < 65
        assert names(store) == ["job.lock.000008"]


def test_a_run_that_was_suspended_learns_that_it_was_succeeded(store, clock):
    with store.lock() as first:
        clock.meanwhile = lambda: None
        with store.lock() as second:
            with pytest.raises(JobStoppedError, match="out of reach for"):
                first.check()  # by its own clock, before it asks
            with pytest.raises(JobStoppedError, match="taken it over"):
                first.confirm()
            second.confirm()
        assert names(store) == ["job.lock.000002"]
    assert names(store) == ["job.lock.000002"]  # what it gives back is not its own any more


def test_who_has_lost_the_folder_writes_nothing_more_into_it(store, clock):
    other = RemoteStore(store.address)
    with store.lock(), other.lock():
        other.write("job.json", b"of the second")
        for name in ("job.json", "inputs.parquet", "parts/000000-0.x.parquet"):
            with pytest.raises(JobStoppedError):
                store.write(name, b"of the first")
        assert other.read("job.json") == b"of the second"
        assert other.names("parts") == []


def test_a_beat_that_does_not_arrive_ends_the_run_before_another_may_take_it(store, clock, monkeypatch):
    with store.lock() as held:
        monkeypatch.setattr(store, "put", _out_of_reach)
        for seconds in (0, lease.LOST_S - 1):
            clock.now = seconds
            with pytest.raises(OSError, match="unplugged"):
                held.beat()
            held.check()
        clock.now = lease.LOST_S + 1
        with pytest.raises(JobStoppedError, match="out of reach"):
            held.check()
        assert lease.LOST_S * 2 <= lease.LEASE_S  # requests that are under way have the same time again


def test_a_lease_is_kept_alive_by_itself(store, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.001)
    beaten, count = threading.Event(), []
    put = store.put

    def counted(name, content):
        put(name, content)
        count.append(json.loads(content)["beats"])
        if len(count) > 2:
            beaten.set()

    monkeypatch.setattr(store, "put", counted)
    with store.lock():
        beaten.wait()
    assert count[:3] == [1, 2, 3]


def test_of_several_that_come_at_once_one_gets_it(store, clock):
    store.create("job.lock.000001", b'{"owner": {"token": "gone"}, "beats": 3}')
    first, second = ({"token": name} for name in ("first", "second"))
    assert lease._take(store, 2, first) == 2
    assert lease._take(store, 2, second) is None
    assert lease._take(store, 2, first) == 2  # made, and the answer was lost: known by what it says
    assert lease._take(store, 1, second) is None  # of one who has looked long ago, and deleted since
    assert names(store) == ["job.lock.000002"]


def test_a_server_on_which_an_object_can_be_created_twice_is_refused(store, monkeypatch):
    monkeypatch.setattr(
        type(store._fs), "pipe_file", lambda fs, path, value, mode="overwrite": fs.open(path, "wb", data=value)
    )
    with pytest.raises(JobError, match="lets one object be created twice"), store.lock():
        pass
    assert names(store) == []


def _out_of_reach(*_):
    raise OSError("unplugged")
