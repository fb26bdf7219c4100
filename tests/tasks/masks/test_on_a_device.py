"""Masks of everything on the pretend device: the CPU's, with few waits, in batches of any size."""

from __future__ import annotations

import pytest
import torch

import sensorium
from sensorium.tasks.masks import object_search
from sensorium.tasks.masks.mask_batch import MaskBatch
from tests import tiny_sam
from tests.media import make_image
from tests.pretend_cuda import PretendCuda

FILTERED = {"points_per_crop": 6, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.6, "crops_nms_thresh": 0.95}
"""Of a tiny model's masks each filter leaves some out."""


def ours(model, device):
    folder = tiny_sam.folder(model)
    return sensorium.pipeline("mask-generation", folder, device=device, dtype="float32", compile=False)


def assert_same(got, want):
    assert len(got) == len(want) > 0
    assert (got.masks == want.masks).all() and (got.boxes == want.boxes).all()
    assert got.scores == pytest.approx(want.scores, abs=1e-5)
    assert got.stability == pytest.approx(want.stability, abs=1e-5)


@pytest.mark.parametrize("model", ["sam", "sam2"])
@pytest.mark.parametrize(
    "options",
    [{}, {"crops_n_layers": 1}, {"stability_score_thresh": 0}, {"pred_iou_thresh": 0}, {"points_per_batch": 5}],
    ids=str,
)
def test_what_is_left_out_is_what_the_cpu_leaves_out(model, options):
    image, options = make_image(64, 48), {**FILTERED, **options}
    with ours(model, "cpu") as pipe:
        want, unfiltered = pipe(image, **options), pipe(image, **{**options, "stability_score_thresh": 0})
    assert len(want) < len(unfiltered) or not options["stability_score_thresh"]
    with PretendCuda() as cuda, ours(model, "cuda") as pipe:
        assert_same(pipe(image, **options), want)
    cuda.check()


def test_everything_on_a_picture_takes_four_waits(monkeypatch):
    asked = []
    ask = object_search.ask
    monkeypatch.setattr(
        object_search, "ask", lambda *args, **kwargs: asked.append(len(args[2])) or ask(*args, **kwargs)
    )
    image = make_image(64, 48)
    with PretendCuda() as cuda, ours("sam", "cuda") as pipe:
        pipe(image, **FILTERED)
        asked.clear()
        cuda.waits.clear()
        pipe(image, **FILTERED)
        assert asked == [36], "all prompts at once"
        assert sum(cuda.waits.values()) == 4, cuda.waits_text()
        asked.clear()
        pipe(image, **FILTERED, points_per_batch=8)
        assert asked == [8, 8, 8, 8, 4]
    cuda.check()


def test_masks_that_are_all_left_out():
    image = make_image(64, 48)
    with PretendCuda() as cuda, ours("sam", "cuda") as pipe:
        none = pipe(image, **{**FILTERED, "stability_score_thresh": 1.0})
    cuda.check()
    assert none.masks.shape == (0, 48, 64) and none.boxes.shape == (0, 4)


def test_a_mask_that_is_left_out_suppresses_none():
    masks = MaskBatch(
        scores=torch.tensor([0.9, 0.8, 0.7]),
        stability=torch.ones(3),
        boxes=torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]]),
        objects=torch.arange(3),
        kept=torch.tensor([False, True, True]),
        starts=torch.tensor([False, True, False]),
        lengths=torch.tensor([0, 1, 2]),
        changes=torch.tensor([5, 7, 11]),
    )
    left = masks.download(masks.suppressed(0.7))
    assert left.objects.tolist() == [1, 2] and left.changes.tolist() == [5, 7, 11] and left.lengths.tolist() == [1, 2]
    masks.kept[:] = True
    assert masks.download(masks.suppressed(0.7)).objects.tolist() == [0, 2]


def test_what_texts_and_exemplars_name_is_what_the_cpu_finds():
    image = make_image(64, 48)
    asked = {"texts": ["dog", "an owl", "yellow taxi"], "exemplars": [None, [3, 4, 20, 20], None], "threshold": 0}
    with ours("sam3", "cpu") as pipe:
        want = pipe(image, **asked)
    with PretendCuda() as cuda, ours("sam3", "cuda") as pipe:
        pipe(image, **asked)
        cuda.waits.clear()
        assert_same(pipe(image, **asked), want)
        # those with exemplars and those without: scores and boxes, where masks begin and end; then all of them
        assert sum(cuda.waits.values()) == 5, cuda.waits_text()
    cuda.check()
