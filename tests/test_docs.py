"""The pages: their code runs, what they show is what comes out, and their links lead somewhere."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import sensorium
from tests import pages, tiny
from tests.media import jpeg, make_image
from tests.pages import PAGES, ROOT, PageRunner, is_run, read_blocks
from tests.tasks.test_image_classification import TIMM

LINKED = [*PAGES, ROOT / "CHANGELOG.md"]
SHELL_WORDS = {
    "scripts/demo",
    "scripts/test",
    "scripts/check",
    "scripts/new-task",
    "scripts/gpu",
    "python",
    "pip",
    "uv",
    "git",
    "tar",
    "pre-commit",
    "ray",
    "export",
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    for shared in ("examples", "docs"):
        (tmp_path / "work" / shared).symlink_to(ROOT / shared)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_what_a_page_shows_is_what_happens(path, place, request, monkeypatch):
    from sensorium.tasks.base import registry

    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))  # a page may register a task of its own
    page = path.read_text(encoding="utf-8")
    blocks = [block for block in read_blocks(page) if is_run(block)]
    if any("hub" in block.notes for block in blocks):
        pages.fill_hub(request.getfixturevalue("hub"), place.parent / "stand-ins", text=page)
    runner = PageRunner(path.name)
    request.addfinalizer(runner.close)
    for block in blocks:
        for shown in runner.run(page, block):
            where = f"{name_of(path)}:{shown.line}"
            assert shown.holds, f"{where} shows\n{shown.shown}\nand this comes out:\n{shown.got}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_code_block_is_run_or_says_why_not(path):
    for block in read_blocks(path.read_text(encoding="utf-8")):
        where = f"{name_of(path)}:{block.line}"
        assert block.language, f"{where}: a block without a language"
        assert block.language != "text", f"{where}: an output of nothing"
        assert block.notes.get("not run", "why") != "", f"{where}: not run, and why?"
        for line in block.text.splitlines():
            nested = re.match(r" .*\bprint\(.*\)  # ", line)
            assert not (nested and is_run(block)), f"{where}: a nested print shows in a text block"
        if block.language == "python":
            assert "not run" not in block.notes, f"{where}: Python is always run"
        if block.language == "sh" and not is_run(block):
            for line in block.text.replace("\\\n", " ").splitlines():
                command = line.split()[0]
                assert command in SHELL_WORDS | {"sensorium"}, f"{where}: {command}?"
                if "/" in command:
                    assert (ROOT / command).is_file(), f"{where}: there is no {command}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_what_a_page_shows_of_an_example_stands_in_it(path):
    for block in read_blocks(path.read_text(encoding="utf-8")):
        if block.notes.get("file", "").startswith("examples/"):
            whole = (ROOT / block.notes["file"]).read_text(encoding="utf-8")
            assert block.text in whole, f"{name_of(path)}:{block.line}"


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_links_lead_somewhere(path):
    text = pages.FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{name_of(path)} links to {target}"
    for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
        heads = [re.sub(r"[^\w -]", "", line.lstrip("# ")).strip().lower().replace(" ", "-")
                 for line in text.splitlines() if line.startswith("#")]  # fmt: skip
        assert anchor in heads, f"{name_of(path)} links to #{anchor}"


def test_the_site_lists_every_page():
    listed = re.findall(r"^\s+- .*?([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_every_public_name_is_written_about():
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    for name in sensorium.__all__:
        assert re.search(rf"\b{name}\b", text), f"no page tells of sensorium.{name}"


def test_every_setting_and_option_is_written_about():
    from sensorium.tasks.base import all_tasks

    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    for name in inspect.signature(sensorium.pipeline).parameters:
        assert re.search(rf"\b{name}\b", text), f"no page tells of pipeline({name}=…)"
    for field in dataclasses.fields(sensorium.MediaLimits):
        assert field.name in text, f"no page tells of MediaLimits.{field.name}"
    for task in all_tasks().values():
        page = (ROOT / "docs" / f"{task.name}.md").read_text(encoding="utf-8")
        for field in dataclasses.fields(task.options):
            assert f"`{field.name}`" in page, f"docs/{task.name}.md does not tell of {field.name}"


def test_every_error_code_is_listed():
    """The codes are an interface: people branch on them."""
    used = set()
    for path in (ROOT / "sensorium").rglob("*.py"):
        for code in re.findall(r'\bcode="([a-z-]+)"(?: if \w+ else "([a-z-]+)")?', path.read_text(encoding="utf-8")):
            used.update(filter(None, code))
    used.discard("bad-input")  # the default of InputError, for tasks of one's own
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## Codes")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert listed == used


def test_the_waits_of_each_task_are_told():
    from tests.test_pretend_contracts import WAITS

    part = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8").partition("### Waits")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| ([\d.]+) \|$", part, re.MULTILINE)
    assert {name: float(waits) for name, waits in rows} == WAITS


def test_contributing_names_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("### The rooms")[2].partition("\n## ")[0]
    rooms = [
        place for folder in ("tasks", "retrieval") for place in (ROOT / "sensorium" / folder).glob("*/__init__.py")
    ]
    assert len(rooms) > 10
    for room in rooms:
        folder = room.parent
        row = next((line for line in text.splitlines() if f"`sensorium/{folder.parent.name}/" in line
                    and f"{folder.name}/`" in line), None)  # fmt: skip
        assert row, f"CONTRIBUTING.md does not tell of {folder.relative_to(ROOT)}"


def test_the_version_is_in_the_changelog():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(sensorium.__version__)}\]", text, re.MULTILINE)


def test_same_compares_text_exactly_and_numbers_roughly():
    assert pages.same("cat 0.98\n", "cat 0.97")
    assert pages.same("a\n…\nz\n", "a\nb\nc\nz\n")
    assert pages.same("1e-05", "2.5e-05")
    assert pages.same("480.0 s", "483.0 s")
    assert not pages.same("cat 0.98", "cat 0.91")
    assert not pages.same("cat 0.98", "dog 0.98")
    assert not pages.same("3 inputs", "4 inputs")
    assert not pages.same("480.0 s", "583.0 s")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the project to which the files that CONTRIBUTING.md shows were added, as it says."""
    place = tmp_path_factory.mktemp("clone")
    skip = shutil.ignore_patterns("__pycache__", "cli", "test_docs.py", "test_examples.py")
    for name in ("sensorium", "tests", "docs"):
        shutil.copytree(ROOT / name, place / name, ignore=skip)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, place / name)
    shown = {
        b.notes["file"]: b for b in read_blocks((ROOT / "CONTRIBUTING.md").read_text("utf-8")) if "file" in b.notes
    }
    for name, block in shown.items():
        path = place / name
        mode = "a" if path.exists() else "w"
        with path.open(mode, encoding="utf-8") as file:
            file.write(block.text)
    return place, list(shown)


