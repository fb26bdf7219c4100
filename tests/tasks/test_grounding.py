"""zero-shot-object-detection: OmDet-Turbo, pictures as queries, and labels of a picture's own, against Transformers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import InputError, OptionError
from sensorium.tasks.grounding import owl
from sensorium.tasks.grounding.queries import QueryImage, queries_of, read_queries
from tests import tiny_grounding, tiny_text
from tests.media import make_image, make_images

TASK = "zero-shot-object-detection"
PARITY = 1e-5  # float32 rounding of scores
PX = 0.01  # the same, of boxes in pictures of 100 px
LABELS = ["cat", "a dog near the old bridge", "river"]
SETS = [("cat", "an old river"), ("a dog near the old bridge",), ("stone", "cat", "river", "Zürich bridge")]


@pytest.fixture(scope="module")
def families():
    """A pipeline by the name of its family, built once; its batches hold four."""
    with _Pipelines() as pipelines:
        yield pipelines.of


class _Pipelines(dict):
    def of(self, name):
        if name not in self:
            folder = tiny_grounding.folder(name)
            settings = {"device": "cpu", "dtype": "float32", "compile": False, "batch_size": 4}
            self[name] = sensorium.pipeline(TASK, folder, **settings)
        return self[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in self.values():
            pipe.close()


def theirs(name):
    folder = tiny_grounding.folder(name)
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    return model, transformers.AutoProcessor.from_pretrained(folder)


def assert_same(result, scores, boxes, ids):
    """The same objects, best first; those of one score, to rounding, in any order."""
    scores, boxes, ids = (np.asarray(each) for each in (scores, boxes, ids))
    assert len(result) == len(scores)
    mine, other = (
        sorted(zip(ids.tolist(), scores.tolist(), boxes.tolist(), strict=True), key=lambda row: (row[0], row[2]))
        for ids, scores, boxes in ((result.ids, result.scores, result.xyxy), (ids, scores, boxes))
    )
    for (id_, score, box), (want_id, want_score, want_box) in zip(mine, other, strict=True):
        assert id_ == want_id
        assert score == pytest.approx(want_score, abs=PARITY)
        np.testing.assert_allclose(box, want_box, atol=PX)
    assert (np.diff(result.scores) <= 0).all()


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 0.6}, {"threshold": 0.0, "nms_threshold": 0.05}])
def test_omdet_turbo_equals_transformers(families, options):
    images, (model, processor) = [*make_images()[:4], make_image(9, 30)], theirs("omdet-turbo")
    results = families("omdet-turbo")(images, candidate_labels=LABELS, **options)
    for image, result in zip(images, results, strict=True):
        inputs = processor(images=image, text=LABELS, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        want = processor.post_process_grounded_object_detection(
            outputs, text_labels=[LABELS], target_sizes=[image.size[::-1]], **options
        )[0]
        assert_same(result, want["scores"], want["boxes"], want["labels"])
        assert result.labels.tolist() == [LABELS[at] for at in result.ids]
    assert len({tuple(result.scores) for result in results}) == len(images), "the model has to tell them apart"


def test_omdet_turbo_suppresses_boxes_of_one_label(families):
    asked = {"candidate_labels": LABELS, "threshold": 0.0}
    counts = [len(families("omdet-turbo")(make_image(), **asked, nms_threshold=iou)) for iou in (0.0, 0.5, 1.0)]
    assert counts[0] < counts[1] <= counts[2] == 12


def test_omdet_turbo_drifts_little_in_bfloat16(families):
    asked = {"candidate_labels": LABELS, "threshold": 0.0, "nms_threshold": 1.0}
    folder = tiny_grounding.folder("omdet-turbo")
    with sensorium.pipeline(TASK, folder, device="cpu", dtype="bfloat16", compile=False) as fast:
        drifted = fast(make_image(), **asked)
    np.testing.assert_allclose(drifted.scores, families("omdet-turbo")(make_image(), **asked).scores, atol=0.1)


def test_texts_of_omdet_turbo_are_encoded_once(families, monkeypatch):
    pipe, seen = families("omdet-turbo"), []
    texts = pipe.model.language_backbone.model
    monkeypatch.setattr(texts, "forward", lambda ids, run=texts.forward: seen.append(tuple(ids.shape)) or run(ids))
    labels = ["owl", "an owl", "stone"]
    pipe(make_images(), candidate_labels=labels)
    assert [len_ for len_, _ in seen] == [3, 1], "the labels, and the sentence that tells the task"
    pipe(make_images(), candidate_labels=labels)
    assert len(seen) == 2
    pipe(make_image(), candidate_labels=["owl", "stone"])
    assert [len_ for len_, _ in seen[2:]] == [1], "labels are known, the sentence is another"


@pytest.mark.parametrize("name", ["owlvit", "owlv2"])
@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 0.5, "nms_threshold": 0.1}])
def test_query_images_equal_transformers(families, name, options):
    images, queries = make_images()[:4], [make_image(40, 30, 8), make_image(64, 64, 9), make_image(20, 90, 10)]
    model, processor = theirs(name)
    results = families(name)(images, query_images=queries, **options)
    for image, result in zip(images, results, strict=True):
        scores, boxes, ids = [], [], []
        for number, query in enumerate(queries):
            with torch.no_grad():
                outputs = model.image_guided_detection(
                    **processor(images=image, query_images=query, return_tensors="pt")
                )
            size = torch.tensor([(max(image.size),) * 2 if name == "owlv2" else image.size[::-1]])
            for want in processor.post_process_image_guided_detection(
                outputs, **{"nms_threshold": 0.3, **options}, target_sizes=size
            ):
                scores += want["scores"].tolist()
                boxes += want["boxes"].tolist()
                ids += [number] * len(want["scores"])
        assert_same(result, scores, np.reshape(boxes, (-1, 4)), ids)
        assert result.labels.tolist() == [f"query {at}" for at in result.ids]
    assert len({len(result) for result in results}) > 1


def test_query_images_are_encoded_once(families, monkeypatch):
    pipe, seen = families("owlvit"), []
    run = pipe.model.image_embedder
    monkeypatch.setattr(
        pipe.model, "image_embedder", lambda pixel_values: seen.append(len(pixel_values)) or run(pixel_values)
    )
    query = np.asarray(make_image(40, 30, 21))
    first = pipe(make_images()[:4], query_images=query)
    assert seen == [4, 1]
    assert pipe(make_images()[:4], query_images=[query.copy()]) == first, "the same pixels are the same picture"
    assert seen == [4, 1, 4]
    assert list(pipe.stream(iter(make_images()[:4]), query_images=[query])) == first


def test_windows_tell_scores_beside_the_picture_s_best(families):
    found = families("owlvit")(make_image(200, 100), query_images=make_image(40, 30, 8), slice_px=100, threshold=0.0)
    assert found.scores[0] == pytest.approx(1, abs=1e-5)
    assert (found.scores > 0.999).sum() == 1, "not one in each window"


@pytest.mark.parametrize("name", ["grounding-dino", "omdet-turbo"])
def test_models_that_take_no_query_images_say_so(families, name):
    pipe = families(name)
    with pytest.raises(OptionError, match="takes no query_images"):
        pipe("nowhere.jpg", query_images=[make_image()])
    own = {"image": make_image(), "query_images": make_image()}
    (failed, result) = pipe([own, {"image": make_image(), "candidate_labels": ["owl"]}], on_error="return")
    assert isinstance(failed, InputError)
    assert failed.code == "bad-queries"
    assert "query_images" in str(failed)
    assert result.labels.tolist() == ["owl"] * len(result)


@pytest.mark.parametrize("name", ["owlvit", "owlv2", "grounding-dino", "mm-grounding-dino", "omdet-turbo"])
def test_each_picture_may_bring_its_labels(families, name):
    pipe, images = families(name), [make_image(50, 40, i) for i in range(7)]
    many = tuple(f"{word} {i}" for i in range(3) for word in tiny_text.WORDS[:12])  # two texts for Grounding DINO
    sets = [*SETS, None, SETS[0], many, SETS[1]]
    alone = [
        pipe(image, candidate_labels=labels or LABELS, threshold=0.0)
        for image, labels in zip(images, sets, strict=True)
    ]
    asked = {"candidate_labels": LABELS, "threshold": 0.0}
    rows = [
        image if labels is None else {"image": image, "candidate_labels": list(labels), "label": "no input"}
        for image, labels in zip(images, sets, strict=True)
    ]
    for results in (pipe(rows, **asked), list(pipe.stream(iter(rows), **asked))):
        for result, want in zip(results, alone, strict=True):
            assert_same(result, want.scores, want.xyxy, want.ids)
            assert sorted(result.labels.tolist()) == sorted(want.labels.tolist())
    assert pipe(rows[0], threshold=0.0) == alone[0], "no labels of the call are needed then"


def test_labels_are_encoded_once_across_pictures(families, monkeypatch):
    pipe, seen = families("owlvit"), []
    run = pipe.model.owlvit.get_text_features
    monkeypatch.setattr(
        pipe.model.owlvit, "get_text_features", lambda **x: seen.append(len(x["input_ids"])) or run(**x)
    )
    sets = [[f"{tiny_text.WORDS[i]} 7", "the 7"] for i in range(8)]
    pipe([{"image": image, "candidate_labels": labels} for image, labels in zip(make_images() * 2, sets, strict=False)])
    assert sum(seen) == len({label for labels in sets[: len(make_images() * 2)] for label in labels})


def test_pictures_bring_queries_of_each_kind(families):
    pipe, query = families("owlvit"), make_image(40, 30, 8)
    rows = [{"image": make_image(), "query_images": [query]}, {"image": make_image(), "candidate_labels": ["owl"]}]
    by_image, by_label = pipe(rows, threshold=0.0)
    want = pipe(make_image(), query_images=query, threshold=0.0)
    assert_same(by_image, want.scores, want.xyxy, want.ids)
    want = pipe(make_image(), candidate_labels=["owl"], threshold=0.0)
    assert_same(by_label, want.scores, want.xyxy, want.ids)


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({}, "no-labels"),
        ({"candidate_labels": []}, "bad-queries"),
        ({"candidate_labels": "owl"}, "bad-queries"),
        ({"candidate_labels": ["owl", 3]}, "bad-queries"),
        ({"candidate_labels": [tiny_text.words(40)]}, "bad-queries"),
        ({"query_images": ["nowhere.jpg"]}, "bad-queries"),
        ({"query_images": [3]}, "bad-queries"),
        ({"candidate_labels": ["owl"], "query_images": [make_image()]}, "bad-queries"),
    ],
)
def test_a_picture_s_bad_queries_cost_no_other(families, own, code):
    pipe, good = families("owlvit"), {"image": make_image(), "candidate_labels": ["owl"]}
    first, failed, last = pipe([good, {"image": make_image(), **own}, good], on_error="return")
    assert isinstance(failed, InputError)
    assert failed.code == code
    assert first == last


def test_scores_of_many_labels_are_made_piece_by_piece(families, monkeypatch):
    pipe, labels = families("owlvit"), [f"{tiny_text.WORDS[i]} {i}" for i in range(20)]
    asked = {"candidate_labels": labels, "threshold": 0.0}
    rows = [make_image(), {"image": make_image(), "candidate_labels": labels[:7]}]
    want = pipe(rows, **asked)
    made, bmm, piece = [], owl.without_others, 2 * pipe.model.num_patches_height * pipe.model.num_patches_width * 3
    monkeypatch.setattr(owl, "MOST_SCORES", piece)
    monkeypatch.setattr(
        owl, "without_others", lambda logits, counts: made.append(logits.numel()) or bmm(logits, counts)
    )
    for result, expected in zip(pipe(rows, **asked), want, strict=True):
        assert_same(result, expected.scores, expected.xyxy, expected.ids)
    assert len(made) == 7
    assert max(made) == piece


@pytest.mark.parametrize("name", ["grounding-dino", "omdet-turbo"])
def test_very_many_labels_make_smaller_batches(families, name):
    task = families(name).task
    unit, other = (
        next(iter(task.split(make_image(), task.options(candidate_labels=labels))))
        for labels in (["owl"], [f"{tiny_text.WORDS[i % 50]} {i}" for i in range(1500)])
    )
    assert task.cost(unit) == 1
    assert task.cost(other) > 4
    assert task.bucket(unit) != task.bucket(other)


@pytest.mark.parametrize("name", ["omdet-turbo", pytest.param("grounding-dino", marks=pytest.mark.slow)])
def test_thousands_of_labels(families, name):
    pipe, labels = families(name), [f"{tiny_text.WORDS[i % 50]} {i}" for i in range(5000)]
    result = pipe(make_image(), candidate_labels=labels, threshold=0.0, top_k=12)
    assert 0 < len(result) <= 12
    assert [labels[i] for i in result.ids] == result.labels.tolist()


def test_queries_are_equal_by_what_they_name():
    assert read_queries(["a", "b"], None) == read_queries(("a", "b"), None)
    assert read_queries(None, "a.jpg") == read_queries(None, ["a.jpg"])
    picture = make_image()
    assert QueryImage(picture) == QueryImage(picture) != QueryImage(make_image())
    assert hash(QueryImage("a.jpg")) == hash(QueryImage("a.jpg"))
    queries = read_queries(None, ["a.jpg"])
    copied = pickle.loads(pickle.dumps(queries))
    assert copied == queries
    assert queries_of(torch.tensor([copied.number, queries.number]))[0] is copied
