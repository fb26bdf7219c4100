"""A job from its inputs to its rows: what each holds, what a second call does, and what is refused."""

from __future__ import annotations

import hashlib
import json
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sensorium import Labels, pipeline
from sensorium.errors import JobError, JobStoppedError, OptionError, UnknownNameError
from sensorium.jobs import Job
from sensorium.jobs.settings import RunSettings
from sensorium.jobs.work import Work
from tests import tiny

from .conftest import MODEL, make_job, parts_of, rows_of


@pytest.fixture(scope="module")
def pipe():
    return pipeline("image-classification", str(tiny.folder("vit")), batch_size=8, **MODEL)


def test_each_input_has_its_row_in_order_with_the_result_of_the_pipeline(pictures, tmp_path, pipe):
    (pictures / "09.jpg").write_bytes(b"no picture")
    job = make_job(pictures, tmp_path / "out", options={"top_k": 3})
    report = job.run()
    rows = rows_of(job)
    paths = sorted(map(str, pictures.iterdir()))
    assert (report.inputs, report.ok, report.failed, report.complete) == (20, 19, 1, True)
    assert [row["input_id"] for row in rows] == list(range(20))
    assert [row["source"] for row in rows] == paths
    assert rows[9]["status"] == "failed" and rows[9]["error_code"] == report.codes.most_common(1)[0][0]
    expected = pipe(paths, on_error="return", top_k=3)
    for row, result in zip(rows, expected, strict=True):
        if row["status"] == "ok":
            made = Labels.from_row(row)
            assert made.labels.tolist() == result.labels.tolist()
            np.testing.assert_allclose(made.scores, result.scores, rtol=1e-5)

    before = parts_of(tmp_path / "out")
    again = job.run()  # nothing is left to do: no worker is started
    assert again.workers_started == 0 and again.ran == 0 and again.ok == 19
    assert parts_of(tmp_path / "out") == before

    (pictures / "09.jpg").write_bytes((pictures / "08.jpg").read_bytes())
    (pictures / "99.jpg").write_bytes((pictures / "08.jpg").read_bytes())  # came later: no part of the job
    with pytest.raises(UnknownNameError, match=str(rows[9]["error_code"])):
        Job.open(tmp_path / "out").retry("missing-file")
    mended = Job.open(tmp_path / "out").retry()
    assert (mended.ran, mended.ok, mended.failed) == (1, 20, 0)
    rows = rows_of(job)
    assert rows[9]["status"] == "ok" and rows[9]["labels"] == rows[8]["labels"] and len(rows) == 20
    assert len(parts_of(tmp_path / "out")) == 4  # the older part of that shard is gone

    with pytest.raises(OptionError, match=r"top_k.*3 before, 2 now"):
        make_job(pictures, tmp_path / "out", options={"top_k": 2}).run()


