"""Reads the imports and holds the layering of the design."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.tasks.base import Task, get_task, task_names

PACKAGE = Path(__file__).parents[1] / "sensorium"
FILES = sorted(p for p in PACKAGE.rglob("*.py"))

LAYERS = (  # the design's table, from the ground up: each may import what stands before it
    "errors",
    "openmp",
    "isolation",
    "checkpoints",
    "processors",
    "results",
    "backbones",
    "models",
    "tasks",
    "pipelines",
    "retrieval",
    "report",
    "jobs",
    "cli",
)
ONLY_IN = {  # third party: the files that may import it
    "timm": {
        "backbones/timm.py",
        "backbones/timm_saving.py",
        "processors/recipe_timm.py",
        "tasks/image_classification.py",
        "cli",
    },
    "transformers": {
        "backbones",
        "models",
        "tasks",
        "processors",
        "checkpoints/checkpoint.py",
        "checkpoints/opening.py",
        "cli",
    },
    "huggingface_hub": {"checkpoints", "cli"},
    "av": {"processors/video_faults.py"},
    "soundfile": {"processors"},
    "torchaudio": {"processors"},
    "librosa": {"processors"},
    "tokenizers": {"processors"},
    "faiss": {"retrieval/dense/approximate.py", "retrieval/dense/flat_scan.py"},
    "pyarrow": {"results", "retrieval", "jobs", "cli/typed_file.py", "cli/row_files.py", "cli/jobs/exporting.py"},
    "fsspec": {"processors/remote.py", "jobs/stores/remote.py"},
    "bm25s": {"retrieval/lexical/bm25.py"},
    "pypdfium2": {"retrieval/reading/formats"},
    "bs4": {"retrieval/reading/formats"},
    "markdown_it": {"retrieval/reading/formats"},
    "mammoth": {"retrieval/reading/formats/word.py"},
    "webencodings": {"retrieval/reading/formats/decoding.py"},
    "typer": {"cli"},
    "rich": {"cli"},
    "jinja2": {"report"},
    "ray": {"jobs/cluster.py", "jobs/seat.py"},
    "tqdm": {"pipelines/progress.py", "retrieval", "jobs", "cli"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            if node.module == "sensorium":
                yield from (f"sensorium.{alias.name}" for alias in node.names)


def layer_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_to_the_layers(path):
    layer = layer_of(path)
    if layer in ("__init__", "__main__"):
        return
    assert layer in LAYERS, f"{layer} is not in the design's table"
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "sensorium" and rest:
            other = rest.split(".")[0]
            if other in LAYERS:
                up = LAYERS.index(other) > LAYERS.index(layer)
                assert not up, f"{path.name} ({layer}) may not import {name}"
        elif top in ONLY_IN:
            here = str(path.relative_to(PACKAGE))
            allowed = any(here == a or here.startswith(f"{a}/") or here == f"{a}.py" for a in ONLY_IN[top])
            assert allowed, f"{here} may not import {top}"


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def packages_of(module):
    """The packages that a module lies in, which Python runs before it."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def edges(module, path):
    """What a module imports of the package, wherever in the file and for whatever use, annotations included.

    Importing a module runs the packages that it lies in, so they count too, but for those around the importer.
    """
    named = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            named.update(full if full in MODULES else node.module for full in inner.values())
    named &= MODULES.keys()
    around = set().union(*map(packages_of, named)) - packages_of(module)
    return (named | around) - {module}


def circles(graph):
    """The groups of modules that reach each other, by Tarjan's algorithm."""
    order, low, stack, groups = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            start = stack.index(node)
            groups.append(frozenset(stack[start:]))
            del stack[start:]

    for node in graph:
        if node not in order:
            visit(node)
    return {group for group in groups if len(group) > 1}


def test_no_circle_is_drawn():
    drawn = circles({module: edges(module, path) for module, path in MODULES.items()})
    told = [" <-> ".join(sorted(each)) for each in drawn]
    assert not told, f"these import each other; move what they share into a file of its own: {told}"


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == {frozenset("bc")}
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == set()
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}}) == {
        frozenset("abc"),
        frozenset("de"),
    }


def test_every_flat_file_of_tasks_is_a_task_and_every_task_a_flat_file():
    files = {path.stem: path for path in (PACKAGE / "tasks").glob("*.py") if path.stem != "__init__"}
    assert {name.replace("_", "-") for name in files} == set(task_names())
    for name in task_names():
        task = get_task(name)
        assert issubclass(task, Task)
        assert task.name == name
        assert Path(inspect.getfile(task)) == files[name.replace("-", "_")]
    elsewhere = {
        path.relative_to(PACKAGE / "tasks").as_posix()
        for path in (PACKAGE / "tasks").glob("*/**/*.py")
        if re.search(r'^    name = "[a-z-]+"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert not elsewhere, f"a task lies flat in tasks/: {elsewhere}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_remains(path):
    text = path.read_text(encoding="utf-8")
    for word in ("TODO", "FIXME", "raise NotImplementedError", "import pickle"):
        assert word not in text


def test_importing_the_package_loads_its_errors_and_a_little_of_python():
    """What makes the import cheap; how long it takes is for a benchmark to say."""
    code = "import sys; before = set(sys.modules); import sensorium; print(*(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(out.split())
    own = {name for name in loaded if name.partition(".")[0] == "sensorium"}
    assert own == {"sensorium", "sensorium.errors", "sensorium.openmp"}
    assert {name.partition(".")[0] for name in loaded - own} <= sys.stdlib_module_names
    assert len(loaded) < 80  # 36 with Python 3.11: most of them those of difflib, re and typing
