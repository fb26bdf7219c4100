"""The measures that scripts/check prints, of texts and of this project."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest

from sensorium.tasks.base import Task

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def measures():
    spec = importlib.util.spec_from_file_location("measures", ROOT / "scripts" / "measures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function(lines, name="f", indent=""):
    return f"{indent}def {name}():\n" + f"{indent}    pass\n" * (lines - 1)


def test_what_is_beyond_a_measure_is_named_and_what_just_keeps_it_is_not(measures):
    assert list(measures.long_subjects(["a" * 72, "é" * 73])) == ["73: " + "é" * 73]
    assert list(measures.long_files([("a.py", "x\n" * 300), ("b.py", "x\n" * 301)])) == ["b.py: 301"]
    texts = [("a.py", function(40) + function(41, "g")), ("b.py", "class A:\n" + function(42, "h", "    "))]
    assert list(measures.long_functions(texts)) == ["a.py:41 g: 41", "b.py:2 h: 42"]


def test_decorators_comments_above_and_docstrings_do_not_count(measures):
    assert list(measures.long_functions([("a.py", "@cache\n# why\n" + function(40))])) == []
    told = function(40).replace(":\n", ':\n    """What it does.\n\n    And why.\n    """\n', 1)
    assert list(measures.long_functions([("a.py", told)])) == []


def test_methods_are_those_that_a_task_may_write(measures):
    text = (ROOT / measures.TASK).read_text(encoding="utf-8")
    named = measures.methods(text, "Task")
    assert {"fits", "load", "wrap", "split", "forward", "decode", "merge"} <= set(named)
    written = {n for n, value in vars(Task).items() if inspect.isfunction(value) or isinstance(value, classmethod)}
    assert set(named) == {name for name in written if not name.startswith("_")}


def test_a_folder_without_history_and_with_a_long_file(measures, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    task = tmp_path / measures.TASK
    task.parent.mkdir(parents=True)
    task.write_text("class Task:\n    def split(self): ...\n    def _own(self): ...\n" + "\n" * 300)
    measures.main(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "commit subjects over 72 characters among the last 50: 0",
        "files over 300 lines: 1",
        "  sensorium/tasks/base/task.py: 303",
        "functions over 40 lines: 0",
        "methods of Task: 1 (split)",
    ]


def test_of_this_project_they_are_printed(measures, capsys):
    measures.main()
    shown = capsys.readouterr().out
    assert "methods of Task: " in shown
    assert shown.count("\n") >= 4