def test_the_task_in_contributing_keeps_the_contract(clone):
    place, names = clone
    (task,) = [Path(name).stem for name in names if name.startswith("sensorium/tasks/")]
    tests = [f"tests/tasks/test_{task}.py", "tests/test_contract.py"]
    assert tests[0] in names
    command = [sys.executable, "-m", "pytest", *tests, "-q", "-p", "no:cacheprovider", "-k", task.replace("_", "-")]
    command[-1] += f" or test_{task}"
    environment = {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found
    assert int(found[1]) >= 14, done.stdout[-1000:]  # the contract, and the task's own


def test_the_files_in_contributing_are_in_our_style(clone):
    place, names = clone
    files = [name for name in names if name.endswith(".py")]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *files], cwd=place, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_start_page_says_of_transformers_is_so(tmp_path):
    """The table in docs/index.md, row by row; a row goes when Transformers changes."""
    folder = tiny.folder("vit")
    theirs = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    image, other = make_image(seed=1), make_image(seed=2)
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg())
    rows: list[int] = []
    theirs.model.register_forward_pre_hook(
        lambda _, __, named: rows.append(len(named["pixel_values"])), with_kwargs=True
    )
    with sensorium.pipeline("image-classification", folder, device="cpu", dtype="float32", compile=False) as ours:
        assert isinstance(theirs([image, other])[0], list)
        assert rows == [1, 1]  # their batch size
        with pytest.raises(ValueError, match="nowhere"):
            theirs([image, "nowhere.jpg"])
        assert [r.index for r in ours([image, "nowhere.jpg", other], on_error="skip")] == [0, 2]

        assert len(theirs(str(path))) == 5
        for refused in (path, path.read_bytes(), (image, other), iter([image, other])):
            with pytest.raises((TypeError, ValueError, AttributeError, KeyError)):
                list(theirs(refused))
        for taken in (path, path.read_bytes(), (image, other), iter([image, other])):
            assert len(list(ours(taken))) in (2, 5)

        both = np.stack([np.asarray(image), np.asarray(other)])
        first = theirs(image)
        assert [row["label"] for row in theirs(both)] == [row["label"] for row in first]
        assert [row["score"] for row in theirs(both)] == pytest.approx([row["score"] for row in first])
        assert len(ours(both)) == 2

        assert len(theirs(image, top_k=None)) == 5
        assert len(ours(image, top_k=None)) == 7

    theirs.model.bfloat16().save_pretrained(tmp_path / "half")
    theirs.image_processor.save_pretrained(tmp_path / "half")
    again = transformers.pipeline("image-classification", model=str(tmp_path / "half"), device="cpu")
    assert (again.model.dtype, theirs.model.dtype) == (torch.bfloat16, torch.bfloat16)

    bare = tiny.folder("vit", bare=True)
    random = transformers.pipeline("image-classification", model=str(bare), device="cpu")
    assert len(random(image)) == 5  # and answers, with a classifier that nobody has trained
    with pytest.raises(sensorium.CheckpointError):
        sensorium.pipeline("image-classification", bare)


def test_the_counts_in_the_readme_are_so():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f" {len(tiny.ARCHITECTURES)} classification architectures" in text
    names = {8: "eight", 9: "nine", 10: "ten"}
    assert f"{names.get(len(TIMM), len(TIMM))} of timm" in text
