"""object-detection against Transformers' models, processors and pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.results import Detections
from tests import tiny, tiny_detection
from tests.contract import Contract
from tests.media import SIZES, jpeg, make_image, make_images
from tests.versions import older

SCORE = 1e-4  # float32 rounding of sums, made larger by random weights of width 1.5 in ten layers
BOX = 1e-4  # of the picture's longer side
LOW = 0.2  # of the random models' scores, which are not sure of anything


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("object-detection", folder, **settings)


def theirs(folder):
    return transformers.pipeline("object-detection", model=str(folder), device="cpu")


def reference(folder, images, threshold):
    """Scores, classes and fractional boxes of each picture by itself, by the processor's own post-processing."""
    model = transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    if type(processor).__name__ == "PPDocLayoutV3ImageProcessor":  # V2's is the same, but for outlines by OpenCV
        processor.post_process_object_detection = (
            transformers.PPDocLayoutV2ImageProcessor().post_process_object_detection
        )
    found = []
    for image in images:
        with torch.inference_mode():
            outputs = model(**processor(images=image, return_tensors="pt"))
        sizes = torch.tensor([[image.height, image.width]])
        found += processor.post_process_object_detection(outputs, threshold=threshold, target_sizes=sizes)
    return found


def assert_same(mine, expected, size):
    """The same objects with the same scores; equal scores may stand in either order."""
    assert mine.scores.dtype == mine.xyxy.dtype == np.float32
    scores, ids, boxes = (expected[name].numpy() for name in ("scores", "labels", "boxes"))
    np.testing.assert_allclose(mine.scores, scores, atol=SCORE)
    left = list(range(len(mine)))
    for score, number, box in zip(scores, ids, boxes, strict=True):
        near = BOX * max(*size, np.abs(box).max())  # a side is centre and half the width, and rounded as these
        alike = [
            i
            for i in left
            if mine.ids[i] == number
            and abs(mine.scores[i] - score) < 2 * SCORE
            and np.allclose(mine.xyxy[i], box, atol=near, rtol=BOX)
        ]
        assert alike, f"{number} {score} {box} is not among {mine.ids[left]} {mine.scores[left]} {mine.xyxy[left]}"
        left.remove(alike[0])


def assert_same_rows(mine, expected, tolerance=SCORE):
    """Transformers' dicts; where a fractional side is next to a whole number, rounding may cut it off at the other."""
    assert type(mine) is type(expected) is list
    assert len(mine) == len(expected)
    for a, b in zip(mine, expected, strict=True):
        assert list(a) == list(b) == ["score", "label", "box"]
        assert list(a["box"]) == list(b["box"]) == ["xmin", "ymin", "xmax", "ymax"]
        assert [type(value) for value in a["box"].values()] == [int] * 4
        assert type(a["score"]) is float
        assert a["label"] == b["label"]
        assert a["score"] == pytest.approx(b["score"], abs=tolerance, rel=tolerance)
        assert max(abs(a["box"][side] - b["box"][side]) for side in a["box"]) <= 1


READ = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "rf_detr" and older("transformers", "5.18"),
            reason="its processor resizes otherwise than RF-DETR itself, and is not read",
        ),
    )
    for name in tiny_detection.ARCHITECTURES
]


@pytest.mark.parametrize("architecture", READ)
def test_same_objects_as_each_processor_s_own_post_processing(architecture):
    folder, inputs = tiny_detection.folder(architecture), make_images()
    expected = reference(folder, inputs, LOW)
    with ours(folder, batch_size=4) as pipe:
        assert pipe.processor.recipe is not None, "delegated"
        together, alone = pipe(inputs, threshold=LOW), pipe(inputs[3], threshold=LOW)
    assert sum(map(len, together)) > 20
    for result, wanted, size in zip([*together, alone], [*expected, expected[3]], [*SIZES, SIZES[3]], strict=True):
        assert_same(result, wanted, size)


