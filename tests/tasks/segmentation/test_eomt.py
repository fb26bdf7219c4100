"""EoMT in image-segmentation against Transformers' model, processor and post-processing, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, LimitError, OptionError
from sensorium.tasks.segmentation.queries import semantic_logits
from tests import tiny_segmentation
from tests.media import make_image, make_images
from tests.tasks.test_image_segmentation import BORDER, assert_same, ours, theirs

CALLS = [
    {"threshold": 0.3},
    {"subtask": "panoptic", "threshold": 0.1, "mask_threshold": 0.6, "overlap_mask_area_threshold": 0.1},
    {"subtask": "instance", "threshold": 0.3},
]


def reference_of(name):
    folder = tiny_segmentation.folder(name)
    model = tiny_segmentation.model_class(name.partition("-")[0]).from_pretrained(folder).eval()
    return model, transformers.AutoImageProcessor.from_pretrained(folder)


@pytest.mark.parametrize("name", tiny_segmentation.EOMT)
@pytest.mark.filterwarnings("ignore:The following named arguments:UserWarning")
def test_segments_equal_transformers(name):
    folder, inputs = tiny_segmentation.folder(name), make_images()
    reference, found = theirs(folder), 0
    with ours(folder, batch_size=4) as pipe:
        assert pipe.task.processor.recipe is not None, "delegated"
        for options in CALLS:
            expected = reference(inputs, **options)
            results = pipe(inputs, **options)
            for result, one in zip(results, expected, strict=True):
                assert_same(result, one)
            assert_same(pipe(inputs[3], **options), expected[3])
            found += sum(map(len, expected))
    assert found > 60


def test_objects_keep_their_whole_masks():
    model, processor = reference_of("eomt")
    image = make_image()
    with torch.no_grad():
        output = model(**processor(images=image, return_tensors="pt"))
    masks = torch.nn.functional.interpolate(output.masks_queries_logits, (64, 64), mode="bilinear")
    whole = processor.unpad_image(masks, [(48, 64)], processor.size)[0] > 0
    with ours(tiny_segmentation.folder("eomt")) as pipe:
        result = pipe(image, subtask="instance", threshold=0.0, overlapping=True)
        covered = pipe(image, subtask="instance", threshold=0.0)
    expected = whole[whole.flatten(1).any(1)].numpy()
    assert result.segmentation is None
    assert len(result) == len(covered) == len(expected) > 3
    assert float((result.masks != expected).mean()) <= BORDER


def test_masks_that_are_too_many_to_be_kept_are_made_again(monkeypatch):
    with ours(tiny_segmentation.folder("eomt")) as pipe:
        kept = pipe(make_image(), subtask="instance", threshold=0.3)
        monkeypatch.setattr("sensorium.tasks.segmentation.late_queries.MOST_KEPT", 0)
        again = pipe(make_image(), subtask="instance", threshold=0.3)
    assert len(kept) > 3
    assert again.to_dict() == kept.to_dict()


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_classes_of_squares_equal_transformers(batch_size):
    model, processor = reference_of("eomt-squares")
    inputs = [image for image in make_images() if max(image.size) < 6 * min(image.size)]
    with torch.no_grad():
        output = model(**processor(images=inputs, return_tensors="pt"))
    sizes = [image.size[::-1] for image in inputs]
    expected = processor.post_process_semantic_segmentation(output, sizes)
    assert len(output.patch_offsets) > len(inputs) + 2
    with ours(tiny_segmentation.folder("eomt-squares"), batch_size=batch_size) as pipe:
        results = pipe(inputs)
        for result, one in zip(results, expected, strict=True):
            assert result.scores is None
            assert result.labels.tolist() == [f"thing {i}" for i in np.unique(result.segmentation)]
            assert float((result.segmentation != one.numpy()).mean()) <= BORDER
        alone = pipe(inputs[0]).segmentation
        assert float((alone != results[0].segmentation).mean()) <= BORDER


def test_squares_of_windows():
    image = make_image(150, 90)
    with ours(tiny_segmentation.folder("eomt-squares"), batch_size=3) as pipe:
        windows = pipe(image, slice_px=60, overlap=0.0)
        whole = pipe(image, slice_px=150)
        assert windows.segmentation.shape == (90, 150)
        assert (pipe(image).segmentation == whole.segmentation).mean() > 1 - BORDER
        first = pipe(image.crop((0, 0, 60, 60)))
    own = windows.segmentation[:40, :40]  # of the first window alone
    assert (own == first.segmentation[:40, :40]).mean() > 1 - BORDER


def test_classes_of_a_padded_picture_leave_the_padding_out():
    """Transformers stretches the square with its padding to the picture; in the authors' code padding is cut off."""
    model, processor = reference_of("eomt")
    with ours(tiny_segmentation.folder("eomt"), batch_size=4) as pipe:
        for image, result in zip(make_images(), pipe(make_images(), subtask="semantic"), strict=True):
            with torch.no_grad():
                output = model(**processor(images=image, return_tensors="pt"))
            scores = semantic_logits(output.class_queries_logits[0], output.masks_queries_logits[0], (64, 64))
            expected = processor.unpad_image(scores[None], [image.size[::-1]], processor.size)[0].argmax(0)
            assert float((result.segmentation != expected.numpy()).mean()) <= BORDER


def test_what_a_checkpoint_for_squares_cannot_do_is_told():
    with ours(tiny_segmentation.folder("eomt-squares")) as pipe:
        with pytest.raises(OptionError, match='does subtask="semantic" only'):
            pipe(make_image(), subtask="panoptic")
        good, long, last = pipe([make_image(), make_image(900, 90), make_image()], on_error="return")
        assert isinstance(long, LimitError)
        assert long.code == "too-elongated"
        assert (good.segmentation == last.segmentation).mean() > 1 - BORDER
        assert pipe(make_image(900, 90), slice_px=90).segmentation.shape == (90, 900)


@pytest.mark.filterwarnings("ignore:.*recipe:UserWarning")
def test_a_processor_whose_recipe_is_not_known_is_refused():
    processor = transformers.EomtImageProcessor(do_split_image=True)
    model, _ = reference_of("eomt")
    with pytest.raises(CheckpointError, match="EoMT"):
        sensorium.pipeline(model=model, processor=processor, device="cpu")


def test_bfloat16_finds_about_the_same():
    inputs = make_images()[:3]
    with ours(tiny_segmentation.folder("eomt-squares")) as exact:
        expected = exact(inputs)
    with ours(tiny_segmentation.folder("eomt-squares"), dtype="bfloat16") as pipe:
        found = pipe(inputs)
    agree = [float((a.segmentation == b.segmentation).mean()) for a, b in zip(found, expected, strict=True)]
    assert np.mean(agree) > 0.8
