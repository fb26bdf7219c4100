"""Jobs in a folder of pictures, and pictures that end a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sensorium.jobs import Job
from tests import media, tiny

MODEL = {"device": "cpu", "dtype": "float32"}

POISON = """
import ctypes, os, sys, threading

def _poison(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = os.fsdecode(arguments[0])
        if name.endswith("segfault.jpg"):
            ctypes.string_at(0)
        if name.endswith("hang.jpg"):
            threading.Event().wait()
        if name.endswith("once.jpg") and not os.path.exists(name + ".seen"):
            os.close(os.open(name + ".seen", os.O_CREAT))
            ctypes.string_at(0)

if "sensorium.jobs.worker" in sys.orig_argv:
    sys.addaudithook(_poison)
"""
"""Lets a worker fall over files of these names, as over a decoder with a fault: by a real fault, and a real wait."""


@pytest.fixture
def pictures(tmp_path):
    """A folder of 20 small pictures of several sizes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        width, height = media.SIZES[i % len(media.SIZES)]
        (folder / f"{i:02}.jpg").write_bytes(media.jpeg(width, height, seed=i))
    return folder


@pytest.fixture
def workers_in_process(monkeypatch):
    """Workers are threads of the test, for what does not depend on their being processes, which start in seconds."""
    from . import in_process  # and with it torch, when all has been configured

    in_process.use(monkeypatch)


@pytest.fixture
def poison(tmp_path, monkeypatch):
    """Lets workers fall over pictures called segfault.jpg, hang.jpg, and, the first time, once.jpg."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(POISON)
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([known] if known else [])]))


def make_job(inputs, out, *, task="image-classification", **more):
    """A job of classifying pictures with a tiny model."""
    settings = {"model": str(tiny.folder("vit")), "shard_size": 6, **MODEL, **more}
    return Job(task, inputs=inputs, out=out, **settings)


def rows_of(job):
    return job.results().to_table().to_pylist()


def parts_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "parts").iterdir())
