"""Prints how well the project keeps to its measures; none of them can make the check fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sensorium", "tests", "scripts", "benchmarks", "training", "examples")

SUBJECT, COMMITS = 72, 50
"""Characters of a commit's subject at most, and how many commits are looked at."""

FILE, FUNCTION = 300, 40
"""Lines at most."""

TASK = "sensorium/tasks/base/task.py"


def main(root: Path = ROOT) -> None:
    """Prints all measures, and below each what is beyond it."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    trees = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    show(f"commit subjects over {SUBJECT} characters among the last {COMMITS}", long_subjects(subjects(root)))
    show(f"files over {FILE} lines", long_files(trees.items()))
    show(f"functions over {FUNCTION} lines", long_functions(trees.items()))
    names = methods(trees[TASK], "Task")
    print(f"methods of Task: {len(names)} ({', '.join(names)})")


def show(measure: str, beyond: Iterable[str]) -> None:
    """Prints a measure with how many are beyond it, and then these."""
    rows = list(beyond)
    print(f"{measure}: {len(rows)}", *rows, sep="\n  ")


def subjects(root: Path) -> list[str]:
    """The subjects of the last commits, newest first; none where there is no history."""
    command = ["git", "log", f"-{COMMITS}", "--no-merges", "--format=%s"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.splitlines()


def long_subjects(lines: Iterable[str]) -> Iterator[str]:
    """Subjects that are too long, with their length."""
    return (f"{len(line)}: {line}" for line in lines if len(line) > SUBJECT)


def long_files(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Files, given by name and text, that are too long, with their length."""
    lengths = ((name, len(text.splitlines())) for name, text in texts)
    return (f"{name}: {length}" for name, length in lengths if length > FILE)


def long_functions(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Functions and methods that are too long, with their length from `def` to their last line, docstrings aside."""
    for name, text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                told = [node.body[0]] if ast.get_docstring(node, clean=False) is not None else []
                length = _lines(node) - sum(map(_lines, told))
                if length > FUNCTION:
                    yield f"{name}:{node.lineno} {node.name}: {length}"


def methods(text: str, name: str) -> list[str]:
    """The public methods that a class of this text defines, `__init__` and properties aside."""
    classes = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
    return [
        node.name
        for node in next(classes).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
        and not any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list)
    ]


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    main()
    sys.exit(0)
