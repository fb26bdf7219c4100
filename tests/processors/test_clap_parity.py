"""CLAP's spectra against its own feature extractor, which computes them in float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import transformers

from sensorium.processors.audio import AudioProcessor
from tests.audio import make_audio

PARITY = 1e-4  # decibels; those of tones and noise lie between -100 and 40


def read(**settings):
    extractor = transformers.ClapFeatureExtractor(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none is delegated
        return extractor, AudioProcessor.from_transformers(extractor)


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_sounds_up_to_the_window(truncation, padding):
    extractor, processor = read(truncation=truncation, padding=padding, max_length_s=2)
    audios = [make_audio(seconds, i, 48_000) for i, seconds in enumerate((0.3, 2.0, 1.1, 0.05))]
    found = processor(audios, rate=48_000)
    for i, samples in enumerate(audios):
        expected = extractor(samples, sampling_rate=48_000, return_tensors="pt")
        np.testing.assert_allclose(found["input_features"][i], expected["input_features"][0], atol=PARITY)
        assert torch.equal(found["is_longer"][i], expected["is_longer"][0])


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_of_a_longer_sound_the_first_window_counts_and_it_is_the_same_each_time(truncation):
    extractor, processor = read(truncation=truncation, max_length_s=1)
    samples = make_audio(2.3, 1, 48_000)
    first, again = (processor(samples, rate=48_000) for _ in range(2))
    expected = extractor(samples[:48_000], sampling_rate=48_000, return_tensors="pt")
    np.testing.assert_allclose(first["input_features"], expected["input_features"], atol=PARITY)
    assert torch.equal(first["input_features"], again["input_features"])
    assert processor.seconds == 1


def test_a_way_of_filling_up_that_is_not_known_is_left_to_the_extractor():
    with pytest.warns(UserWarning, match="padding 'mirror'"):
        AudioProcessor.from_transformers(transformers.ClapFeatureExtractor(padding="mirror"))
