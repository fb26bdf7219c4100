"""Results say which path or URL their input was, and what it has cost."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium import InputError, frames, pipeline
from sensorium.pipelines.origins import origin_of
from sensorium.results import Labels
from sensorium.tasks.base import get_task
from tests.films import film


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


def test_results_of_frames_know_their_film_and_their_time(classify, tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(film(60))
    results = list(classify.stream(frames(path, fps=3)))
    assert [result.time_s for result in results] == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])
    assert {result.source for result in results} == {str(path)}
    assert [result.index for result in results] == list(range(6))
    found = results[2]
    assert (found[:1].time_s, found[:1].source) == (found.time_s, str(path))
    assert pickle.loads(pickle.dumps(found)).time_s == found.time_s
    (frame,) = frames(path, fps=0.1)
    for result in (classify(frame), classify(image=frame), classify.submit(frame).result()):
        assert (result.time_s, result.source) == (0.0, str(path))
    assert classify(frame.pixels).time_s is None


def test_a_film_that_breaks_off_ends_its_stream_after_what_was_good(classify):
    data = bytearray(film(48, 160, 120, g=12, crf=1))
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    results = []
    with pytest.raises(InputError) as caught:
        for result in classify.stream(frames(bytes(data))):
            results.append(result.index)
    assert caught.value.code == "corrupt"
    assert results == list(range(len(results)))
    assert 12 <= len(results) < 48


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
