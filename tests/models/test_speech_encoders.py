"""Speech encoders in padded batches: the norm over time, and what is done to a model once."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from sensorium.models import speech_encoders as speech
from sensorium.models.attention_masks import unread_masks
from sensorium.models.speech_encoders import (
    RealFramesNorm,
    fold_weight_norm,
    in_shares,
    least_samples,
    takes_padding,
    tell_lengths,
    watch_padding,
)
from tests import tiny_audio
from tests.host_waits import Calls


def load(name):
    from transformers import AutoModelForAudioClassification

    return AutoModelForAudioClassification.from_pretrained(tiny_audio.folder(name))


def norms():
    """A group norm with values of its own, and the same one that knows lengths, after a convolution of 10 by 5."""
    torch.manual_seed(0)
    plain = nn.GroupNorm(6, 6)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    return plain, RealFramesNorm(plain, nn.Conv1d(1, 6, 10, stride=5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_are_those_of_the_real_frames(dtype):
    plain, watched = norms()
    plain, watched = plain.to(dtype), watched.to(dtype)
    frames = [99, 40, 2]
    values = (3 + 5 * torch.randn(3, 6, 99)).to(dtype)
    watched.lengths = torch.tensor([5 * (n - 1) + 10 for n in frames])
    result = watched(values)
    assert result.dtype == dtype
    assert result.isfinite().all()
    for row, one, count in zip(result, values, frames, strict=True):
        expected = plain(one[None, :, :count])[0]
        torch.testing.assert_close(row[:, :count], expected, atol=1e-5 if dtype == torch.float32 else 0.05, rtol=0)


def test_without_lengths_it_is_the_norm_that_it_replaces():
    plain, watched = norms()
    values = torch.randn(2, 6, 30)
    assert torch.equal(watched(values), plain(values))
    assert watched.weight is plain.weight


@pytest.mark.parametrize("compiling", [False, True], ids=["one by one", "as a batch"])
@pytest.mark.parametrize("architecture", ["wav2vec2", "wav2vec2-layer", "hubert"])
def test_each_sound_s_frames_are_those_that_it_has_alone(monkeypatch, compiling, architecture):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)  # which takes the other way on the CPU
    plain, model = load(architecture), load(architecture)
    watched = watch_padding(model)
    lengths = [4_000, 1_234, 2_900]
    samples = torch.randn(3, 4_096) * (torch.arange(4_096) < torch.tensor(lengths)[:, None])
    alike = next(name for name in ("wav2vec2", "hubert") if hasattr(model, name))
    with torch.inference_mode():
        tell_lengths(watched, torch.tensor(lengths))
        frames = getattr(model, alike).feature_extractor(samples)
        tell_lengths(watched, None)
        for row, one, length in zip(frames, samples, lengths, strict=True):
            alone = getattr(plain, alike).feature_extractor(one[None, :length])[0]
            torch.testing.assert_close(row[:, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)
        again = getattr(model, alike).feature_extractor(samples)
        torch.testing.assert_close(again, getattr(plain, alike).feature_extractor(samples), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert", "wav2vec2-layer"])
def test_long_sounds_go_through_the_convolutions_in_pieces(monkeypatch, architecture, dtype):
    model = load(architecture.removesuffix("-layer"))
    config = copy.deepcopy(model.config)
    if architecture.endswith("-layer"):
        config.feat_extract_norm = "layer"
        model = type(model)(config)
    encoder = next(m for m in model.to(dtype).modules() if hasattr(m, "conv_layers"))
    torch.manual_seed(0)
    audios = 0.3 + torch.randn(2, 30_001).to(dtype)
    with torch.inference_mode():
        expected = [encoder(audios[:1]), encoder(audios[1:, :20_007])]
        [watched] = watch_padding(model)
        tell_lengths([watched], torch.tensor([30_001, 20_007]))
        whole = type(encoder).forward
        seen = []
        monkeypatch.setattr(type(encoder), "forward", lambda self, x: seen.append(x.shape[1]) or whole(self, x))
        monkeypatch.setattr(speech, "PIECE", 7)
        found = encoder(audios)
    assert max(seen) < 8 * _samples_a_frame(config) + 1000
    for row, one in zip(found, expected, strict=True):
        close = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
        torch.testing.assert_close(row[:, : one.shape[2]], one[0], **close)


@pytest.mark.parametrize(("rows", "shares"), [(1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_batches_of_long_sounds_run_in_shares(rows, shares):
    seen = []

    def twice(inputs):
        seen.append(len(inputs["input_values"]))
        assert inputs["attention_mask"].shape == inputs["input_values"].shape
        return 2 * inputs["input_values"][:, :5]

    values = torch.arange(rows * 160_000.0).view(rows, 160_000)
    found = in_shares(twice, {"input_values": values, "attention_mask": torch.ones_like(values)})
    assert seen == shares
    assert torch.equal(found, 2 * values[:, :5])


def _samples_a_frame(config):
    return math.prod(config.conv_stride)


def test_a_model_is_watched_once_and_keeps_its_weights():
    grouped, layered = load("wav2vec2"), load("wav2vec2-layer")
    names = list(grouped.state_dict())
    found = watch_padding(grouped)
    assert [len(one.norms) for one in found] == [1]
    assert [len(one.norms) for one in watch_padding(layered)] == [0]
    assert watch_padding(grouped) == found
    assert watch_padding(load("ast")) == []
    assert list(grouped.state_dict()) == names


def test_a_watched_model_can_be_copied():
    model = load("wav2vec2")
    watch_padding(model)
    other = copy.deepcopy(model)
    (found,) = watch_padding(other)
    assert found.encoder is other.wav2vec2.feature_extractor
    assert found.norms == [other.wav2vec2.feature_extractor.conv_layers[0].layer_norm]


HEARS = [name for name in tiny_audio.ARCHITECTURES if name not in ("ast", "whisper")]


@pytest.mark.parametrize("architecture", HEARS)
def test_the_frames_of_padded_sounds_are_those_of_transformers(architecture):
    plain, watched = load(architecture), load(architecture)
    watch_padding(watched)
    shortest = least_samples(plain)
    samples = torch.tensor([shortest, shortest + 1, 3 * shortest, 4 * shortest - 1, 4 * shortest])
    mask = (torch.arange(4 * shortest) < samples[:, None]).long()
    frames = int(plain._get_feat_extract_output_lengths(samples).max())
    want = plain._get_feature_vector_attention_mask(frames, mask)
    assert want.any(1).all()
    assert not want[0].all()
    assert torch.equal(watched._get_feature_vector_attention_mask(frames, mask), want)


def test_a_device_is_not_asked_how_long_sounds_are():
    model = load("wav2vec2").to("meta")
    tell_lengths(watch_padding(model), torch.ones(2, dtype=torch.int64, device="meta"))
    sounds = torch.zeros((2, 800), device="meta")  # which has no values
    with torch.no_grad(), unread_masks(sounds.device), Calls() as calls:
        assert model(sounds, attention_mask=torch.ones_like(sounds, dtype=torch.int64)).logits.shape == (2, 7)
    assert calls.counts["index_put_"] == 2, "those by a mask fill it, which asks for nothing; by places they would copy"


@pytest.mark.parametrize("architecture", tiny_audio.ARCHITECTURES)
def test_which_models_take_padding(architecture):
    exact = {"wav2vec2", "wav2vec2-layer", "wav2vec2-weighted", "hubert", "hubert-layer", "unispeech", "unispeech-sat"}
    assert takes_padding(load(architecture)) == (architecture in exact)


def test_folded_weights_give_the_same():
    model, folded = load("hubert"), load("hubert")
    before = list(folded.parameters())
    fold_weight_norm(folded)
    assert len(list(folded.parameters())) < len(before)
    samples = torch.randn(2, 4_000)
    with torch.inference_mode():
        torch.testing.assert_close(folded(samples).logits, model(samples).logits, atol=1e-6, rtol=1e-6)


def test_least_samples_give_one_frame():
    model = load("wav2vec2")
    least = least_samples(model)
    encoder = model.wav2vec2.feature_extractor
    with torch.inference_mode():
        assert encoder(torch.randn(1, least)).shape[-1] == 1
        with pytest.raises(RuntimeError):
            encoder(torch.randn(1, least - 1))
    assert least_samples(load("ast")) == 1
