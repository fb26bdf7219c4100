"""image-segmentation against Transformers' pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image

import sensorium
from sensorium.errors import InputError, OptionError, TaskMismatchError
from sensorium.models.segformer import FusedHead
from sensorium.results import Segments
from sensorium.results.rle import decode
from tests import tiny, tiny_segmentation
from tests.contract import Contract
from tests.media import jpeg, make_image, make_images

# The tiny models' last layers are scaled up so that they are as sure of themselves as trained ones, and float32's
# rounding with them: scores move by up to 1e-4, and a pixel or two at the border of segments changes sides.
SCORE, BORDER = 2e-4, 0.005


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("image-segmentation", folder, **settings)


def theirs(folder):
    return transformers.pipeline("image-segmentation", model=str(folder), image_processor=str(folder), device="cpu")


def assert_same(mine, reference, *, score=SCORE, border=BORDER):
    assert isinstance(mine, Segments)
    assert [each["label"] for each in mine] == [each["label"] for each in reference]
    for item, plain, expected in zip(mine, mine.to_dict(), reference, strict=True):
        assert list(item) == list(expected) == ["score", "label", "mask"]
        if expected["score"] is None:
            assert item["score"] is None
        else:
            assert item["score"] == pytest.approx(expected["score"], abs=score)
        assert isinstance(item["mask"], Image.Image)
        assert item["mask"].mode == expected["mask"].mode
        assert item["mask"].size == expected["mask"].size
        mask = np.asarray(expected["mask"])
        assert float((np.asarray(item["mask"]) != mask).mean()) <= border
        assert float((decode(plain["mask"]) != (mask > 0)).mean()) <= border


CALLS = [(name, {}) for name in tiny_segmentation.SEMANTIC] + [
    (name, options)
    for name in tiny_segmentation.QUERIES
    for options in (
        {"threshold": 0.3},
        {"subtask": "semantic"},
        {"subtask": "instance", "threshold": 0.3},
        {"subtask": "panoptic", "threshold": 0.1, "mask_threshold": 0.2, "overlap_mask_area_threshold": 0.1},
    )
]


@pytest.mark.parametrize(("name", "options"), CALLS, ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning:transformers")
def test_same_answers_as_transformers(name, options):
    folder, inputs = tiny_segmentation.folder(name), make_images()
    reference = theirs(folder)(inputs, **options)
    with ours(folder, batch_size=4) as pipe:
        assert pipe.task.name == "image-segmentation"
        assert pipe.task.processor.recipe is not None, "delegated"
        together = pipe(inputs, **options)
        alone = pipe(inputs[2], **options)
    for result, expected in zip(together, reference, strict=True):
        assert_same(result, expected)
    assert_same(alone, reference[2])
    assert sum(len(each) for each in reference) > 0


def test_semantic_models_differ_from_the_reference_by_ties_at_the_most():
    folder = tiny_segmentation.folder("segformer")
    reference = theirs(folder)(make_images())
    with ours(folder) as pipe:
        for result, expected in zip(pipe(make_images()), reference, strict=True):
            assert len(expected) > 3
            assert_same(result, expected, border=0.0007)


@pytest.mark.parametrize("call", ["path", "bytes", "subtask"])
def test_drop_in(call, tmp_path):
    folder, path = tiny_segmentation.folder("segformer"), tmp_path / "x.jpg"
    path.write_bytes(jpeg())
    options = {"subtask": "semantic"} if call == "subtask" else {}
    with ours(folder) as pipe:
        result = pipe(path.read_bytes() if call == "bytes" else str(path), **options)
    assert_same(result, theirs(folder)(str(path), **options))


def test_one_map_of_bytes_is_all_that_is_kept():
    image = make_image(90, 60)
    with ours(tiny_segmentation.folder("segformer")) as pipe:
        result = pipe(image)
    assert result.segmentation.dtype == np.uint8
    assert result.segmentation.shape == result.size == (60, 90)
    assert result.values.tolist() == result.ids.tolist() == np.unique(result.segmentation).tolist()
    assert int(result.areas.sum()) == 60 * 90
    assert result.scores is None


@pytest.mark.parametrize("name", ["segformer", "upernet-convnext", *tiny_segmentation.QUERIES])
@pytest.mark.filterwarnings("ignore::UserWarning:transformers")
def test_neighbours_do_not_change_a_result(name):
    inputs = make_images()
    options = {} if name in tiny_segmentation.SEMANTIC else {"threshold": 0.3}
    with ours(tiny_segmentation.folder(name), batch_size=3) as pipe:
        alone = [pipe(image, **options) for image in inputs]
        backwards = pipe(inputs[::-1], **options)[::-1]
    for a, b in zip(alone, backwards, strict=True):
        assert_same(b, list(a))


def test_overlapping_objects_keep_their_whole_masks():
    folder, image = tiny_segmentation.folder("mask2former"), make_image()
    model = tiny_segmentation.model_class("mask2former").from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        outputs = model(**processor(images=image, return_tensors="pt"))
    expected = processor.post_process_instance_segmentation(
        outputs, 0.3, target_sizes=[(48, 64)], return_binary_maps=True
    )[0]
    with ours(folder) as pipe:
        result = pipe(image, subtask="instance", threshold=0.3, overlapping=True)
        covered = pipe(image, subtask="instance", threshold=0.3)
    assert result.segmentation is None
    assert len(result) == len(expected["segments_info"]) > 3
    assert float((result.masks != expected["segmentation"].numpy()).mean()) <= BORDER
    assert int(result.areas.sum()) > int(covered.areas.sum())
    assert result.labels.tolist() == covered.labels.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"subtask": "everything"},
        {"threshold": 1.5},
        {"mask_threshold": "high"},
        {"overlap_mask_area_threshold": True},
        {"overlapping": 1},
    ],
)
def test_bad_options_fail_before_any_work(options):
    with ours(tiny_segmentation.folder("mask2former")) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe("nowhere.jpg", **options)
        assert pipe.stats()["inputs"] == 0


def test_a_subtask_that_the_model_cannot_do_is_refused():
    with ours(tiny_segmentation.folder("segformer")) as pipe:
        for subtask in ("instance", "panoptic"):
            with pytest.raises(OptionError, match=f'"semantic" only, got {subtask!r}'):
                pipe(make_image(), subtask=subtask)


@pytest.mark.parametrize(
    ("name", "options", "unused"),
    [
        ("segformer", {"threshold": 0.5}, "threshold"),
        ("mask2former", {"subtask": "semantic", "mask_threshold": 0.2}, "mask_threshold"),
        ("mask2former", {"subtask": "instance", "overlap_mask_area_threshold": 0.2}, "overlap_mask_area_threshold"),
        ("mask2former", {"overlapping": True}, "overlapping"),
        ("detr", {"subtask": "instance", "overlapping": True}, "overlapping"),
    ],
)
def test_an_option_without_effect_is_refused(name, options, unused):
    with ours(tiny_segmentation.folder(name)) as pipe, pytest.raises(OptionError, match=f"{unused} has no effect"):
        pipe(make_image(), **options)


def test_a_checkpoint_of_another_task_is_refused_and_told_what_it_fits():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        ours(tiny.folder("segformer"))
    with pytest.raises(TaskMismatchError, match="image-segmentation"):
        sensorium.pipeline("image-classification", tiny_segmentation.folder("segformer"), device="cpu")
    with sensorium.pipeline(model=tiny_segmentation.folder("mask2former"), device="cpu") as pipe:
        assert pipe.task.name == "image-segmentation"


def test_pictures_of_odd_shapes():
    long = Image.fromarray(np.tile(np.asarray(make_image(100, 20)), (1, 200, 1)))
    assert long.size == (20_000, 20)
    inputs = [make_image(1, 64), make_image(64, 1), make_image(1, 1), long, make_image()]
    folder = tiny_segmentation.folder("segformer")
    with ours(folder, batch_size=4) as pipe:
        results = pipe(inputs)
    for image, result, expected in zip(inputs, results, theirs(folder)(inputs), strict=True):
        assert result.size == image.size[::-1]
        assert_same(result, expected)


def test_a_picture_that_the_recipe_would_make_vanish_costs_no_neighbour():
    inputs = [make_image(), make_image(1, 20_000), make_image(300, 1), make_image()]
    with ours(tiny_segmentation.folder("mask2former")) as pipe:
        first, tall, flat, last = pipe(inputs, on_error="return", threshold=0.3)
    assert isinstance(tall, InputError)
    assert tall.code == "too-narrow"
    assert isinstance(flat, InputError | Segments)
    assert_same(last, list(first))


def test_a_loaded_model_runs_as_it_is():
    folder = tiny_segmentation.folder("segformer")
    model = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with sensorium.pipeline(model=model, processor=processor, device="cpu", compile=False) as pipe:
        assert pipe.task.name == "image-segmentation"
        before = pipe(make_image())
        assert_same(before, theirs(folder)(make_image()))
        with torch.no_grad():
            model.decode_head.classifier.bias[5] += 1000
        assert pipe(make_image()).labels.tolist() == ["thing 5"], "its owner may change it at any time"


def test_segformer_s_head_multiplied_out_gives_the_same_logits():
    folder = tiny_segmentation.folder("segformer")
    model = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        model.decode_head.batch_norm.running_mean.normal_()
        model.decode_head.batch_norm.running_var.uniform_(0.5, 2)
        pixels = torch.randn(2, 3, 64, 96)
        expected = model(pixels).logits
        assert FusedHead.fits(model)
        torch.testing.assert_close(FusedHead(model)(model, pixels), expected, rtol=1e-5, atol=1e-4)
        half = FusedHead(model.bfloat16()).bfloat16()(model, pixels.bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float() - expected).abs().max()) < 0.05 * float(expected.abs().max())
    assert not FusedHead.fits(
        transformers.AutoModelForSemanticSegmentation.from_pretrained(tiny_segmentation.folder("beit"))
    )


def test_the_model_of_a_pipeline_keeps_its_own_head():
    folder = tiny_segmentation.folder("segformer")
    with ours(folder) as pipe:
        pipe(make_image())
        assert pipe.task._fused is not None
        assert type(pipe.model.decode_head).__name__ == "SegformerDecodeHead"
        saved = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).state_dict()
        assert pipe.model.state_dict().keys() == saved.keys()


@pytest.mark.parametrize("name", ["segformer", "mask2former"])
def test_bfloat16_drifts_less_than_promised(name):
    folder, inputs = tiny_segmentation.folder(name), make_images()
    with ours(folder) as exact, ours(folder, dtype="bfloat16") as fast:
        a, b = exact(inputs, subtask="semantic"), fast(inputs, subtask="semantic")
    agree = [float((x.segmentation == y.segmentation).mean()) for x, y in zip(a, b, strict=True)]
    assert np.mean(agree) > 0.8  # random weights have far more borders per pixel than trained ones


def halves(count=12, size=32):
    """Pictures of a dark and a bright part, and which pixels are bright."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    for _ in range(count):
        mask = np.zeros((size, size), np.int64)
        top, left = rng.integers(0, size // 2, 2)
        mask[top : top + size // 2, left : left + size // 2] = 1
        images.append(np.uint8(np.clip(60 + 130 * mask[..., None] + rng.normal(0, 20, (size, size, 3)), 0, 255)))
        masks.append(mask)
    return images, torch.from_numpy(np.stack(masks))


def test_a_composite_learns_is_saved_and_serves(tmp_path):
    folder = tiny.folder("convnext")
    torch.manual_seed(0)
    backbone = sensorium.AutoBackbone.from_pretrained(folder, out_indices="all").freeze()
    processor = sensorium.ImageProcessor.from_pretrained(folder)
    model = sensorium.build_head(backbone, ["dark", "bright"], task="image-segmentation", width=32)
    images, target = halves()
    pixels = processor(images)["pixel_values"]
    features = [each.detach() for each in model.head.extract(model.backbone, pixels)]
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        logits = F.interpolate(model.head(features), size=target.shape[1:], mode="bilinear")
        loss = F.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    model.eval().save_pretrained(tmp_path, processor)
    with ours(tmp_path) as pipe, sensorium.pipeline(model=model, processor=processor, device="cpu") as loaded:
        assert pipe.task.name == loaded.task.name == "image-segmentation"
        results = pipe(images)
        one = loaded(images[0])
        assert (one.segmentation != results[0].segmentation).mean() <= 0.002  # where two classes are nearly even
        assert one.labels.tolist() == results[0].labels.tolist()
        with pytest.raises(OptionError, match="semantic"):
            pipe(images[0], subtask="panoptic")
    with torch.no_grad():
        expected = F.interpolate(model(pixels).logits, size=(32, 32), mode="bilinear").argmax(1).numpy()
    for result, mask in zip(results, expected, strict=True):
        assert float((result.segmentation != mask).mean()) <= 0.002
    assert np.mean([(r.segmentation == t.numpy()).mean() for r, t in zip(results, target, strict=True)]) > 0.85
    assert set(results[0].labels) == {"dark", "bright"}


@pytest.mark.parametrize("options", [{"width": 0}, {"width": 2.5}, {"dropout": 1}, {"depth": 3}])
def test_a_head_s_options_are_checked(options):
    backbone = sensorium.AutoBackbone.from_pretrained(tiny.folder("convnext"), out_indices="all")
    with pytest.raises((OptionError, KeyError), match=next(iter(options))):
        sensorium.build_head(backbone, ["a", "b"], task="image-segmentation", **options)


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_segmentation.folder("segformer"), **settings),
    inputs=make_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    options=[{"subtask": "semantic"}],
)


def test_bfloat16_finds_what_float32_finds_for_a_single_picture():
    """In torch 2.13 half-precision sampling reads beyond the end of maps that are not contiguous: batches of one."""
    folder = tiny_segmentation.folder("mask2former")
    settings = {"device": "cpu", "compile": False}
    with sensorium.pipeline("image-segmentation", folder, dtype="float32", **settings) as pipe:
        want = pipe(make_image(64, 48), subtask="semantic")
    with sensorium.pipeline("image-segmentation", folder, dtype="bfloat16", **settings) as pipe:
        for _ in range(5):
            got = pipe(make_image(64, 48), subtask="semantic")
            assert (got.segmentation == want.segmentation).mean() > 0.8
