"""Sounds in drawings: the spectrogram, what is marked under it, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError
from sensorium.results import Labels, Transcript
from sensorium.results.spectrogram import LEFT_PX, RIGHT_PX, draw_spectrogram
from tests.audio import RATE, encoded
from tests.media import make_image

SECONDS = np.arange(4 * RATE, dtype=np.float32) / RATE
TONE = np.where((SECONDS >= 1) & (SECONDS < 2), np.sin(2 * np.pi * 1000 * SECONDS), 0).astype(np.float32)
WORDS = Transcript("one two", ["one", "two"], [1.0, 3.0], [2.0, 4.0])


def test_what_is_loud_is_bright_at_its_moment():
    drawn = draw_spectrogram(encoded(TONE), width_px=400)
    assert drawn.seconds == 4.0
    assert drawn.x_of(0) == LEFT_PX
    assert drawn.x_of(4) == 400 - RIGHT_PX
    pixels = np.asarray(drawn.image.convert("L"))[10:160].astype(int)
    loud, quiet = pixels[:, round(drawn.x_of(1.5))], pixels[:, round(drawn.x_of(3))]
    assert loud.max() > 200
    assert quiet.max() < 40


def test_labels_are_drawn_under_a_picture_or_a_sound():
    labels = Labels(["speech", "a <b>dog</b>"], [0.75, 0.25])
    sound = labels.plot(audio=(TONE, RATE), width_px=300)
    assert sound.mode == "RGB"
    assert sound.width == 300
    assert sound.height > draw_spectrogram((TONE, RATE), width_px=300).image.height
    assert labels.plot(make_image(30, 40)).height > 30
    for wrong in ({}, {"image": make_image(30, 40), "audio": (TONE, RATE)}):
        with pytest.raises(ValueError, match="give one"):
            labels.plot(**wrong)


def test_what_was_said_is_marked_where_it_was_heard():
    heard = draw_spectrogram((TONE, RATE), width_px=400)
    drawn = np.asarray(WORDS.plot(audio=(TONE, RATE), width_px=400))
    lane = drawn[heard.image.height + 18]
    for moment, marked in ((0.5, False), (1.9, True), (2.5, False), (3.9, True)):
        assert (lane[round(heard.x_of(moment))] != 255).any() == marked, moment
    untimed = Transcript("one two").plot(audio=(TONE, RATE), width_px=400)
    assert heard.image.height < untimed.height < len(drawn)


def test_an_array_without_its_rate_is_refused():
    for draw in (WORDS.plot, Labels(["a"], [1.0]).plot):
        with pytest.raises(InputError, match="sampling_rate"):
            draw(audio=TONE)
