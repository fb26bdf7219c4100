"""zero-shot-object-detection against Transformers, on the same checkpoint, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.results import Detections
from sensorium.tasks.zero_shot_object_detection import ZeroShotObjectDetectionOptions
from tests import tiny, tiny_grounding, tiny_text
from tests.contract import Contract
from tests.media import make_image, make_images

TASK = "zero-shot-object-detection"
PARITY = 1e-5  # float32 rounding of scores
LABELS = ["cat", "a dog near the old bridge", "river", "Zürich bridge"]
OWLS = ["owlvit", "owlv2"]
DINOS = ["grounding-dino", "mm-grounding-dino"]


def ours(name, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline(TASK, tiny_grounding.folder(name), **settings)


def theirs(name):
    return transformers.pipeline(TASK, model=str(tiny_grounding.folder(name)), device="cpu")


def assert_same_rows(mine, expected, tolerance=PARITY, px=1):
    """The same objects, whose scores may lie next to each other in another order, and boxes a pixel apart."""
    assert len(mine) == len(expected)
    assert [row["score"] for row in mine] == sorted((row["score"] for row in mine), reverse=True)
    left = list(expected)
    for row in mine:
        assert list(row) == ["score", "label", "box"]
        sides = list(row["box"].values())
        same = [
            other
            for other in left
            if other["label"] == row["label"]
            and other["score"] == pytest.approx(row["score"], abs=tolerance)
            and np.allclose(list(other["box"].values()), sides, rtol=0, atol=px)
        ]
        assert same, f"{row} is not among {left[:3]}"
        left.remove(same[0])


def close(a, b, tolerance):
    for one, other in zip(a, b, strict=True) if a and isinstance(a[0], list) else [(a, b)]:
        assert_same_rows(one, other, tolerance)


@dataclass(frozen=True)
class _WithLabels(ZeroShotObjectDetectionOptions):
    """Options that name labels, which every call needs: the contract calls without any, too."""

    candidate_labels: tuple[str, ...] = tuple(LABELS)


def _build(**settings):
    pipe = ours("owlvit", **settings)
    pipe.task.options = _WithLabels
    return pipe


def _inputs():
    """Pictures, of which one brings its own labels."""
    *images, last = make_images()
    return [*images, {"image": last, "candidate_labels": ["stone", "an owl", "cat"]}]


CONTRACT = Contract(
    build=_build,
    inputs=_inputs,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture", {"image": "x.jpg", "candidate_labels": []}],
    options=[
        {"candidate_labels": ["owl", "cat"]},
        {"threshold": 0.0, "top_k": 5},
        {"candidate_labels": None, "query_images": [make_image(40, 30, 8)], "threshold": 0.3},
    ],
    close=close,
)


@pytest.mark.parametrize("name", OWLS)
def test_same_answers_as_transformers(name):
    inputs = [*make_images(), make_image(1, 30)]
    reference = theirs(name)
    expected = [reference(image, candidate_labels=LABELS) for image in inputs]
    with ours(name, batch_size=4) as pipe:
        assert pipe.task.name == TASK
        assert pipe.task.processor.recipe is not None
        together, alone = pipe(inputs, candidate_labels=LABELS), pipe(inputs[3], candidate_labels=LABELS)
    for i, (result, want) in enumerate(zip(together, expected, strict=True)):
        assert isinstance(result, Detections)
        assert_same_rows(result.to_dict(), want)
        assert [LABELS[at] for at in result.ids] == result.labels.tolist()
        assert result.index == i
    assert_same_rows(alone.to_dict(), expected[3])
    assert len({round(row["score"], 2) for want in expected for row in want}) > 20, "scores have to differ"


@pytest.mark.parametrize("name", OWLS)
def test_options(name):
    image, reference = make_image(90, 40), theirs(name)
    with ours(name) as pipe:
        for options in (
            {"candidate_labels": ["owl", "cat", "owl"]},  # a label given twice is found twice
            {"candidate_labels": ["owl"], "threshold": 0.5},
            {"candidate_labels": ("owl", "a cat"), "threshold": 0.0, "top_k": 3},
        ):
            assert_same_rows(pipe(image, **options).to_dict(), reference(image, **options))
        assert len(pipe(image, candidate_labels=["owl"], threshold=1.0)) == 0


def test_boxes_of_squares_are_px_of_the_picture():
    folder = tiny_grounding.folder("owlv2")
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    for image in (make_image(120, 30), make_image(30, 120)):
        with torch.no_grad():
            outputs = model(**processor(images=image, text=[LABELS], return_tensors="pt"))
        rows = processor.post_process_grounded_object_detection(
            outputs, threshold=0.0, target_sizes=[image.size[::-1]], text_labels=[LABELS]
        )[0]
        with ours("owlv2") as pipe:
            found = pipe(image, candidate_labels=LABELS, threshold=0.0)
        best = {}
        for box, score, label in zip(found.xyxy, found.scores, found.labels, strict=True):
            best.setdefault(tuple(np.round(box, 3)), (score, str(label)))
        want = zip(rows["boxes"].numpy(), rows["scores"].tolist(), rows["text_labels"], strict=True)
        for box, score, label in want:
            at = min(best, key=lambda each: np.abs(np.array(each) - box).max())
            np.testing.assert_allclose(at, box, atol=2e-3)
            assert best[at] == (pytest.approx(score, abs=PARITY), label)


@pytest.mark.parametrize("name", DINOS)
def test_labels_in_one_text_score_as_their_best_tokens(name):
    labels = ["cat", "a Dog near the old bridge ", "river", "cat", "Zürich, bridge"]
    folder = tiny_grounding.folder(name)
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    images = [*make_images()[:4], make_image(9, 30)]
    with ours(name, batch_size=4) as pipe:
        assert pipe.task.processor.recipe is not None
        results = pipe(images, candidate_labels=labels, threshold=0.0)
        few = pipe(images[0], candidate_labels=labels, threshold=0.5, top_k=3)
    for image, result in zip(images, results, strict=True):
        inputs = processor(images=image, text=[labels], return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        sizes = [image.size[::-1]]
        peer = processor.post_process_grounded_object_detection(outputs, threshold=0.0, target_sizes=sizes)[0]
        ends = [i for i, token in enumerate(inputs["input_ids"][0]) if processor.tokenizer.decode([token]) == "."]
        starts = [1, *(end + 1 for end in ends[:-1])]
        assert len(ends) == len(labels)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            scores = outputs.logits[0, :, start:end].sigmoid().amax(-1)
            order = scores.argsort(descending=True)
            mine = result.ids == number
            np.testing.assert_allclose(result.scores[mine], scores[order].numpy(), atol=1e-4)
            np.testing.assert_allclose(result.xyxy[mine], peer["boxes"][order].numpy(), atol=0.02)
            assert set(result.labels[mine].tolist()) == {labels[number]}
    assert np.ptp(results[0].scores) > 0.05
    assert (few.scores > 0.5).all() and len(few) <= 3


def test_more_labels_than_one_text_takes():
    labels = [f"{word} {i}" for i in range(4) for word in tiny_text.WORDS[:12]]
    with ours("grounding-dino") as pipe:
        whole = pipe(make_image(), candidate_labels=labels, threshold=0.0)
        parts = pipe.task._finder._parts(tuple(labels))
        assert len(parts) > 1
        assert [label for part in parts for label in part] == labels
        last = pipe(make_image(), candidate_labels=list(parts[-1]), threshold=0.0)
    assert [labels[at] for at in whole.ids] == whole.labels.tolist()
    first = len(labels) - len(parts[-1])
    assert_same_rows(whole[whole.ids >= first].to_dict(), last.to_dict())


@pytest.mark.parametrize(
    ("labels", "message"), [([tiny_text.words(200)], "the model takes 62"), (["cat", "\u200b"], "reads nothing")]
)
def test_labels_that_grounding_dino_cannot_read(labels, message):
    with ours("grounding-dino") as pipe, pytest.raises(OptionError, match=message):
        pipe("nowhere.jpg", candidate_labels=labels)


def test_labels_are_encoded_once(monkeypatch):
    with ours("owlvit", batch_size=2) as pipe:
        encoded = []
        base = pipe.model.owlvit
        run = base.get_text_features
        monkeypatch.setattr(base, "get_text_features", lambda **x: encoded.append(len(x["input_ids"])) or run(**x))
        first = pipe(make_images(), candidate_labels=LABELS)
        assert pipe(make_images(), candidate_labels=LABELS) == first
        assert encoded == [len(LABELS)]


def test_thousands_of_labels():
    labels = [f"{tiny_text.WORDS[i % 50]} {i}" for i in range(5000)]
    with ours("owlvit") as pipe:
        result = pipe(make_image(), candidate_labels=labels, threshold=0.0, top_k=50)
        few = pipe(make_image(), candidate_labels=[labels[i] for i in result.ids[:3]], threshold=0.0)
    assert len(result) == 50
    assert [labels[i] for i in result.ids] == result.labels.tolist()
    np.testing.assert_allclose(result.scores[0], few.scores[0], atol=PARITY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidate_labels": []}, "candidate_labels="),
        ({"candidate_labels": "cat, dog"}, "list of labels"),
        ({"candidate_labels": ["cat", ""]}, "not blank"),
        ({"candidate_labels": ["cat", 3]}, "got 3"),
        ({"candidate_labels": ["cat", "\ud83d"]}, "surrogate"),
        ({"candidate_labels": ["cat", tiny_text.words(40)]}, "the model takes 16"),
        ({"candidate_labels": ["cat"], "threshold": 2}, "threshold"),
        ({"candidate_labels": ["cat"], "nms_threshold": 0.5}, "nms_threshold is for query_images"),
        ({"candidate_labels": ["cat"], "query_images": ["cat.jpg"]}, "pass one of them"),
        ({"query_images": []}, "at least one picture"),
        ({"query_images": ["nowhere.jpg"]}, "the picture at 0 in query_images: nowhere.jpg"),
        ({"candidate_labels": ["cat"], "top_k": 0}, "top_k"),
    ],
)
def test_bad_options_fail_before_any_work(options, message):
    with ours("owlvit") as pipe:
        with pytest.raises(OptionError, match=message):
            pipe("nowhere.jpg", **options)
        assert pipe.stats()["inputs"] == 0


def test_very_narrow_and_very_long_pictures():
    inputs = [make_image(1, 60), make_image(), make_image(1, 20_000), make_image(20_000, 2)]
    with ours("omdet-turbo", batch_size=4) as pipe:
        results = pipe(inputs, candidate_labels=LABELS, threshold=0.0)
    assert [result.size for result in results] == [image.size[::-1] for image in inputs]
    for result, image in zip(results, inputs, strict=True):
        assert 0 <= result.xyxy.min() < result.xyxy.max() <= max(image.size), "boxes are px of the picture"
        assert (result.xyxy[:, 2] <= image.width).all()
        assert np.ptp(result.xyxy) > max(image.size) / 4


def test_very_long_pictures_that_shrink_to_nothing_cost_no_other():
    inputs = [make_image(1, 60), make_image(), make_image(1, 20_000), make_image(20_000, 2)]
    with ours("grounding-dino", batch_size=4) as pipe:
        narrow, good, *failed = pipe(inputs, candidate_labels=LABELS, threshold=0.0, on_error="return")
        assert good == pipe(inputs[1], candidate_labels=LABELS, threshold=0.0)
    assert narrow.size == (60, 1)
    assert [error.code for error in failed] == ["too-narrow"] * 2


def test_very_long_pictures():
    with ours("owlvit") as pipe, ours("owlv2") as squares:
        assert len(pipe(make_image(1, 20_000), candidate_labels=LABELS, threshold=0.0)) == 64
        with pytest.raises(InputError) as caught:
            squares(make_image(1, 20_000), candidate_labels=LABELS)
    assert caught.value.code == "too-elongated"


def test_a_loaded_model_needs_both_processors():
    folder = tiny_grounding.folder("owlvit")
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="pictures and texts"):
        sensorium.pipeline(TASK, model)
    both = transformers.AutoProcessor.from_pretrained(folder)
    with (
        ours("owlvit") as pipe,
        sensorium.pipeline(TASK, model, processor=both, device="cpu", dtype="float32", compile=False) as loaded,
    ):
        want = pipe(make_image(), candidate_labels=LABELS)
        assert_same_rows(loaded(make_image(), candidate_labels=LABELS).to_dict(), want.to_dict())


def test_a_checkpoint_of_another_task_is_told_the_right_one():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        sensorium.pipeline(TASK, tiny.folder("vit"))


@pytest.mark.parametrize("name", [*OWLS, *DINOS])
def test_bfloat16_drifts_less_than_promised(name):
    options = {"candidate_labels": LABELS, "threshold": 0.0}
    with ours(name) as exact, ours(name, dtype="bfloat16") as fast:
        a, b = exact(make_image(), **options), fast(make_image(), **options)
    assert len(a) == len(b)
    atol = 0.2 if name in DINOS else 0.1  # whose queries are the best places of the map, and those change
    for label in LABELS:
        np.testing.assert_allclose(
            np.sort(a.scores[a.labels == label]), np.sort(b.scores[b.labels == label]), atol=atol
        )
