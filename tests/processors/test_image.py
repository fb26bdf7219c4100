"""ImageProcessor beyond its pixels: what it reads, what it refuses, its two stages, and its files."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.testing import CompileCounter
from transformers import (
    AutoImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    ImageGPTImageProcessor,
    MobileViTImageProcessor,
    ViTImageProcessor,
)

from sensorium.checkpoints import LoadOptions, resolve
from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    InputError,
    LimitError,
    UnsafeCheckpointError,
)
from sensorium.processors.borders import PadBelow
from sensorium.processors.geometry import CenterCrop, CropToRatio, FlipChannels, Resize, ToFloat
from sensorium.processors.image import ImageProcessor
from sensorium.processors.recipe import Operation, Recipe

TIMM_CFG = {
    "input_size": [3, 48, 48],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
}


def make_image(width: int = 90, height: int = 70, *, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels(width: int = 90, height: int = 70) -> torch.Tensor:
    return torch.from_numpy(np.array(make_image(width, height))).permute(2, 0, 1)


def clip(**settings) -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, **settings)


# Two stages


def test_bytes_stay_bytes_until_finish():
    processor = ImageProcessor.from_transformers(clip())
    fitted = processor.fit(pixels())["pixel_values"]
    assert fitted.dtype == torch.uint8
    assert fitted.shape == (3, 32, 32)
    assert processor.size == (32, 32)
    assert processor.input_names == ("pixel_values",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_finish_is_float32_arithmetic_then_one_cast(dtype, memory_format):
    processor = ImageProcessor.from_transformers(clip())
    batch = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8).to(memory_format=memory_format)
    before = batch.clone()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (clip().image_mean, clip().image_std))
    expected = (batch / 255 - mean) / std
    result = processor.finish({"pixel_values": batch, "other": mean}, dtype=dtype)
    assert result["other"] is mean
    assert result["pixel_values"].dtype == dtype
    assert result["pixel_values"].is_contiguous(memory_format=memory_format)
    tolerance = torch.finfo(dtype).eps * 4 + 1e-6  # values reach 2.7: half a step of the dtype there, and rounding
    torch.testing.assert_close(result["pixel_values"].float(), expected, rtol=0, atol=tolerance)
    assert torch.equal(batch, before)


def test_finish_does_not_write_into_a_float_batch():
    processor = ImageProcessor.from_transformers(clip())
    batch = torch.rand(2, 3, 32, 32) * 255
    before = batch.clone()
    processor.finish({"pixel_values": batch})
    assert torch.equal(batch, before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_finish_compiles_without_graph_breaks_or_recompiles(memory_format):
    processor = ImageProcessor.from_transformers(clip())
    counter = CompileCounter()
    compiled = torch.compile(processor.finish, fullgraph=True, backend=counter)
    for _ in range(3):
        batch = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8).to(memory_format=memory_format)
        expected = processor.finish({"pixel_values": batch})["pixel_values"]
        assert torch.equal(compiled({"pixel_values": batch})["pixel_values"], expected)
    assert counter.frame_count == 1


def test_memory_layout_of_the_picture_does_not_matter():
    processor = ImageProcessor.from_transformers(clip())
    image = pixels()
    assert torch.equal(processor.fit(image)["pixel_values"], processor.fit(image.contiguous())["pixel_values"])


@pytest.mark.parametrize("shape", [(70, 90), (1, 70, 90), (4, 70, 90), (1, 3, 70, 90)])
def test_fit_refuses_what_is_not_one_rgb_picture(shape):
    with pytest.raises(InputError, match=r"\(3, H, W\)"):
        ImageProcessor.from_transformers(clip()).fit(torch.zeros(shape, dtype=torch.uint8))


def test_constants_made_under_inference_mode_serve_training_too():
    processor = ImageProcessor.from_transformers(clip())
    with torch.inference_mode():
        processor.finish({"pixel_values": torch.zeros(1, 3, 32, 32)})
    leaf = torch.rand(1, 3, 32, 32, requires_grad=True)
    processor.finish({"pixel_values": leaf})["pixel_values"].sum().backward()
    assert leaf.grad is not None


def test_many_threads_give_the_same_as_one():
    processor = ImageProcessor.from_transformers(clip())
    images = [pixels(60 + index, 90 - index) for index in range(24)]
    alone = [processor.fit(image)["pixel_values"] for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda image: processor.fit(image)["pixel_values"], images))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


# Batches


def test_a_batch_is_its_pictures_one_by_one():
    processor = ImageProcessor.from_transformers(clip())
    images = [make_image(90, 70), make_image(50, 120), make_image(33, 20)]
    batch = processor(images)["pixel_values"]
    for row, image in zip(batch, images, strict=True):
        torch.testing.assert_close(row, processor(image)["pixel_values"][0], rtol=0, atol=0)


def test_pictures_that_stay_different_are_refused_as_a_batch():
    processor = ImageProcessor.from_transformers(ViTImageProcessor(size={"shortest_edge": 20}))
    assert processor.size is None
    with pytest.raises(InputError, match="different sizes") as caught:
        processor([make_image(90, 70), make_image(50, 120)])
    assert caught.value.code == "mixed-sizes"


def test_padding_to_the_largest_comes_after_the_arithmetic():
    reference = ViTImageProcessor(size={"shortest_edge": 20}, do_pad=True)
    images = [make_image(90, 70), make_image(50, 120), make_image(20, 20)]
    actual = ImageProcessor.from_transformers(reference)(images)["pixel_values"]
    expected = reference(images=images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_a_picture_larger_than_the_padding_is_refused():
    reference = ViTImageProcessor(do_resize=False, do_pad=True, pad_size={"height": 40, "width": 40})
    processor = ImageProcessor.from_transformers(reference)
    assert processor.size == (40, 40)
    with pytest.raises(InputError, match="90x70"):
        processor(make_image(90, 70))


def test_a_bad_picture_in_a_batch_is_named():
    processor = ImageProcessor.from_transformers(clip())
    with pytest.raises(InputError) as caught:
        processor([make_image(), None])
    assert caught.value.index == 1


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="at least one picture"):
        ImageProcessor.from_transformers(clip())([])


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_thread_of_a_picture_is_refused_before_it_takes_gigabytes(size):
    processor = ImageProcessor.from_transformers(CLIPImageProcessor())
    with pytest.raises(LimitError, match="elongated"):
        processor.fit(torch.zeros(3, *size, dtype=torch.uint8))


# What is read, and what is not


class _Lookalike(ViTImageProcessor):
    def resize(self, image, size, **kwargs):
        return super().resize(image, size, **kwargs).flip(-1)


def test_an_unknown_class_with_steps_of_its_own_runs_itself():
    reference = _Lookalike(size={"height": 24, "width": 24})
    with pytest.warns(UserWarning, match="_Lookalike.*resize"):
        processor = ImageProcessor.from_transformers(reference)
    assert processor.recipe is None
    assert processor.size is None
    expected = reference(images=[make_image(), make_image(seed=1)], return_tensors="pt")["pixel_values"]
    assert torch.equal(processor([make_image(), make_image(seed=1)])["pixel_values"], expected)


def test_a_known_name_on_another_class_is_not_trusted():
    impostor = type("ConvNextImageProcessor", (ConvNextImageProcessor,), {})
    with pytest.warns(UserWarning, match="not Transformers' own class"):
        assert ImageProcessor.from_transformers(impostor()).recipe is None


def test_a_step_replaced_on_the_instance_is_not_overlooked():
    reference = ViTImageProcessor()
    reference.center_crop = lambda image, size: image
    with pytest.warns(UserWarning, match="center_crop"):
        assert ImageProcessor.from_transformers(reference).recipe is None


def test_other_inputs_than_pixels_pass_through_a_delegated_processor():
    reference = ImageGPTImageProcessor(clusters=[[-1.0, -1, -1], [1, 1, 1], [0, 0, 0]], size={"height": 8, "width": 8})
    with pytest.warns(UserWarning, match="ImageGPT"):
        processor = ImageProcessor.from_transformers(reference)
    assert processor.input_names == ("input_ids",)
    batch = processor([make_image(), make_image(seed=1)], dtype=torch.bfloat16)
    expected = reference(images=[make_image(), make_image(seed=1)], return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])


def test_the_image_processor_inside_a_multimodal_processor_is_found():
    class Processor:
        image_processor = clip()

    assert ImageProcessor.from_transformers(Processor()).size == (32, 32)


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": [1, 28, 28]},
        {"input_size": "224"},
        {"mean": [0.5]},
        {"std": [0.5, 0.0, 0.5]},
        {"interpolation": "sinc"},
        {"crop_pct": -1},
        {"crop_pct": float("nan")},
    ],
    ids=str,
)
def test_a_broken_timm_config_is_refused(change):
    with pytest.raises(CheckpointError, match="pretrained_cfg"):
        ImageProcessor.from_timm(TIMM_CFG | change)


# Files


@pytest.mark.parametrize(
    "reference",
    [
        clip(),
        ConvNextImageProcessor(size={"shortest_edge": 40}),
        MobileViTImageProcessor(),
        ViTImageProcessor(do_pad=True),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_saved_reads_back_here_and_in_transformers(reference, tmp_path):
    processor = ImageProcessor.from_transformers(reference)
    processor.save_pretrained(tmp_path / "new")
    again = ImageProcessor.from_pretrained(tmp_path / "new")
    assert again.recipe == processor.recipe
    assert ImageProcessor.from_dict(processor.to_dict()).recipe == processor.recipe
    theirs = AutoImageProcessor.from_pretrained(tmp_path / "new")
    assert type(theirs) is type(reference)
    expected = theirs(images=make_image(300, 280), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(again(make_image(300, 280))["pixel_values"], expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Sensorium does not read")
def test_a_delegated_processor_saves_too(tmp_path):
    clusters = [[-1.0, -1, -1], [1, 1, 1]]
    processor = ImageProcessor.from_transformers(ImageGPTImageProcessor(clusters=clusters))
    processor.save_pretrained(tmp_path)
    again = ImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert torch.equal(again(make_image())["input_ids"], processor(make_image())["input_ids"])


def test_timms_recipe_is_saved_for_us_and_for_transformers(tmp_path):
    processor = ImageProcessor.from_timm(TIMM_CFG)
    processor.save_pretrained(tmp_path)
    assert ImageProcessor.from_pretrained(tmp_path).recipe == processor.recipe
    expected = AutoImageProcessor.from_pretrained(tmp_path)(make_image(), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(processor(make_image())["pixel_values"], expected, rtol=0, atol=1e-6)


def test_a_models_config_is_left_alone_and_can_carry_timms_entries(tmp_path):
    processor = ImageProcessor.from_timm(TIMM_CFG)
    (tmp_path / "config.json").write_text(json.dumps({"sensorium": {}, **processor.config_entries}))
    before = (tmp_path / "config.json").read_text()
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == before
    assert ImageProcessor.from_pretrained(resolve(tmp_path)).recipe == processor.recipe
    expected = AutoImageProcessor.from_pretrained(tmp_path)(make_image(), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(processor(make_image())["pixel_values"], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "config", [{"architecture": "vit_x", "pretrained_cfg": TIMM_CFG}, {"architecture": "x", **TIMM_CFG}]
)
def test_timm_checkpoints_keep_their_recipe_in_config_json(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    processor = ImageProcessor.from_pretrained(tmp_path)
    assert processor.recipe == ImageProcessor.from_timm(TIMM_CFG).recipe
    assert processor.timm_config is not None


def test_transformers_wrapper_around_timm_is_read_as_timm(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "x", "num_classes": 3, "pretrained_cfg": TIMM_CFG})
    )
    wrapper = AutoImageProcessor.from_pretrained(tmp_path)
    assert ImageProcessor.from_transformers(wrapper).recipe == ImageProcessor.from_timm(TIMM_CFG).recipe


EVERY_STEP = Recipe(
    geometry=(
        ToFloat(),
        CropToRatio((0.5, 0.75)),
        Resize("shortest", (20, 20), "bicubic", multiple=4),
        Resize("cover", (20, 30), "box", pillow=True),
        CenterCrop((24, 24), fill=(1, 2, 3), half_even=True),
        PadBelow((24, 28)),
        FlipChannels(),
    ),
    arithmetic=(Operation("multiply", (1 / 255,)), Operation("subtract", (0.1, 0.2, 0.3)), Operation("divide", (2.0,))),
    pad_to=(30, 40),
)


def test_a_recipe_of_ones_own_round_trips(tmp_path):
    processor = ImageProcessor(EVERY_STEP)
    assert processor.size == (30, 40)
    processor.save_pretrained(tmp_path)
    again = ImageProcessor.from_pretrained(tmp_path)
    assert again.recipe == EVERY_STEP
    copied = pickle.loads(pickle.dumps(again))
    expected = processor(make_image())["pixel_values"]
    assert expected.shape == (1, 3, 30, 40)
    assert torch.equal(copied(make_image())["pixel_values"], expected)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda recipe: recipe.update(version=2),
        lambda recipe: recipe.pop("geometry"),
        lambda recipe: recipe["geometry"][0].update(step="os.system"),
        lambda recipe: recipe["geometry"][2].update(size=[0, 20]),
        lambda recipe: recipe["geometry"][2].update(extra=1),
        lambda recipe: recipe["arithmetic"][0].update(operator="__class__"),
        lambda recipe: recipe["arithmetic"][0].update(values=[1, 2]),
        lambda recipe: recipe["arithmetic"][0].update(values=["1"]),
        lambda recipe: recipe["arithmetic"][0].update(values=[float("inf")]),
        lambda recipe: recipe["arithmetic"][0].update(operator="divide", values=[0.0]),
        lambda recipe: recipe.update(pad_to=[float("inf"), 3]),
        lambda recipe: recipe.update(pad_to=[10**6, 10**6]),
        lambda recipe: recipe.update(pad_to=[-1, 3]),
        lambda recipe: _step(recipe, "resize").update(rule="largest"),
        lambda recipe: _step(recipe, "resize").update(mode="cubic"),
        lambda recipe: _step(recipe, "resize").update(size=[3, 3, 3]),
        lambda recipe: _step(recipe, "center_crop").update(fill=[0, 0, 256]),
        lambda recipe: _step(recipe, "center_crop").update(fill=["x"] * 3),
        lambda recipe: recipe["geometry"].append({"step": "crop_to_ratio", "ratio": [float("nan"), 1]}),
    ],
)
def test_a_broken_recipe_is_refused(break_it):
    data = ImageProcessor(EVERY_STEP).to_dict()
    break_it(data["sensorium_recipe"])
    with pytest.raises(CheckpointError):
        ImageProcessor.from_dict(data)


def _step(recipe, kind):
    return next(step for step in recipe["geometry"] if step["step"] == kind)


def write_checkpoint(folder, preprocessor: object = None, **config) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", **config}))
    if preprocessor is not None:
        text = preprocessor if isinstance(preprocessor, str) else json.dumps(preprocessor)
        (folder / "preprocessor_config.json").write_text(text)


def test_a_checkpoint_without_a_recipe_says_what_to_do(tmp_path):
    write_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json.*processor="):
        ImageProcessor.from_pretrained(tmp_path)


def test_a_missing_folder_is_not_a_missing_recipe(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        ImageProcessor.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    ["{", "[1]", {"image_processor_type": "NoSuchImageProcessor"}, {"sensorium_recipe": 1}, {"pretrained_cfg": [1]}],
    ids=str,
)
def test_a_broken_recipe_file_is_a_checkpoint_error(content, tmp_path):
    write_checkpoint(tmp_path, content, model_type="no-such-model")
    with pytest.raises(CheckpointError):
        ImageProcessor.from_pretrained(tmp_path)


def test_a_nested_processor_config_is_read(tmp_path):
    write_checkpoint(tmp_path)
    nested = {"image_processor": clip().to_dict(), "processor_class": "CLIPProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested, default=int))
    assert ImageProcessor.from_pretrained(tmp_path).size == (32, 32)


CANARY = """
from pathlib import Path
Path(__file__).with_name("canary").touch()
Path({folder!r}, "canary").touch()
from transformers import ViTImageProcessor
class Remote(ViTImageProcessor):
    pass
"""


@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_checkpoint_does_not_run_unasked(known, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "remote.py").write_text(CANARY.format(folder=str(tmp_path)))
    named = {"image_processor_type": "ViTImageProcessor" if known else "Remote"}
    recipe = {**named, "auto_map": {"AutoImageProcessor": "remote.Remote"}, "size": {"height": 24, "width": 24}}
    write_checkpoint(tmp_path, recipe, model_type="vit" if known else "no-such-model")
    if known:  # Transformers has a class of its own for it
        assert ImageProcessor.from_pretrained(tmp_path, options=LoadOptions()).size == (24, 24)
    else:
        with pytest.raises(UnsafeCheckpointError, match="trust_remote_code=True"):
            ImageProcessor.from_pretrained(tmp_path)
    assert ImageProcessor.from_dict(recipe).size == (24, 24) if known else True
    assert not (tmp_path / "canary").exists()
