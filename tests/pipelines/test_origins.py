"""Results say which path or URL their input was, and what it has cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium import pipeline
from sensorium.pipelines.origins import origin_of
from sensorium.results import Labels
from sensorium.tasks.base import get_task


@pytest.fixture(scope="module")
def classify():
    with pipeline("image-classification", "starter/image-classification", device="cpu") as pipe:
        yield pipe


@pytest.fixture
def paths(tmp_path):
    made = [tmp_path / f"{i}.png" for i in range(3)]
    for path in made:
        Image.new("RGB", (8, 8)).save(path)
    return made


def test_each_result_knows_its_path(classify, paths):
    names = [str(path) for path in paths]
    assert classify(paths[0]).source == classify(names[0]).source == names[0]
    assert [each.source for each in classify(paths)] == [each.source for each in classify.stream(iter(names))] == names
    assert classify.submit(names[1]).result().source == names[1]
    assert classify(image=names[1]).source == names[1]
    with Image.open(paths[0]) as image:
        assert classify(image).source is None


def test_what_is_no_path_has_no_source():
    image, text, sound = (get_task(n) for n in ("image-classification", "feature-extraction", "audio-classification"))
    assert origin_of("a cat.", text) is None, "the text is the input itself"
    assert origin_of("data:image/png;base64,AAAA", image) is None
    assert origin_of(np.zeros((3, 8, 8)), image) is None
    assert origin_of("https://me:secret@host/a.jpg", image) == "https://host/a.jpg"
    assert origin_of({"image": Path("a.jpg"), "points": [[1, 2]]}, image) == "a.jpg"
    assert origin_of({"array": np.zeros(3), "sampling_rate": 8000, "path": "a.wav"}, sound) == "a.wav"
    assert origin_of({"array": np.zeros(3), "sampling_rate": 8000}, sound) is None
    assert origin_of({"image0": "a.jpg", "image1": "b.jpg"}, get_task("keypoint-matching")) == "a.jpg"
    assert origin_of("a.jpg", get_task("image-retrieval")) == "a.jpg"


def test_each_outcome_knows_what_its_input_has_cost(classify, paths):
    paths[1].write_bytes(b"no picture")
    classify.reset_stats()
    outcomes = classify([*paths, "nowhere.png"], on_error="return")
    cost = sum(each.seconds for each in outcomes)
    spent = {name: stage["seconds"] for name, stage in classify.stats()["stages"].items()}
    alone = spent["split"] + spent["forward"] + spent["decode"]
    assert alone * 0.999 <= cost <= (alone + spent["merge"]) * 1.001  # rounded to microseconds
    assert all(each.seconds > 0 for each in outcomes)
    assert Labels(["a"], [1.0]).seconds is None
