"""depth-estimation against Transformers' pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sensorium
from sensorium.errors import InputError, OptionError, TaskMismatchError
from sensorium.results import DepthMap
from tests import tiny, tiny_depth
from tests.contract import Contract, ignored
from tests.media import make_image

# The tiny models' last layers are scaled up until depths lie about 1 apart, and float32's rounding with them. Depth Pro
# divides by what it gives, ZoeDepth takes an exponential.
TOLERANCE = 5e-4


def ours(name, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    delegated = name in tiny_depth.DELEGATED
    with ignored("Sensorium does not read the recipe") if delegated else nullcontext():
        return sensorium.pipeline("depth-estimation", tiny_depth.folder(name), **settings)


def theirs(name):
    folder = str(tiny_depth.folder(name))
    return transformers.pipeline("depth-estimation", model=folder, image_processor=folder, device="cpu")


def by_hand(name, image, **given):
    """What Transformers' model, processor and post-processing give for a picture."""
    folder = tiny_depth.folder(name)
    model = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        outputs = model(**processor(images=image, return_tensors="pt", **given))
    return processor.post_process_depth_estimation(outputs, [image.size[::-1]])[0]


def close(a, b, tolerance=TOLERANCE):
    """Two `to_dict()`, map by map, or lists of them."""
    if isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            close(one, other, tolerance)
        return
    assert a.keys() == b.keys()
    assert a["metric"] == b["metric"]
    for name in ("predicted_depth", "field_of_view", "focal_length"):
        if a[name] is None or b[name] is None:
            assert a[name] is b[name]
        else:
            np.testing.assert_allclose(a[name], b[name], rtol=tolerance, atol=tolerance)


def two_shapes():
    """Four pictures of three sizes that the model sees in two: each further one would be compiled by itself."""
    sizes = [(64, 48), (48, 64), (96, 72), (64, 48)]
    return [make_image(width, height, seed) for seed, (width, height) in enumerate(sizes)]


CONTRACT = Contract(
    build=lambda **settings: ours("depth_anything", **settings),
    inputs=two_shapes,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture", {"image": make_image(), "prompt": 1}],
    close=close,
    tolerance=TOLERANCE,
)


