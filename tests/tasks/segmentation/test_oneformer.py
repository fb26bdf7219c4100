"""OneFormer in image-segmentation against Transformers' model and OneFormerProcessor, in float32.

Transformers' own pipeline is no reference: it fills up the text that tells the task with the tokenizer's padding, where
the processor, as the authors' code, has zeros.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

import sensorium
from sensorium.errors import CheckpointError
from tests import tiny_segmentation, tiny_text
from tests.media import make_image, make_images
from tests.tasks.test_image_segmentation import BORDER, SCORE, ours

LAX = {"threshold": 0.1, "mask_threshold": 0.2, "overlap_mask_area_threshold": 0.1}


@pytest.fixture(scope="module")
def reference():
    folder = tiny_segmentation.folder("oneformer")
    model = tiny_segmentation.model_class("oneformer").from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)

    def run(image, subtask):
        with torch.no_grad():
            return model(**processor(images=image, task_inputs=[subtask], return_tensors="pt"))

    return run, processor.image_processor, model, processor


@pytest.fixture(scope="module")
def pipe():
    with ours(tiny_segmentation.folder("oneformer"), batch_size=4) as made:
        yield made


def inputs():
    return [*make_images(), make_image(20, 14), make_image(12, 40)]  # the last two are smaller than masks


def test_classes_equal_transformers(pipe, reference):
    run, processor, *_ = reference
    assert pipe.task.processor.recipe is not None, "delegated"
    for image, result in zip(inputs(), pipe(inputs(), subtask="semantic"), strict=True):
        (expected,) = processor.post_process_semantic_segmentation(run(image, "semantic"), [image.size[::-1]])
        assert float((result.segmentation != expected.numpy()).mean()) <= BORDER
        assert result.scores is None


@pytest.mark.parametrize("options", [{"threshold": 0.3}, LAX])
def test_segments_equal_transformers(pipe, reference, options):
    run, processor, *_ = reference
    given = {"mask_threshold": 0.5, "overlap_mask_area_threshold": 0.5, **options, "label_ids_to_fuse": set()}
    count = 0
    for image, result in zip(inputs(), pipe(inputs(), **options), strict=True):
        output = run(image, "panoptic")
        (expected,) = processor.post_process_panoptic_segmentation(output, target_sizes=[image.size[::-1]], **given)
        info = expected["segments_info"]
        assert result.labels.tolist() == [f"thing {each['label_id']}" for each in info]
        np.testing.assert_allclose(result.scores, [each["score"] for each in info], atol=SCORE)
        for mask, each in zip(result.masks, info, strict=True):
            assert float((mask != (expected["segmentation"] == each["id"]).numpy()).mean()) <= BORDER
        count += len(info)
    assert count > 10


def test_objects_follow_the_authors_rule(pipe, reference):
    """Transformers takes mask logits for probabilities there, so that each pixel is some object's.

    In the authors' `instance_inference` a mask is what is above zero, and a score is times the mean probability in it.
    """
    run, *_ = reference
    for image in inputs()[:4]:
        output = run(image, "instance")
        scores = output.class_queries_logits[0].softmax(-1)[:, :-1]
        best, pairs = scores.flatten().topk(len(scores))
        masks = output.masks_queries_logits[0][pairs // scores.shape[1]]
        masks = F.interpolate(masks[None], image.size[::-1], mode="bilinear")[0]
        inside = masks > 0
        best = best * (masks.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
        keep = (best >= 0.2) & inside.any(2).any(1)
        result = pipe(image, subtask="instance", threshold=0.2, overlapping=True)
        assert result.labels.tolist() == [f"thing {i}" for i in (pairs % scores.shape[1])[keep].tolist()]
        np.testing.assert_allclose(result.scores, best[keep], atol=SCORE)
        assert float((result.masks != inside[keep].numpy()).mean()) <= BORDER
        assert len(result) > 2
        drawn = pipe(image, subtask="instance", threshold=0.2)
        first = result.masks[0] if drawn.labels[0] == result.labels[0] else None
        assert first is not None
        assert (drawn.masks[0] == first).all(), "a stronger one covers a weaker one"


def test_the_subtask_changes_what_the_model_sees(pipe):
    image = make_image()
    assert pipe.task._texts is not None
    tokens = {task: pipe.task._texts.tokens(task, torch.device("cpu")) for task in ("semantic", "panoptic")}
    assert not torch.equal(tokens["semantic"], tokens["panoptic"])
    assert pipe.task._texts.tokens("semantic", torch.device("cpu")) is tokens["semantic"]
    panoptic, plain = pipe(image, subtask="panoptic", **LAX), pipe(image, **LAX)
    assert panoptic.to_dict() == plain.to_dict()


def test_a_loaded_model_comes_with_both_processors(pipe, reference):
    *_, model, processor = reference
    expected = pipe(make_image(), **LAX)
    with sensorium.pipeline(model=model, processor=processor, device="cpu", compile=False) as loaded:
        assert loaded(make_image(), **LAX).labels.tolist() == expected.labels.tolist()
    with pytest.raises(CheckpointError, match="pictures and texts"):
        sensorium.pipeline(model=model, processor=processor.image_processor, device="cpu")


def test_names_of_classes_for_training_are_not_fetched(tmp_path):
    folder = tmp_path / "oneformer"
    shutil.copytree(tiny_segmentation.folder("oneformer"), folder)
    stored = json.loads((folder / "processor_config.json").read_text())
    stored["image_processor"] |= {"class_info_file": "nowhere.json", "repo_path": "nobody/nothing"}
    (folder / "preprocessor_config.json").write_text(json.dumps(stored["image_processor"]))
    (folder / "processor_config.json").unlink()
    with ours(folder) as loaded:
        assert loaded(make_image(), **LAX).segmentation.shape == (48, 64)


def test_a_tokenizer_of_another_model_is_told(reference):
    *_, model, processor = reference
    short = tiny_text.byte_pairs()
    model.config.task_seq_len, before = 4, model.config.task_seq_len
    try:
        with pytest.raises(CheckpointError, match="another model's"):
            sensorium.pipeline(
                model=model, processor=transformers.OneFormerProcessor(processor.image_processor, short), device="cpu"
            )
    finally:
        model.config.task_seq_len = before
