"""scripts/new-task, run in a copy of the project: what it writes keeps the contract, and says what is left to do."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TASKS = {  # name: what the script is told
    "surface-relief": [
        "--from",
        "AutoModelForDepthEstimation",
        "--input",
        "image",
        "--summary",
        "how high each pixel is",
    ],
    "token-classification": [],
    "speaker-verification": ["--from", "AutoModelForAudioXVector", "--input", "audio"],
}
FILLED_IN = ("README.md", "CHANGELOG.md", "mkdocs.yml", "docs", "sensorium", "tests/tasks")


def load_script():
    spec = importlib.util.spec_from_file_location("new_task", ROOT / "scripts" / "new_task.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # dataclasses look for it there
    spec.loader.exec_module(script)
    return script


new_task = load_script()


def copy_of_the_project(place):
    skip = shutil.ignore_patterns("__pycache__", "starter", "cli", "retrieval", "test_docs.py", "test_examples.py")
    shutil.copytree(ROOT / "tests", place / "tests", ignore=skip)
    shutil.copytree(ROOT / "sensorium", place / "sensorium", ignore=shutil.ignore_patterns("__pycache__", "starter"))
    shutil.copytree(ROOT / "docs", place / "docs")
    shutil.copytree(ROOT / "scripts", place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, place / name)


def run(place, *command):
    environment = {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(place)}
    return subprocess.run(
        [sys.executable, *command], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with three new tasks, and what the script has said of them."""
    place = tmp_path_factory.mktemp("project")
    copy_of_the_project(place)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for name, words in TASKS.items():
            assert new_task.main([name, *words], place) == 0
    return place, said.getvalue()


def test_what_it_writes_keeps_the_contract_and_lacks_what_is_to_be_filled_in(copy):
    """Tasks without options, one a kind of input; each equals the model that it runs, and awaits its reference."""
    place, _ = copy
    files = [f"tests/tasks/test_{name.replace('-', '_')}.py" for name in TASKS]
    chosen = " or ".join([*TASKS, "by_hand", "the_reference"])
    words = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", chosen, "--durations=5"]
    done = run(place, "-m", "pytest", *words, "tests/test_contract.py", *files)
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    assert failed == [f"{file}::test_equals_the_reference" for file in files], done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.count("Failed: FILL IN: run Transformers' pipeline") == len(TASKS)
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 3 * 13, "the contract for each, and each by hand"


def test_what_it_writes_is_in_our_style(copy):
    place, _ = copy
    stems = [name.replace("-", "_") for name in TASKS]
    files = [name for stem in stems for name in (f"sensorium/tasks/{stem}.py", f"tests/tasks/test_{stem}.py")]
    for command in (["check"], ["format", "--check"]):
        done = run(place, "-m", "ruff", *command, *files)
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_listed_where_tasks_are(copy):
    place, _ = copy
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| \[docs\]", (place / "README.md").read_text("utf-8"), re.MULTILINE)
    listed = re.findall(r"^      - ([a-z-]+): \1\.md$", (place / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert rows == sorted(rows)
    assert listed == sorted(listed)
    assert set(rows) == set(listed) > set(TASKS)
    assert "- `surface-relief`: how high each pixel is.\n" in (place / "CHANGELOG.md").read_text("utf-8")


def test_what_is_left_is_told(copy):
    place, said = copy
    page = "docs/surface-relief.md:3: FILL IN: what it gives, in which unit and frame, and how it is called."
    assert page in said
    assert new_task.CATALOGUE in said
    assert page in left_to_fill_in(place)
    assert not [line for line in left_to_fill_in(place) if "tasks/surface_relief.py" in line], "its summary was told"


def test_the_script_starts_by_itself():
    done = run(ROOT, "scripts/new_task.py", "--help")
    assert done.returncode == 0, done.stderr
    assert "--from AutoModelFor…" in done.stdout


def test_nothing_of_ours_is_left_to_fill_in():
    assert left_to_fill_in(ROOT) == []


def left_to_fill_in(root):
    places = [root / name for name in FILLED_IN]
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.*")))]
    texts = [path for path in files if path.suffix in (".py", ".md", ".yml")]
    return [line for path in texts for line in new_task.left_to_fill_in(root, path.relative_to(root).as_posix())]


def state_of(place):
    return {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.fixture
def small_copy(tmp_path):
    """What the script reads and writes, and no more."""
    for name in ("sensorium/tasks", "tests/tasks", "docs"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("README.md", "CHANGELOG.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["DepthEstimation"], "no name in kebab-case, of small letters a to z; depth-estimation would be"),
        (["depth_estimation"], "depth-estimation would be"),
        (["depth-2"], "no name in kebab-case"),
        (["../depth"], "no name in kebab-case"),
        (["text-to-audio"], r"--from AutoModelFor… .*|its pipeline takes AutoModelForTextToWaveform"),
        (["monocular-depth"], "--from AutoModelFor…"),
        (["monocular-depth", "--from", "AutoModelForDepthEstimation"], "--input image, audio or text"),
        (["a-depth", "--from", "AutoModelForDepth", "--input", "image"], "no AutoModelForDepth; near are: .*DepthEst"),
    ],
)  # fmt: skip
def test_what_it_refuses_costs_nothing(small_copy, capsys, words, why):
    before = state_of(small_copy)
    assert new_task.main(words, small_copy) == 2
    assert re.search(why, capsys.readouterr().err)
    assert state_of(small_copy) == before


@pytest.mark.parametrize(
    "taken",
    ["sensorium/tasks/depth_estimation.py", "tests/tasks/test_depth_estimation.py", "docs/depth-estimation.md"],
)
def test_it_never_overwrites(small_copy, capsys, taken):
    (small_copy / taken).write_text("mine")
    before = state_of(small_copy)
    assert new_task.main(["depth-estimation"], small_copy) == 2
    assert f"is taken: there is {taken}" in capsys.readouterr().err
    assert state_of(small_copy) == before


def test_the_name_of_a_room_is_taken(small_copy, capsys):
    (small_copy / "sensorium/tasks/reading").mkdir()
    assert new_task.main(["reading", "--from", "AutoModelForDepthEstimation", "--input", "image"], small_copy) == 2
    assert "there is sensorium/tasks/reading" in capsys.readouterr().err


def test_the_catalogue_is_generated_where_there_is_one(tmp_path, monkeypatch):
    assert new_task.generate_catalogue(tmp_path) == []
    kept = tmp_path / new_task.CATALOGUE
    kept.parent.mkdir(parents=True)
    kept.write_text("old")
    monkeypatch.setattr(new_task, "CATALOGUE_COMMAND", ("-c", f"open({os.fspath(kept)!r}, 'w').write('new')"))
    assert new_task.generate_catalogue(tmp_path) == [new_task.CATALOGUE]
    assert kept.read_text() == "new"
