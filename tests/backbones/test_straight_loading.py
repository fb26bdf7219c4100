"""Weights go from a checkpoint to where they run, each by itself: no random ones before, no second model beside."""

from __future__ import annotations

import threading

import pytest
import timm
import torch
import transformers
from timm.models import save_for_hf
from transformers.integrations import accelerate

import sensorium
from sensorium.backbones import AutoBackbone
from sensorium.backbones.one_device import one_device
from sensorium.backbones.weights import load_weights
from sensorium.checkpoints import LoadOptions, resolve
from tests import tiny, tiny_speech
from tests.media import make_image
from tests.pretend_cuda import PretendCuda

CARD = torch.device("cuda", 1)


def timm_folder(folder, name="vit_tiny_patch16_224", **arguments):
    torch.manual_seed(0)
    arguments = {"img_size": 32, "depth": 2, "num_classes": 5, **arguments}
    save_for_hf(timm.create_model(name, **arguments), folder, safe_serialization=True, model_args=arguments)
    return folder


def state_of(model):
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


def assert_equal_states(got, want):
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor.to(got[name].dtype)), name


def composite_folder(folder):
    torch.manual_seed(0)
    backbone = AutoBackbone.from_config("timm/vit_tiny_patch16_224", model_args={"img_size": 32, "depth": 2})
    sensorium.build_head(backbone, ["a", "b"]).save_pretrained(folder / "composite")
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder / "composite")
    return folder / "composite"


@pytest.mark.parametrize("make", [timm_folder, composite_folder])
def test_weights_share_the_memory_of_the_checkpoint(make, tmp_path):
    with sensorium.pipeline("image-classification", make(tmp_path), device="cpu", dtype="float32") as pipe:
        storages = [weight.untyped_storage() for weight in pipe.task.model.parameters()]
        stored = sum(storage.nbytes() for storage in {one.data_ptr(): one for one in storages}.values())
        file = next((tmp_path / "composite" if make is composite_folder else tmp_path).glob("*.safetensors"))
        assert stored <= file.stat().st_size


def test_timm_draws_no_random_weights_for_a_checkpoint(tmp_path):
    timm_folder(tmp_path)
    before = torch.random.get_rng_state()
    AutoBackbone.from_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    AutoBackbone.from_config("timm/vit_tiny_patch16_224", model_args={"img_size": 32, "depth": 2})
    assert not torch.equal(torch.random.get_rng_state(), before), "and those without one are as random as ever"


def test_what_is_trained_leaves_the_file_alone(tmp_path):
    timm_folder(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    backbone = AutoBackbone.from_pretrained(tmp_path)
    with torch.no_grad():
        for weight in backbone.parameters():
            weight.add_(1)
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_loads_straight_onto_the_card(dtype):
    """Tied weights (Whisper's), and buffers that no checkpoint holds, among them."""
    folder = tiny_speech.whisper()
    want = transformers.WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    with PretendCuda(devices=2) as cuda:
        checkpoint = resolve(folder, LoadOptions(dtype=dtype, device=CARD))
        model, missing = load_weights(transformers.WhisperForConditionalGeneration, None, checkpoint)
        tensors = [*model.parameters(), *model.buffers()]
        assert {tensor.device for tensor in tensors} == {CARD}
        assert {tensor.dtype for tensor in model.parameters()} == {dtype}
        assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
        assert not missing
        assert torch.cuda.max_memory_allocated(0) == 0
        assert_equal_states(state_of(model), want.state_dict())
        cuda.check()


def sharded(folder, model):
    model.save_pretrained(folder, max_shard_size="2KB")
    assert len(list(folder.glob("*.safetensors"))) > 1


def pickled(folder, model):
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize("save", [sharded, pickled])
def test_shards_and_pickles_do_so_too(save, tmp_path):
    model = transformers.AutoModelForImageClassification.from_pretrained(tiny.folder("resnet"))
    save(tmp_path, model)
    with PretendCuda(devices=2) as cuda:
        options = LoadOptions(device=CARD, use_safetensors=save is sharded)
        got, missing = load_weights(transformers.AutoModelForImageClassification, None, resolve(tmp_path, options))
        assert not missing
        assert {tensor.device for tensor in [*got.parameters(), *got.buffers()]} == {CARD}
        assert_equal_states(state_of(got), model.state_dict())
        cuda.check()


@pytest.mark.parametrize("make", [timm_folder, composite_folder])
def test_timm_and_composites_come_to_the_card_in_the_dtype_asked_for(make, tmp_path):
    image = make_image()
    settings = {"dtype": "bfloat16", "compile": False}
    with sensorium.pipeline("image-classification", make(tmp_path), device="cpu", **settings) as pipe:
        want, state = pipe(image), state_of(pipe.task.model)
    with PretendCuda(devices=2) as cuda:
        with sensorium.pipeline("image-classification", make(tmp_path), device=CARD, **settings) as pipe:
            model = pipe.task.model
            assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
            most = sum(-(-weight.nbytes // 512) * 512 for weight in [*model.parameters(), *model.buffers()])
            assert torch.cuda.max_memory_allocated(CARD) <= most, "no float32 copy was there"
            assert pipe(image).scores == pytest.approx(want.scores, abs=0.01)
            assert_equal_states(state_of(model), state)
        cuda.check()


def test_other_threads_are_asked_for_accelerate_as_ever():
    asked, inside, done = [], threading.Event(), threading.Event()
    before = accelerate.is_accelerate_available

    def other():
        inside.wait()
        asked.append(accelerate.is_accelerate_available())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with one_device(CARD), one_device(CARD):
        assert accelerate.is_accelerate_available()
        inside.set()
        done.wait()
    thread.join()
    assert asked == [before()]
    assert accelerate.is_accelerate_available is before
