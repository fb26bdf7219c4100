"""The checkpoint that ships with the package: it is small, whole, and knows its nouns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import sensorium
from sensorium.processors.image import ImageProcessor
from sensorium.processors.media import load_image
from sensorium.tasks.heads import Composite

NAME = "starter/image-classification"
ROOT = Path(__file__).parents[1]
FOLDER = Path(sensorium.__file__).parent / "starter" / "image-classification"
IMAGES = sorted((ROOT / "examples" / "pictures").glob("*.jpg"))
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


@pytest.fixture(scope="module")
def composite() -> Composite:
    return Composite.from_pretrained(NAME)


@pytest.fixture(scope="module")
def processor() -> ImageProcessor:
    return ImageProcessor.from_pretrained(NAME)


def test_it_is_whole_and_small():
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(files) == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert sum(files.values()) <= 6_000_000
    assert "SIL Open Font License" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_it_has_64_labels(composite):
    labels = [composite.id2label[index] for index in range(64)]
    assert composite.num_labels == 64
    assert labels == sorted(set(labels))
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["label2id"] == {label: index for index, label in enumerate(labels)}


def test_its_weights_are_finite(composite):
    assert all(tensor.isfinite().all() for tensor in composite.state_dict().values())


def test_its_recipe_is_run_by_us_and_not_delegated(processor):
    assert processor.recipe is not None
    assert processor.size == (128, 128)


def test_there_are_pictures_of_mixed_sizes(processor):
    shapes = {tuple(processor.fit(load_image(path))["pixel_values"].shape) for path in IMAGES}
    assert len(IMAGES) >= 8
    assert len({load_image(path).shape for path in IMAGES}) >= 4
    assert shapes == {(3, 128, 128)}


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_a_picture_gets_its_label(path, composite, processor):
    with torch.inference_mode():
        probabilities = composite(**processor(path)).logits.softmax(-1)[0]
    best = int(probabilities.argmax())
    assert composite.id2label[best] == path.stem
    assert probabilities[best] > 0.5  # each is an easy one: a narrow win would be luck


def test_transformers_reads_the_recipe(processor):
    from transformers import AutoImageProcessor

    theirs = AutoImageProcessor.from_pretrained(FOLDER)
    for path in IMAGES[:4]:
        expected = theirs(Image.open(path), return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(processor(path)["pixel_values"], expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(not FONT.exists(), reason="needs Debian's fonts-noto-color-emoji")
def test_it_is_right_on_95_percent_of_fresh_scenes(composite, processor, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from training.dataset import SceneSet
    from training.starter_image_classification import recipe

    scenes = SceneSet(count=1280, seed=20261122, shortest=(180, 480), recipe=recipe(128))
    right = 0
    for start in range(0, scenes.count, 64):
        images, labels = zip(*(scenes.image(index) for index in range(start, start + 64)), strict=True)
        pixels = torch.stack([torch.from_numpy(each) for each in images])
        with torch.inference_mode():
            logits = composite(**processor.finish({"pixel_values": pixels})).logits
        right += int((logits.argmax(-1) == torch.tensor(labels)).sum())
    assert right / scenes.count >= 0.95
