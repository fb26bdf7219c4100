"""What a job's folder holds is that job's: its parts, its listing, its description; and what else lies there stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensorium.errors import JobError, OptionError, UnknownNameError
from sensorium.jobs import Job
from sensorium.jobs.description import digest_of
from sensorium.jobs.gauge import Gauge
from sensorium.jobs.listing import Listing
from sensorium.jobs.parts import Part, digest_of_file, find_parts, write_part
from sensorium.jobs.shard import Shard
from sensorium.processors.limits import MediaLimits

from .conftest import make_job, parts_of

pytestmark = pytest.mark.usefixtures("workers_in_process")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A job that is done, with limits and a carried time that Python has no type for."""
    folder = tmp_path_factory.mktemp("done")
    far = pa.array([2**60, 1, 2], pa.timestamp("us"))
    table = pa.table({"image": ["nowhere/a.jpg", "nowhere/b.jpg", "nowhere/c.jpg"], "when": far})
    limits = MediaLimits(max_pixels=1000)
    make_job(table, folder / "out", carry="when", limits=limits, shard_size=1).run()
    return folder / "out", lambda out: make_job(table, out, carry="when", limits=limits, shard_size=1), table


@pytest.fixture
def out(done, tmp_path):
    return shutil.copytree(done[0], tmp_path / "out")


def test_the_same_call_is_the_same_with_limits_and_tables(done, out):
    report = done[1](out).run()
    assert (report.workers_started, report.failed) == (0, 3)
    other = done[2].slice(1)
    with pytest.raises(OptionError, match=r"inputs\.given: .*digest"):
        make_job(other, out, carry="when", limits=MediaLimits(max_pixels=1000), shard_size=1).run()


def test_another_working_directory_is_another_job_where_paths_are_relative(tmp_path, monkeypatch, pictures):
    for name in ("a", "b"):
        shutil.copytree(pictures, tmp_path / name)
    monkeypatch.chdir(tmp_path / "a")
    job = make_job("0[01].jpg", tmp_path / "out")
    assert job._folder._asked["cwd"] == str(tmp_path / "a")
    assert make_job(tmp_path / "a", tmp_path / "out")._folder._asked["cwd"] is None


def test_what_is_tried_again_may_be_carried_beyond_what_python_knows(done, out):
    with pytest.raises(UnknownNameError, match="missing-file"):  # before a worker is started
        done[1](out).retry("missing-fil")
    assert done[1](out).retry().ran == 3


@pytest.mark.parametrize("number", [1, 9])
def test_a_part_of_another_shard_is_refused(done, out, number):
    first = find_parts(out)[0]
    for part in find_parts(out).values():
        if part.shard == min(number, 2):
            Path(part.path).unlink()
    shutil.copy(first.path, out / "parts" / Path(first.path).name.replace("000000-0", f"{number:06}-0"))
    with pytest.raises(JobError, match="shard"):
        done[1](out).run()


def test_a_part_of_another_job_is_refused(done, out):
    part = find_parts(out)[1]
    Path(part.path).unlink()
    write_part(out, find_parts(out)[0].read(), "0" * 32, 1, 0)
    with pytest.raises(JobError, match="another job"):
        Job.open(out).status()


def test_a_part_that_was_made_twice_counts_once(done, out):
    part = find_parts(out)[1]
    facts = json.loads((out / "job.json").read_text())
    changed = part.read().set_column(5, "error_message", pa.array(["otherwise"]))
    write_part(out, changed, digest_of(facts), 1, 0)
    assert len(parts_of(out)) == 4
    assert Job.open(out).results().to_table(["input_id"]).column(0).to_pylist() == [0, 1, 2]
    assert done[1](out).run().failed == 3
    assert len(parts_of(out)) == 3


