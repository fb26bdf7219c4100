"""Folders that several write into, and that a process may be killed while writing."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from sensorium.checkpoints.writing import alone_in, checkpoint_written


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
