"""What pictures and questions share within a call, and encodings between calls; text read while it is written."""

from __future__ import annotations

import threading

import pytest
import torch

from sensorium.processors.multimodal import FittedImage, digest
from sensorium.tasks.answering import questions
from sensorium.tasks.answering.encodings import Encodings
from sensorium.tasks.answering.questions import Question, SharedImages, products
from sensorium.tasks.writing.pieces import TextPieces


def fitted(source):
    return FittedImage({"pixel_values": torch.zeros(4)}, str(source).encode())


def test_products_go_question_by_question():
    pairs = products(["a", "b"], ["x", "y", "z"])
    assert [(pair["image"], pair["question"]) for pair in pairs] == [(i, q) for q in "xyz" for i in "ab"]
    assert products("a", "x") == {"image": "a", "question": "x"}
    assert [pair["question"] for pair in products("a", ("x", "y"))] == ["x", "y"]
    assert products([], ["x"]) == []


def test_a_shared_picture_is_fitted_once_and_let_go_after_its_last_question():
    calls = []
    shared = SharedImages(["a", "a", "b", "a"])
    for source in ("a", "b", "a", "a"):
        shared.fitted(source, lambda s: calls.append(s) or fitted(s))
    assert calls == ["a", "b"]
    assert not shared._kept


def test_the_last_question_takes_what_is_kept():
    pairs = Question.sharing([{"image": "a"}, {"image": "a"}])
    calls = []
    for pair in pairs:
        pair.shared.fitted(pair["image"], lambda s: calls.append(s) or fitted(s))
    assert calls == ["a"]


def test_objects_are_told_apart_by_identity_and_paths_by_value():
    one, other = [1], [1]
    shared = SharedImages([one, other, one, other, "p", "p"])
    calls = []
    for source in (one, other, one, other, "p", "".join(["p"])):
        shared.fitted(source, lambda s: calls.append(s) or fitted(s))
    assert len(calls) == 3


def test_many_pictures_do_not_stay_in_memory(monkeypatch):
    monkeypatch.setattr(questions, "MOST_BYTES", 40)
    sources = [str(i) for i in range(10)]
    shared = SharedImages(sources * 2)
    for source in sources:
        shared.fitted(source, fitted)
    assert len(shared._kept) <= 3
    for source in sources:
        assert shared.fitted(source, fitted).key == source.encode()
    assert not shared._kept


def test_a_picture_that_fails_fails_for_each_question():
    shared = SharedImages(["a"] * 3)
    errors = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no picture") as caught:
            shared.fitted("a", lambda _: (_ for _ in ()).throw(ValueError("no picture")))
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3


def test_threads_that_want_one_picture_wait_for_it():
    shared, calls, gate = SharedImages(["a"] * 9), [], threading.Event()

    def slow(source):
        calls.append(source)
        gate.wait(5)
        return fitted(source)

    threads = [threading.Thread(target=shared.fitted, args=("a", slow)) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert calls == ["a"]


def test_digests_tell_pictures_apart():
    image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    made = {"pixel_values": image.clone()}
    assert digest(image, made) == digest(image.clone(), made)
    assert digest(image, made) != digest(image.reshape(3, 2, 8), made)
    assert digest(image, made) != digest(image.flip(2), made)
    larger = torch.zeros(3, 99, 99, dtype=torch.uint8)
    assert digest(larger, made) != digest(larger, {"pixel_values": image + 1})


def test_encodings_are_computed_once_and_the_oldest_go():
    asked = []
    kept = Encodings(torch.nn.Linear(1, 1), most_bytes=3 * 16)

    def encode(at):
        asked.append(list(at))
        return [torch.full((4,), float(i)) for i in at]

    first = kept.of(["a", "b"], encode)
    second = kept.of(["b", "c"], encode)
    assert asked == [[0, 1], [1]]
    assert torch.equal(first[1], second[0])
    kept.of(["d"], encode)
    assert len(kept) == 3
    kept.of(["b", "c", "d"], encode)
    assert len(asked) == 3
    kept.of(["a"], encode)
    assert asked[-1] == [0]


def test_encodings_of_other_weights_are_forgotten():
    layer = torch.nn.Linear(2, 2)
    kept, asked = Encodings(layer), []
    encode = lambda at: asked.append(at) or [torch.zeros(1) for _ in at]  # noqa: E731
    kept.of(["a"], encode)
    kept.of(["a"], encode)
    assert len(asked) == 1
    with torch.no_grad():
        layer.weight.add_(1)
    kept.of(["a"], encode)
    assert len(asked) == 2


def test_encodings_hold_no_batch():
    batch = torch.zeros(64, 100)
    kept = Encodings(torch.nn.Linear(1, 1))
    (found,) = kept.of(["a"], lambda _: [batch[3]])
    assert found.untyped_storage().nbytes() == 400


def spell(text):
    """A tokenizer of letters."""
    return [ord(letter) for letter in text]


def written(text, *, held_words=1, decode=lambda ids: "".join(map(chr, ids))):
    def write(pieces):
        pieces.put(torch.tensor([[1, 2, 3]]))
        for token in spell(text):
            pieces.put(torch.tensor([token]))
        pieces.end()

    return list(TextPieces(write, decode, held_words=held_words))


def test_pieces_end_with_words():
    assert written("a red bus") == ["a ", "red ", "bus"]
    assert written("one") == ["one"]
    assert written("") == []
    assert written("a b c d", held_words=3) == ["a ", "b c d"]


def test_what_a_tokenizer_changes_afterwards_is_held_back():
    decode = lambda ids: "".join(map(chr, ids)).replace(" n't", "n't")  # noqa: E731
    assert "".join(written("I do n't know it at all", held_words=3, decode=decode)) == "I don't know it at all"


def test_a_fault_of_the_writer_is_the_reader_s():
    def write(pieces):
        pieces.put(torch.tensor([1]))
        pieces.put(torch.tensor(spell("a b")))
        raise RuntimeError("no ink")

    pieces = TextPieces(write, lambda ids: "".join(map(chr, ids)))
    assert next(pieces) == "a "
    with pytest.raises(RuntimeError, match="no ink"):
        next(pieces)
    with pytest.raises(StopIteration):
        next(pieces)
