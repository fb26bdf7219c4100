"""Results as the command line and its page show them."""

from __future__ import annotations

import numpy as np

from sensorium.results import Answers, Embedding, Labels, Masks, Segments, Transcript


def test_answers():
    assert Answers(["a cat", "an owl"], [0.5, 0.25]).lines() == ["a cat 0.5000", "an owl 0.2500"]
    assert Answers(["a cat"], None).lines() == ["a cat"]


def test_transcript():
    assert Transcript("what was said").lines() == ["what was said"]


def test_segments():
    classes = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    segments = Segments(classes, [0, 1], ["ground", "owl"])
    assert segments.lines() == ["ground, 75.0% of the picture", "owl, 25.0% of the picture"]


def test_masks():
    mask = np.zeros((1, 4, 5), dtype=bool)
    mask[0, 1:3, 2:5] = True
    assert Masks(mask, [0.9]).lines() == ["mask 0.9000, 6 px, 2,1 to 4,2"]
    assert Masks(mask[:0], []).lines() == ["no masks"]


def test_labels():
    assert Labels(["cat", "dog"], [0.75, 0.25]).lines() == ["cat 0.7500", "dog 0.2500"]
    assert Labels([], []).lines() == ["no labels"]


def test_embeddings():
    assert Embedding(np.array([3.0, 4.0], dtype=np.float32)).lines() == ["2 numbers, norm 5"]
    assert Embedding(np.zeros((7, 3), dtype=np.float32)).lines() == ["7 x 3 numbers, norm 0"]
