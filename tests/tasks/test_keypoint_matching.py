"""keypoint-matching against Transformers' models, processors and pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from tests import tiny_keypoints
from tests.contract import Contract
from tests.media import jpeg, make_image, make_images

PARITY = 5e-5  # float32 rounding through a few layers and a transport, on probabilities

SUPERGLUES = [{}, {"matching_threshold": 0.02}, {"sinkhorn_iterations": 1}, {"layers": ("cross", "cross", "self")}]
LIGHTGLUES = [
    {},
    {"filter_threshold": 0.1},
    {"depth_confidence": 0.2},  # every pair stops early
    {"width_confidence": 0.6},  # points are pruned
    {"depth_confidence": 0.5, "width_confidence": 0.6},
    {"depth_confidence": -1.0, "width_confidence": -1.0},
    {"descriptor_dim": 32},  # descriptors are projected
]
CHECKPOINTS = [(tiny_keypoints.superglue, each) for each in SUPERGLUES]
CHECKPOINTS += [(tiny_keypoints.lightglue, each) for each in LIGHTGLUES]


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("keypoint-matching", folder, **settings)


def pairs():
    """Pairs of pictures of different sizes, with different numbers of points."""
    images = make_images()
    return [(images[a], images[b]) for a, b in [(0, 1), (2, 3), (4, 5), (3, 3), (5, 0), (1, 2)]]


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_keypoints.lightglue(width_confidence=0.6), **settings),
    inputs=lambda: [{"image0": a, "image1": b} for a, b in pairs()],
    bad=[
        (make_image(), "nowhere.jpg"),
        {"image0": make_image()},
        (make_image(), make_image(), make_image()),
        None,
        (make_image(), np.zeros((0, 3, 3), np.uint8)),
    ],
    options=[{"threshold": 0.01}, {"max_keypoints": 20}, {"keypoint_threshold": 0.3}],
)


@functools.cache
def reference(folder):
    model = transformers.AutoModelForKeypointMatching.from_pretrained(folder).eval()
    return model, transformers.AutoImageProcessor.from_pretrained(folder)


def theirs(folder, images, *, threshold=0.0):
    """What a careful user gets for one pair: model and processor by hand, best first as the pipeline has it."""
    model, processor = reference(folder)
    with torch.no_grad():
        outputs = model(**processor(list(images), return_tensors="pt"))
    if outputs.matches.ndim == 2:  # LightGlue without early stopping forgets the axis of pairs
        outputs["matches"], outputs["matching_scores"] = outputs.matches[None], outputs.matching_scores[None]
    sizes = [[(image.height, image.width) for image in images]]
    found = processor.post_process_keypoint_matching(outputs, sizes, threshold=threshold)[0]
    order = found["matching_scores"].argsort(descending=True, stable=True)
    return [found[name][order].numpy() for name in ("keypoints0", "keypoints1", "matching_scores")]


def assert_same(result, expected):
    xy0, xy1, scores = expected
    np.testing.assert_array_equal(np.trunc(result.xy0), xy0)  # which it rounds down
    np.testing.assert_array_equal(np.trunc(result.xy1), xy1)
    np.testing.assert_allclose(result.scores, scores, atol=PARITY, rtol=0)


@pytest.mark.parametrize(
    ("build", "settings"), CHECKPOINTS, ids=[f"{build.__name__}-{settings}" for build, settings in CHECKPOINTS]
)
def test_same_answers_as_transformers(build, settings):
    folder = build(**settings)
    with ours(folder, batch_size=4) as pipe:
        together, alone = pipe(pairs()), pipe(pairs()[1])
    expected = [theirs(folder, pair) for pair in pairs()]
    assert sum(len(each[2]) for each in expected) > 5
    for result, each in zip([*together, alone], [*expected, expected[1]], strict=True):
        assert_same(result, each)


@pytest.mark.parametrize("build", [tiny_keypoints.superglue, tiny_keypoints.lightglue])
def test_same_answers_as_the_pipeline_of_transformers(build):
    """On square pictures: on others it mistakes widths for heights, and its points lie elsewhere."""
    images = [make_image(60, 60, seed=1), make_image(90, 90, seed=2), make_image(72, 48, seed=3)]
    peer = transformers.pipeline("keypoint-matching", model=str(build()), device="cpu")
    with ours(build()) as pipe:
        for threshold in (0.0, 0.05):
            expected, result = peer(images[:2], threshold=threshold), pipe(images[:2], threshold=threshold)
            rows = result.to_dict()
            assert [set(row) for row in rows] == [{"keypoint_image_0", "keypoint_image_1", "score"}] * len(expected)
            for row, each in zip(rows, expected, strict=True):
                assert row["score"] == pytest.approx(each["score"], abs=PARITY)
                for end in ("keypoint_image_0", "keypoint_image_1"):
                    assert {axis: int(value) for axis, value in row[end].items()} == each[end]
        swapped = peer(images[1:])
        right = pipe(images[1:])
    assert len(right) == len(swapped) > 0
    heights = [int(each["keypoint_image_1"]["y"] / 72 * 48) for each in swapped]
    assert np.abs(right.xy1[:, 1].astype(int) - heights).max() <= 1


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3])
def test_threshold(threshold):
    folder = tiny_keypoints.superglue()
    with ours(folder) as pipe:
        for pair in pairs()[:3]:
            assert_same(pipe(pair, threshold=threshold), theirs(folder, pair, threshold=threshold))


@pytest.mark.parametrize("option", [{"max_keypoints": 15}, {"keypoint_threshold": 0.3}], ids=str)
def test_the_detector_can_be_set(option):
    """As if the checkpoint had been saved with that setting."""
    folder = tiny_keypoints.superglue()
    model = transformers.AutoModelForKeypointMatching.from_pretrained(folder).eval()
    for name, value in option.items():
        setattr(model.keypoint_detector.keypoint_decoder, name, value)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with ours(folder) as pipe:
        for pair in pairs()[:3]:
            with torch.no_grad():
                outputs = model(**processor(list(pair), return_tensors="pt"))
            expected = processor.post_process_keypoint_matching(outputs, [[i.size[::-1] for i in pair]])[0]
            result = pipe(pair, **option)
            assert len(result) == len(expected["matching_scores"]) > 0
            wanted = np.sort(expected["matching_scores"].numpy())[::-1]
            np.testing.assert_allclose(result.scores, wanted, atol=PARITY, rtol=0)


@pytest.mark.parametrize("build", [tiny_keypoints.superglue, tiny_keypoints.lightglue])
def test_a_neighbour_with_many_more_points_changes_nothing(build):
    """The peer fills pairs up to their neighbours' number of points, and its SuperGlue gives the filling a share."""
    few, many = (
        (make_image(64, 48, seed=1), make_image(64, 48, seed=2)),
        (make_image(500, 400, seed=3), make_image(64, 48, seed=4)),
    )
    with ours(build(), batch_size=3) as pipe:
        # without suppression the second pair would have the same number of points in its bucket
        for options in ({}, {"keypoint_threshold": 0.0}):
            alone = pipe(few, **options)
            for result in (pipe([few, many, many], **options)[0], pipe([many, many, few], **options)[2]):
                np.testing.assert_array_equal(result.xy0, alone.xy0)
                np.testing.assert_allclose(result.scores, alone.scores, atol=PARITY, rtol=0)


