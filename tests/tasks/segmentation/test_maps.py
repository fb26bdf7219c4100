"""Class maps and segments from queries, against interpolate() and Transformers' post-processing of the same outputs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.tasks.segmentation import maps as segmentation_maps
from sensorium.tasks.segmentation import queries
from sensorium.tasks.segmentation.maps import class_map, upsampled
from sensorium.tasks.segmentation.queries import SegmentThresholds, instances, panoptic, semantic_logits
from tests.host_waits import SaysCuda, says_cuda

TIE = 1e-5  # float32 rounding of logits up to about 10: within it either of two classes is right


def smooth(classes, height, width, *, grain=6.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, max(2, int(height / grain)), max(2, int(width / grain)), generator=generator) * 3
    return F.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def assert_is_the_largest(logits, size, found):
    whole = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    assert found.shape == size
    gap = whole.amax(0) - whole.gather(0, found.long()[None])[0]
    assert float(gap.max()) <= TIE
    assert float((found != whole.argmax(0)).float().mean()) <= 0.001


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    classes=st.sampled_from([1, 2, 3, 7, 40]),
    grid=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grain=st.sampled_from([1.0, 3.0, 8.0]),
    seed=st.integers(0, 9),
)
def test_the_class_map_is_the_arg_max_of_the_upsampled_logits(classes, grid, size, grain, seed):
    logits = smooth(classes, *grid, grain=grain, seed=seed)
    assert_is_the_largest(logits, size, class_map(logits, size))


def test_most_pictures_take_the_way_by_cells_and_noise_does_not():
    logits = smooth(40, 32, 32)
    assert segmentation_maps._candidates(logits) is not None
    noise = torch.randn(40, 32, 32, generator=torch.Generator().manual_seed(0))
    assert segmentation_maps._candidates(noise) is None
    for each in (logits, noise):
        assert_is_the_largest(each, (131, 97), class_map(each, (131, 97)))


@pytest.mark.parametrize(("classes", "dtype"), [(256, torch.uint8), (257, torch.int16), (40_000, torch.int32)])
def test_the_map_is_as_small_as_its_classes_allow(classes, dtype):
    logits = torch.zeros(classes, 3, 3)
    logits[-1, 0, 0] = 1
    found = class_map(logits, (9, 9))
    assert found.dtype == dtype
    assert int(found[0, 0]) == classes - 1
    assert int(found[8, 8]) == 0, "the first of equal ones"


def test_bfloat16_logits_are_taken_as_they_are():
    logits = smooth(20, 16, 16).bfloat16()
    assert torch.equal(class_map(logits, (50, 60)), class_map(logits.float(), (50, 60)))
    channels_last = logits.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(class_map(channels_last, (50, 60)), class_map(logits, (50, 60)))


def test_logits_that_are_not_numbers_break_nothing():
    logits = smooth(5, 8, 8)
    logits[:, 2, 3] = torch.nan
    assert class_map(logits, (40, 40)).shape == (40, 40)


def test_slabs_are_the_whole(monkeypatch):
    maps = torch.randn(5, 9, 11)
    monkeypatch.setattr(segmentation_maps, "AT_ONCE", {"cpu": 5 * 31 * 4})
    slabs = list(upsampled(maps, (37, 31)))
    assert len(slabs) == 10
    expected = F.interpolate(maps[None], size=(37, 31), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat(slabs, 1), expected, rtol=0, atol=TIE)
    logits = smooth(30, 32, 32)
    monkeypatch.setattr(segmentation_maps, "AT_ONCE", {"cpu": 500})
    assert_is_the_largest(logits, (100, 90), class_map(logits, (100, 90)))


def test_a_device_is_asked_for_nothing():
    maps = torch.zeros((40, 9, 11), device="meta")  # which has no values
    assert class_map(maps, (300, 310)).shape == (300, 310)
    assert class_map(maps, (5, 6)).device.type == "meta"


def test_pixels_are_counted_alike_wherever_they_lie():
    winner = torch.randint(0, 7, (40, 30))
    winner[winner == 5] = 2
    numbers = torch.arange(9)
    found = queries.counted(says_cuda(winner), says_cuda(numbers))
    assert SaysCuda.copies == 0
    assert torch.equal(found.cpu(), queries.counted(winner, numbers))


QUERIES, LABELS, SIZES = 20, 6, [(70, 90), (33, 20), (500, 410)]
KINDS = {
    "detr": (transformers.DetrImageProcessor, None, ("logits", "pred_masks")),
    "maskformer": (transformers.MaskFormerImageProcessor, None, ("class_queries_logits", "masks_queries_logits")),
    "mask2former": (
        transformers.Mask2FormerImageProcessor,
        (384, 384),
        ("class_queries_logits", "masks_queries_logits"),
    ),
}


def outputs(seed=0):
    """Queries as a trained model has them: sure of their class, each with a blob for a mask; some are nothing."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(len(SIZES), QUERIES, LABELS + 1, generator=generator) * 4
    coarse = torch.randn(len(SIZES), QUERIES, 4, 5, generator=generator) * 6
    return classes, F.interpolate(coarse, size=(24, 30), mode="bicubic")


