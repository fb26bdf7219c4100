"""Folders that several write into, and that a process may be killed while writing."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from sensorium.checkpoints.writing import alone_in, checkpoint_written, finish_saving
from sensorium.errors import CheckpointError


def test_who_writes_is_alone(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with alone_in(tmp_path), pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_files_go_to_their_places_with_the_config_last(tmp_path, monkeypatch):
    target, moved = tmp_path / "a" / "b", []
    replace = type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: moved.append(to.name) or replace(self, to))
    with checkpoint_written(target) as new:
        (new / "config.json").write_text("{}")
        (new / "tokenizer.json").write_text("{}")
        (new / "1_Pooling").mkdir()
        (new / "1_Pooling" / "config.json").write_text("[]")
        assert not (target / "config.json").exists()
    assert moved[-1] == "config.json"
    assert (target / "config.json").read_text() == "{}"
    assert {str(path.relative_to(target)) for path in target.rglob("*")} == {
        "config.json", "tokenizer.json", "1_Pooling", "1_Pooling/config.json",
    }  # fmt: skip


def test_what_fails_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "config.json").write_text("old")
    with pytest.raises(ValueError, match="no room"), checkpoint_written(tmp_path) as new:
        (new / "config.json").write_text("half")
        raise ValueError("no room")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", "old")]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from sensorium.checkpoints.writing import checkpoint_written\n"
        "with checkpoint_written(pathlib.Path(sys.argv[1])) as new:\n"
        "    (new / 'model.safetensors').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -signal.SIGKILL
    assert [path.name[:8] for path in tmp_path.iterdir()] == [".saving-"]
    with checkpoint_written(tmp_path) as new:
        (new / "config.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def half_in_place(folder):
    """A checkpoint that was written whole over another one, by a process that was killed while it moved the files."""
    with checkpoint_written(folder) as new:
        (new / "config.json").write_text("old")
    (folder / ".saved-abcdefgh").mkdir()
    (folder / ".saved-abcdefgh" / "config.json").write_text("new")
    (folder / "model.safetensors").write_text("new")


def test_what_is_not_in_its_place_is_put_there_by_whoever_reads_or_writes(tmp_path):
    half_in_place(tmp_path)
    finish_saving(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "config.json": "new",
        "model.safetensors": "new",
    }
    half_in_place(tmp_path)
    with checkpoint_written(tmp_path) as new:
        assert (tmp_path / "config.json").read_text() == "new"
        (new / "tokenizer.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_what_cannot_be_put_in_its_place_is_told(tmp_path, monkeypatch):
    half_in_place(tmp_path)

    def refused(self, to):
        raise PermissionError(13, "Read-only file system", str(to))

    monkeypatch.setattr(type(tmp_path), "replace", refused)
    with pytest.raises(CheckpointError, match="was being saved by a process that was killed"):
        finish_saving(tmp_path)


def test_a_folder_in_the_place_of_a_file_is_refused_before_any_is_moved(tmp_path):
    (tmp_path / "z.json").mkdir()
    (tmp_path / "config.json").write_text("old")
    with pytest.raises(IsADirectoryError, match=r"z\.json is a folder"), checkpoint_written(tmp_path) as new:
        (new / "a.json").write_text("new")
        (new / "z.json").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "z.json"]


def test_a_stranger_s_folder_has_nothing_moved_in_or_out(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "checkpoint"
    (folder / ".saved-abcdefgh" / "sub").mkdir(parents=True)
    (folder / ".saved-abcdefgh" / "sub" / "file").write_text("theirs")
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    (folder / "sub").symlink_to(elsewhere)
    (folder / ".saved-zzzzzzzz").symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="leads out"):
        finish_saving(folder)
    (folder / "sub").unlink()
    finish_saving(folder)
    assert (folder / "sub" / "file").read_text() == "theirs"
    assert [path.name for path in elsewhere.iterdir()] == ["mine"]