def test_points_filled_up_have_no_share_in_the_transport():
    from sensorium.models.superglue import transport

    least = torch.finfo(torch.float32).min
    similar = torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(0)) * 8
    similar[:, 15:] = least  # the picture of each pair that has fewer points
    wider = torch.full((2, 33, 33), least)
    wider[:, :20, :20] = similar
    lengths, bin_score = torch.tensor([20, 20]), torch.tensor(0.7)
    for sweeps in (1, 9, 10, 11, 37, 100):
        narrow = transport(similar, bin_score, lengths, sweeps=sweeps)
        filled = transport(wider, bin_score, lengths, sweeps=sweeps)
        torch.testing.assert_close(filled[:, :20, :20].exp(), narrow.exp(), atol=1e-5, rtol=0)
        assert filled[:, 20:].max() == -torch.inf


def test_the_transport_equals_the_reference_s():
    from transformers.models.superglue.modeling_superglue import log_optimal_transport

    from sensorium.models.superglue import transport

    for scale, sweeps in itertools.product((1, 10, 60), (1, 3, 10, 25, 100)):
        similar = torch.randn(3, 31, 31, generator=torch.Generator().manual_seed(sweeps)) * scale
        expected = log_optimal_transport(similar, torch.tensor(1.0), sweeps)[:, :-1, :-1].exp()
        actual = transport(similar, torch.tensor(1.0), torch.tensor([31] * 3), sweeps=sweeps).exp()
        torch.testing.assert_close(actual, expected, atol=5e-5, rtol=0)  # theirs is as far from float64's