@pytest.mark.parametrize("architecture", ["pp_doclayout_v2", "pp_doclayout_v3"])
def test_parts_of_a_page_come_in_the_order_in_which_it_is_read(architecture):
    folder, inputs = tiny_detection.folder(architecture), make_images()
    with ours(folder, batch_size=1) as pipe:
        for result, wanted in zip(pipe(inputs, threshold=LOW), reference(folder, inputs, LOW), strict=True):
            assert len(result) > 3
            np.testing.assert_allclose(result.scores, wanted["scores"], atol=SCORE)
            np.testing.assert_allclose(result.xyxy, wanted["boxes"], atol=0.05)
            assert sorted(result.scores.tolist(), reverse=True) != result.scores.tolist()
        best = pipe(inputs[0], threshold=LOW, top_k=3)
        every = pipe(inputs[0], threshold=LOW).scores
        assert best.scores.tolist() == [score for score in every.tolist() if score >= np.sort(every)[-3]]


@pytest.mark.parametrize("architecture", ["detr", "yolos", "rt_detr"])
@pytest.mark.parametrize("options", [{}, {"threshold": 0.4}, {"threshold": 0.99}])
def test_drop_in(architecture, options, tmp_path):
    """The same call as Transformers' pipeline gives the same dicts."""
    folder = tiny_detection.folder(architecture)
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg())
    inputs = [str(path), make_image(48, 64, 1)]
    expected = [theirs(folder)(one, **options) for one in inputs]
    with ours(folder) as pipe:
        for result, one in zip(pipe(inputs, **options), expected, strict=True):
            assert isinstance(result, Detections)
            assert_same_rows(result.to_dict(), one)
            assert list(result) == result.to_dict()
        assert_same_rows(pipe(inputs[0], **options).to_dict(), expected[0])


def test_the_peer_cannot_batch_pictures_of_several_shapes_and_this_can():
    folder, inputs = tiny_detection.folder("detr"), [make_image(64, 48), make_image(48, 64)]
    with pytest.raises(RuntimeError):
        theirs(folder)(inputs, batch_size=2)
    with ours(folder, batch_size=2) as pipe:
        assert [len(result) for result in pipe(inputs, threshold=0.0)] == [12, 12]


@pytest.mark.parametrize("architecture", ["detr", "yolos", "rt_detr", "deformable_detr"])
def test_neighbours_do_not_change_a_result(architecture):
    inputs = make_images()
    with ours(tiny_detection.folder(architecture), batch_size=3) as pipe:
        alone = [pipe(image, threshold=LOW) for image in inputs]
        together = pipe(inputs, threshold=LOW)
        backwards = pipe(inputs[::-1], threshold=LOW)[::-1]
    for one, size, *others in zip(alone, SIZES, together, backwards, strict=True):
        wanted = {"scores": one.scores, "labels": one.ids, "boxes": one.xyxy}
        for other in others:
            assert_same(other, {name: torch.from_numpy(value) for name, value in wanted.items()}, size)


def test_pictures_of_one_shape_share_a_batch_and_others_do_not():
    inputs = [make_image(64, 48, seed) for seed in range(4)] + [make_image(48, 64)]
    with ours(tiny_detection.folder("detr"), batch_size=4) as pipe:
        pipe(inputs)
        assert pipe.stats()["batches"] == 2


def test_a_checkpoint_that_pads_to_one_size_masks_the_padding():
    folder = tiny_detection.folder("detr", pad_size=(("height", 240), ("width", 240)))
    inputs = [make_image(64, 48), make_image(48, 64)]
    expected = reference(folder, inputs, LOW)
    with ours(folder) as pipe:
        for result, wanted in zip(pipe(inputs, threshold=LOW), expected, strict=True):
            assert_same(result, wanted, (64, 48))
        pipe.task.processor.recipe.__dict__["pixel_mask"] = False
        unmasked = pipe(inputs[0], threshold=LOW)
    assert np.abs(unmasked.scores[:5] - expected[0]["scores"].numpy()[:5]).max() > 10 * SCORE, "the mask does not count"


