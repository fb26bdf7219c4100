"""EfficientLoFTR in keypoint-matching against Transformers' networks and its authors' rule, in float32.

Transformers' own matching is no reference beyond the cells of a single pair. Its `post_process_keypoint_matching` lists
the first picture's cells in the order of the second's, and the second's in the order of the first's. Its
`_fine_matching` takes softmax over matches and over the first window, where the authors take it over both windows, and
divides by the root of fewer channels. Its `_get_matches_from_scores` and `spatial_expectation2d(…)[0]` mix the pairs of
a batch.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import InputError, OptionError
from sensorium.models.efficientloftr import compared, refined
from tests import tiny_keypoints
from tests.media import make_image
from tests.tasks.test_keypoint_matching import ours, pairs

ATOL = 5e-5


@pytest.fixture(scope="module")
def reference():
    folder = tiny_keypoints.efficientloftr()
    model = transformers.AutoModelForKeypointMatching.from_pretrained(folder).eval()
    return model, transformers.AutoImageProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def pipe():
    with ours(tiny_keypoints.efficientloftr(), batch_size=4) as made:
        yield made


def pixels_of(processor, pair):
    return processor(list(pair), return_tensors="pt")["pixel_values"]


def matched(model, pixels):
    """The cells of a single pair that chose each other, and their scores, as Transformers finds them."""
    with torch.no_grad():
        output = model(pixels)
    second, scores = output.matches[0, 1], output.matching_scores[0, 1]
    first = (second >= 0).nonzero()[:, 0]
    return first, second[first], scores[first]


def authors_places(model, pixels, first, second):
    """Where the matches lie, by the authors' rule, written down match by match."""
    with torch.no_grad():
        coarse, *finer = model.efficientloftr(pixels).feature_maps
        windows = model.refinement_layer(coarse / model.config.hidden_size**0.5, finer)
    columns, ends = coarse.shape[-1], []
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        a, b = windows[0][0, i], windows[1][0, j]
        similar = (a[:, :-8] / a.shape[1] ** 0.5) @ (b[:, :-8] / a.shape[1] ** 0.5).T
        sure = (similar.softmax(0) * similar.softmax(1)).view(64, 10, 10)[:, 1:-1, 1:-1].reshape(64, 64)
        here, there = divmod(int(sure.argmax()), 64)
        near = (a[here, -8:] @ b[:, -8:].T / 8**0.5).view(10, 10)
        row, column = divmod(there, 8)
        nine = torch.stack([near[row + dy, column + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        weights = (nine / 10).softmax(0)
        shift = [sum(w * d[axis] for w, d in zip(weights.tolist(), STEPS, strict=True)) for axis in (0, 1)]
        xy0 = [i % columns * 8 + here % 8 - 3.5, i // columns * 8 + here // 8 - 3.5]
        xy1 = [j % columns * 8 + column - 3.5 + shift[0], j // columns * 8 + row - 3.5 + shift[1]]
        ends.append([xy0, xy1])
    return np.array(ends, np.float32).reshape(-1, 2, 2)


STEPS = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


def test_matches_are_the_cells_of_transformers_and_the_places_of_the_authors(pipe, reference):
    model, processor = reference
    assert pipe.task.processor.recipe is not None, "delegated"
    count = 0
    for pair, result in zip(pairs(), pipe(pairs()), strict=True):
        pixels = pixels_of(processor, pair)
        first, second, scores = matched(model, pixels)
        sizes = np.array([image.size for image in pair], np.float32)
        places = authors_places(model, pixels, first, second) / (128, 96) * sizes
        order = np.argsort(-scores.numpy(), kind="stable")
        np.testing.assert_allclose(result.scores, scores[order], atol=ATOL)
        np.testing.assert_allclose(result.xy0, places[order, 0], atol=1e-3)
        np.testing.assert_allclose(result.xy1, places[order, 1], atol=1e-3)
        count += len(result)
    assert count > 50


def test_neighbours_do_not_change_a_pair(pipe):
    together, alone = pipe(pairs()), [pipe(pair) for pair in pairs()]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.xy1, b.xy1, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=ATOL)


def test_a_picture_matches_itself_where_it_is(pipe):
    result = pipe((make_image(300, 200), make_image(300, 200)))
    assert len(result) > 20
    assert np.abs(result.xy0 - result.xy1).max() < 5


def test_many_matches_are_refined_part_by_part(reference, monkeypatch):
    model, processor = reference
    with torch.no_grad():
        known = compared(model, pixels_of(processor, (make_image(), make_image())))
        cell = known["scores"][0].nonzero()[:, 0]
        matches = torch.stack([torch.zeros_like(cell), cell, known["partner"][0, cell]], dim=1)
        whole = refined(model, known["fine"], matches, columns=16)
        monkeypatch.setattr("sensorium.models.efficientloftr.TOGETHER", 7)
        parts = refined(model, known["fine"], matches, columns=16)
    assert len(whole) > 14
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=0)


def test_options(pipe):
    pair = pairs()[3]
    every = pipe(pair)
    bar = float(np.median(every.scores))
    assert pipe(pair, threshold=bar).scores.tolist() == every.scores[every.scores > bar].tolist()
    assert pipe(pair, threshold=1.0).to_dict() == []
    for option in ({"max_keypoints": 10}, {"keypoint_threshold": 0.1}):
        with pytest.raises(OptionError, match="has no effect on EfficientLoFTR"):
            pipe(pair, **option)


def test_pictures_that_it_cannot_look_at_cost_no_other_pair(reference):
    model, _ = reference
    processor = transformers.EfficientLoFTRImageProcessor(do_resize=False)
    wide, odd, small = (make_image(128, 96), make_image(100, 96), make_image(20, 96))
    with sensorium.pipeline(
        "keypoint-matching", model=model, processor=processor, device="cpu", compile=False, dtype="float32"
    ) as loaded:
        good, bad, narrow = loaded([(wide, wide), (odd, odd), (small, small)], on_error="return")
    assert len(good) > 5
    assert isinstance(bad, InputError)
    assert bad.code == "no-multiple"
    assert isinstance(narrow, InputError)
    assert narrow.code == "too-narrow"


def test_bfloat16_finds_matches():
    with ours(tiny_keypoints.efficientloftr(), dtype="bfloat16") as pipe:
        result = pipe(pairs()[3])
    assert len(result) > 10
    assert np.median(np.abs(result.xy0 - result.xy1)) < 2
