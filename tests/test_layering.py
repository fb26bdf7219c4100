"""Reads the imports and holds the layering of the design."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sensorium"
FILES = sorted(p for p in PACKAGE.rglob("*.py"))

INSIDE = {  # layer: what it may import from the package
    "errors": set(),
    "results": {"errors"},
    "checkpoints": {"errors"},
    "processors": {"errors", "checkpoints"},
    "backbones": {"errors", "checkpoints"},
    "models": {"errors"},
    "tasks": {"results", "errors", "checkpoints", "processors", "backbones", "models"},
    "pipelines": {"results", "errors", "checkpoints", "processors", "backbones", "models", "tasks"},
    "retrieval": {
        "results",
        "errors",
        "checkpoints",
        "processors",
        "backbones",
        "models",
        "tasks",
        "pipelines",
    },
    "report": {"results", "errors", "processors"},
    "cli": {
        "results",
        "errors",
        "checkpoints",
        "processors",
        "backbones",
        "models",
        "tasks",
        "pipelines",
        "retrieval",
        "report",
    },
}

ONLY_IN = {  # third party: the files that may import it
    "timm": {"backbones/timm.py", "processors/recipe_timm.py", "tasks/image_classification.py", "cli"},
    "transformers": {"backbones", "models", "tasks", "processors", "checkpoints/checkpoint.py", "cli"},
    "huggingface_hub": {"checkpoints", "cli"},
    "soundfile": {"processors"},
    "torchaudio": {"processors"},
    "librosa": {"processors"},
    "tokenizers": {"processors"},
    "faiss": {"retrieval/dense/approximate.py"},
    "pyarrow": {"retrieval"},
    "bm25s": {"retrieval/lexical/bm25.py"},
    "pypdf": {"retrieval/reading/formats"},
    "bs4": {"retrieval/reading/formats"},
    "markdown_it": {"retrieval/reading/formats"},
    "typer": {"cli"},
    "rich": {"cli"},
    "jinja2": {"report"},
    "tqdm": {"pipelines/pipeline.py", "retrieval", "cli"},
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
    assert layer in INSIDE, f"{layer} is not in the design's table"
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "sensorium" and rest:
            other = rest.split(".")[0]
            known = other in INSIDE or other in ("__version__",)
            if known and other != layer and other != "__version__":
                assert other in INSIDE[layer], f"{path.name} ({layer}) may not import {name}"
        elif top in ONLY_IN:
            here = str(path.relative_to(PACKAGE))
            allowed = any(here == a or here.startswith(f"{a}/") or here == f"{a}.py" for a in ONLY_IN[top])
            assert allowed, f"{here} may not import {top}"


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
    assert own == {"sensorium", "sensorium.errors"}
    assert {name.partition(".")[0] for name in loaded - own} <= sys.stdlib_module_names
    assert len(loaded) < 80  # 36 with Python 3.11: most of them those of difflib, re and typing
