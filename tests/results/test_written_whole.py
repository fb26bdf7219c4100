"""Files that results are saved as: whole, or not at all."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from sensorium.results import (
    AlphaMatte,
    DepthMap,
    Embedding,
    Keypoints,
    Labels,
    Matches,
    NormalMap,
    Segments,
    Transcript,
)
from sensorium.results.saving import check_place, written_whole

POINTS, SCORES = np.zeros((3, 2), np.float32), np.ones(3, np.float32)
SAVED = {
    "labels.json": Labels(["a"], [0.5]),
    "depth.png": DepthMap(POINTS),
    "depth.npz": DepthMap(POINTS),
    "matte.png": AlphaMatte(np.ones((4, 4))),
    "matte.npz": AlphaMatte(np.ones((4, 4))),
    "normals.png": NormalMap([[[0, 0, 1]]]),
    "embedding.npz": Embedding(np.zeros(3, np.float32)),
    "embedding.npy": Embedding(np.zeros(3, np.float32)),
    "keypoints.npz": Keypoints(POINTS, SCORES),
    "matches.npz": Matches(POINTS, POINTS, SCORES),
    "segments.png": Segments(np.zeros((4, 4), int), [0], ["a"]),
    "transcript.txt": Transcript("words"),
}


@pytest.mark.parametrize("name", SAVED)
def test_what_fails_in_the_middle_leaves_the_file_as_it_was(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("what was there")

    def full(self, to):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        SAVED[name].save(tmp_path / name)
    monkeypatch.undo()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "what was there")]
    SAVED[name].save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() != b"what was there"


def test_a_link_stays_one_and_a_file_keeps_its_mode(tmp_path):
    (tmp_path / "place").mkdir()
    target, link = tmp_path / "place" / "x.txt", tmp_path / "x.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    Transcript("new").save(link)
    assert link.is_symlink() and target.read_text() == "new\n" and target.stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_written_itself(tmp_path):
    os.mkfifo(tmp_path / "x.txt")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "x.txt").read_text()))
    reader.start()
    Transcript("words").save(tmp_path / "x.txt")
    reader.join()
    assert got == ["words\n"] and [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_several_that_write_the_same_file_wait_for_each_other(tmp_path):
    inside, most = [], []

    def write(number):
        with written_whole(tmp_path / "x") as part:
            inside.append(number)
            most.append(len(inside))
            part.write_text(str(number))
            inside.remove(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8 and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/x\.json'"):
        check_place(tmp_path / "nowhere" / "x.json")
    check_place(tmp_path / "x.json")
    assert not [*tmp_path.iterdir()]
