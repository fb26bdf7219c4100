"""surface-normals against Transformers' model and its processor's post-processing, on one checkpoint, in float32."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import InputError, TaskMismatchError
from sensorium.results import NormalMap
from tests import tiny_normals
from tests.contract import Contract
from tests.media import make_image, make_images
from tests.passing import passing_folder

# Vectors are made as long as 1 after they were mixed: where they almost cancel, rounding grows with the division.
TOLERANCE = 1e-3


def ours(name="tipsv2_dpt", **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("surface-normals", tiny_normals.folder(name), **settings)


def by_hand(name):
    """What Transformers gives for a picture: `(H, W, 3)` float32, shorter than 1 where vectors were mixed."""
    folder = tiny_normals.folder(name)
    model = transformers.AutoModelForNormalEstimation.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    sizes = "source_sizes" if getattr(processor, "do_pad", False) else "target_sizes"

    def normals(image):
        with torch.no_grad():
            outputs = model(**processor(images=image, return_tensors="pt"))
        (found,) = processor.post_process_normal_estimation(outputs, **{sizes: [image.size[::-1]]})
        return found["normals"].permute(1, 2, 0).numpy()

    return normals


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


CONTRACT = Contract(
    build=ours,
    inputs=lambda: make_images()[:4],
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    tolerance=TOLERANCE,
)


@pytest.mark.parametrize("name", tiny_normals.ARCHITECTURES)
def test_same_answers_as_transformers_at_length_one(name):
    inputs, reference = make_images(), by_hand(name)
    with ours(name, batch_size=4) as pipe:
        assert pipe.task.processor.recipe is not None
        together, alone = pipe(inputs), pipe(inputs[3])
    references = [reference(image) for image in inputs]
    assert min(np.linalg.norm(each, axis=-1).min() for each in references) < 0.9, "there what was mixed is shorter"
    for image, result, expected in zip(inputs, together, references, strict=True):
        assert isinstance(result, NormalMap)
        assert result.size == image.size[::-1]
        np.testing.assert_allclose(result.normals, unit(expected), atol=TOLERANCE)
        np.testing.assert_allclose(np.linalg.norm(result.normals, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(alone.normals, together[3].normals, atol=TOLERANCE)
    assert np.ptp([result.normals.mean((0, 1)) for result in together], axis=0).max() > 0.01, "inputs are told apart"


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 1), (20, 3000)])
def test_narrow_and_long_pictures(size):
    image = make_image(*size)
    with ours() as pipe:
        result = pipe(image)
    assert result.size == image.size[::-1]
    np.testing.assert_allclose(result.normals, unit(by_hand("tipsv2_dpt")(image)), atol=TOLERANCE)


def test_a_picture_that_would_vanish_costs_no_neighbour():
    with ours("sapiens2") as pipe:
        first, refused, last = pipe([make_image(), make_image(20, 3000), make_image()], on_error="return")
    assert isinstance(refused, InputError)
    assert refused.code == "too-narrow"
    assert first == last


@pytest.mark.filterwarnings("ignore:Sensorium does not read the recipe")
def test_a_border_is_taken_off_where_transformers_own_processor_runs():
    class Own(transformers.Sapiens2ImageProcessor):
        def _preprocess(self, *args, **given):
            return super()._preprocess(*args, **given)

    processor = Own(size=tiny_normals.PORTRAIT, do_pad=True)
    image = make_image(90, 30)
    with ours("sapiens2") as read, ours("sapiens2", processor=processor) as delegated:
        assert delegated.task.processor.recipe is None
        np.testing.assert_allclose(delegated(image).normals, read(image).normals, atol=TOLERANCE)


def test_vectors_that_cancel_point_nowhere(monkeypatch):
    with ours(batch_size=1) as pipe:
        half = torch.ones(1, 3, 2, 1).cumsum(2) * 2 - 3  # one row points back along the other
        monkeypatch.setattr(pipe.task, "compute", lambda batch: {"normals": half})
        result = pipe(make_image(5, 3))
    assert np.array_equal(result.normals[1], np.zeros((5, 3)))
    np.testing.assert_allclose(np.linalg.norm(result.normals[[0, 2]], axis=-1), 1, atol=1e-6)


def test_a_model_of_several_tasks_gives_its_normals():
    """And its depths and classes: Google's checkpoints of TIPSv2 hold all heads, and code."""
    settings = tiny_normals.ARCHITECTURES["tipsv2_dpt"][1]
    torch.manual_seed(0)
    whole = transformers.Tipsv2DptForDensePrediction(transformers.Tipsv2DptConfig(**settings)).eval()
    folder, image = passing_folder("tiny-tipsv2-whole-"), make_image()
    processor = transformers.AutoImageProcessor.from_pretrained(tiny_normals.folder("tipsv2_dpt"))
    whole.save_pretrained(folder)
    processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "configuration_dpt.TIPSv2DPTConfig", "AutoModel": "modeling_dpt.TIPSv2DPTModel"}
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["TIPSv2DPTModel"], "auto_map": own}))
    with torch.no_grad():
        outputs = whole(**processor(images=image, return_tensors="pt"))
    given = {"device": "cpu", "dtype": "float32", "compile": False}
    with sensorium.pipeline("surface-normals", folder, **given) as pipe:
        result = pipe(image)
    (expected,) = processor.post_process_normal_estimation(outputs, [image.size[::-1]])
    np.testing.assert_allclose(result.normals, unit(expected["normals"].permute(1, 2, 0).numpy()), atol=TOLERANCE)
    with sensorium.pipeline("depth-estimation", folder, **given) as pipe:
        depth = pipe(image).depth
    (expected,) = processor.post_process_depth_estimation(outputs, [image.size[::-1]])
    np.testing.assert_allclose(depth, expected["predicted_depth"].numpy(), rtol=TOLERANCE)
    with (
        sensorium.pipeline("image-segmentation", folder, **given) as pipe,
        sensorium.pipeline("image-segmentation", whole, processor=processor, **given) as loaded,
    ):
        classes = pipe(image).segmentation
        assert np.array_equal(loaded(image).segmentation, classes)
    (expected,) = processor.post_process_semantic_segmentation(outputs, [image.size[::-1]])
    assert (classes == expected.numpy()).mean() > 0.99


def test_a_checkpoint_of_depths_is_refused():
    from tests import tiny_depth

    with pytest.raises(TaskMismatchError, match="depth-estimation"):
        sensorium.pipeline("surface-normals", tiny_depth.folder("dpt"), device="cpu")