@pytest.mark.usefixtures("workers_in_process")
def test_the_folder_tells_what_made_the_rows(pictures, tmp_path):
    out = tmp_path / "out"
    report = make_job([pictures / "00.jpg", str(pictures / "00.jpg"), pictures / "01.jpg"], out).run()
    told = json.loads((out / "job.json").read_text())
    assert report.inputs == 2  # named twice, listed once
    assert told["dtype"] == "float32" and told["result"] == "Labels" and len(told["checkpoint"]) == 64
    assert told["versions"].keys() >= {"python", "sensorium", "torch"} and told["counts"]["ok"] == 2
    weights = (tiny.folder("vit") / "model.safetensors").read_bytes()
    assert told["weights"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert (told["device"], told["seed"], told["revision"]) == ("cpu", 0, None) and told["threads"] >= 1
    metadata = pq.read_schema(next((out / "parts").iterdir())).metadata
    assert metadata[b"sensorium.result"] == b"Labels"


@pytest.mark.usefixtures("workers_in_process")
def test_other_weights_of_the_same_name_are_refused(pictures, tmp_path):
    from transformers import AutoModelForImageClassification

    model, out = tmp_path / "model", tmp_path / "out"
    pipeline("image-classification", str(tiny.folder("vit")), **MODEL).save_pretrained(model)
    make_job(pictures, out, model=model).run()
    next((out / "parts").iterdir()).unlink()
    changed = AutoModelForImageClassification.from_pretrained(model)
    with torch.no_grad():
        changed.classifier.bias += 1
    changed.save_pretrained(model)
    with pytest.raises(OptionError, match="checkpoint"):
        make_job(pictures, out, model=model).run()


@pytest.mark.usefixtures("workers_in_process")
def test_too_many_failures_end_the_job_with_the_commonest(pictures, tmp_path):
    inputs = [pictures / "00.jpg", *(f"nowhere/{i}.jpg" for i in range(12))]
    with pytest.raises(JobStoppedError, match="missing-file 5"):
        make_job(inputs, tmp_path / "out").run(max_failures=3)
    assert len(parts_of(tmp_path / "out")) == 1  # what was done is kept


def test_a_share_of_failures_counts_from_a_hundred_inputs_on():
    settings = RunSettings(max_failures="5%")
    assert not settings.too_many(50, 99)
    assert not settings.too_many(10, 200)
    assert settings.too_many(11, 200)
    with pytest.raises(OptionError, match="a share such as"):
        RunSettings(max_failures="5")


def test_what_a_worker_refuses_is_raised_here(pictures, tmp_path):
    with pytest.raises(OptionError, match=r"top_k is a whole number from 1"):
        make_job(pictures, tmp_path / "out", options={"top_k": 0}).run()
    assert not (tmp_path / "out" / "inputs.parquet").exists()


@pytest.mark.usefixtures("workers_in_process")
def test_a_part_that_was_changed_is_named(pictures, tmp_path):
    out = tmp_path / "out"
    job = make_job(pictures, out)
    job.run()
    part = sorted((out / "parts").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-9] + b"x" + part.read_bytes()[-8:])
    with pytest.raises(JobError, match=part.name):
        job.results()
    part.unlink()
    assert job.run().ran == 6 and len(rows_of(job)) == 20


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"modle": "x"}, UnknownNameError, "modle"),
        ({"dtyp": "x"}, UnknownNameError, "dtype"),
        ({"shard_size": 0}, OptionError, "shard_size"),
        ({"carry": ["status"]}, OptionError, "status"),
        ({"options": {"top_k": object()}}, OptionError, "written down"),
        ({"options": {"top_j": 2}}, UnknownNameError, "top_k"),
        ({"processor": object()}, OptionError, "loaded object"),
    ],
)
def test_wrong_settings_are_refused_before_anything(tmp_path, wrong, error, told):
    with pytest.raises(error, match=told):
        Job("image-classification", inputs="x.jpg", out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(pictures, tmp_path):
    with pytest.raises(JobError, match="holds other files"):
        make_job(pictures, pictures).run()
    with pytest.raises(JobError, match="got the file"):
        make_job(pictures, pictures / "00.jpg").run()
    with pytest.raises(JobError, match="not the folder of a job"):
        Job.open(tmp_path)


def test_what_is_drawn_at_random_depends_on_the_seed_and_the_shard_alone():
    drawn = []
    worker = object.__new__(Work)
    worker._listing = Mock(facts={"kind": "texts", "input": "text"}, read=lambda _: pa.table({"source": ["a"]}))
    worker._tell, worker._gauge, worker._run = Mock(), Mock(), lambda _: drawn.append(torch.rand(1).item())
    for seed, shard in ((None, 4), (None, 4), (0, 4), (0, 5), (7, 4)):
        worker._description = {"options": {"seed": seed}, "inputs": {"named": {}}}
        worker.do({"shard": shard, "alone": [0]})
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn)) == 3
