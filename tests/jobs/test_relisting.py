"""Listing a job's inputs again: what is new is added, what has changed or is gone is told, what was done stays."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensorium.errors import JobError, OptionError
from sensorium.jobs import Job
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.listing import Listing, write_listing
from sensorium.jobs.relisting import Relisted, Relisting
from sensorium.jobs.stores import open_store
from sensorium.jobs.words import find_inputs
from sensorium.processors.folders import FileSearch
from tests import media

from .conftest import make_job, parts_of, rows_of
from .test_archives import archive

pytestmark = pytest.mark.usefixtures("workers_in_process")


class Listed:
    """A folder with a listing, which can be listed again; parts are made up."""

    def __init__(self, folder, given, **more):
        self.folder, self.inputs, self.refreshed = folder, Inputs(given, **more), []
        facts = {}
        write_listing(folder, self.inputs.batches(("image",), (), facts), facts, shard_size=2)

    def open(self):
        return Listing(self.folder, self.refreshed)

    def again(self, generations=None, *, redo=False, given=None):
        listing, facts = self.open(), {}
        inputs = self.inputs if given is None else Inputs(given, dict(self.inputs.columns), self.inputs.carry)
        with Relisting(listing, generations or {}) as relisting:
            written = relisting.run(
                open_store(self.folder),
                inputs.batches(("image",), (), facts),
                facts,
                number=len(self.refreshed) + 1,
                shard_size=2,
                again=redo,
            )
        self.refreshed += [written] if written else []
        return relisting.found

    def rows(self):
        listing = self.open()
        rows = [row for shard in range(listing.shards) for row in listing.read(shard).to_pylist()]
        assert [row["input_id"] for row in rows] == list(range(listing.inputs))
        return rows


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "bdf":
        (folder / f"{name}.jpg").write_bytes(b"x")
    return folder


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_new_inputs_are_the_last_ones_in_shards_of_their_own(photos, out):
    listed = Listed(out, photos)
    assert str(listed.again()) == "0 new inputs" and listed.refreshed == []
    for name in "aceg":
        (photos / f"{name}.jpg").write_bytes(b"x")
    assert listed.again().added == 4
    (photos / "h.jpg").write_bytes(b"x")
    assert listed.again() == Relisted(added=1)
    assert [os.path.basename(row["source"])[0] for row in listed.rows()] == list("bdfacegh")  # noqa: PTH119
    listing = listed.open()
    assert [listing.size(shard) for shard in range(listing.shards)] == [2, 1, 2, 2, 1]
    assert listed.again().added == 0


def test_what_has_changed_or_is_gone_is_told_each_time(photos, out):
    listed = Listed(out, [photos, "nowhere.jpg"])
    (photos / "b.jpg").write_bytes(b"longer")
    os.utime(photos / "d.jpg", ns=(1, 1))
    (photos / "f.jpg").unlink()
    for _ in range(2):
        found = listed.again()
        assert (found.added, found.changed, found.gone, found.again) == (0, 2, 1, False)
        assert found.examples == {
            "changed": [str(photos / "b.jpg"), str(photos / "d.jpg")],
            "gone": [str(photos / "f.jpg")],
        }
        assert "2 have changed since they were listed" in str(found) and "--redo-changed" in str(found)


def test_what_has_changed_is_done_again_once_and_noted_so(photos, out):
    listed = Listed(out, photos)
    (photos / "d.jpg").write_bytes(b"longer")
    (photos / "f.jpg").write_bytes(b"longer")
    found = listed.again({0: 3}, redo=True)
    assert (found.changed, found.again) == (2, True) and "are done again" in str(found)
    listing = listed.open()
    assert listing.to_do_again(0, 3) == [1] and listing.to_do_again(0, 4) == []
    assert listing.to_do_again(1, 0) == []  # had no part: it is done for the first time
    assert listed.again().changed == 0
    (photos / "b.jpg").write_bytes(b"longer")
    listed.again({0: 3}, redo=True)  # the first one is not done yet
    assert listed.open().to_do_again(0, 3) == [0, 1]


def test_a_file_named_by_itself_that_vanishes_is_gone(photos, out):
    listed = Listed(out, [photos / "b.jpg", photos / "d.jpg"])
    (photos / "b.jpg").unlink()
    assert listed.again().gone == 1


def test_rows_of_tables_are_compared_by_what_is_in_them(tmp_path, out):
    def write(rows):
        path = tmp_path / "table.parquet"
        pq.write_table(
            pa.table({"image": [r[0] for r in rows], "id": pa.array([r[1] for r in rows], pa.int32())}), path
        )
        return path

    rows = [("a.jpg", 1), ("a.jpg", 1), ("b.jpg", None), ("c.jpg", 3)]
    listed = Listed(out, write(rows), carry=("id",))
    write([("new.jpg", 5), *rows[1:], ("a.jpg", 1), ("a.jpg", 1)])  # one more of those that are the same
    found = listed.again()
    assert (found.added, found.changed, found.gone) == (2, 0, 0)
    assert [(row["source"], row["id"]) for row in listed.rows()] == [*rows, ("new.jpg", 5), ("a.jpg", 1)]
    write([("c.jpg", 4)])
    found = listed.again()
    assert (found.added, found.gone) == (1, 6)


def test_a_table_with_other_columns_is_refused(tmp_path, out):
    path = tmp_path / "table.jsonl"
    path.write_text('{"image": "a.jpg", "id": 1}\n')
    listed = Listed(out, path, carry=("id",))
    path.write_text('{"image": "a.jpg", "id": "one"}\n')
    with pytest.raises(OptionError, match="other types than before"):
        listed.again()
    assert [each.name for each in out.iterdir()] == ["inputs.parquet"]


def test_members_of_an_archive_that_was_written_again_are_found_where_they_are(tmp_path, out):
    listed = Listed(out, archive(tmp_path / "x.tar", {"a.jpg": b"a", "b.jpg": b"b"}))
    archive(tmp_path / "x.tar", {"new.jpg": b"n", "a.jpg": b"changed", "b.jpg": b"b"})
    found = listed.again({0: 0}, redo=True)
    assert (found.added, found.changed) == (1, 2)
    assert [row["input:image"]["size"] for row in listed.rows()] == [7, 1, 1]
    assert [row["input:image"]["offset"] for row in listed.rows()] == [1536, 2560, 512]


def test_what_a_refresh_has_written_is_checked(photos, out):
    listed = Listed(out, photos)
    (photos / "new.jpg").write_bytes(b"x")
    listed.again()
    path = out / "inputs-1.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(JobError, match=r"inputs-1\.parquet is not as it was written"):
        listed.open()
    path.unlink()
    with pytest.raises(JobError, match=r"inputs-1\.parquet cannot be read"):
        listed.open()


def test_one_folder_is_listed_without_remembering_each_name(photos, monkeypatch):
    monkeypatch.setattr("sensorium.jobs.words._Seen", lambda: pytest.fail("it was remembered"))
    facts = {}
    assert len(list(find_inputs([photos], FileSearch("image"), facts))) == 3
    assert facts == {"repeated": 0, "schemes": []}


def test_a_job_goes_on_with_what_is_new_and_does_what_has_changed_again(pictures, tmp_path):
    for path in sorted(pictures.iterdir())[5:]:
        path.unlink()
    out = tmp_path / "out"
    job = make_job(pictures, out, shard_size=3)
    assert job.run(refresh=True).refreshed is None  # they are listed for the first time
    before = rows_of(job)
    (pictures / "000.jpg").write_bytes(media.jpeg(40, 40, seed=50))
    (pictures / "01.jpg").write_bytes((pictures / "02.jpg").read_bytes())
    (pictures / "04.jpg").unlink()
    report = job.run()
    assert (report.ran, report.inputs) == (0, 5)  # as it was listed
    report = job.run(refresh=True, redo_changed=True)
    assert (report.refreshed.added, report.refreshed.changed, report.refreshed.gone, report.ran) == (1, 1, 1, 2)
    rows = rows_of(job)
    assert [row["source"] for row in rows] == [*(row["source"] for row in before), str(pictures / "000.jpg")]
    assert rows[1]["labels"] == rows[2]["labels"] != before[1]["labels"]
    assert [row for i, row in enumerate(rows[:5]) if i != 1] == [row for i, row in enumerate(before) if i != 1]
    assert len(parts_of(out)) == 3
    assert Job.open(out).run().workers_started == 0 and Job.open(out).status().complete
    assert json.loads((out / "job.json").read_text())["refreshed"][0].keys() == {"inputs", "changed"}
    with pytest.raises(JobError, match="make the call that began it"):
        Job.open(out).run(refresh=True)
    with pytest.raises(OptionError, match="give both"):
        job.run(redo_changed=True)