def test_without_its_listing_a_job_does_not_go_on(done, out):
    (out / "inputs.parquet").unlink()
    with pytest.raises(JobError, match=r"inputs\.parquet cannot be read"):
        done[1](out).run()
    (out / "job.json").unlink()
    with pytest.raises(JobError, match="holds other files"):
        done[1](out).run()


@pytest.mark.parametrize(
    "change",
    [{"refreshed": 3}, {"refreshed": [3]}, {"settings": []}, {"task": None}, {"listing": {}}, {"shard_size": "2"}],
)
def test_a_description_with_entries_of_other_types_is_refused(done, out, change):
    path = out / "job.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, **change}))
    with pytest.raises(JobError, match=r"job\.json cannot be used"):
        Job.open(out).status()
    path.write_text("[" * 100_000)
    with pytest.raises(JobError, match=r"job\.json cannot be read"):
        Job.open(out)


@pytest.mark.parametrize("facts", [b"[" * 100_000, b"3", b"[]", b'{"job": 1}', b'{"job": 1, "shard": 0, "counts": 3}'])
def test_a_part_that_says_something_else_is_told(done, out, facts):
    part = find_parts(out)[0]
    table = part.read().replace_schema_metadata({b"sensorium.part": facts})
    Path(part.path).unlink()
    pq.write_table(table, out / "x")
    (out / "x").rename(out / "parts" / f"000000-0.{digest_of_file(out / 'x')}.parquet")
    with pytest.raises(JobError, match="not a part of a job"):
        Job.open(out).status()


def spoilt(path):
    """A file of Parquet whose first column cannot be unpacked."""
    data = Path(path).read_bytes()
    begins = data.index(b"\x28\xb5\x2f\xfd")
    return data[:begins] + bytes(4) + data[begins + 4 :]


def test_damage_that_no_digest_shows_is_told(done, out):
    part = find_parts(out)[0]
    (out / "x").write_bytes(spoilt(part.path))
    again = Part(0, 0, digest_of_file(out / "x"), part.store)
    (out / "x").rename(again.path)
    with pytest.raises(JobError, match=r"parts.*cannot be read"):
        again.read()
    (out / "inputs.parquet").write_bytes(spoilt(out / "inputs.parquet"))
    with pytest.raises(JobError, match=r"inputs\.parquet cannot be read"):
        Listing(out).read(0)


def test_files_of_the_user_stay(tmp_path, pictures):
    out = tmp_path / "out"
    out.mkdir()
    (out / "film.mkv.part").write_text("precious")
    with pytest.raises(JobError, match=r"film\.mkv\.part"):
        make_job(pictures, out).run()
    assert (out / "film.mkv.part").read_text() == "precious"


def test_a_call_that_was_refused_does_not_take_the_folder(tmp_path, pictures):
    out = tmp_path / "out"
    with pytest.raises(OptionError, match="stands for no input"):
        make_job(pictures / "*.tiff", out).run()
    with pytest.raises(OptionError, match=r"top_k is a whole number"):
        make_job(pictures, out, options={"top_k": 0}).run()
    (pictures.parent / "queue.py").write_text("raise SystemExit('what lies here is not imported')")
    assert make_job(pictures, out).run().ok == 20


def test_an_input_is_put_into_quarantine_only_when_a_worker_has_ended_with_it_twice():
    gauge = Gauge.make()
    shard = Shard(0)

    def ended(taken, given):
        gauge.taken, gauge.given = taken, given
        shard.blame(gauge, code="crashed", how="how")
        return shard.order()

    assert ended(5, 2)["alone"] == [2, 3, 4]
    shard.suspects = []  # none of them ended a worker alone
    assert ended(9, 7)["one_by_one"] and not shard.quarantined  # the shard as a whole did, again
    assert ended(7, 6)["one_by_one"] and not shard.quarantined  # one alone, for the first time
    assert ended(8, 7)["one_by_one"] and not shard.quarantined  # another one
    assert ended(7, 6)["quarantined"].keys() == {6}
    gauge.remove()
