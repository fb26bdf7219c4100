"""zero-shot-image-classification against Transformers' pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, OptionError, TaskMismatchError
from sensorium.tasks.texts import label_texts
from sensorium.tasks.texts.label_texts import KEPT, TOGETHER
from sensorium.tasks.zero_shot_image_classification import ZeroShotImageClassificationOptions
from tests import tiny, tiny_embedding, tiny_text
from tests.contract import Contract
from tests.media import make_image, make_images

PARITY = 1e-5  # float32 rounding of logits of up to 55, on probabilities
LABELS = ["cat", "a dog that saw the owl near the old bridge", "river", "Zürich bridge 東京", "owl"]


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("zero-shot-image-classification", folder, **settings)


def theirs(folder):
    return transformers.pipeline("zero-shot-image-classification", model=str(folder), device="cpu")


def assert_same(mine, expected, tolerance=PARITY):
    assert [set(row) for row in mine] == [{"label", "score"}] * len(expected)
    assert [row["label"] for row in mine] == [row["label"] for row in expected]
    for a, b in zip(mine, expected, strict=True):
        assert type(a["score"]) is float
        assert a["score"] == pytest.approx(b["score"], abs=tolerance)


ALL = {**dict.fromkeys(tiny_text.MATCHERS, tiny_text.matcher), "siglip2": lambda _: tiny_embedding.siglip2()}


@pytest.mark.parametrize("architecture", ALL)
def test_same_answers_as_transformers(architecture):
    folder = ALL[architecture](architecture)
    inputs = make_images()
    reference = theirs(folder)
    expected = [reference(image, candidate_labels=LABELS) for image in inputs]
    with ours(folder, batch_size=4) as pipe:
        assert pipe.task.name == "zero-shot-image-classification"
        together = pipe(inputs, candidate_labels=LABELS)
        alone = pipe(inputs[2], candidate_labels=LABELS)
        single = pipe(inputs[1], candidate_labels=LABELS[:1])
    for i, (result, want) in enumerate(zip(together, expected, strict=True)):
        assert isinstance(result, sensorium.Labels)
        assert_same(result.to_dict(), want)
        assert [LABELS[at] for at in result.ids] == result.labels.tolist()
        assert result.index == i
    assert_same(alone.to_dict(), expected[2])
    assert_same(single.to_dict(), reference(inputs[1], candidate_labels=LABELS[:1]))
    spread = {round(row["score"], 3) for want in expected for row in want}
    assert len(spread) > 9, "the checkpoint must tell pictures and labels apart"


@pytest.mark.parametrize("architecture", ["clip", "siglip"])
@pytest.mark.parametrize(
    "options",
    [
        {"hypothesis_template": "{}"},
        {"hypothesis_template": "the {} left Zürich"},
        {"candidate_labels": ["owl", "cat", "owl"]},  # as in ImageNet's list, where cranes are birds and machines
        {"candidate_labels": ("owl", "cat")},
    ],
)
def test_options(architecture, options):
    folder = tiny_text.matcher(architecture)
    options = {"candidate_labels": LABELS, **options}
    expected = theirs(folder)(make_image(), **options)
    with ours(folder) as pipe:
        assert_same(pipe(make_image(), **options).to_dict(), expected)


def test_siglip_cuts_long_labels_as_its_pipeline_does():
    folder, labels = tiny_text.matcher("siglip"), [tiny_text.words(60, 3), tiny_text.words(60, 4), "cat"]
    expected = theirs(folder)(make_image(), candidate_labels=labels)
    with ours(folder) as pipe:
        assert_same(pipe(make_image(), candidate_labels=labels).to_dict(), expected)


def test_many_labels_are_encoded_in_batches():
    folder = tiny_text.matcher("clip")
    labels = [tiny_text.words(1 + i % 9, i) for i in range(2 * TOGETHER + 5)]
    expected = theirs(folder)(make_image(), candidate_labels=labels)
    with ours(folder) as pipe:
        result = pipe(make_image(), candidate_labels=labels)
    got, want = np.zeros(len(labels)), {}
    got[result.ids] = result.scores
    for row in expected:
        want.setdefault(row["label"], row["score"])
    np.testing.assert_allclose(got, [want[label] for label in labels], atol=PARITY)


def test_labels_are_encoded_once_and_the_latest_sets_are_kept(monkeypatch):
    with ours(tiny_text.matcher("clip"), batch_size=2) as pipe:
        encoded = []
        run = pipe.model.get_text_features
        monkeypatch.setattr(
            pipe.model, "get_text_features", lambda **x: encoded.append(len(x["input_ids"])) or run(**x)
        )
        first = pipe(make_images(), candidate_labels=LABELS)
        assert encoded == [len(LABELS)]
        again = pipe(make_images(), candidate_labels=LABELS)
        assert again == first
        assert encoded == [len(LABELS)], "across calls, too"
        pipe(make_image(), candidate_labels=LABELS, hypothesis_template="{}")
        assert len(encoded) == 2, "another template makes other texts"
        for i in range(KEPT):
            pipe(make_image(), candidate_labels=[f"cat {i}", "owl"])
        assert encoded[2:] == [1] * KEPT, "a text that another set had is known"
        assert pipe(make_images(), candidate_labels=LABELS) == first
        assert len(encoded) == 2 + KEPT, "the set had to make room, its texts did not"


def test_only_so_many_texts_are_kept(monkeypatch):
    monkeypatch.setattr(label_texts, "KEPT_TEXTS", 3)
    with ours(tiny_text.matcher("clip")) as pipe:
        asked = [[f"cat {i}", f"owl {i}"] for i in range(KEPT + 2)]
        want = [pipe(make_image(), candidate_labels=labels) for labels in asked]
        assert len(pipe.task._texts._rows) == 3
        assert [pipe(make_image(), candidate_labels=labels) for labels in asked] == want
        assert pipe(make_image(), candidate_labels=["cat 0", "cat 1", "cat 2", "cat 3", "cat 4"]).scores.sum() == (
            pytest.approx(1)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "candidate_labels="),
        ({"candidate_labels": []}, "candidate_labels="),
        ({"candidate_labels": "cat, dog"}, "list of labels"),
        ({"candidate_labels": None}, "list of labels"),
        ({"candidate_labels": ["cat", ""]}, "not blank"),
        ({"candidate_labels": ["cat", " "]}, "not blank"),
        ({"candidate_labels": ["cat", 3]}, "got 3"),
        ({"candidate_labels": ["cat", "\ud83d"]}, "surrogate"),
        ({"candidate_labels": ["cat", tiny_text.words(200)]}, "the model takes 77"),
        ({"candidate_labels": ["cat"], "hypothesis_template": "a photo"}, "lacks {}"),
        ({"candidate_labels": ["cat"], "hypothesis_template": "a {label}"}, "hypothesis_template"),
        ({"candidate_labels": ["cat"], "hypothesis_template": "a {"}, "hypothesis_template"),
        ({"candidate_labels": ["cat"], "hypothesis_template": None}, "hypothesis_template"),
    ],
)
def test_bad_options_fail_before_any_work(options, message):
    with ours(tiny_text.matcher("clip")) as pipe:
        with pytest.raises(OptionError, match=message):
            pipe("nowhere.jpg", **options)
        assert pipe.stats()["inputs"] == 0


def test_neighbours_do_not_change_a_result():
    with ours(tiny_text.matcher("align"), batch_size=3) as pipe:
        inputs = make_images()
        alone = [pipe(image, candidate_labels=LABELS) for image in inputs]
        together = pipe(inputs[::-1], candidate_labels=LABELS)[::-1]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
        assert a.labels.tolist() == b.labels.tolist()


def test_a_loaded_model_needs_both_processors():
    folder = tiny_text.matcher("chinese_clip")
    model = transformers.AutoModelForZeroShotImageClassification.from_pretrained(folder)
    images_ = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="pictures and texts"):
        sensorium.pipeline("zero-shot-image-classification", model)
    with pytest.raises(CheckpointError, match="pictures and texts"):
        sensorium.pipeline("zero-shot-image-classification", model, processor=images_)
    expected = theirs(folder)(make_image(), candidate_labels=LABELS)
    both = transformers.ChineseCLIPProcessor(images_, tokenizer)
    for processor in (both, folder):
        with sensorium.pipeline(
            "zero-shot-image-classification", model, processor=processor, device="cpu", compile=False
        ) as pipe:
            assert_same(pipe(make_image(), candidate_labels=LABELS).to_dict(), expected)


def test_a_checkpoint_of_another_task_is_told_the_right_one():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match="zero-shot-image-classification"):
        sensorium.pipeline("question-answering", tiny_text.matcher("clip"))


@pytest.mark.parametrize("architecture", ["clip", "siglip"])
def test_bfloat16_drifts_less_than_promised(architecture):
    folder, inputs = tiny_text.matcher(architecture), make_images()
    with ours(folder) as exact, ours(folder, dtype="bfloat16") as fast:
        assert fast.placement.dtype == torch.bfloat16
        a, b = exact(inputs, candidate_labels=LABELS), fast(inputs, candidate_labels=LABELS)
    for x, y in zip(a, b, strict=True):
        want, got = np.zeros(len(LABELS)), np.zeros(len(LABELS))
        want[x.ids], got[y.ids] = x.scores, y.scores
        np.testing.assert_allclose(got, want, atol=0.1)


@dataclass(frozen=True)
class _WithLabels(ZeroShotImageClassificationOptions):
    """Options that name labels, which every call needs: the contract calls without any, too."""

    candidate_labels: tuple[str, ...] = tuple(LABELS)


def _build(**settings):
    pipe = ours(tiny_text.matcher("clip"), **settings)
    pipe.task.options = _WithLabels
    return pipe


CONTRACT = Contract(
    build=_build,
    inputs=make_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    options=[{"candidate_labels": ["owl", "cat"]}, {"hypothesis_template": "{}"}],
)
