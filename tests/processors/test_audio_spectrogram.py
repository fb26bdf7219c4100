"""The spectrogram of pictures against librosa's of the whole sound."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.processors import audio_spectrogram
from sensorium.processors.audio_spectrogram import RANGE_DB, mel_spectrogram
from tests.audio import RATE, encoded, make_audio


@pytest.mark.parametrize("at_once", [3, 1024])
def test_a_column_for_each_spectrum_is_librosa_s_spectrogram(at_once, monkeypatch):
    """However the sound falls into pieces."""
    monkeypatch.setattr(audio_spectrogram, "_AT_ONCE", at_once)
    hop, points, columns = 256, 1024, 61
    samples = np.asarray(make_audio(1.0))[: (columns - 1) * hop]
    ours = mel_spectrogram((samples, RATE), columns=columns, bands=40)
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=points, hop_length=hop, n_mels=40, pad_mode="constant"
    )
    theirs = librosa.power_to_db(power, ref=np.max, top_db=RANGE_DB)
    assert ours.levels.shape == theirs.shape == (40, columns)
    np.testing.assert_allclose(ours.levels, theirs, atol=1e-2)  # float32 spectra, in decibels
    assert (ours.seconds, ours.rate) == (len(samples) / RATE, RATE)


def test_a_tone_lies_at_its_pitch_and_moment():
    seconds = np.arange(4 * RATE, dtype=np.float32) / RATE
    tone = np.where((seconds >= 1) & (seconds < 2), np.sin(2 * np.pi * 1000 * seconds), 0).astype(np.float32)
    picture = mel_spectrogram(encoded(tone), columns=40, bands=64)
    band, column = np.unravel_index(picture.levels.argmax(), picture.levels.shape)
    assert abs(band - picture.band_of(1000)) <= 1
    assert 10 <= column < 20
    assert (picture.levels[:, :8] < -60).all()
    assert (picture.levels[:, 24:] < -60).all()


@pytest.mark.parametrize("samples", [1, 5, 700])
@pytest.mark.parametrize("rate", [500, 8_000, 192_000])
def test_short_sounds_fill_the_picture(samples, rate):
    picture = mel_spectrogram((np.asarray(make_audio(1.0))[:samples], rate), columns=200, bands=80)
    assert picture.levels.shape == (80, 200)
    assert np.isfinite(picture.levels).all()


def test_silence_is_quiet():
    assert (mel_spectrogram((np.zeros(4_000, np.float32), RATE), columns=30, bands=20).levels == -RANGE_DB).all()


def test_an_array_without_its_rate_is_refused():
    with pytest.raises(InputError, match="sampling_rate"):
        mel_spectrogram(np.zeros(4_000, np.float32), columns=30, bands=20)