def test_the_last_point_s_match_is_kept_when_points_are_pruned():
    """The peer writes "no match" for what only fills a picture up, and writes it to the last point's place."""
    folder = tiny_keypoints.lightglue(width_confidence=0.6)
    pair = (make_image(71, 108, seed=12), make_image(104, 118, seed=27))
    xy0, _, scores = theirs(folder, pair)
    with ours(folder) as pipe:
        result = pipe(pair)
        processor = transformers.SuperPointImageProcessor(size=tiny_keypoints.SIZE, do_grayscale=True)
        settings = {"processor": processor, "device": "cpu", "compile": False}
        detect = sensorium.pipeline("keypoint-detection", pipe.model.keypoint_detector, **settings)
        last0, last1 = (detect(image).xy[-1] for image in pair)
    known = {tuple(xy) for xy in xy0.tolist()}
    extra = [i for i, xy in enumerate(result.xy0) if tuple(np.trunc(xy)) not in known]
    assert len(extra) == len(result) - len(scores) == 1
    assert np.array_equal(result.xy0[extra[0]], last0) or np.array_equal(result.xy1[extra[0]], last1)
    kept = np.delete(np.arange(len(result)), extra)
    np.testing.assert_allclose(result.scores[kept], scores, atol=PARITY, rtol=0)


@pytest.mark.parametrize("build", [tiny_keypoints.superglue, tiny_keypoints.lightglue])
def test_pictures_without_points(build):
    blank = Image.new("RGB", (90, 70), (128, 128, 128))
    with ours(build(), batch_size=3) as pipe:
        nothing = pipe([(blank, blank), pairs()[0], (pairs()[0][0], blank)], keypoint_threshold=0.9)
        assert [len(result) for result in nothing] == [0, len(pipe(pairs()[0], keypoint_threshold=0.9)), 0]
        assert len(pipe((blank, blank), keypoint_threshold=1.0)) == 0
        assert pipe((blank, blank), max_keypoints=0).to_dict() == []
        result = pipe([(blank, blank), pairs()[0]])[1]
    assert_same(result, theirs(build(), pairs()[0]))


def test_the_ways_to_give_pairs():
    a, b, c = (make_image(seed=seed) for seed in range(3))
    with ours(tiny_keypoints.superglue(), batch_size=2) as pipe:
        ab, ac = pipe((a, b)), pipe((a, c))
        assert len(ab) > 0
        assert ab != ac
        for same in (
            pipe([a, b]),
            pipe(a, b),
            pipe(image0=a, image1=b),
            pipe(a, image1=b),
            pipe({"image0": a, "image1": b}),
        ):
            assert same == ab
        arrays = np.stack([np.asarray(a), np.asarray(b)])
        assert pipe(arrays) == ab
        for several in (
            pipe([(a, b), (a, c)]),
            pipe([[a, b], [a, c]]),
            pipe(a, [b, c]),
            pipe([a, a], [b, c]),
            pipe(np.stack([arrays, np.stack([np.asarray(a), np.asarray(c)])])),
            list(pipe(pair for pair in [(a, b), (a, c)])),
        ):
            for result, each in zip(several, (ab, ac), strict=True):
                np.testing.assert_allclose(result.scores, each.scores, atol=PARITY)
                np.testing.assert_array_equal(result.xy1, each.xy1)
        assert pipe([]) == []
        assert pipe([(a, b)]) == [ab]


def test_what_is_no_pair():
    a = make_image()
    with ours(tiny_keypoints.superglue()) as pipe:
        for wrong, what in (([a, a, a], "3 pictures"), ([a], "1 picture"), (a, "Image"), ({"image0": a}, "no image1")):
            with pytest.raises(InputError, match=what) as caught:
                pipe(wrong)
            assert caught.value.code == "no-pair"
        for named in ({"image0": a}, {"image1": a}):
            with pytest.raises(OptionError, match="missing"):
                pipe(**named)
        with pytest.raises(InputError, match=r"nowhere\.jpg"):
            pipe((a, "nowhere.jpg"))
        good, bad = pipe([(a, a), (jpeg(), "nowhere.jpg")], on_error="return")
        assert len(good) > 0
        assert bad.code == "missing-file"
        assert bad.index == 1


