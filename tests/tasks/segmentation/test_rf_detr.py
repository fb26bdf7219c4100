"""RF-DETR with masks in image-segmentation against Transformers' model, processor and post-processing, in float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers

from sensorium.errors import OptionError
from tests import tiny_segmentation
from tests.media import make_image, make_images
from tests.tasks.test_image_segmentation import BORDER, SCORE, ours
from tests.versions import older


def reference(images, **options):
    folder = tiny_segmentation.folder("rf_detr")
    model = tiny_segmentation.model_class("rf_detr").from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        outputs = [model(**processor(images=image, return_tensors="pt")) for image in images]
    found = [
        processor.post_process_instance_segmentation(output, target_sizes=[image.size[::-1]], **options)[0]
        for image, output in zip(images, outputs, strict=True)
    ]
    return [(each["segmentation"].numpy(), each["segments_info"]) for each in found]


@pytest.mark.skipif(older("transformers", "5.18"), reason="its processor resizes otherwise, and is not read")
@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"threshold": 0.4}, {}),
        ({"threshold": 0.4, "mask_threshold": 0.6}, {"mask_threshold": math.log(0.6 / 0.4)}),
        ({"threshold": 0.4, "overlapping": True}, {"return_binary_maps": True}),
    ],
)
def test_objects_equal_transformers(options, given):
    """`mask_threshold` is a probability here; Transformers' own pipeline passes its 0.5 on as a logit."""
    inputs = make_images()
    expected = reference(inputs, threshold=0.4, **given)
    assert sum(len(info) for _, info in expected) > 2 * len(inputs)
    with ours(tiny_segmentation.folder("rf_detr"), batch_size=4) as pipe:
        assert pipe.task.processor.recipe is not None, "delegated"
        results = pipe(inputs, **options)
    for result, (drawn, info) in zip(results, expected, strict=True):
        assert result.labels.tolist() == [f"thing {each['label_id']}" for each in info]
        np.testing.assert_allclose(result.scores, [each["score"] for each in info], atol=SCORE)
        masks = drawn if drawn.ndim == 3 else np.stack([drawn == each["id"] for each in info])
        assert float((result.masks != masks).mean()) <= BORDER


def test_one_above_another_is_given_with_what_is_left_to_it():
    with ours(tiny_segmentation.folder("rf_detr")) as pipe:
        found = pipe(make_image(), threshold=0.4)
        whole = pipe(make_image(), threshold=0.4, overlapping=True)
        assert pipe(make_image(), subtask="instance", threshold=0.4).labels.tolist() == found.labels.tolist()
        assert pipe(make_image(), threshold=1.0).labels.tolist() == []
        assert len(pipe(make_image(150, 90), threshold=0.4, slice_px=80)) > 0
    assert len(found) <= len(whole)
    assert int(whole.areas.sum()) >= int(found.areas.sum())
    assert whole.scores.tolist() == sorted(whole.scores.tolist(), reverse=True)


def test_what_it_cannot_do_is_told():
    with ours(tiny_segmentation.folder("rf_detr")) as pipe:
        with pytest.raises(OptionError, match='does subtask="instance" only'):
            pipe(make_image(), subtask="semantic")
        with pytest.raises(OptionError, match="overlap_mask_area_threshold has no effect"):
            pipe(make_image(), overlap_mask_area_threshold=0.3)
