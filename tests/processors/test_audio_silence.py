"""Silence at the ends of a sound, against `librosa.effects.trim` on all of it at once."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from sensorium.processors import audio_silence
from sensorium.processors.audio_reading import open_audio, read_all
from sensorium.processors.audio_silence import trim
from tests.audio import encoded

RATE = 8_000


def sound(before, heard, after, *, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    samples = np.concatenate([np.zeros(before), rng.uniform(-0.5, 0.5, heard), np.zeros(after)])
    return (samples + rng.uniform(-noise, noise, len(samples))).astype(np.float32)


@pytest.mark.parametrize("below_db", [20.0, 60.0])
@pytest.mark.parametrize("sizes", [(0, 3_000, 0), (5_000, 4_000, 9_000), (511, 1, 512), (12_345, 30_000, 1), (7, 5, 0)])
@pytest.mark.parametrize("at_once", [1, 4, 2048])
def test_keeps_what_librosa_keeps(sizes, below_db, at_once, monkeypatch):
    """However the sound falls into pieces."""
    monkeypatch.setattr(audio_silence, "_AT_ONCE", at_once)
    samples = sound(*sizes, noise=1e-3)
    wanted, (first, last) = librosa.effects.trim(samples, top_db=below_db)
    reader, begins_s = trim(open_audio((samples, RATE)), below_db)
    assert begins_s == first / RATE
    assert reader.frames == last - first == len(wanted)
    assert np.array_equal(read_all(reader).numpy(), wanted)
    assert np.array_equal(reader.read(5, 100).numpy(), wanted[5:105])
    assert len(reader.read(len(wanted), 10)) == 0


def test_a_sound_without_any_is_whole_and_so_is_silence():
    for samples in (sound(0, 4_000, 0), np.zeros(3_000, np.float32), np.zeros(1, np.float32)):
        reader, begins_s = trim(open_audio((samples, RATE)), 60.0)
        assert (begins_s, reader.frames) == (0.0, len(samples))


def test_nothing_is_left_out_unless_asked_for():
    reader = open_audio((sound(5_000, 1_000, 5_000), RATE))
    assert trim(reader, None) == (reader, 0.0)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_files_are_trimmed_as_what_is_read_of_them(form):
    data = encoded(sound(20_000, 30_000, 20_000), RATE, form)
    with open_audio(data) as reader:
        whole = read_all(reader).numpy()
    with open_audio(data) as reader:
        trimmed, begins_s = trim(reader, 40.0)
        wanted, (first, _) = librosa.effects.trim(whole, top_db=40.0)
        assert begins_s == first / RATE
        np.testing.assert_allclose(read_all(trimmed.at(RATE)).numpy(), wanted, atol=2e-5)
