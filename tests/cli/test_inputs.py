"""Files, folders, globs, URLs and lines of standard input."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.cli.inputs import count_inputs, read_inputs
from sensorium.processors.folders import SUFFIXES, media_kind
from sensorium.processors.limits import FORMATS


@pytest.fixture(autouse=True)
def _in_images(images, monkeypatch):
    monkeypatch.chdir(images.parent)


def read(*words, kind="image"):
    found = list(read_inputs(words, kind))
    if "-" not in words:
        assert count_inputs(words, kind) == len(found)
    return found


def test_a_folder_is_searched_to_any_depth_in_order():
    assert read("pictures") == ["pictures/a.PNG", "pictures/b.jpg", "pictures/more/c.webp"]


def test_hidden_files_are_taken_where_they_are_named():
    assert read("pictures/.e.jpg", "pictures/.cache") == ["pictures/.e.jpg", "pictures/.cache/d.jpg"]


def test_globs_match_as_in_a_shell():
    assert read("pictures/?.*g") == ["pictures/b.jpg"]
    assert read("pictures/*.txt") == ["pictures/notes.txt"], "what is named is an input, whatever its suffix"
    assert read("pictures/*e") == ["pictures/more/c.webp"], "a folder that matches is searched"
    assert read("pictures/**/*.webp") == ["pictures/more/c.webp"]
    assert read("pictures/**/*") == ["pictures/a.PNG", "pictures/b.jpg", "pictures/more/c.webp", "pictures/notes.txt"]
    assert read("pictures/**") == ["pictures/a.PNG", "pictures/b.jpg", "pictures/more/c.webp", "pictures/notes.txt"]


def test_a_file_with_a_globs_signs_in_its_name_is_that_file(images):
    (images / "x[1].jpg").touch()
    (images / "x1.jpg").touch()
    assert read("pictures/x[1].jpg") == ["pictures/x[1].jpg"]


def test_what_stands_for_nothing_stands_for_itself(images):
    (images / "empty").mkdir()
    words = ["pictures/empty", "nothing*.jpg", "missing.jpg", "x" * 5000, "https://example.org/*.jpg", "data:,x"]
    assert read(*words) == words


def test_inputs_come_twice_if_they_are_given_twice():
    assert read("pictures/b.jpg", "pictures/b.jpg") == ["pictures/b.jpg"] * 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_not_passed_over(images):
    (images / "more").chmod(0)
    assert read("pictures")[-1] == "pictures/more"
    (images / "more").chmod(0o700)


def test_standard_input_gives_one_input_a_line(monkeypatch):
    text = "pictures/b.jpg\n\npictures\r\nhttps://example.org/x.jpg\nno end of line \u00e9".encode() + b"\xff"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert count_inputs(["-"], "image") is None
    assert read("pictures/a.PNG", "-") == [
        "pictures/a.PNG",
        "pictures/b.jpg",
        *["pictures/a.PNG", "pictures/b.jpg", "pictures/more/c.webp"],
        "https://example.org/x.jpg",
        "no end of line é\udcff",
    ]


def test_standard_input_is_read_as_it_is_needed(monkeypatch):
    stdin = io.BytesIO(b"one\ntwo\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
    found = read_inputs(["@-"], "image")  # as "-"
    assert count_inputs(["@-"], "image") is None
    assert next(found) == "one"
    assert stdin.tell() == 4


@given(st.text(min_size=1).filter(lambda word: word != "-"))
def test_text_is_taken_as_it_stands(word):
    assert list(read_inputs([word], "question")) == [word]


def test_every_format_that_is_opened_has_its_suffix():
    from PIL import Image

    Image.init()
    ours = {name for name, kind in Image.registered_extensions().items() if kind in FORMATS}
    heif = {".heic", ".heif", ".hif"} if importlib.util.find_spec("pillow_heif") else set()  # registered when one comes
    assert ours - SUFFIXES["image"] <= {".j2k"}
    assert SUFFIXES["image"] - ours - heif <= {".mpo"}
    assert heif <= SUFFIXES["image"]


def test_a_numbered_input_is_of_its_kind(tmp_path):
    folder = tmp_path / "numbered"
    folder.mkdir()
    for name in ("b.jpg", "a.png", "c.txt"):
        (folder / name).touch()
    want = [str(folder / name) for name in ("a.png", "b.jpg")]
    assert list(read_inputs([str(folder)], "image0")) == want
    assert count_inputs([str(folder)], "image0") == 2
    assert media_kind("image1") == "image"
    assert media_kind("trimap") == media_kind("mask") == "image"
    assert media_kind("question") is None
