"""Index.build: encoding in chunks that can be kept, what is left out, and another encoder's index."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sensorium.errors import InputError, OptionError
from sensorium.retrieval import Encoder, Index, Passage
from sensorium.retrieval.keeping import KeptVectors, key_of
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
    encode = Encoder.encode_batches
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.append(len(p)) or encode(self, p))

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
    encoded, encode = [], Encoder.encode_batches

    def interrupted(self, passages):
        if len(encoded) == 1:
            raise KeyboardInterrupt
        encoded.append(len(passages))
        return encode(self, passages)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Encoder, "encode_batches", interrupted)
        index.add(texts(24)[4:], resume=tmp_path / "part")
    assert len(index) == 4 and encoded == [8]
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.append(len(p)) or encode(self, p))
    assert index.add(texts(24)[4:], resume=tmp_path / "part").tolist() == list(range(4, 24))
    assert encoded == [8, 8, 4], "the first chunk is not encoded again"
    want = Index.build(texts(24), encoder, kind="exact")
    queries = encoder.encode_queries(texts(3))
    np.testing.assert_allclose(index.search(queries, 24).scores, want.search(queries, 24).scores, atol=1e-5)
    for given in ({"resume": tmp_path}, {"on_error": "skip"}):
        with pytest.raises(OptionError, match="not for vectors"):
            index.add(vectors=encoder.encode(texts(1)), **given)
    assert len(index) == 24


def counting(monkeypatch):
    """How many passages each call encodes."""
    encoded, encode = [], Encoder.encode_batches
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.append(len(p)) or encode(self, p))
    return encoded


def test_what_was_kept_and_damaged_is_encoded_again(encoder, tmp_path, monkeypatch):
    first = Index.build(texts(8), encoder, resume=tmp_path, kind="exact")
    (kept,) = tmp_path.glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-4] + b"abcd")
    (tmp_path / f"{'0' * 32}-{'1' * 32}.npy").write_bytes(b"another's")
    encoded = counting(monkeypatch)
    again = Index.build(texts(8), encoder, resume=tmp_path, kind="exact")
    q = encoder.encode_queries(texts(2))
    assert encoded == [8] and (first.search(q, 8).scores == again.search(q, 8).scores).all()


def test_passages_are_kept_by_what_they_say(encoder, tmp_path, monkeypatch):
    """Wherever they stand, and whatever stands beside them."""
    given = texts(30)
    Index.build(given, encoder, resume=tmp_path)
    encoded = counting(monkeypatch)
    changed = [given[7], "a new one in front", *given[:5], ("A title", given[5]), *given[5:], given[3]]
    index = Index.build(changed, encoder, resume=tmp_path, kind="exact")
    assert encoded == [2] or encoded == [1, 1], "the two new ones alone"
    whole = Index.build(changed, encoder, kind="exact")
    queries = encoder.encode_queries(given[:4])
    np.testing.assert_allclose(index.search(queries, 33).scores, whole.search(queries, 33).scores, atol=1e-5)
    other = Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="cls", **SETTINGS)
    encoded.clear()
    Index.build(given[:5], other, resume=tmp_path)
    assert encoded == [5], "vectors of another encoder are not taken"


def test_what_was_done_of_a_chunk_is_kept(encoder, tmp_path, monkeypatch):
    encode = Encoder.encode_batches

    def stopped(self, passages):
        for number, batch in enumerate(encode(self, passages)):
            if number == 2:
                raise KeyboardInterrupt
            done.extend(batch)
            yield batch

    small = Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", batch_size=4, **SETTINGS)
    done = []
    monkeypatch.setattr("sensorium.retrieval.building.CHUNK", 1000)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Encoder, "encode_batches", stopped)
        Index.build(texts(40), small, resume=tmp_path)
    encoded = counting(monkeypatch)
    index = Index.build(texts(40), small, resume=tmp_path, kind="exact")
    assert 0 < len(done) < 40 and encoded == [40 - len(done)]
    assert len(list(tmp_path.glob("*.npy"))) == 2, "a file for each stretch"
    index.save(tmp_path / "a")
    Index.build(texts(40), small, kind="exact").save(tmp_path / "b")
    (a,), (b,) = ((tmp_path / name).glob("vectors-*") for name in "ab")
    assert a.read_bytes() == b.read_bytes(), "the batches are the same"


def test_vectors_are_written_while_a_chunk_is_encoded(tmp_path):
    """Whatever kills a build, what was written is there; two may share the folder."""
    kept = KeptVectors(tmp_path, "f")
    vectors = np.arange(3 * 70, dtype=np.float32).reshape(70, 3)
    for i, vector in enumerate(vectors):
        kept.put(key_of(f"text {i}"), vector, cut=i == 3)
        if i in (31, 63):
            kept.write()
    killed = KeptVectors(tmp_path, "f")
    got = [killed.get(key_of(f"text {i}")) for i in range(70)]
    assert [one is not None for one in got] == [True] * 64 + [False] * 6
    assert (np.stack([one[0] for one in got[:64]]) == vectors[:64]).all()
    assert [one[1] for one in got[:5]] == [False, False, False, True, False]
    kept.join()
    whole = KeptVectors(tmp_path, "f")
    assert len(list(tmp_path.iterdir())) == 1 and (whole.get(key_of("text 69"))[0] == vectors[69]).all()
    assert KeptVectors(tmp_path, "g").get(key_of("text 1")) is None


def test_progress_moves_by_batches_and_knows_the_whole(encoder, tmp_path, monkeypatch):
    import tqdm.auto

    class Bar:
        def __init__(self, **settings):
            bars.append(settings)

        def update(self, count=1):
            moves.append(count)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    bars, moves = [], []
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    small = Encoder.from_pretrained(tiny_embedding.encoder("bert"), pool="mean", batch_size=4, **SETTINGS)
    monkeypatch.setattr("sensorium.retrieval.building.CHUNK", 1000)
    given = [tiny_text.words(6, seed=i) for i in range(20)]
    Index.build(given, small, resume=tmp_path, progress=True)
    assert bars[0]["total"] == 20 and not bars[0]["disable"]
    assert sum(moves) == 20 and len([n for n in moves if n]) >= 5, "not once for all"
    moves.clear()
    Index.build([*given, "a bridge"], small, resume=tmp_path, progress=True)
    assert [n for n in moves if n] == [20, 1], "what is kept is done at once"
    moves.clear()
    small.encode(given, progress=True)
    assert sum(moves) == 20 and len(moves) >= 5


def test_passages_that_are_cut_are_counted_over_the_whole_build(encoder, tmp_path):
    long = "mill " * 2000
    given = [*texts(9), long, *texts(8), f"{long} too"]
    for _ in range(2):  # kept or not
        with pytest.warns(UserWarning, match="2 of 19 passages are longer") as caught:
            Index.build(given, encoder, resume=tmp_path)
        assert len(caught) == 1


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
    monkeypatch.setattr(Encoder, "encode_batches", lambda *_, **__: pytest.fail("encoded"))
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
    encode = Encoder.encode_batches

    def overflowing(self, passages):
        for batch in encode(self, passages):
            yield [(place, v * (np.inf if passages[place] == "a bridge" else 1), cut) for place, v, cut in batch]

    monkeypatch.setattr(Encoder, "encode_batches", overflowing)
    with pytest.raises(InputError, match=r"input 1: .* NaN or infinity") as caught:
        Index.build(["a river", "a bridge"], encoder)
    assert caught.value.code == "not-finite"


def test_a_chunk_with_a_broken_picture_is_kept_and_its_fault_told_again(tmp_path, monkeypatch):
    images = Encoder.from_pretrained(tiny_text.matcher("clip"), **SETTINGS)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        make_image(32 + i, 32).save(path)
    paths[2].write_bytes(b"no picture")
    encoded, encode = [], Encoder.encode_batches
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.append(len(p)) or encode(self, p))
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