def test_boxes_are_in_the_original_picture_s_pixels():
    """A picture twice as large gives boxes twice as large, to what the resize leaves."""
    small = make_image(64, 64)
    large = small.resize((128, 128), Image.Resampling.NEAREST)
    with ours(tiny_detection.folder("rt_detr")) as pipe:
        a, b = pipe(small, threshold=0.0), pipe(large, threshold=0.0)
    np.testing.assert_allclose(b.xyxy.mean(), 2 * a.xyxy.mean(), rtol=0.05)
    assert (a.xyxy % 1 != 0).any(), "fractions of a pixel are kept"


def test_top_k_keeps_the_best_in_the_model_s_order():
    with ours(tiny_detection.folder("detr")) as pipe:
        whole = pipe(make_image(), threshold=0.0)
        best = pipe(make_image(), threshold=0.0, top_k=3)
        sure = pipe(make_image(), threshold=float(np.sort(whole.scores)[-2]), top_k=3)
        more = pipe(make_image(), threshold=0.0, top_k=1000)
    kept = np.sort(np.argsort(whole.scores)[-3:])
    assert best == whole[kept]
    assert len(sure) == 1
    assert more == whole


@pytest.mark.parametrize(
    "options",
    [{"threshold": -0.1}, {"threshold": 1.5}, {"threshold": "much"}, {"threshold": None}, {"top_k": 0}, {"top_k": 2.5}],
)
def test_bad_options_fail_before_any_work(options):
    with ours(tiny_detection.folder("detr")) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe("nowhere.jpg", **options)
        assert pipe.stats()["inputs"] == 0


@pytest.mark.parametrize("architecture", ["detr", "yolos", "rt_detr"])
def test_elongated_pictures(architecture):
    """One that a recipe makes narrower than a pixel is refused by name, and costs its neighbours nothing."""
    folder, good = tiny_detection.folder(architecture), make_image()
    inputs = [
        good,
        make_image(1, 20_000),
        make_image(20_000, 1),
        good,
        make_image(1, 1),
        make_image(1, 90),
        make_image(20_000, 90),
    ]
    with ours(folder) as pipe:
        results = pipe(inputs, on_error="return", threshold=0.0)
    assert_same_rows(results[0].to_dict(), results[3].to_dict())
    for image, result in zip(inputs, results, strict=True):
        try:
            expected = reference(folder, [image], 0.0)[0]
        except (ValueError, RuntimeError, ZeroDivisionError):
            assert isinstance(result, InputError)
            assert result.code == "too-narrow"
            continue
        assert_same(result, expected, image.size)
    assert architecture == "rt_detr" or isinstance(results[1], InputError)
    assert architecture != "rt_detr" or not any(isinstance(result, InputError) for result in results)


