"""Sounds for tests: the same for every test, of several lengths."""

from __future__ import annotations

import io

import numpy as np
import soundfile

RATE = 16_000


def make_audio(seconds=1.0, seed=0, rate=RATE):
    """A mono float32 array in [-1, 1]: tones that come and go, with some noise, as speech does."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * rng.uniform(80, 3000) * time + rng.uniform(0, 6)) for _ in range(4))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(1, 4) * time)
    return (0.08 * loudness * tones + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def encoded(samples, rate=RATE, form="WAV", **settings):
    """The bytes of a file: "WAV", "FLAC", "OGG", "MP3" or "AIFF"; `samples` are `(N,)` or `(N, channels)`."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, **settings)
    return buffer.getvalue()


SECONDS = [1.0, 0.4, 1.7, 0.1, 1.0, 0.73]


def make_audios():
    """Six arrays at 16 kHz, of five lengths from 0.1 to 1.7 s."""
    return [make_audio(seconds, seed) for seed, seconds in enumerate(SECONDS)]
