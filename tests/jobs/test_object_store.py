"""A job's folder on an object store: one in memory, and one that speaks the protocol of S3 to real clients."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import warnings

import pytest

from sensorium.errors import JobError, JobStoppedError, OptionError
from sensorium.jobs import Job
from sensorium.jobs.outbox import Outbox
from sensorium.jobs.parts import find_parts
from sensorium.jobs.stores import LocalStore, open_store
from tests import tiny

from . import in_process
from .conftest import make_job, parts_of, rows_of


@pytest.fixture(scope="session")
def s3():
    """A bucket of a server on this machine."""
    server = pytest.importorskip("moto.server", reason="needs moto[server] and s3fs")
    s3fs = pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    told = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**told, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
        running.stop()


@pytest.fixture(params=["memory", "s3"])
def bucket(request):
    return request.getfixturevalue("s3") if request.param == "s3" else "memory://bucket"


@pytest.fixture
def out(bucket, request):
    return f"{bucket}/{request.node.name}"


@pytest.fixture
def threads(monkeypatch):
    in_process.use(monkeypatch)


def test_a_job_lies_on_an_object_store_as_on_a_disk(pictures, tmp_path, out, threads):
    (pictures / "09.jpg").write_bytes(b"no picture")
    make_job(pictures, tmp_path / "here").run()
    job = make_job(pictures, out)
    report = job.run(workers=2)
    store = open_store(out)
    assert (report.ok, report.failed, job.folder) == (19, 1, out)
    assert store.names("parts") == parts_of(tmp_path / "here")  # their names are digests of their content
    left = ["inputs.parquet", "job.json", "job.lock.000001", "parts", "report.html", "timings.jsonl"]
    assert store.names() == left
    assert [row["input_id"] for row in rows_of(job)] == list(range(20))
    assert rows_of(job) == rows_of(make_job(pictures, tmp_path / "here"))

    again = make_job(pictures, out).run()
    assert (again.ran, again.workers_started, again.ok) == (0, 0, 19)
    with pytest.raises(OptionError, match=r"top_k.*None before|top_k: None"):
        make_job(pictures, out, options={"top_k": 2}).run()

    (pictures / "09.jpg").write_bytes((pictures / "08.jpg").read_bytes())
    assert Job.open(out).retry().ran == 1
    assert Job.open(out).status().ok == 20
    assert rows_of(job)[9]["labels"] == rows_of(job)[8]["labels"]
    assert len(store.names("parts")) == 4  # what there are newer ones of is removed
    assert not store.scratch._path.exists()


def test_what_a_killed_run_has_left_on_this_machine_is_cleared(out, threads, tmp_path, monkeypatch):
    store = open_store(out)
    with store.draft("inputs.parquet") as draft:
        draft.write_bytes(b"half")
        left = draft.with_suffix(".left")
        draft.rename(left)
    with store.lock():
        assert not left.exists()
    monkeypatch.setattr(store.scratch, "_user", -1)
    with pytest.raises(OSError, match="no folder of this user"), store.draft("x"):
        pass


def test_the_commands_take_its_url(pictures, tmp_path, out, threads, capsys):
    (pictures / "09.jpg").write_bytes(b"no picture")
    make_job(pictures, out).run()
    assert command("status", out) == 1
    assert capsys.readouterr().out == f"{out}: 19 of 20 inputs have a result; 1 failed; not-a-picture 1\n"
    assert command("failures", out) == 1
    assert capsys.readouterr().out.startswith(f"{pictures}/09.jpg\tnot-a-picture\t")
    (pictures / "09.jpg").write_bytes((pictures / "08.jpg").read_bytes())
    assert command("retry", out, "--code", "not-a-picture") == 0
    assert command("export", out, "--to", str(tmp_path / "rows.jsonl")) == 0
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok"] * 20


def test_an_object_that_was_changed_is_named(pictures, out, threads):
    job = make_job(pictures, out)
    job.run()
    store, part = open_store(out), find_parts(out)[1]
    content = store.read(part.name)
    for damaged in (content[:-40] + b"x" + content[-39:], content[:100], b""):
        store.put(part.name, damaged)
        with pytest.raises(JobError, match=part.name) as refused:
            job.results()
        assert "not as it was written" in str(refused.value)
    store.delete(part.name)
    assert job.run().ran == 6 and len(rows_of(job)) == 20
    listing = store.read("inputs.parquet")
    store.put("inputs.parquet", listing[:-20])
    with pytest.raises(JobError, match=r"inputs\.parquet"):
        job.status()


def test_a_bucket_that_is_not_there_or_out_of_reach(pictures, s3, threads, monkeypatch):
    with pytest.raises(JobStoppedError, match=r"no-bucket.*the same call goes on"):
        make_job(pictures, "s3://no-bucket/run").run()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store("s3://bucket/run")
    store._fs = type(store._fs)(skip_instance_cache=True)
    store._fs.retries = 1
    for ask in (
        store.names,
        store.is_file,
        lambda: store.read("x"),
        lambda: store.put("x", b""),
        store.lock().__enter__,
    ):
        with pytest.raises(OSError, match="s3://bucket/run"):
            ask()


def test_a_file_or_other_objects_in_its_place_are_refused(pictures, bucket, threads):
    store = open_store(f"{bucket}/taken")
    store.put("film.mkv", b"precious")
    with pytest.raises(JobError, match=r"holds other files \(film\.mkv\)"):
        make_job(pictures, f"{bucket}/taken").run()
    with pytest.raises(JobError, match="got the file"):
        make_job(pictures, f"{bucket}/taken/film.mkv").run()
    assert store.names() == ["film.mkv"]
    assert open_store(f"{bucket}/take").names() == []  # what begins alike is another folder
    with pytest.raises(JobError, match="not the folder of a job"):
        Job.open(f"{bucket}/nowhere")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://host/run", r"an object store \(s3"),
        ("https://host/run", r"an object store \(s3"),
        ("simplecache::s3://bucket/run", r"an object store \(s3"),
        ("nonsense://bucket/run", r"an object store \(s3"),
        ("memory://", "a folder in a bucket"),
    ],
)
def test_file_systems_that_promise_less_are_refused(pictures, address, told):
    with pytest.raises(OptionError, match=told):
        make_job(pictures, address)


def test_a_scheme_without_its_package_is_refused(monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(OptionError, match="needs a package that is not installed"):
        make_job(pictures, "gs://bucket/run")


def test_a_file_url_is_the_folder_itself(tmp_path):
    store = open_store(f"file://{tmp_path}/run")
    assert isinstance(store, LocalStore) and store.path == tmp_path / "run"
    assert isinstance(open_store(tmp_path), LocalStore) and isinstance(open_store("runs/a"), LocalStore)


def test_many_footers_are_read_at_once_and_whole_where_they_are_long(out, monkeypatch):
    from sensorium.jobs.stores import remote

    store = open_store(out)
    footer = b"x" * 300 + b"long" + (304).to_bytes(4, "little") + b"PAR1"
    contents = {"parts/a": b"data" * 200 + footer, "parts/b": b"PAR1" + footer[-8:], "parts/c": footer}
    for name, content in contents.items():
        store.put(name, content)
    monkeypatch.setattr(remote, "FOOTER_BYTES", 256)
    read = [source.read() for source in store.footers(list(contents))]
    assert read == [contents["parts/a"], contents["parts/b"], contents["parts/c"]]
    monkeypatch.setattr(remote, "FOOTER_BYTES", 320)
    assert next(store.footers(["parts/a"])).read() == contents["parts/a"][-320:]


def command(*words):
    """The exit code of `sensorium job …`, run here."""
    from sensorium.cli import main

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["sensorium", "job", *words])
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0
        return 0


@pytest.mark.slow
def test_a_run_on_s3_that_is_killed_goes_on_and_gives_the_same_files(pictures, tmp_path, s3):
    make_job(pictures, tmp_path / "here", shard_size=2).run()
    code = (
        "import sys\nfrom sensorium.jobs import Job\nfrom sensorium.jobs.stores import lease\n"
        "lease.BEAT_S, lease.LEASE_S = 0.2, 3.0\n"
        "Job('image-classification', sys.argv[1], inputs=sys.argv[2], out=sys.argv[3], shard_size=2, device='cpu', "
        "dtype='float32').run()"
    )
    out, store = f"{s3}/killed", open_store(f"{s3}/killed")
    command = [sys.executable, "-c", code, str(tiny.folder("vit")), str(pictures), out]
    for parts in (1, 5):
        process = subprocess.Popen(command)
        try:
            while len(store.names("parts")) < parts:
                assert process.poll() is None
                threading.Event().wait(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert subprocess.run(command).returncode == 0
    assert store.names("parts") == parts_of(tmp_path / "here")
    assert store.names() == ["inputs.parquet", "job.json", "job.lock.000003", "parts"]


def test_workers_that_see_the_store_may_write_there_themselves(pictures, tmp_path, out, threads, monkeypatch):
    monkeypatch.setattr(Outbox, "of", lambda store: None)
    (pictures / "09.jpg").write_bytes(b"no picture")
    make_job(pictures, tmp_path / "here").run()
    make_job(pictures, out).run()
    assert open_store(out).names("parts") == parts_of(tmp_path / "here")
    (pictures / "09.jpg").write_bytes((pictures / "08.jpg").read_bytes())
    assert Job.open(out).retry().ran == 1 and Job.open(out).status().ok == 20
