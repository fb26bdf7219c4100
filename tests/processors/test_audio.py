"""AudioProcessor against the checkpoints' own feature extractors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torchaudio.functional
import transformers

from sensorium.errors import CheckpointError, InputError
from sensorium.processors.audio import AudioProcessor
from tests import tiny, tiny_audio
from tests.audio import RATE, make_audio, make_audios

EXTRACTORS = {
    "wav2vec2": transformers.Wav2Vec2FeatureExtractor,
    "wav2vec2, as it is": lambda: transformers.Wav2Vec2FeatureExtractor(do_normalize=False),
    "ast": transformers.ASTFeatureExtractor,
    "ast, short": lambda: transformers.ASTFeatureExtractor(max_length=60, num_mel_bins=40),
    "ast, as it is": lambda: transformers.ASTFeatureExtractor(do_normalize=False),
    "ast, 32 kHz": lambda: transformers.ASTFeatureExtractor(sampling_rate=32_000),
    "whisper, 80": transformers.WhisperFeatureExtractor,
    "whisper, 128": lambda: transformers.WhisperFeatureExtractor(feature_size=128),
    "whisper, 2 s": lambda: transformers.WhisperFeatureExtractor(chunk_length=1),
}
TOLERANCE = 1e-4
SILENCE = np.zeros(8_000, np.float32)


def extracted(extractor, samples):
    outputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return outputs[next(name for name in outputs if name.startswith("input"))][0]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_equals_the_extractor_in_a_batch_of_lengths(name):
    extractor = EXTRACTORS[name]()
    processor = AudioProcessor.from_transformers(extractor)
    inputs = [*make_audios(), 100 * make_audio(0.5, 9), SILENCE, make_audio(0.5, 3) + 0.5, make_audio(0.05, 4)]
    batch = processor(inputs, rate=extractor.sampling_rate)
    values = batch[processor.input_names[0]]
    for row, samples in zip(values, inputs, strict=True):
        expected = extracted(extractor, samples)
        if row.shape != expected.shape:  # a waveform, padded with zeros
            assert not row[len(expected) :].any()
        torch.testing.assert_close(row[: len(expected)], expected, atol=TOLERANCE, rtol=1e-5)
    if "attention_mask" in batch:
        assert batch["attention_mask"].sum(-1).tolist() == [len(samples) for samples in inputs]


@pytest.mark.parametrize("name", ["wav2vec2", "ast, short", "whisper, 2 s"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_other_rates_are_resampled_in_the_batch(name, rate):
    extractor = EXTRACTORS[name]()
    processor = AudioProcessor.from_transformers(extractor)
    inputs = [make_audio(seconds, seed, rate) for seed, seconds in enumerate([0.5, 0.31, 1.2])]
    fitted = [processor.fit(torch.from_numpy(samples), rate) for samples in inputs]
    assert all(one["rate"].shape == (0, rate) for one in fitted)
    stack = {name: processor.padding[name].stack if name in processor.padding else torch.stack for name in fitted[0]}
    batch = processor.finish({name: stack[name]([one[name] for one in fitted]) for name in fitted[0]})
    for row, samples in zip(batch[processor.input_names[0]], inputs, strict=True):
        resampled = torchaudio.functional.resample(torch.from_numpy(samples).double(), rate, RATE).float().numpy()
        expected = extracted(extractor, resampled)
        if row.ndim == 1:
            torch.testing.assert_close(row[: len(expected)], expected, atol=TOLERANCE, rtol=0)
        else:  # logarithms of what the filter left of the highest frequencies are mostly rounding
            near = (row - expected).abs() < 2e-3
            assert near.float().mean() > 0.98
            torch.testing.assert_close(row, expected, atol=0.5, rtol=0)


def test_the_dtype_is_that_of_the_result_alone():
    processor = AudioProcessor.from_transformers(transformers.ASTFeatureExtractor())
    half = processor(make_audio(), rate=RATE, dtype=torch.bfloat16)["input_values"]
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, processor(make_audio(), rate=RATE)["input_values"].to(torch.bfloat16))


def test_a_long_sound_is_cut_before_it_is_moved():
    processor = AudioProcessor.from_transformers(transformers.ASTFeatureExtractor(max_length=50))
    assert processor.seconds == pytest.approx(0.515)
    long = torch.from_numpy(make_audio(3.0))
    assert len(processor.fit(long, RATE)["samples"]) <= 0.52 * RATE
    assert len(processor.fit(long, 8_000)["samples"]) <= 0.6 * 8_000


def test_saved_and_read_again(tmp_path):
    processor = AudioProcessor.from_pretrained(tiny_audio.folder("ast"))
    processor.save_pretrained(tmp_path)
    again = AudioProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert repr(again) == repr(processor)
    assert torch.equal(again(make_audio())["input_values"], processor(make_audio())["input_values"])
    theirs = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    torch.testing.assert_close(
        again(make_audio())["input_values"][0], extracted(theirs, make_audio()), atol=TOLERANCE, rtol=0
    )


def test_a_processor_brings_its_extractor():
    class Processor:
        feature_extractor = transformers.Wav2Vec2FeatureExtractor()

    assert AudioProcessor.from_transformers(Processor()).sampling_rate == 16_000


def test_an_unknown_extractor_runs_itself():
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20)
    with pytest.warns(UserWarning, match="SeamlessM4TFeatureExtractor"):
        processor = AudioProcessor.from_transformers(extractor)
    assert processor.features is None
    assert processor.padding == {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = extractor(make_audio(), sampling_rate=RATE, return_tensors="pt")
        got = processor(make_audio())
    assert set(got) == set(expected)
    torch.testing.assert_close(got["input_features"], expected["input_features"])


def test_what_cannot_be_prepared():
    processor = AudioProcessor.from_transformers(transformers.ASTFeatureExtractor())
    for samples, code in [
        (torch.zeros(2, 5), "bad-shape"),
        (torch.zeros(300), "too-short"),
        (torch.zeros(0), "bad-shape"),
    ]:
        with pytest.raises(InputError) as caught:
            processor.fit(samples, RATE)
        assert caught.value.code == code
    with pytest.raises(InputError) as caught:
        processor([make_audio(), b"no sound"])
    assert (caught.value.index, caught.value.code) == (1, "not-a-sound")
    with pytest.raises(InputError, match="empty list"):
        processor([])


def test_what_is_no_recipe(tmp_path):
    with pytest.raises(CheckpointError, match="sampling_rate"):
        AudioProcessor.from_transformers(transformers.ViTImageProcessor())
    with pytest.raises(CheckpointError, match="cannot read the feature extractor"):
        AudioProcessor.from_pretrained(tiny.folder("vit"))
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    with pytest.raises(CheckpointError, match="it is not known how to prepare sound"):
        AudioProcessor.from_pretrained(tmp_path)
