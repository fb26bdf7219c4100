"""One file per task, and rooms for what several of them share; `base` says what a task is and finds them by name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def task_files() -> dict[str, Path]:
    """The files of this folder by the name of the task that each holds."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return {path.stem.replace("_", "-"): path for path in files if path.stem != "__init__"}


def class_name(task: str) -> str:
    """The CamelCase name of a task's class, for its name in kebab-case or snake_case."""
    return "".join(word.capitalize() for word in re.split("[-_]", task))
