"""A tiny classifier, pictures good and bad, and the command line run in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sensorium.cli import app

LABELS = ["tabby, tabby cat", "sports car", "[red]pizza[/red]", "guitar"]


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """A saved ViT of two layers with random weights."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("model") / "vit"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = ViTConfig(**sizes, image_size=32, patch_size=8, id2label=dict(enumerate(LABELS)))
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def images(tmp_path):
    """Three pictures, one of them in a subfolder, beside what is not a picture by its name."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    (folder / ".cache").mkdir()
    rng = np.random.default_rng(0)
    for name in ("b.jpg", "a.PNG", "more/c.webp", ".cache/d.jpg", ".e.jpg"):
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def broken(images):
    """The pictures, and two files that only bear a picture's name."""
    (images / "a2.jpg").write_text("no picture")
    (images / "c2.jpg").touch()
    return images


@pytest.fixture
def sensorium():
    """Runs the command line; its result has exit_code, stdout and stderr."""
    return lambda *words, stdin=None: CliRunner().invoke(app, [str(word) for word in words], input=stdin)


@pytest.fixture
def classify(sensorium, vit):
    """Runs image-classification with the tiny classifier, in float32."""
    return lambda *words, **more: sensorium(
        "run", "image-classification", "--model", vit, "--dtype", "float32", *words, **more
    )


def rows(text):
    """The objects of JSON Lines."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def windows(monkeypatch, tmp_path):
    """Registers a made-up task with two inputs; gives the folder of its checkpoint."""
    from sensorium.tasks.base import registry

    from .made_up_task import TextWindows

    monkeypatch.setitem(registry._REGISTERED, TextWindows.name, TextWindows)
    folder = tmp_path / "windows"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "windows"}')
    return str(folder)
