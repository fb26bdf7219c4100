"""Pipelines in other processes: pickled, copied, forked."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle

import pytest

from sensorium import ClosedError, Pipeline, pipeline
from tests import tiny
from tests.contract import assert_close
from tests.media import make_image

CPU = {"device": "cpu", "dtype": "float32", "compile": False, "num_workers": 1}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_a_copy_answers_the_same_and_has_its_own_threads(copied):
    with pipeline("image-classification", tiny.folder("vit"), batch_size=2, **CPU) as pipe:
        expected = pipe(make_image())
        with copied(pipe) as other:
            assert type(other) is Pipeline
            assert other.model is not pipe.model
            assert_close(other(make_image()).to_dict(), expected.to_dict())
            assert other.stats()["batch_size"] == 2
        assert_close(pipe(make_image()).to_dict(), expected.to_dict())


def test_a_folder_is_found_from_elsewhere_and_a_token_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.folder("vit").parent)
    with pipeline("image-classification", tiny.folder("vit").name, token="secret", **CPU) as pipe:
        stored = pickle.dumps(pipe)
    assert b"secret" not in stored
    monkeypatch.chdir(tmp_path)
    with pickle.loads(stored) as again:
        assert again.task.name == "image-classification"


def test_a_folder_that_is_called_as_an_argument_is_not_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("image-classification", "float32", "cpu"):
        (tmp_path / name).mkdir()
    with (
        pipeline("image-classification", tiny.folder("vit"), **CPU) as pipe,
        pickle.loads(pickle.dumps(pipe)) as again,
    ):
        assert again.task.name == "image-classification"


def test_what_only_this_process_has_is_refused_with_the_way_out():
    with pipeline("image-classification", tiny.folder("vit"), **CPU) as pipe:
        with pipeline("image-classification", pipe.model, processor=pipe.processor) as wrapped:
            for use in (pickle.dumps, copy.deepcopy):
                with pytest.raises(TypeError, match=r"pipe.save_pretrained\(folder\).*pipeline\(task, model=folder\)"):
                    use(wrapped)
        with pytest.raises(TypeError, match=r"that pipeline\(\) has not built"):
            pickle.dumps(Pipeline(pipe.task, pipe.placement))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_after_use_is_told_so_instead_of_waiting():
    with pipeline("image-classification", tiny.folder("vit"), **CPU) as pipe:
        pipe([make_image()] * 2)
        ours, theirs = multiprocessing.get_context("fork").Pipe()
        process = multiprocessing.get_context("fork").Process(target=_use, args=(pipe, theirs))
        process.start()
        theirs.close()
        told = [ours.recv() for _ in range(3)]
        process.join()
    for each in told:
        assert each.startswith("ClosedError: ") and "forked" in each and '"spawn"' in each


def _use(pipe, connection):
    for use in (
        lambda: pipe(make_image()),
        lambda: list(pipe.stream([make_image()])),
        lambda: pipe.submit(make_image()),
    ):
        try:
            use()
            connection.send("it ran")
        except ClosedError as error:
            connection.send(f"{type(error).__name__}: {error}")
    pipe.close()