METRES = {"chmv2", "depth_anything-metric", "depth_pro", "glpn", "tipsv2_dpt", "zoedepth", "zoedepth-domains"}
SELDOM = {"chmv2", "depth_anything-metric", "dpt-dinov2", "tipsv2_dpt", "zoedepth"}
"""Near to others, and run with the slow tests."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SELDOM else ())
        for name in tiny_depth.ARCHITECTURES
        if name != "depth_pro-no-fov"
    ],
)
def test_same_answers_as_transformers(name):
    inputs, reference = tiny_depth.images(), theirs(name)
    expected = [reference(image) for image in inputs]
    with ours(name, batch_size=4) as pipe:
        assert pipe.task.name == "depth-estimation"
        assert (pipe.task.processor.recipe is None) == (name in tiny_depth.DELEGATED)
        together, alone = pipe(inputs), pipe(inputs[3])
    for image, result, one in zip(inputs, together, expected, strict=True):
        assert isinstance(result, DepthMap)
        assert result.size == image.size[::-1]
        assert result.depth.dtype == np.float32
        assert np.ptp(result.depth) > 0.05, "the model has to see something"
        assert result.metric == (name in METRES)
        assert (result.focal_length is None) == (name != "depth_pro")
        np.testing.assert_allclose(result.depth, one["predicted_depth"], rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(result["predicted_depth"], one["predicted_depth"], rtol=TOLERANCE, atol=TOLERANCE)
        grey = np.asarray(result["depth"], dtype=int) - np.asarray(one["depth"], dtype=int)
        assert np.abs(grey).max() <= 1
    close(alone.to_dict(), together[3].to_dict())
    means = [float(result.depth.mean()) for result in together]
    assert np.ptp(means) > 1e-3, "the model has to tell the inputs apart"


def test_zoedepth_measures_each_picture_by_its_own_head():
    """In Transformers the pictures of a batch vote, and the outvoted ones are measured by the other head."""
    inputs = tiny_depth.images()
    folder = tiny_depth.folder("zoedepth-domains")
    model = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        chosen = {int(model(**processor(images=one, return_tensors="pt")).domain_logits.argmax()) for one in inputs}
    assert chosen == {0, 1}, "both heads are to be taken"
    with ours("zoedepth-domains", batch_size=6) as pipe:
        stretched = [image.resize((64, 48)) for image in inputs]  # of one shape, and so in one batch
        together = pipe(stretched)
        assert pipe.stats()["batches"] == 1
        reference = theirs("zoedepth-domains")
        for result, image in zip(together, stretched, strict=True):
            expected = reference(image)["predicted_depth"]
            np.testing.assert_allclose(result.depth, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_depth_pro_tells_the_camera():
    image = make_image(97, 70)
    expected = by_hand("depth_pro", image)
    with ours("depth_pro") as pipe:
        result = pipe(image)
    assert result.field_of_view == pytest.approx(float(expected["field_of_view"]), rel=1e-4)
    assert result.focal_length == pytest.approx(float(expected["focal_length"]), rel=1e-4)


def test_without_an_estimate_the_picture_s_width_is_the_focal_length():
    """Transformers' pipeline fails on such a checkpoint."""
    image = make_image(97, 70)
    with ours("depth_pro-no-fov") as pipe:
        result = pipe(image)
    expected = by_hand("depth_pro-no-fov", image)["predicted_depth"]
    np.testing.assert_allclose(result.depth, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert result.focal_length is None and result.field_of_view is None


@pytest.mark.parametrize("name", ["depth_pro", "depth_pro-no-fov"])
def test_a_focal_length_that_is_known_scales_the_depth(name):
    image = make_image(97, 70)
    with ours(name) as pipe:
        estimated, given = pipe(image), pipe(image, focal_length=50)
        double = pipe(image, focal_length=100.0)
        before = estimated.focal_length or 97.0  # without an estimate the picture's width stands for it
    assert given.metric and given.focal_length == 50
    assert given.field_of_view == pytest.approx(math.degrees(2 * math.atan(97 / 2 / 50)))
    free = (given.depth > 2e-4) & (double.depth < 5e3)  # of the bounds that inverse depths have
    assert free.mean() > 0.9
    np.testing.assert_allclose(double.depth[free], 2 * given.depth[free], rtol=1e-4)
    np.testing.assert_allclose(estimated.depth[free] / before, given.depth[free] / 50, rtol=1e-3)


def test_a_focal_length_that_is_none_is_refused():
    with ours("depth_pro") as pipe:
        for focal_length in (0, -50.0, math.nan, math.inf, "50", True):
            with pytest.raises(OptionError, match="focal_length"):
                pipe("nowhere.jpg", focal_length=focal_length)


def test_a_focal_length_without_effect_is_refused():
    with ours("dpt") as pipe, pytest.raises(OptionError, match="focal_length has no effect on"):
        pipe("nowhere.jpg", focal_length=50)


def test_an_angle_that_no_camera_has_is_no_focal_length(tmp_path):
    folder = tiny_depth.folder("depth_pro")
    model = transformers.AutoModelForDepthEstimation.from_pretrained(folder)
    with torch.no_grad():
        model.fov_model.head.layers[-1].bias.fill_(-30)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with sensorium.pipeline("depth-estimation", model, processor=processor, device="cpu", dtype="float32") as pipe:
        result = pipe(make_image())
    assert result.field_of_view is None and result.focal_length is None
    assert np.isfinite(result.depth).all()


PROMPT = np.random.default_rng(0).integers(500, 4000, (12, 16)).astype(np.uint16)


def prompted(image, prompt):
    """Transformers' pipeline takes no prompts."""
    return by_hand("prompt_depth_anything", image, prompt_depth=prompt)["predicted_depth"].numpy()


FORMS = {
    "uint16": PROMPT,
    "float": PROMPT.astype(np.float64),
    "tensor": torch.from_numpy(PROMPT.astype(np.int32)),
    "16-bit picture": Image.fromarray(PROMPT),
    "rows": PROMPT.tolist(),
}


def test_a_prompt_gives_metres():
    image = make_image()
    expected = prompted(image, PROMPT.astype(np.float32))
    with ours("prompt_depth_anything") as pipe:
        without = pipe(image)
        for form, prompt in FORMS.items():
            result = pipe(image=image, prompt_depth=prompt)
            assert result.metric and not without.metric
            np.testing.assert_allclose(result.depth, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=form)
            assert np.abs(result.depth - without.depth).max() > 0.1


def test_pictures_with_and_without_prompts_go_side_by_side():
    images = tiny_depth.images()[:4]
    prompts = [PROMPT, None, PROMPT[:5, :7], PROMPT]
    with ours("prompt_depth_anything", batch_size=4) as pipe:
        together = pipe(image=images, prompt_depth=prompts)
        by_key = pipe([{"image": one, "prompt_depth": p} for one, p in zip(images, prompts, strict=True)])
        with pytest.raises(OptionError, match="for 4 pictures prompt_depth is a list of as many"):
            pipe(image=images, prompt_depth=PROMPT)
    for image, prompt, result, other in zip(images, prompts, together, by_key, strict=True):
        assert result.metric == (prompt is not None)
        close(result.to_dict(), other.to_dict())
        if prompt is not None:
            expected = prompted(image, prompt.astype(np.float32))
            np.testing.assert_allclose(result.depth, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_flat_prompt_divides_by_nothing():
    image = make_image()
    with ours("prompt_depth_anything") as pipe:
        for millimetres in (0, 1500, 60_000):
            prompt = np.full((12, 16), millimetres, np.uint16)
            result = pipe(image=image, prompt_depth=prompt)
            np.testing.assert_allclose(result.depth, millimetres / 1000, atol=1e-4)
            expected = prompted(image, prompt.astype(np.float32))
            if np.isfinite(expected).all():  # the reference adds a millionth of a metre, which vanishes beside 60 m
                np.testing.assert_allclose(result.depth, expected, atol=1e-4)


def test_a_prompt_that_is_none_costs_its_picture_alone():
    flags, ragged = np.full((3, 4), True), [[1, 2], [3]]
    bad = [np.zeros((0, 4)), np.zeros((3, 4, 1)), np.full((3, 4), np.nan), flags, ragged, "depth.png", make_image(), 7]
    good = {"image": make_image(), "prompt_depth": PROMPT}
    with ours("prompt_depth_anything") as pipe:
        outcomes = pipe([good, *({"image": make_image(), "prompt_depth": one} for one in bad), good], on_error="return")
    assert [isinstance(each, InputError) and each.code == "bad-prompt" for each in outcomes[1:-1]] == [True] * len(bad)
    close(outcomes[0].to_dict(), outcomes[-1].to_dict())


def test_a_prompt_for_a_model_without_is_refused():
    with ours("dpt") as pipe, pytest.raises(InputError, match="DPTForDepthEstimation takes no prompt_depth"):
        pipe(image=make_image(), prompt_depth=PROMPT)


@pytest.mark.parametrize(
    "name",
    [
        "depth_anything",
        "zoedepth",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("dpt", "glpn", "depth_pro")),
    ],
)
def test_pictures_of_odd_shapes(name):
    """Each is as in Transformers; what fails there, as its size would be 0, is an error of that picture alone."""
    sizes = [(1, 64), (64, 1), (1, 1), (40, 50), (20, 20_000)]
    inputs = [make_image(*size) for size in sizes[: 4 if name == "zoedepth" else 5]]
    reference = theirs(name)
    with ours(name, batch_size=4) as pipe:
        results = pipe(inputs, on_error="return")
    for image, result in zip(inputs, results, strict=True):
        try:
            with np.errstate(invalid="ignore"):  # a map of one pixel is flat
                expected = reference(image)["predicted_depth"]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if isinstance(result, InputError):
                assert result.code == "too-narrow", error
                continue
            assert 1 in image.size  # where the reference drops an axis and fails on what is left
        else:
            np.testing.assert_allclose(result.depth, expected.reshape(image.size[::-1]), rtol=TOLERANCE, atol=TOLERANCE)
        assert result.size == image.size[::-1]
    assert isinstance(results[3], DepthMap)


def test_zoedepth_would_make_a_long_picture_vanish():
    size = {"height": 384, "width": 512}
    processor = transformers.ZoeDepthImageProcessor(size=size, ensure_multiple_of=32)
    model = transformers.AutoModelForDepthEstimation.from_pretrained(tiny_depth.folder("zoedepth"))
    with sensorium.pipeline("depth-estimation", model, processor=processor, device="cpu", dtype="float32") as pipe:
        (outcome,) = pipe([make_image(20, 20_000)], on_error="return")
    assert outcome.code == "too-narrow"


def test_pictures_of_other_kinds():
    image = make_image()
    grey = image.convert("L")
    kinds = {mode: image.convert(mode) for mode in ("L", "LA", "RGBA")}
    kinds["I;16"] = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    kinds |= {f"flat {level}": Image.new("RGB", (64, 48), (level,) * 3) for level in (0, 90)}
    reference = theirs("depth_anything")
    with ours("depth_anything") as pipe:
        results = dict(zip(kinds, pipe(list(kinds.values())), strict=True))
    for kind, result in results.items():
        assert result.plot(kinds[kind]).mode == "RGB"
        expected = reference(grey if kind == "I;16" else kinds[kind])["predicted_depth"]
        np.testing.assert_allclose(result.depth, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=kind)


def test_bfloat16_drifts_less_than_promised():
    inputs = tiny_depth.images()
    with ours("depth_anything") as exact, ours("depth_anything", dtype="bfloat16") as fast:
        pairs = zip(exact(inputs), fast(inputs), strict=True)
        moved = [np.median(np.abs(a.depth - b.depth)) / np.ptp(a.depth) for a, b in pairs]
    assert np.mean(moved) < 0.05


def test_a_checkpoint_of_another_task_is_refused_and_told_what_it_fits():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        sensorium.pipeline("depth-estimation", tiny.folder("vit"), device="cpu")
    with sensorium.pipeline(model=tiny_depth.folder("dpt"), device="cpu") as pipe:
        assert pipe.task.name == "depth-estimation"