def test_checkpoints_of_other_tasks_are_named():
    with pytest.raises(TaskMismatchError, match=r"It fits: .*image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match=r"It fits: .*object-detection"):
        sensorium.pipeline("image-classification", tiny_detection.folder("detr"))
    classifier = transformers.AutoModelForImageClassification.from_pretrained(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match=r"It fits: .*image-classification"):
        sensorium.pipeline("object-detection", classifier, processor=tiny.folder("vit"))


def test_the_task_is_found_by_the_checkpoint():
    with sensorium.pipeline(model=tiny_detection.folder("rt_detr"), device="cpu", compile=False) as pipe:
        assert pipe.task.name == "object-detection"


def test_a_loaded_model_with_its_processor():
    folder = tiny_detection.folder("rt_detr")
    model = transformers.AutoModelForObjectDetection.from_pretrained(folder)
    expected = theirs(folder)(make_image())
    for processor in (transformers.AutoImageProcessor.from_pretrained(folder), str(folder)):
        with sensorium.pipeline("object-detection", model, processor=processor, device="cpu", compile=False) as pipe:
            assert_same_rows(pipe(make_image()).to_dict(), expected)
    with pytest.raises(CheckpointError, match="processor="):
        sensorium.pipeline("object-detection", model)


def test_a_saved_recipe_of_ours_keeps_the_model_s_own_scores():
    """A processor that names no class of Transformers leaves the rule to the model."""
    folder = tiny_detection.folder("conditional_detr")
    recipe = sensorium.ImageProcessor.from_pretrained(folder).recipe
    with ours(folder) as pipe, ours(folder, processor=sensorium.ImageProcessor(recipe)) as other:
        assert_same_rows(pipe(make_image(), threshold=LOW).to_dict(), other(make_image(), threshold=LOW).to_dict())
        assert len(pipe(make_image(), threshold=LOW)) > 12, "a box may count for several classes"


def test_a_backbone_of_timm_s(tmp_path):
    """The default checkpoint's ResNet is timm's."""
    from transformers import AutoConfig, DetrForObjectDetection, DetrImageProcessor

    settings, *_ = tiny_detection.ARCHITECTURES["detr"]
    backbone = {"model_type": "timm_backbone", "backbone": "resnet10t", "out_indices": [4]}
    config = AutoConfig.for_model("detr", **{**settings, "backbone_config": backbone})
    config.id2label = {i: f"thing {i}" for i in range(7)}
    torch.manual_seed(0)
    DetrForObjectDetection(config).save_pretrained(tmp_path)
    DetrImageProcessor(size=tiny_detection.SIZE).save_pretrained(tmp_path)
    expected = reference(tmp_path, [make_image()], 0.0)[0]
    with ours(tmp_path) as pipe:
        assert_same(pipe(make_image(), threshold=0.0), expected, (64, 48))


@pytest.mark.parametrize("architecture", [each for each in READ if each.values != ("dab-detr",)])
def test_bfloat16_is_finite_one_by_one_and_in_batches(architecture):
    """Deformable attention reads maps that are contiguous only in batches."""
    inputs = [make_image(seed=seed) for seed in range(3)]
    with ours(tiny_detection.folder(architecture), dtype="bfloat16", batch_size=3) as pipe:
        for result in [*pipe(inputs, threshold=0.0), *(pipe(image, threshold=0.0) for image in inputs)]:
            assert len(result) >= 12
            assert np.isfinite(result.xyxy).all()


def test_a_model_that_runs_in_float32_only_says_so():
    with ours(tiny_detection.folder("dab-detr"), dtype="bfloat16") as pipe:
        with pytest.raises(OptionError, match='dtype="float32"'):
            pipe(make_image())
        assert pipe.stats()["inputs"] == 0


@pytest.mark.parametrize("architecture", ["detr", "yolos", "rt_detr"])
def test_final_boxes_are_made_in_float32(architecture):
    """In bfloat16 a side next to the right border would be a multiple of 1/256 of the width."""
    with ours(tiny_detection.folder(architecture), dtype="bfloat16") as pipe:
        unit = next(iter(pipe.task.split(make_image(), pipe.task.options())))
        with torch.inference_mode():
            found = pipe.task.compute(pipe.task.collate([unit]))
    assert found["boxes"].dtype == torch.float32
    assert (found["boxes"] != found["boxes"].bfloat16().float()).any()


@pytest.mark.parametrize("architecture", ["detr", "yolos"])
def test_bfloat16_drifts_little(architecture):
    """Queries stay the same there, so they can be compared one by one; random models drift more than trained ones."""
    folder, inputs = tiny_detection.folder(architecture), make_images()
    with ours(folder) as exact, ours(folder, dtype="bfloat16") as fast:
        for a, b in zip(exact(inputs, threshold=0.0), fast(inputs, threshold=0.0), strict=True):
            assert np.median(np.abs(a.scores - b.scores)) < 0.05


def close(a, b, tolerance):
    """One result's dicts, or several results'."""
    assert len(a) == len(b)
    if a and isinstance(a[0], list):
        for one, other in zip(a, b, strict=True):
            assert_same_rows(one, other, tolerance)
    else:
        assert_same_rows(a, b, tolerance)


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_detection.folder("detr"), **settings),
    inputs=make_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture", make_image(1, 20_000)],
    options=[{"threshold": 0.3}, {"threshold": 0.0, "top_k": 5}],
    tolerance=SCORE,
    close=close,
)
