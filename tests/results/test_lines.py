"""Results as the command line and its page show them."""

from __future__ import annotations

import numpy as np

from sensorium.report import result_lines
from sensorium.results import Answers, Masks, Segments, Transcript


def test_answers():
    assert result_lines(Answers(["a cat", "an owl"], [0.5, 0.25])) == ["a cat 0.5000", "an owl 0.2500"]
    assert result_lines(Answers(["a cat"], None)) == ["a cat"]


def test_transcript():
    assert result_lines(Transcript("what was said")) == ["what was said"]


def test_segments():
    classes = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    segments = Segments(classes, [0, 1], ["ground", "owl"])
    assert result_lines(segments) == ["ground, 75.0% of the picture", "owl, 25.0% of the picture"]


def test_masks():
    mask = np.zeros((1, 4, 5), dtype=bool)
    mask[0, 1:3, 2:5] = True
    assert result_lines(Masks(mask, [0.9])) == ["mask 0.9000, 6 px, 2,1 to 4,2"]
    assert result_lines(Masks(mask[:0], [])) == ["no masks"]
