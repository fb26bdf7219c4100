"""What Transformers prints while it loads and saves weights stays out of the terminal, and nothing else does."""

from __future__ import annotations

import threading

import pytest
import transformers
from transformers.utils import logging as their_logging

import sensorium
from sensorium.backbones.quiet_loading import quiet_loading
from sensorium.retrieval import Encoder
from tests import tiny

CPU = {"device": "cpu", "dtype": "float32", "compile": False}


@pytest.fixture(autouse=True)
def bars(monkeypatch):
    """Transformers' bars as they are unless somebody has switched them off."""
    monkeypatch.setattr(their_logging, "_tqdm_active", True)


def test_loading_shows_a_bar_only_where_it_is_asked_for(capfd):
    folder = tiny.folder("vit")
    capfd.readouterr()
    sensorium.pipeline("image-classification", folder, **CPU).close()
    Encoder.from_pretrained("starter/dpr-ctx_encoder-wordnet", device="cpu").close()
    assert capfd.readouterr() == ("", "")
    sensorium.pipeline("image-classification", folder, progress=True, **CPU).close()
    assert "Loading weights" in capfd.readouterr().err
    transformers.AutoModel.from_pretrained(folder)  # the user's own
    assert "Loading weights" in capfd.readouterr().err


def test_saving_shows_none(capfd, tmp_path):
    model = transformers.AutoModel.from_pretrained(tiny.folder("vit"))
    capfd.readouterr()
    with quiet_loading():
        model.save_pretrained(tmp_path)
    assert capfd.readouterr().err == ""


def test_other_threads_keep_their_bars_and_everything_is_put_back(capfd):
    hook = their_logging.set_tqdm_hook(None)
    inside, over = threading.Event(), threading.Event()

    def load():
        with quiet_loading():
            inside.set()
            over.wait(60)
            list(their_logging.tqdm(range(2), desc="hidden"))

    thread = threading.Thread(target=load)
    thread.start()
    assert inside.wait(60)
    with quiet_loading():
        list(their_logging.tqdm(range(2), desc="hidden"))
    list(their_logging.tqdm(range(2), desc="shown"))  # the other thread is still loading
    over.set()
    thread.join()
    told = capfd.readouterr().err
    assert "shown" in told
    assert "hidden" not in told
    assert their_logging.set_tqdm_hook(hook) is None


def test_the_hook_of_somebody_else_is_kept():
    asked = []

    def theirs(factory, args, kwargs):
        asked.append(kwargs["desc"])
        return factory(*args, **kwargs)

    former = their_logging.set_tqdm_hook(theirs)
    try:
        with quiet_loading(progress=True):
            list(their_logging.tqdm([], desc="wanted"))
            with quiet_loading():
                list(their_logging.tqdm([], desc="not wanted"))
        assert asked == ["wanted"]
        with quiet_loading():
            their_logging.set_tqdm_hook(None)
        assert their_logging.set_tqdm_hook(theirs) is None
    finally:
        their_logging.set_tqdm_hook(former)
