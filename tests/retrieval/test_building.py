"""Index.build: encoding in chunks that can be kept, what is left out, and another encoder's index."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sensorium.errors import InputError, OptionError
from sensorium.retrieval import Encoder, Index, Passage
from tests import tiny_embedding, tiny_text
from tests.media import make_image

SETTINGS = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def encoder():
    return Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", **SETTINGS)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr("sensorium.retrieval.building.CHUNK", 8)


def texts(count):
    return [tiny_text.words(3 + i % 11, seed=i) for i in range(count)]


def test_vectors_are_the_encoder_s(encoder):
    index = Index.build([("title", text) for text in texts(20)], encoder, kind="exact", device="cpu")
    want = encoder.encode([("title", text) for text in texts(20)])
    queries = texts(20)[3:6]
    found = index.search(queries, 5)
    scores = encoder.encode_queries(queries) @ want.T
    assert (found.ids == np.argsort(-scores, axis=1, kind="stable")[:, :5]).all()
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :5], atol=1e-5)
    assert found[0].query == queries[0] and index.similarity == encoder.similarity


def test_an_interrupted_build_goes_on_and_gives_the_same_index(encoder, tmp_path, monkeypatch):
    encoded = []
    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, p, **k: encoded.append(len(p)) or encode(self, p, **k))

    def interrupted():
        for number, text in enumerate(texts(40)):
            if number == 20:
                raise KeyboardInterrupt
            yield text

    with pytest.raises(KeyboardInterrupt):
        Index.build(interrupted(), encoder, resume=tmp_path / "part")
    assert encoded == [8, 8]
    index = Index.build(texts(40), encoder, resume=tmp_path / "part", kind="exact")
    assert encoded == [8, 8, 8, 8, 8], "the first two chunks are not encoded again"
    whole = Index.build(texts(40), encoder, kind="exact")
    index.save(tmp_path / "a")
    whole.save(tmp_path / "b")
    (a,), (b,) = ((tmp_path / name).glob("vectors-*") for name in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_an_interrupted_add_goes_on(encoder, tmp_path, monkeypatch):
    index = Index.build(texts(4), encoder, kind="exact")
    encoded, encode = [], Encoder.encode

    def interrupted(self, passages, **settings):
        if len(encoded) == 1:
            raise KeyboardInterrupt
        encoded.append(len(passages))
        return encode(self, passages, **settings)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Encoder, "encode", interrupted)
        index.add(texts(24)[4:], resume=tmp_path / "part")
    assert len(index) == 4 and encoded == [8]
    monkeypatch.setattr(Encoder, "encode", lambda self, p, **k: encoded.append(len(p)) or encode(self, p, **k))
    assert index.add(texts(24)[4:], resume=tmp_path / "part").tolist() == list(range(4, 24))
    assert encoded == [8, 8, 4], "the first chunk is not encoded again"
    want = Index.build(texts(24), encoder, kind="exact")
    queries = encoder.encode_queries(texts(3))
    np.testing.assert_allclose(index.search(queries, 24).scores, want.search(queries, 24).scores, atol=1e-5)
    for given in ({"resume": tmp_path}, {"on_error": "skip"}):
        with pytest.raises(OptionError, match="not for vectors"):
            index.add(vectors=encoder.encode(texts(1)), **given)
    assert len(index) == 24


def test_what_was_kept_and_damaged_or_of_other_texts_is_encoded_again(encoder, tmp_path):
    first = Index.build(texts(8), encoder, resume=tmp_path, kind="exact")
    (kept,) = tmp_path.glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-4] + b"abcd")
    again = Index.build(texts(8), encoder, resume=tmp_path, kind="exact")
    q = encoder.encode_queries(texts(2))
    assert (first.search(q, 8).scores == again.search(q, 8).scores).all()
    Index.build(texts(9)[1:], encoder, resume=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_what_cannot_be_encoded(encoder):
    given = ["a river", " ", 7, "a bridge", "\ud800"]
    with pytest.raises(InputError, match="input 1") as caught:
        Index.build(given, encoder)
    assert caught.value.index == 1
    with pytest.warns(UserWarning, match=r"3 of 5 passages were left out; the first: input 1"):
        index = Index.build(given, encoder, on_error="skip")
    assert [p["text"] for p in index.passages(index.ids)] == ["a river", "a bridge"]
    for empty in ([], iter([])):
        with pytest.raises(InputError, match="got none") as caught:
            Index.build(empty, encoder)
        assert caught.value.code == "no-documents"
    with warnings.catch_warnings(), pytest.raises(InputError, match="got none"):
        warnings.simplefilter("ignore")
        Index.build([" "], encoder, on_error="skip")
    with pytest.raises(OptionError, match="on_error"):
        Index.build(["a"], encoder, on_error="return")
    with pytest.raises(OptionError, match="put it in a list"):
        Index.build("a text", encoder)


def test_ids_that_come_twice(encoder):
    with pytest.raises(InputError, match="used twice: 'x'"):
        Index.build([Passage("a river", id="x"), Passage("a bridge", id="x")], encoder)


def test_a_loaded_index_opens_its_encoder_by_itself(encoder, tmp_path):
    Index.build(texts(12), encoder).save(tmp_path / "index")
    index = Index.load(tmp_path / "index", device="cpu")
    assert index.search(texts(1), 1).ids.shape == (1, 1)
    assert index.encoder.fingerprint == encoder.fingerprint
    ids = index.add(["a new bridge"])
    assert ids.tolist() == [12] and len(index) == 13


def test_another_encoder_s_index_is_refused(encoder, tmp_path):
    Index.build(texts(12), encoder).save(tmp_path / "index")
    other = Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="cls", **SETTINGS)
    with pytest.raises(OptionError, match="cannot be compared"):
        Index.load(tmp_path / "index", encoder=other)
    with pytest.raises(OptionError, match="384"):
        Index.load(tmp_path / "index", encoder="starter/text-embedding")
    Index.load(tmp_path / "index", encoder=encoder)


def test_a_function_is_told_of_each_that_is_left_out(encoder):
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = Index.build(["a river", " ", "a bridge", 7], encoder, on_error=told.append)
        added = index.add([" ", "a mill"], on_error=told.append)
    assert [(error.index, error.code) for error in told] == [(1, "empty-text"), (3, "not-text"), (0, "empty-text")]
    assert len(index) == 3 and added.tolist() == [2]


def test_ids_and_kinds_are_refused_before_anything_is_encoded(encoder, monkeypatch):
    monkeypatch.setattr(Encoder, "encode", lambda *_, **__: pytest.fail("encoded"))
    for wrong, settings, error in [
        ([Passage("a river", id="x"), Passage("a bridge", id="x")], {}, InputError),
        (["a river"], {"kind": "nonsense"}, OptionError),
        (["a river"], {"kind": ""}, OptionError),
    ]:
        with pytest.raises(error):
            Index.build(wrong, encoder, **settings)


def test_a_copy_of_an_id_is_left_out_where_failures_are(encoder):
    told = []
    given = [Passage("a river", id="x"), Passage("a bridge", id="x"), Passage("a mill", id="y")]
    index = Index.build(given, encoder, on_error=told.append)
    assert index.ids.tolist() == ["x", "y"] and [error.code for error in told] == ["duplicate-id"]


def test_vectors_that_are_not_finite_are_told(encoder, monkeypatch):
    encode = Encoder.encode

    def overflowing(self, passages, **settings):
        vectors, errors = encode(self, passages, **settings)
        vectors[[i for i, text in enumerate(passages) if text == "a bridge"]] = np.inf
        return vectors, errors

    monkeypatch.setattr(Encoder, "encode", overflowing)
    with pytest.raises(InputError, match=r"input 1: .* NaN or infinity") as caught:
        Index.build(["a river", "a bridge"], encoder)
    assert caught.value.code == "not-finite"


def test_a_chunk_with_a_broken_picture_is_kept_and_its_fault_told_again(tmp_path, monkeypatch):
    images = Encoder.from_pretrained(tiny_text.matcher("clip"), **SETTINGS)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        make_image(32 + i, 32).save(path)
    paths[2].write_bytes(b"no picture")
    encoded, encode = [], Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, p, **k: encoded.append(len(p)) or encode(self, p, **k))
    given = [*paths, tmp_path / "nowhere.png"]
    for sizes in ([6], [2]):  # the second time those that failed alone are tried again
        told: list[InputError] = []
        index = Index.build(given, images, resume=tmp_path / "part", on_error=told.append)
        assert [error.index for error in told] == [2, 5] and len(index) == 4
        assert encoded == sizes
        encoded.clear()


def test_passages_with_vectors_are_read_as_what_the_index_holds(tmp_path):
    """Also before the encoder of a loaded index is opened."""
    images = Encoder.from_pretrained(tiny_text.matcher("clip"), **SETTINGS)
    make_image(32, 32).save(tmp_path / "a.png")
    Index.build([tmp_path / "a.png"], images).save(tmp_path / "index")
    index = Index.load(tmp_path / "index", device="cpu")
    (new,) = index.add([tmp_path / "b.png"], vectors=np.ones((1, images.dimension), np.float32))
    assert index.passages([new])[0]["source"] == str(tmp_path / "b.png")
