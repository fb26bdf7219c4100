"""The house's words: no class name twice, one word for each medium, and file names that tell something."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sensorium"
FILES = sorted(PACKAGE.rglob("*.py"))

OTHER_WORDS = re.compile(r"(?i)picture|sound(?!file)")
PUBLIC = {"sound_formats", "SOUND_FORMATS", "check_sound", "SoundFile", "SoundFileError", "_sound_file"}
"""Fields of MediaLimits, and soundfile's own names."""

VAGUE = {"base.py", "common.py", "fusion.py", "helpers.py", "loading.py", "utils.py"}
TOLD_APART = {"tasks/answering/loading.py", "tasks/heads/fusion.py", "tasks/reading/loading.py"}
"""Files whose folder says what they load or fuse."""


def identifiers(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name


def test_no_class_name_comes_twice():
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}")
    assert len(homes) > 200, "no classes were found to compare"
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_media_are_images_and_audio():
    others = defaultdict(set)
    for path in FILES:
        for name in identifiers(ast.parse(path.read_text(encoding="utf-8"))):
            if OTHER_WORDS.search(name) and name not in PUBLIC:
                others[path.relative_to(PACKAGE).as_posix()].add(name)
    assert dict(others) == {}, "name it by image or audio"
    assert [path.name for path in FILES if OTHER_WORDS.search(path.stem)] == []


def test_file_names_tell_what_is_in_them():
    vague = {path.relative_to(PACKAGE).as_posix() for path in FILES if path.name in VAGUE}
    assert vague == TOLD_APART
