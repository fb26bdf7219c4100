"""Encoders and indexes in the fork of a process that has used them: they say so, where they waited for ever."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest

from sensorium import ClosedError
from sensorium.retrieval import Encoder, Index
from tests import tiny_embedding

VECTORS = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)


def told(uses):
    """What a forked process gets for each use."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_use, args=(uses, theirs))
    process.start()
    theirs.close()
    answers = [ours.recv() for _ in uses]
    process.join()
    return answers


def _use(uses, connection):
    for use in uses:
        try:
            use()
            connection.send("it ran")
        except ClosedError as error:
            connection.send(f"ClosedError: {error}")


pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def test_an_encoder_and_its_index_say_that_they_were_used_before():
    with Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", device="cpu", dtype="float32") as encoder:
        index = Index.build(["a river", "a bridge"], encoder, device="cpu")
        answers = told([
            lambda: encoder.encode(["a text"]), lambda: encoder.encode_queries(["a text"]),
            lambda: list(encoder.encode_batches(["a text"])), lambda: encoder.encode_in_order(["a text"], total=1),
            lambda: encoder.count_tokens(["a text"]), encoder.close, lambda: index.search("a river"),
        ])  # fmt: skip
    assert answers.pop(5) == "it ran"
    for answer, what in zip(answers, [*["encoder"] * 5, "index"], strict=True):
        assert answer.startswith(f"ClosedError: this {what} was used before process {os.getpid()} forked"), answer


def test_an_index_of_vectors_says_so_whatever_is_asked_of_it(tmp_path):
    index = Index.from_vectors(VECTORS, device="cpu")
    answers = told([
        lambda: index.search(VECTORS[0]), lambda: index.search_encoded(VECTORS[:1], None, 3),
        lambda: index.add(vectors=VECTORS), lambda: index.delete([0]), lambda: index.refresh(["a text"]),
        lambda: index.save(tmp_path / "index"),
    ])  # fmt: skip
    assert all(answer.startswith("ClosedError: this index was used before") for answer in answers), answers


def test_one_that_was_only_opened_before_the_fork_is_searched_after_it(tmp_path):
    Index.from_vectors(VECTORS, device="cpu").save(tmp_path / "index")
    index = Index.load(tmp_path / "index", device="cpu")
    assert told([lambda: index.search(VECTORS[0])]) == ["it ran"]
