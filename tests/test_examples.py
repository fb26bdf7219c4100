"""Every file in examples/ runs as its first lines say, offline, and gives what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.stem for path in (EXAMPLES / "pictures").glob("*.jpg"))
LABELLED = r"(\w+)\.jpg: (\w+) 0\.\d\d"
TIMEOUT_S = 100  # an example takes a few seconds, most of them importing; a loaded machine takes some times longer


@pytest.fixture
def run(tmp_path):
    """Runs an example in a folder of its own, warnings as errors, and gives what it prints."""

    def run(name, *words):
        paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join(paths),
            "PYTHONWARNINGS": "error",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = ["bash"] if name.endswith(".sh") else [sys.executable]
        done = subprocess.run(
            [*command, str(EXAMPLES / name), *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_every_example_is_tested_here():
    text = Path(__file__).read_text(encoding="utf-8")
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")]:
        assert f'run("{path.name}"' in text, path.name


def test_classify_folder(run):
    found = re.findall(LABELLED, run("classify_folder.py"))
    assert [file for file, _ in found] == NAMES
    assert all(file == label for file, label in found)


def test_stream_with_errors(run, tmp_path):
    said = run("stream_with_errors.py", "--output", "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["index"] for row in rows] == list(range(len(NAMES) + 5))
    assert [row["result"][0]["label"] for row in rows if "result" in row] == NAMES
    codes = [row["error"]["code"] for row in rows if "error" in row]
    assert codes == ["empty-file", "not-a-picture", "truncated", "missing-file", "is-a-directory"]
    assert f"{len(rows)} inputs, 5 failures" in said


def test_similar_pictures(run):
    lines = run("similar_pictures.py").splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert lines[0].endswith("cat.jpg")
    assert scores == sorted(scores, reverse=True)


def test_your_own_head(run, tmp_path):
    said = run("your_own_head.py", "--folder", "mine")
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", said)]
    assert losses[-1] < losses[0] / 4
    assert f"{len(NAMES)} of {len(NAMES)} right" in said
    config = json.loads((tmp_path / "mine" / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].values()) == ["animal", "vehicle", "something else"]


def test_command_line(run, tmp_path):
    said = run("command_line.sh")
    assert re.findall(r"(\w+)\.jpg\t(\w+) 0\.\d{4}\t", said) == [(name, name) for name in NAMES]
    assert "<html" in (tmp_path / "labels.html").read_text(encoding="utf-8")
    archive = np.load(tmp_path / "vectors.npz")
    assert [Path(name).stem for name in archive["sources"]] == [name for name in NAMES if name.startswith("c")]
    assert archive["vectors"].shape == (len(archive["sources"]), 1280)
    assert np.isfinite(archive["vectors"]).all()


def test_find_objects(run, tmp_path):
    from tests import tiny_detection

    said = run("find_objects.py", "--model", str(tiny_detection.folder("rt_detr")), "--threshold", "0.3")
    counts = dict(re.findall(r"(\w+)\.jpg: (\d+) objects", said))
    names = [name for name in NAMES if name.startswith("c")]
    assert list(counts) == names
    rows = (tmp_path / "found" / "objects.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == sum(map(int, counts.values())) > 0
    assert sorted(path.stem for path in (tmp_path / "found").glob("*.png")) == names
