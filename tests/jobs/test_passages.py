"""Indexes whose passages are encoded by workers: the same to the byte, whatever ends them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.jobs import Job, passages
from sensorium.retrieval import Encoder, Index, Passage
from tests import media, tiny_embedding, tiny_text

SETTINGS = {"device": "cpu", "dtype": "float32"}
BUILD = """
import sys
from sensorium.jobs import passages
from sensorium.retrieval import Encoder, Index, building
from tests.jobs.test_passages import SETTINGS, given

building.CHUNK = passages.CHUNK = 16
encoder = Encoder.from_pretrained(sys.argv[1], pool="mean", **SETTINGS)
index = Index.build(given(), encoder, kind="exact", device="cpu", workers=1, resume=sys.argv[2])
"""


@pytest.fixture(scope="module")
def encoder():
    return Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", **SETTINGS)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr("sensorium.retrieval.building.CHUNK", 16)
    monkeypatch.setattr(passages, "CHUNK", 16)


def given():
    texts = [tiny_text.words(3 + i % 11, seed=i) for i in range(150)]
    rows = [Passage(text, title="T" if i % 3 else "", metadata={"n": i}) for i, text in enumerate(texts)]
    return [*rows, "mill " * 2000]


def digests(index, folder):
    """Of the files of an index."""
    index.save(folder)
    files = (path for path in folder.iterdir() if path.name != "index.json")
    return {path.name.partition("-g")[0]: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def killed(script, *arguments, when, parts):
    """Starts a script, and kills it when so many parts are there; whether it was killed before its end."""
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stderr=sys.stderr)
    try:
        while len(list(when.glob("job-*/parts/*.parquet"))) < parts and process.poll() is None:
            threading.Event().wait(0.002)
        return process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.filterwarnings("ignore:.*tokens that")
def test_a_build_that_is_killed_goes_on_and_gives_the_same_index(encoder, tmp_path):
    part, rows = tmp_path / "part", given()
    assert killed(BUILD, tiny_embedding.encoder("bert"), part, when=part, parts=2)
    with pytest.warns(UserWarning, match="1 of 151 passages are longer"):
        index = Index.build(iter(rows), encoder, kind="exact", device="cpu", workers=2, resume=part)
    (folder,) = part.iterdir()
    report = Job.open(folder).status()
    assert (report.ok, report.shards) == (151, 10)
    whole = Index.build(rows, encoder, kind="exact", device="cpu")
    assert digests(index, tmp_path / "a") == digests(whole, tmp_path / "b")
    index.add(["one more"])
    assert index.search("one more", 1).ids.tolist() == [[151]]
    ended = sorted(path.name for path in (folder / "parts").iterdir())
    again = Index.build(rows, encoder, kind="exact", device="cpu", workers=2, resume=part)
    assert digests(again, tmp_path / "c") == digests(whole, tmp_path / "b")
    assert sorted(path.name for path in (folder / "parts").iterdir()) == ended, "nothing is encoded again"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tokens that")
def test_a_build_that_is_killed_again_and_again_loses_nothing(encoder, tmp_path):
    part, kills = tmp_path / "part", 0
    for parts in range(10):
        kills += killed(BUILD, tiny_embedding.encoder("bert"), part, when=part, parts=parts)
    assert kills >= 5
    index = Index.build(given(), encoder, kind="exact", device="cpu", workers=1, resume=part)
    whole = Index.build(given(), encoder, kind="exact", device="cpu")
    assert digests(index, tmp_path / "a") == digests(whole, tmp_path / "b")
    assert [path.name[:4] for path in part.iterdir()] == ["job-"], "half a listing is left of none"


def test_what_fails_and_what_ends_a_worker_is_left_out(tmp_path, poison):
    images = Encoder.from_pretrained(tiny_text.matcher("clip"), **SETTINGS)
    names = ["0.png", "1-broken.png", "2-segfault.jpg", "3.png", "nowhere.png", "5.png"]
    for i, name in enumerate(names):
        if name != "nowhere.png":
            media.make_image(32 + i, 32).save(tmp_path / name)
    (tmp_path / "1-broken.png").write_bytes(b"no picture")
    rows = [{"image": tmp_path / name, "n": i} for i, name in enumerate(names)]
    rows.insert(3, {"image": tmp_path / "0.png", "n": "three"})
    told = []
    index = Index.build(rows, images, on_error=told.append, kind="exact", device="cpu", workers=1, timeout_s=60.0)
    assert [(error.index, error.code) for error in told[:1]] == [(3, "bad-metadata")]
    assert [error.index for error in told[1:]] == [1, 2, 5]
    assert told[2].code == "crashed" and told[3].code == "missing-file"
    assert all(error.source == str(rows[error.index]["image"]) for error in told)
    assert [row["n"] for row in index.passages(index.ids)] == [0, 3, 5]
    want = images.encode([tmp_path / names[i] for i in (0, 3, 5)])
    np.testing.assert_array_equal(index.search(want, 1).ids[:, 0], [0, 1, 2])


def test_the_first_that_fails_ends_a_build_that_leaves_none_out(encoder, monkeypatch):
    """Its own error is raised, as without workers."""
    with pytest.raises(InputError) as caught:
        Index.build(["a river", "\u200b", "a mill"], encoder, workers=1)
    assert (caught.value.index, caught.value.code) == (1, "empty-text")


def listed(encoder, rows, folder):
    """Begins the job of some rows, and runs it not."""
    from sensorium.retrieval.building import LeftOut, good_chunks
    from sensorium.retrieval.rows import RowIntake

    intake, tables = RowIntake(encoder.modality), []
    chunks = good_chunks(intake.read(rows), LeftOut("raise"))
    return passages._begun(folder, passages._listed(chunks, encoder, intake, tables), encoder)


def test_a_job_is_that_of_its_passages_and_its_encoder(encoder, tmp_path):
    first = listed(encoder, given(), tmp_path)
    (tmp_path / "listing-abcdefgh").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    assert listed(encoder, iter(given()), tmp_path).folder == first.folder
    assert not (tmp_path / "listing-abcdefgh").exists(), "what was left of one that was killed is gone"
    other = listed(encoder, given()[1:], tmp_path)
    worded = Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", passage_prompt="p: ", **SETTINGS)
    assert len({first.folder, other.folder, listed(worded, given(), tmp_path).folder}) == 3
    images = Encoder.from_pretrained(tiny_text.matcher("clip"), **SETTINGS)
    media.make_image(32, 32).save(tmp_path / "a.png")
    before = listed(images, [tmp_path / "a.png"], tmp_path).folder
    assert listed(images, [os.path.relpath(tmp_path / "a.png")], tmp_path).folder == before
    media.make_image(48, 32).save(tmp_path / "a.png")
    assert listed(images, [tmp_path / "a.png"], tmp_path).folder != before
    assert passages.are_in(tmp_path)
    passages.remove(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "mine.txt"]


def test_what_a_job_cannot_take_is_told_before_anything_is_done(encoder, tmp_path):
    images = Encoder.from_pretrained(tiny_text.matcher("clip"), **SETTINGS)
    with pytest.raises(OptionError, match=r"by its name, got Image\. give paths or URLs|by its name, got Image"):
        Index.build([media.make_image(8, 8)], images, workers=1, resume=tmp_path)
    assert not list(tmp_path.iterdir())
    for wrong, error in (
        ({"workers": 0}, OptionError),
        ({"worker": 2}, UnknownNameError),
        ({"timeout_s": -1}, OptionError),
    ):
        with pytest.raises(error):
            Index.build(["a"], "nowhere/to-be-found", **wrong)
    with pytest.raises(InputError, match="got none"):
        Index.build([], encoder, workers=2)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OptionError, match="resume is a folder"):
        Index.build(["a"], encoder, workers=2, resume=tmp_path / "file")


def test_no_secret_is_written_down(tmp_path):
    secret = Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", token="hf_secret", **SETTINGS)
    folder = Path(listed(secret, ["a river"], tmp_path).folder)
    assert "hf_secret" not in (folder / "job.json").read_text()
