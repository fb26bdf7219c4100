"""Inputs that are the same, computed once."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

import sensorium
from sensorium.errors import InputError, OptionError
from sensorium.pipelines.duplicates import Original, Originals, identity
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.settings import Settings
from tests import tiny
from tests.contract import ROUNDING
from tests.media import make_image
from tests.pipelines.made_up import WindowScoring, expected


def alike(results, others):
    """The same labels, and scores but for what other batches round otherwise."""
    for one, other in zip(results, others, strict=True):
        assert one.scores.tolist() == pytest.approx(other.scores.tolist(), abs=ROUNDING)
        assert [row["label"] for row in one.to_dict()] == [row["label"] for row in other.to_dict()]


@pytest.fixture
def pipe():
    with sensorium.pipeline(
        "image-classification", tiny.folder("vit"), device="cpu", dtype="float32", compile=False
    ) as built:
        yield built


@pytest.fixture
def photos(tmp_path):
    for name, width in (("a.png", 40), ("b.png", 50)):
        make_image(width, 40).save(tmp_path / name)
    return tmp_path / "a.png", tmp_path / "b.png"


def test_the_same_files_and_bytes_are_computed_once(pipe, photos):
    a, b = photos
    inputs = [a, b, str(a), a.read_bytes(), b, bytearray(a.read_bytes()), a]
    want = pipe(inputs)
    pipe.reset_stats()
    got = pipe(inputs, dedupe=True)
    alike(got, want)
    assert [(r.index, r.source) for r in got] == [(r.index, r.source) for r in want]
    stats = pipe.stats()
    assert (stats["deduplicated"], stats["inputs"], stats["stages"]["forward"]["items"]) == (4, 7, 3)
    streamed = list(pipe.stream(iter(inputs), dedupe=True))
    alike(streamed, want)
    assert [r.index for r in streamed] == list(range(7))


def test_off_unless_asked_for(pipe, photos):
    pipe([photos[0]] * 3)
    assert pipe.stats()["deduplicated"] == 0 and pipe.stats()["stages"]["forward"]["items"] == 3


def test_a_result_that_is_written_to_changes_no_other(pipe, photos):
    stream = pipe.stream([photos[0]] * 3, dedupe=True)
    want = pipe(photos[0]).scores.tolist()
    for result in stream:
        assert result.scores.tolist() == pytest.approx(want, abs=ROUNDING)
        result.scores[:] = 0


def test_a_file_that_changes_is_another(pipe, photos):
    a, b = photos
    before = identity(a, pipe.task)
    assert before == identity(a, pipe.task)
    os.utime(a, ns=(1, 1))
    touched = identity(a, pipe.task)
    shutil.copy(b, a)
    os.utime(a, ns=(1, 1))
    assert len({before, touched, identity(a, pipe.task), identity(b, pipe.task)}) == 4


@pytest.mark.parametrize("on_error", ["skip", "return"])
def test_what_fails_is_tried_each_time(pipe, photos, on_error):
    inputs = [b"no picture", photos[0], b"no picture", "nowhere.png", photos[0], "nowhere.png"]
    got = pipe(inputs, dedupe=True, on_error=on_error)
    good = [r for r in got if not isinstance(r, InputError)]
    assert [r.index for r in good] == [1, 4] and good[0].to_dict() == good[1].to_dict()
    errors = [r for r in got if isinstance(r, InputError)]
    assert [e.index for e in errors] == ([0, 2, 3, 5] if on_error == "return" else [])
    assert len({id(e) for e in errors}) == len(errors)
    assert (pipe.stats()["failures"], pipe.stats()["deduplicated"]) == (4, 1)


def scored(inputs, settings, *, live):
    task = WindowScoring()
    engine = Engine(task, Settings(compile=False, num_workers=2, **settings))
    given, total = (iter(inputs), None) if live else (inputs, len(inputs))
    found = list(engine.run(given, task.options(), total=total, dedupe=True))
    engine.close()
    return found, engine.stats()


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, "auto"])
def test_long_runs_of_many_units_keep_order_and_values(live, batch_size):
    rng = np.random.default_rng(0)
    kinds = [{"series": [float(i)] * (1 + i % 9), "question": i % 8} for i in range(1, 30)]
    inputs = [kinds[i] for i in rng.integers(0, len(kinds), 400)]
    found, stats = scored(inputs, {"batch_size": batch_size}, live=live)
    assert [index for index, _ in found] == list(range(400))
    for raw, (index, result) in zip(inputs, found, strict=True):
        assert result.index == index
        assert result.value == pytest.approx(expected(raw), abs=1e-4)
    assert stats["deduplicated"] == 400 - len({str(raw) for raw in inputs})


@pytest.mark.parametrize("live", [False, True])
def test_an_endless_number_of_the_same_is_computed_once(live):
    found, stats = scored([{"series": [1.0, 2.0], "question": 1}] * 3_000, {"batch_size": 2}, live=live)
    assert len(found) == 3_000 and stats["deduplicated"] == 2_999 and stats["batches"] == 1


def test_what_is_remembered_is_bounded():
    originals = Originals(most_kept=3, most_bytes=2_000)
    first, known = originals.meet("a")
    assert not known and originals.meet("a") == (first, True)
    for key in "bcd":
        originals.meet(key)
    assert len(originals) == 3 and not originals.meet("a")[1], "the one not met for longest went first"
    large, _ = originals.meet("e")
    parts = [{"array": np.zeros(5_000)}]
    originals.settle(large, parts)
    assert len(originals) == 0 and large.parts is not None, "those that wait for it still have it"
    parts[0]["array"][:] = 1
    assert large.parts[0]["array"].sum() == 0


def test_a_failure_is_forgotten():
    originals = Originals()
    failed, _ = originals.meet("a")
    originals.settle(failed, [torch.ones(3)])
    originals.fail(failed)
    again, known = originals.meet("a")
    assert failed.failed and not known and isinstance(again, Original) and again is not failed


def test_what_makes_inputs_the_same(pipe, photos):
    task, array = pipe.task, np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    same = [
        (array, array.copy()),
        (array[:, ::-1], array[:, ::-1].copy()),
        (torch.from_numpy(array), array),
        (photos[0], str(photos[0])),
        ({"image": str(photos[0])}, {"image": photos[0]}),
    ]
    for one, other in same:
        assert identity(one, task) == identity(other, task) is not None
    others = [array, array.astype(np.int16), array.reshape(2, 6), array.tobytes(), photos[0], photos[1]]
    keys = [identity(each, task) for each in others]
    assert None not in keys and len(set(keys)) == len(keys)
    untold = ["https://example.com/a.png", "nowhere.png", "a" * 5_000, make_image(8, 8), object(), [object()]]
    assert [identity(each, task) for each in untold] == [None] * len(untold)


def test_texts_are_the_same_where_they_are_equal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "name").write_text("one")
    from sensorium.tasks.base import get_task

    task = get_task("feature-extraction")
    assert identity("name", task) == identity("name", task) != identity("other", task)
    (tmp_path / "name").write_text("another")
    assert identity("name", task)[0] == "str"
    assert identity({"question": "a", "context": "b"}, task) == identity({"context": "b", "question": "a"}, task)
    assert identity({"top": 1}, task) != identity({"top": True}, task)


def test_dedupe_is_yes_or_no(pipe, photos):
    with pytest.raises(OptionError, match="dedupe is True or False"):
        pipe([photos[0]], dedupe="yes")
