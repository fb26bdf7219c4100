"""`sensorium run video-classification` on films, folders of films, and folders of frames."""

from __future__ import annotations

import pytest

from sensorium import pipeline
from tests import tiny_video
from tests.films import film
from tests.media import make_image

from .conftest import rows


@pytest.fixture
def films(tmp_path):
    """Two films, one of them in a subfolder, one that was cut, and what is no film by its name."""
    folder = tmp_path / "films"
    (folder / "more").mkdir(parents=True)
    (folder / "a.MP4").write_bytes(film(12))
    (folder / "more" / "b.gif").write_bytes(film(12, form="gif", seed=1))
    (folder / "c.avi").write_bytes(film(12, form="avi")[:3000])
    (folder / "notes.txt").write_text("no film")
    return folder


@pytest.fixture
def classify(sensorium):
    model = tiny_video.folder("videomae")
    return lambda *words: sensorium("run", "video-classification", "--model", model, "--dtype", "float32", *words)


def test_a_folder_s_films_are_classified(classify, films, tmp_path):
    got = classify(films, "--json", "--top-k", 2, "--window-s", 0.3)
    assert got.exit_code == 1, "one of them was cut"
    assert "notes.txt" in got.stderr
    found = {row["source"][len(str(films)) + 1 :]: row for row in rows(got.stdout)}
    assert list(found) == ["a.MP4", "c.avi", "more/b.gif"]
    assert found["c.avi"]["error"]["code"] == "truncated"
    with pipeline("video-classification", tiny_video.folder("videomae"), dtype="float32", device="cpu") as pipe:
        expected = pipe(str(films / "a.MP4"), top_k=2, window_s=0.3).to_dict()
    assert [row["label"] for row in found["a.MP4"]["result"]] == [row["label"] for row in expected]
    page = tmp_path / "films.html"
    assert classify(films / "a.MP4", "--html", page).exit_code == 0
    assert "a.MP4" in page.read_text()


def test_a_folder_of_frames_is_one_film(classify, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(8):
        make_image(seed=index).save(folder / f"{index}.png")
    got = classify(folder, "--json")
    assert (got.exit_code, got.stderr) == (0, "")
    assert [row["source"] for row in rows(got.stdout)] == [str(folder)]
