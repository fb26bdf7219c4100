"""Texts and exemplars against Transformers' Sam3Model and Sam3Processor, in float32."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.results import Masks
from tests import tiny_sam, tiny_text
from tests.media import make_image

ROUNDING = 2e-5
FLIPPED = 2  # px of a mask whose shares are that near to the threshold; nearly always none
WIDE, HIGH, SQUARE = (64, 48), (30, 70), (64, 64)
TEXTS = ["yellow taxi", "dog", "a river by the mill"]
POSITIVE, SEVERAL = [3, 3, 20, 20], [[5, 5, 9, 29], [12.5, 20, 28, 40.25]]


@pytest.fixture(scope="module")
def pipe():
    with ours("sam3", batch_size=4) as opened:
        yield opened


def ours(model, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("mask-generation", tiny_sam.folder(model), **settings)


@functools.cache
def theirs(model="sam3"):
    folder = tiny_sam.folder(model)
    return transformers.Sam3Model.from_pretrained(folder).eval(), transformers.Sam3Processor.from_pretrained(folder)


def reference(image, text=None, exemplars=None, labels=None, *, model="sam3", threshold=0.3, mask_threshold=0.5):
    """What the reference finds for one text, best first."""
    network, processor = theirs(model)
    shown = None if exemplars is None else [np.asarray(exemplars).reshape(-1, 4).tolist()]
    inputs = processor(
        images=image, text=text, input_boxes=shown, input_boxes_labels=None if labels is None else [labels],
        return_tensors="pt",
    )  # fmt: skip
    sizes = inputs.pop("original_sizes").tolist()
    with torch.inference_mode():
        outputs = network(**inputs)
    (found,) = processor.post_process_instance_segmentation(outputs, threshold, mask_threshold, sizes)
    order = found["scores"].argsort(descending=True, stable=True)
    return {name: found[name][order].numpy() for name in ("masks", "scores", "boxes")}


@functools.cache
def middle():
    """A threshold that leaves out half: tokens, and so scores, are others in each process."""
    scores = [reference(make_image(*WIDE), text, threshold=0.0)["scores"] for text in TEXTS]
    ordered = np.sort(np.concatenate(scores))
    return float(ordered[len(ordered) // 2 - 1 : len(ordered) // 2 + 1].mean())


def assert_same(result, expected, texts):
    """Holds a result to what the reference finds for each text."""
    assert isinstance(result, Masks)
    counts = [len(each["scores"]) for each in expected]
    assert result.labels.tolist() == np.repeat(texts, counts).tolist()
    assert result.objects.tolist() == np.repeat(range(len(counts)), counts).tolist()
    np.testing.assert_allclose(result.scores, np.concatenate([each["scores"] for each in expected]), atol=ROUNDING)
    boxes = np.concatenate([each["boxes"] for each in expected])
    np.testing.assert_allclose(result.pred_boxes, boxes, atol=1e-3)
    masks = [mask for each in expected for mask in each["masks"]]
    for mine, theirs in zip(result.masks, masks, strict=True):
        assert mine.shape == theirs.shape
        assert (mine != theirs.astype(bool)).sum() <= FLIPPED


def test_one_text_and_several(pipe):
    image, threshold = make_image(*WIDE), middle()
    expected = [reference(image, text, threshold=threshold) for text in TEXTS]
    assert sum(len(each["scores"]) for each in expected) == 18, "half of the queries are left out"
    assert_same(pipe(image, texts=TEXTS[0], threshold=threshold), expected[:1], TEXTS[:1])
    result = pipe(image, texts=TEXTS, threshold=threshold)
    assert_same(result, expected, TEXTS)
    assert result.boxes.tolist() == Masks(result.masks, result.scores).boxes.tolist()
    assert (result.stability[result.areas > 0] > 0).all()
    expected = [reference(image, text, threshold=threshold, mask_threshold=0.8) for text in TEXTS]
    logit = float(torch.tensor(0.8).logit())
    assert_same(pipe(image, texts=TEXTS, threshold=threshold, mask_threshold=logit), expected, TEXTS)


def test_the_thresholds_are_the_reference_s(pipe):
    image = make_image(*WIDE)
    assert_same(pipe(image, texts=TEXTS), [reference(image, text) for text in TEXTS], TEXTS)


EXEMPLARS = {
    "one": (POSITIVE, None),
    "several": (SEVERAL, None),
    "one of what is not": (POSITIVE, [0]),
    "both": ([POSITIVE, *SEVERAL], [1, 0, 1]),
}


@pytest.mark.parametrize("kind", EXEMPLARS)
def test_exemplars(pipe, kind):
    image, (boxes, labels) = make_image(*HIGH), EXEMPLARS[kind]
    alone, named = (reference(image, text, boxes, labels, threshold=0.0) for text in (None, "dog"))
    assert not np.array_equal(alone["scores"], named["scores"])
    assert_same(pipe(image, exemplars=boxes, exemplar_labels=labels, threshold=0), [alone], ["visual"])
    assert_same(pipe(image, texts="dog", exemplars=boxes, exemplar_labels=labels, threshold=0), [named], ["dog"])


def test_a_list_of_one_text_has_lists_of_one(pipe):
    image = make_image(*WIDE)
    flat = pipe(image, texts="dog", exemplars=SEVERAL, exemplar_labels=[1, 0], threshold=0)
    for exemplars, labels in (([SEVERAL], [[1, 0]]), (np.array(SEVERAL), np.array([1, 0]))):
        assert pipe(image, texts=["dog"], exemplars=exemplars, exemplar_labels=labels, threshold=0) == flat
    one = pipe(image, texts=["dog"], exemplars=[POSITIVE], exemplar_labels=[0], threshold=0)
    assert one == pipe(image, texts="dog", exemplars=POSITIVE, exemplar_labels=0, threshold=0)


def test_exemplars_of_several_texts(pipe):
    image, texts = make_image(*WIDE), ["yellow taxi", None, "dog", "an owl"]
    exemplars = [None, torch.tensor(SEVERAL), POSITIVE, [*SEVERAL, POSITIVE]]
    labels = [None, [1, 0], None, [0, 1, 1]]
    each = zip(texts, exemplars, labels, strict=True)
    expected = [reference(image, *asked, threshold=middle()) for asked in each]
    result = pipe(image, texts=texts, exemplars=exemplars, exemplar_labels=labels, threshold=middle())
    assert len(result)
    assert_same(result, expected, ["yellow taxi", "visual", "dog", "an owl"])


def test_pictures_of_several_shapes_with_texts_of_their_own(pipe):
    images = [make_image(*size) for size in (WIDE, HIGH, SQUARE)]
    asked = [["dog"], ["yellow taxi", "an owl", "dog"], ["a river"]]
    expected = [
        [reference(image, text, threshold=middle()) for text in texts]
        for image, texts in zip(images, asked, strict=True)
    ]
    batches = []
    decode = pipe.task.decode
    pipe.task.decode = lambda outputs, metas, options: batches.append(len(metas)) or decode(outputs, metas, options)
    try:
        columns = pipe(images, texts=asked, threshold=middle())
    finally:
        del pipe.task.decode
    assert batches == [3]
    rows = [{"image": image, "texts": texts} for image, texts in zip(images, asked, strict=True)]
    streamed = list(pipe.stream(iter(rows), threshold=middle()))
    for results in (columns, streamed):
        for result, found, texts in zip(results, expected, asked, strict=True):
            assert_same(result, found, texts)


def test_texts_for_all_pictures(pipe):
    images, texts = [make_image(*size) for size in (WIDE, HIGH)], ["dog", "an owl"]
    for result, image in zip(pipe(images, texts=texts, threshold=middle()), images, strict=True):
        assert_same(result, [reference(image, text, threshold=middle()) for text in texts], texts)
    assert [result.index for result in pipe(images, texts="dog")] == [0, 1]
    with pytest.raises(OptionError, match="for 2 pictures exemplars must be a list of the same length"):
        pipe(images, texts="dog", exemplars=POSITIVE)


def test_how_many_at_once_changes_nothing(pipe):
    image, texts = make_image(*WIDE), ["dog", "an owl", "yellow taxi", "mill bridge", "the sea"]
    one, all_ = (pipe(image, texts=texts, threshold=0.0, texts_per_batch=count) for count in (1, 5))
    assert len(one) == 60
    assert one.objects.tolist() == all_.objects.tolist()
    np.testing.assert_allclose(one.scores, all_.scores, atol=ROUNDING)


def test_texts_are_encoded_once_and_pictures_too():
    image = make_image(*WIDE)
    with ours("sam3") as pipe:
        seen, read = [], []
        pipe.model.vision_encoder.register_forward_hook(lambda *_: seen.append(1))
        pipe.model.text_encoder.register_forward_hook(lambda _, __, out: read.append(len(out[0])))
        with pipe.image(image) as opened:
            first = opened.masks(texts=["dog", "an owl", "dog"], threshold=middle())
            second = opened.masks(texts=["an owl"], exemplars=POSITIVE, threshold=middle())
            with pytest.raises(InputError, match="takes neither points nor boxes"):
                opened.masks(points=[[5, 6]])
        assert (len(seen), sum(read)) == (1, 2)
        pipe([image, image], texts=["an owl", "dog"])
        assert sum(read) == 2
    texts = ["dog", "an owl", "dog"]
    assert_same(first, [reference(image, text, threshold=middle()) for text in texts], texts)
    assert_same(second, [reference(image, "an owl", POSITIVE, threshold=middle())], ["an owl"])


def test_all_of_sam_3_takes_texts_and_points():
    """As it is published: the detector's and the tracker's answers, of one look at the picture."""
    image = make_image(*WIDE)
    folder = tiny_sam.folder("sam3_video")
    named = reference(image, "yellow taxi", model="sam3_video", threshold=0.0)
    tracker = transformers.Sam3TrackerModel.from_pretrained(folder).eval()
    processor = transformers.Sam3TrackerProcessor(transformers.AutoImageProcessor.from_pretrained(folder))
    inputs = processor(images=image, input_points=[[[[10, 12]]]], return_tensors="pt")
    sizes = inputs.pop("original_sizes").tolist()
    with torch.inference_mode():
        outputs = tiny_sam.as_published(tracker)(**inputs)
    masks = processor.post_process_masks(outputs.pred_masks, sizes)[0][0]
    with sensorium.pipeline(model=folder, device="cpu", dtype="float32", compile=False) as pipe:
        assert pipe.task.name == "mask-generation"
        looks = []
        pipe.model.detector_model.vision_encoder.register_forward_hook(lambda *_: looks.append(1))
        texts = pipe(image, texts="yellow taxi", threshold=0.0)
        raws = [{"image": image, "points": [[10, 12]]}, {"image": image, "texts": "yellow taxi"}]
        points, again = pipe(raws, threshold=0.0)
        everything = pipe(image, points_per_crop=3, pred_iou_thresh=0, stability_score_thresh=0, crops_nms_thresh=1)
        looks.clear()
        with pipe.image(image) as opened:
            asked = opened.masks(texts="yellow taxi", threshold=0.0), opened.masks(points=[[10, 12]])
        assert len(looks) == 1
    for result in (texts, again, asked[0]):
        assert_same(result, [named], ["yellow taxi"])
    for result in (points, asked[1]):
        assert result.labels is result.pred_boxes is None
        np.testing.assert_allclose(result.scores, outputs.iou_scores[0, 0], atol=2e-4)
        assert (result.masks != masks.numpy()).sum((1, 2)).max() <= FLIPPED
    assert len(everything) > 3


def test_both_names_of_the_tracker_s_weights(tmp_path):
    """Transformers saves them under a name of its own, which is found, too."""
    folder = tiny_sam.folder("sam3_video")
    model = transformers.Sam3VideoModel.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    transformers.AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    image = make_image(*WIDE)
    settings = {"device": "cpu", "dtype": "float32", "compile": False}
    with (
        sensorium.pipeline("mask-generation", tmp_path, **settings) as saved,
        sensorium.pipeline("mask-generation", folder, **settings) as published,
    ):
        a, b = (pipe(image, points=[[10, 12]]) for pipe in (saved, published))
    assert a == b


def test_a_loaded_model_with_its_processor(pipe):
    network, processor = theirs()
    image, settings = make_image(*WIDE), {"device": "cpu", "compile": False}
    with sensorium.pipeline("mask-generation", network, processor=processor, **settings) as wrapped:
        assert wrapped(image, texts="dog", threshold=middle()) == pipe(image, texts="dog", threshold=middle())
    folder = tiny_sam.folder("sam3_video")
    both = transformers.Sam3VideoModel.from_pretrained(folder)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    with (
        sensorium.pipeline("mask-generation", both, processor=processor, **settings) as wrapped,
        ours("sam3_video") as loaded,
    ):
        for asked in ({"texts": "dog", "threshold": 0}, {"points": [[5, 6]]}):
            assert wrapped(image, **asked) == loaded(image, **asked)
    with pytest.raises(CheckpointError, match="Sam3Model needs a processor of pictures and texts"):
        sensorium.pipeline("mask-generation", network, processor=theirs()[1].image_processor, **settings)


def test_bfloat16_drifts_little(pipe):
    image, asked = make_image(*WIDE), {"texts": TEXTS, "exemplars": [None, POSITIVE, None], "threshold": 0}
    exact = pipe(image, **asked)
    with ours("sam3", dtype="bfloat16") as opened:
        fast = opened(image, **asked)
    a, b = (np.concatenate([np.sort(each.scores[each.objects == n]) for n in range(3)]) for each in (exact, fast))
    assert np.median(np.abs(a - b)) < 0.02


BAD = {
    "texts is an empty list": {"texts": []},
    "not blank, got '' among them": {"texts": ["dog", ""]},
    "not blank, got ' ' among them": {"texts": " "},
    "not blank, got 7 among them": {"texts": ["dog", 7]},
    "texts is a text or a list of them, .* got dict": {"texts": {"dog": 1}},
    "a text that is None needs exemplars": {"texts": ["dog", None]},
    r"makes \d+ tokens; the model takes 32 at most": {"texts": ["dog", "river " * 40]},
    "half of a surrogate pair": {"texts": "dog \ud800"},
    "exemplar_labels came without exemplars": {"exemplar_labels": [1]},
    "exemplar_labels of 'dog' came without exemplars": {"texts": ["dog"], "exemplar_labels": [1]},
    r"exemplars are \(4,\)": {"exemplars": [3, 4, 5]},
    "one label for each box": {"exemplars": SEVERAL, "exemplar_labels": [1]},
    r"1 \(of what is meant\) or 0": {"exemplars": SEVERAL, "exemplar_labels": [1, 2]},
    "exemplars holds something other than numbers": {"exemplars": "here"},
    "rows of different lengths": {"texts": ["dog"], "exemplars": [[[3, 4, 5, 6], [7, 8]]]},
    "lies outside the picture": {"exemplars": [70, 3, 90, 10]},
    "for 2 texts exemplars is a list of 2, .* got 3": {"texts": ["dog", "cat"], "exemplars": [None] * 3},
    "for 2 texts exemplars is a list of 2, .* got ndarray": {"texts": ["dog", "cat"], "exemplars": np.ones((2, 4))},
    "takes neither points nor boxes": {"points": [[3, 4]]},
    "nor searches everything": {},
    "ask one by one": {"texts": ["dog"], "boxes": [3, 4, 5, 6]},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_prompts_cost_no_neighbour(pipe, message):
    image = make_image(*WIDE)
    good = {"image": image, "texts": ["yellow taxi"]}
    results = pipe([good, {"image": image, **BAD[message]}, good], on_error="return", threshold=middle())
    assert isinstance(results[1], InputError)
    assert results[1].code in ("bad-prompt", "prompt-outside")
    with pytest.raises(InputError, match=message):
        raise results[1]
    for result in results[::2]:
        assert_same(result, [reference(image, "yellow taxi", threshold=middle())], ["yellow taxi"])


@pytest.mark.parametrize("model", ["sam2", "sam3_tracker"])
def test_models_without_texts_name_one_that_has(model):
    with (
        ours(model) as pipe,
        pytest.raises(InputError, match=r"takes points and boxes, .* SAM 3 does, \"facebook/sam3"),
    ):
        pipe(make_image(*WIDE), texts=["dog"])


def test_texts_of_which_none_is_found(pipe):
    result = pipe(make_image(*WIDE), texts=["dog", "cat"], threshold=1.0)
    assert (len(result), result.size) == (0, (48, 64))
    assert result.labels.tolist() == result.pred_boxes.tolist() == []


def test_so_many_texts_that_not_all_are_kept(pipe, monkeypatch):
    from sensorium.tasks.masks import concept_texts

    monkeypatch.setattr(concept_texts, "KEPT", 5)
    texts = [tiny_text.words(2, seed=i) for i in range(40)]
    image = make_image(*WIDE)
    result = pipe(image, texts=texts, texts_per_batch=16, threshold=middle())
    assert_same(result, [reference(image, text, threshold=middle()) for text in texts], texts)
    kept = pipe.task._concepts._texts
    assert len(kept._features) <= 5
    assert len(kept._ids) <= 5
