"""One file a task, and rooms for what several of them share; `base` says what a task is and finds them by name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def task_files() -> dict[str, Path]:
    """The files of this folder that hold a task, by its name: those that define a class of the file's own name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        name = path.stem.replace("_", "-")
        text = path.read_text(encoding="utf-8")
        if f'\n    name = "{name}"\n' in text and re.search(rf"^class {class_name(name)}\(", text, re.MULTILINE):
            found[name] = path
    return found


def class_name(task: str) -> str:
    """The CamelCase name of a task's class, for its name in kebab-case or snake_case."""
    return "".join(word.capitalize() for word in re.split("[-_]", task))
