"""Remote inputs of jobs: in folders, lists and tables; which of them are opened, and what is told where none can be."""

from __future__ import annotations

import os
import sys

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensorium.errors import OptionError
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.listing import Listing, write_listing
from sensorium.processors.limits import MediaLimits
from tests import media

from .conftest import make_job, rows_of

SHELF = """
import os
import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

class Shelf(DirFileSystem):
    protocol = "shelf"

    def __init__(self, **more):
        super().__init__(os.environ["SHELF"], LocalFileSystem(), **more)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("shelf://").strip("/")

fsspec.register_implementation("shelf", Shelf, clobber=True)
"""

BACKWARDS = """
import itertools, time as clock
clock.time = map(float, itertools.count(2_000_000_000, -3600)).__next__
"""

pytestmark = pytest.mark.usefixtures("workers_in_process")


def listed(folder, given, **more):
    facts = {}
    write_listing(folder, Inputs(given, **more).batches(("image",), (), facts), facts, shard_size=2)
    listing = Listing(folder)
    rows = [row for shard in range(listing.shards) for row in listing.read(shard).to_pylist()]
    return [row["source"] for row in rows], listing


@pytest.fixture
def bucket():
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for name in ("b.jpg", "more/a.jpg", "notes.txt"):
        system.pipe_file(f"/bucket/{name}", b"x")
    yield system
    system.store.clear()


def test_lists_may_be_remote_and_name_remote_files(bucket, tmp_path, monkeypatch):
    bucket.pipe_file("/bucket/list.txt", b"memory://bucket/b.jpg\r\ncaf\xe9.jpg\nmemory://bucket/more/\n")
    sources, listing = listed(tmp_path, "@memory://bucket/list.txt")
    assert sources == ["memory://bucket/b.jpg", "caf\U0010ffffdce9.jpg", "memory://bucket/more/a.jpg"]
    assert listing.facts["schemes"] == ["memory"]
    with pytest.raises(OptionError, match="an input a line"):
        listed(tmp_path, "@memory://bucket/none.txt")


def test_folders_tell_what_they_hold_besides(bucket, tmp_path):
    sources, listing = listed(tmp_path, ["memory://bucket", "memory://bucket/b.jpg"])
    assert sources == ["memory://bucket/b.jpg", "memory://bucket/more/a.jpg"]
    assert listing.facts["skipped"] == "notes.txt" and listing.facts["repeated"] == 1


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_tables_may_be_remote_but_what_their_rows_name_is_not_allowed_for_that(bucket, tmp_path, suffix):
    if suffix == "parquet":
        with bucket.open("/bucket/table.parquet", "wb") as file:
            pq.write_table(pa.table({"image": ["memory://bucket/b.jpg"], "id": ["007"]}), file)
    else:
        text = (
            "image,id\nmemory://bucket/b.jpg,007\n"
            if suffix == "csv"
            else '{"image": "memory://bucket/b.jpg", "id": "007"}'
        )
        bucket.pipe_file(f"/bucket/table.{suffix}", text.encode())
    for given in (f"memory://bucket/table.{suffix}", f"memory://bucket/*.{suffix}"):
        sources, listing = listed(tmp_path, given, carry=("id",))
        assert sources == ["memory://bucket/b.jpg"]
        assert listing.facts["kind"] == "table" and "schemes" not in listing.facts


def test_a_table_of_the_web_is_fetched_within_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr("sensorium.jobs.tables.fetch", lambda *_, **__: b"image\na.jpg\n")
    assert listed(tmp_path, "https://example.org/x.csv")[0] == ["a.jpg"]
    monkeypatch.undo()
    with pytest.raises(OptionError, match="private or local"):
        listed(tmp_path, "http://127.0.0.1/x.csv")


@pytest.mark.parametrize(
    "given", ["cellar://a/*.jpg", "cellar://a/b.jpg", "@cellar://list.txt", "cellar://x.csv", "cellar://x.tar"]
)
def test_the_package_that_a_scheme_needs_is_named(tmp_path, monkeypatch, given):
    cellar = {"class": "cellar_files.CellarFileSystem", "err": "Install cellar-files to access cellars"}
    monkeypatch.setitem(sys.modules["fsspec.registry"].known_implementations, "cellar", cellar)
    with pytest.raises(OptionError, match=r"cellar:// needs a package that is not installed. Install cellar-files"):
        listed(tmp_path, given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["file:///etc/passwd.jpg", "zip://*.jpg::memory://x.zip", "attic://a.jpg"])
def test_what_leads_elsewhere_is_no_input(tmp_path, given):
    with pytest.raises(OptionError, match=r"leads to no remote file system|no file system is known"):
        listed(tmp_path, given)


def test_without_urls_nothing_remote_is_listed(bucket, tmp_path):
    with pytest.raises(OptionError, match="allow_urls=False"):
        listed(tmp_path, "memory://bucket", limits=MediaLimits(allow_urls=False))


def test_workers_open_what_was_named_and_no_more_whatever_the_clock_says(tmp_path, monkeypatch, pictures):
    """The clock jumps back an hour at each look, in the workers, too."""
    site, shelf = tmp_path / "site", tmp_path / "shelf"
    for folder in (site, shelf):
        folder.mkdir()
    for i in range(3):
        (shelf / f"{i}.jpg").write_bytes(media.jpeg(seed=i))
    (site / "sitecustomize.py").write_text(SHELF + BACKWARDS)
    monkeypatch.setenv("SHELF", str(shelf))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
    exec(SHELF, {"__name__": "shelf"})
    (tmp_path / "list.txt").write_text(f"shelf://0.jpg\n{pictures}/00.jpg\nshelf://\n")
    job = make_job(f"@{tmp_path}/list.txt", tmp_path / "out")
    assert (job.run().ok, [row["source"] for row in rows_of(job)]) == (
        4,
        ["shelf://0.jpg", f"{pictures}/00.jpg", "shelf://1.jpg", "shelf://2.jpg"],
    )
    table = pa.table({"image": ["shelf://0.jpg", "shelf://1.jpg", "shelf://../site/x.jpg"]})
    limits = MediaLimits(allow_remote=("shelf://1.jpg",))
    rows = rows_of_a_run(make_job(table, tmp_path / "table", limits=limits))
    assert [row["error_code"] for row in rows] == ["url-not-allowed", None, "url-not-allowed"]


def rows_of_a_run(job):
    job.run()
    return rows_of(job)