def reference(kind, classes, masks):
    processor, grid, names = KINDS[kind]
    return processor(), grid, SimpleNamespace(**dict(zip(names, (classes, masks), strict=True)))


@pytest.mark.parametrize(
    "at_least", [(0.9, 0.5, 0.5), (0.5, 0.5, 0.4), (0.3, 0.2, 0.1), (0.0, 0.9, 0.0), (0.0, 0.0, 0.9), (1.0, 0.5, 0.5)]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_panoptic_segments_equal_transformers(kind, at_least):
    classes, masks = outputs()
    processor, grid, given = reference(kind, classes.clone(), masks.clone())
    score, mask, overlap = at_least
    expected = processor.post_process_panoptic_segmentation(
        given, score, mask, overlap, label_ids_to_fuse=set(), target_sizes=SIZES
    )
    found = panoptic(classes, masks, SIZES, SegmentThresholds(*at_least), grid)
    counts = []
    for each, theirs, size in zip(found, expected, SIZES, strict=True):
        kept = each.valid.nonzero()[:, 0]
        segments = theirs["segments_info"]
        counts.append(len(segments))
        assert each.ids[kept].tolist() == [one["label_id"] for one in segments]
        np.testing.assert_allclose(each.scores[kept], [one["score"] for one in segments], atol=2e-6)
        assert tuple(each.segmentation.shape) == size
        for place, one in zip(kept, segments, strict=True):
            differ = (each.segmentation == place + 1) != (theirs["segmentation"] == one["id"])
            assert float(differ.float().mean()) <= 1e-4  # an exact tie may fall to either
        assert set(each.segmentation.unique().tolist()) <= {0, *(kept + 1).tolist()}
    assert max(counts) > 1 or at_least in ((0.0, 0.0, 0.9), (1.0, 0.5, 0.5)), "these two leave none"


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("score", [0.9, 0.5, 0.0])
@pytest.mark.parametrize("kind", ["maskformer", "mask2former"])
def test_instances_equal_transformers(kind, score, overlapping):
    classes, masks = outputs()
    processor, grid, given = reference(kind, classes, masks)
    expected = processor.post_process_instance_segmentation(
        given, score, target_sizes=SIZES, return_binary_maps=overlapping
    )
    found = instances(classes, masks, SIZES, SegmentThresholds(score, 0.5, 0.5), grid, overlapping=overlapping)
    counts = []
    for each, theirs in zip(found, expected, strict=True):
        kept, segments = each.valid.nonzero()[:, 0], theirs["segments_info"]
        counts.append(len(segments))
        assert each.ids[kept].tolist() == [one["label_id"] for one in segments]
        np.testing.assert_allclose(each.scores[kept], [one["score"] for one in segments], atol=2e-6)
        for number, place in enumerate(kept):
            ours = each.segmentation[place] if overlapping else each.segmentation == place + 1
            mask = theirs["segmentation"][number] == 1 if overlapping else theirs["segmentation"] == number
            assert torch.equal(ours, mask)
    assert max(counts) > 1 or score == 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_semantic_maps_of_queries_equal_transformers(kind):
    classes, masks = outputs()
    processor, grid, given = reference(kind, classes, masks)
    expected = processor.post_process_semantic_segmentation(given, target_sizes=SIZES)
    for row, (theirs, size) in enumerate(zip(expected, SIZES, strict=True)):
        ours = class_map(semantic_logits(classes[row], masks[row], grid), size)
        assert float((ours != theirs).float().mean()) <= 1e-3
        assert len(theirs.unique()) > 1


def test_a_mask_that_vanishes_when_it_is_drawn_small_is_no_object():
    classes = torch.full((1, 1, 3), -9.0)
    classes[0, 0, 1] = 9
    masks = torch.full((1, 1, 24, 30), -5.0)
    masks[0, 0, 5, 7] = 5
    for kind in ("maskformer", "mask2former"):
        processor, grid, given = reference(kind, classes, masks)
        for size in ((3, 3), (24, 30)):
            expected = processor.post_process_instance_segmentation(given, 0.1, target_sizes=[size])
            found = instances(classes, masks, [size], SegmentThresholds(0.1, 0.5, 0.5), grid)[0]
            assert int(found.valid.sum()) == len(expected[0]["segments_info"])