def test_pictures_of_two_sizes_where_the_checkpoint_does_not_resize():
    model, _ = reference(tiny_keypoints.superglue())
    processor = transformers.SuperGlueImageProcessor(do_resize=False)
    with sensorium.pipeline(
        "keypoint-matching", model, processor=processor, device="cpu", dtype="float32", compile=False
    ) as pipe:
        with pytest.raises(InputError, match="64x48 and 64x56") as caught:
            pipe(make_image(64, 48), make_image(64, 56))
        assert caught.value.code == "mixed-sizes"
        with pytest.raises(InputError, match="at least 8 px"):
            pipe(make_image(64, 4), make_image(64, 4))
        pair = [make_image(70, 60, seed=1), make_image(70, 60, seed=2)]
        with torch.no_grad():
            outputs = model(**processor(pair, return_tensors="pt"))
        expected = processor.post_process_keypoint_matching(outputs, [[(60, 70)] * 2])[0]
        assert len(pipe(pair)) == len(expected["matching_scores"]) > 0


def test_very_long_pictures():
    folder = tiny_keypoints.lightglue()
    pair = (Image.new("RGB", (1, 20_000), "red"), make_image(20_000, 1))
    with ours(folder) as pipe:
        assert_same(pipe(pair), theirs(folder, pair))


def test_checkpoints_of_other_tasks_are_refused():
    with pytest.raises(TaskMismatchError, match="keypoint-detection"):
        ours(tiny_keypoints.superpoint())
    with pytest.raises(TaskMismatchError, match="keypoint-matching"):
        sensorium.pipeline("image-classification", tiny_keypoints.lightglue(), device="cpu")
    assert sensorium.pipeline(model=tiny_keypoints.lightglue(), device="cpu").task.name == "keypoint-matching"


def test_another_detector_is_refused():
    model, processor = reference(tiny_keypoints.lightglue())
    config = model.config.keypoint_detector_config
    vars(model.config)["keypoint_detector_config"] = transformers.ViTConfig()  # setting it may be refused
    try:
        with pytest.raises(CheckpointError, match="SuperPoint, and this lightglue checkpoint wants 'vit'"):
            sensorium.pipeline("keypoint-matching", model, processor=processor, device="cpu")
    finally:
        model.config.keypoint_detector_config = config


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": -0.1},
        {"threshold": None},
        {"keypoint_threshold": 2},
        {"max_keypoints": -2},
        {"max_keypoints": 1.0},
    ],
    ids=str,
)
def test_options_are_checked(options):
    with ours(tiny_keypoints.superglue()) as pipe, pytest.raises(OptionError, match=next(iter(options))):
        pipe("nowhere.jpg", "nowhere.jpg", **options)


@pytest.mark.parametrize("build", [tiny_keypoints.superglue, tiny_keypoints.lightglue])
def test_bfloat16(build):
    with ours(build(), dtype="bfloat16", batch_size=3) as pipe:
        for result in pipe(pairs()):
            assert np.isfinite(result.scores).all()
            assert result.xy0.dtype == np.float32


def test_early_stopping_and_pruning_can_be_switched_off_alone():
    """The peer raises there; a width of 1 prunes nothing, and it takes that."""
    images = pairs()[1]
    for settings in ({"width_confidence": -1.0, "depth_confidence": 0.2}, {"depth_confidence": -1.0}):
        with pytest.raises((RuntimeError, UnboundLocalError)):
            theirs(tiny_keypoints.lightglue(**settings), images)
    with ours(tiny_keypoints.lightglue(width_confidence=-1.0, depth_confidence=0.2)) as pipe:
        assert_same(pipe(images), theirs(tiny_keypoints.lightglue(width_confidence=1.0, depth_confidence=0.2), images))
    with ours(tiny_keypoints.lightglue(width_confidence=1.0, depth_confidence=-1.0)) as pipe:
        assert_same(
            pipe(images), theirs(tiny_keypoints.lightglue(width_confidence=-1.0, depth_confidence=-1.0), images)
        )
