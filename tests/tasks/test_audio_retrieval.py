"""audio-retrieval against a NumPy brute force over Transformers' own vectors of sounds and texts, in float32."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import InputError, OptionError
from sensorium.retrieval import Encoder, Index
from tests import tiny_embedding, tiny_text
from tests.audio import encoded, make_audio, make_audios
from tests.contract import Contract

ROUNDING = 1e-4  # float32 spectra, in decibels, of 8 kHz
RATE = 8_000  # the tiny model's own, so that nothing is resampled
TEXTS = ["a dog that barks", "rain on a roof", tiny_text.words(9, 3)]
STORED = [make_audio(1.0, seed=100 + i, rate=RATE) for i in range(12)]
"""Sounds as long as the model hears at once: it sees all of them, whatever it would cut out of longer ones."""


@functools.cache
def encoder(device="cpu", dtype="float32"):
    return Encoder.from_pretrained(tiny_embedding.clap(), device=device, dtype=dtype)


@functools.cache
def index(device="cpu", dtype="float32"):
    rows = [{"audio": encoded(samples, RATE, subtype="FLOAT"), "title": f"sound {i}", "loud": i % 3 == 0}
            for i, samples in enumerate(STORED)]  # fmt: skip
    return Index.build(rows, encoder(device, dtype), device=device)


def ours(*, device="cpu", dtype="float32", **settings):
    """A pipeline; the index's encoder has the device and the dtype."""
    return sensorium.pipeline("audio-retrieval", index=index(device, dtype), **{"compile": False, **settings})


@functools.cache
def reference():
    """Transformers' unit vectors of sounds and of texts."""
    folder = tiny_embedding.clap()
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def unit(found):
        rows = found if isinstance(found, torch.Tensor) else found.pooler_output
        return torch.nn.functional.normalize(rows, dim=-1)[0].double().numpy()

    def of_audio(samples):
        with torch.inference_mode():
            return unit(model.get_audio_features(**extractor(samples, sampling_rate=RATE, return_tensors="pt")))

    def of_text(text):
        with torch.inference_mode():
            return unit(model.get_text_features(**tokenizer(text, return_tensors="pt")))

    return of_audio, of_text


def test_equals_a_brute_force_over_transformers_vectors():
    of_audio, of_text = reference()
    x = np.stack([of_audio(samples) for samples in STORED])
    asked = [make_audio(1.0, seed=i, rate=RATE) for i in range(3)]
    q = np.stack([*map(of_text, TEXTS), *map(of_audio, asked)])
    queries = [*TEXTS, *(encoded(samples, RATE, subtype="FLOAT") for samples in asked)]
    with ours(batch_size=2) as pipe:
        found = pipe(queries, top_k=len(STORED))
    for row, query, hits in zip(q @ x.T, queries, found, strict=True):
        np.testing.assert_allclose(hits.scores, np.sort(row)[::-1], atol=ROUNDING)
        np.testing.assert_allclose(hits.scores, row[hits.ids], atol=ROUNDING)
        assert hits.query == (query if isinstance(query, str) else None)
    assert len({tuple(hits.ids.tolist()) for hits in found}) > 2, "queries are told apart"


def test_a_long_sound_is_searched_for_as_the_mean_of_its_windows():
    of_audio, _ = reference()
    x = np.stack([of_audio(samples) for samples in STORED])
    first, second = make_audio(1.0, seed=1, rate=RATE), make_audio(1.0, seed=2, rate=RATE)
    with ours() as pipe:
        hits = pipe(encoded(np.concatenate([first, second]), RATE, subtype="FLOAT"), top_k=len(STORED))
    mean = of_audio(first) + of_audio(second)
    row = x @ (mean / np.linalg.norm(mean))
    np.testing.assert_allclose(hits.scores, row[hits.ids], atol=ROUNDING)


def test_a_sound_of_the_index_finds_itself_in_any_form(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(encoded(STORED[7], RATE, subtype="FLOAT"))
    with ours() as pipe:
        for query in (path, path.read_bytes(), {"audio": str(path)}):
            hits = pipe(query, top_k=2)
            assert hits.ids[0] == 7
            assert hits.scores[0] == pytest.approx(1, abs=ROUNDING)
            assert (hits[0]["title"], hits[0]["loud"]) == ("sound 7", False)


def test_filters():
    with ours() as pipe:
        hits = pipe("rain on a roof", top_k=99, where={"loud": True})
    assert sorted(hits.ids.tolist()) == [0, 3, 6, 9]


def test_what_is_for_others():
    for task in ("retrieval", "image-retrieval"):
        with pytest.raises(OptionError, match=r"the index holds audio; .*Use 'audio-retrieval'"):
            sensorium.pipeline(task, index=index())
    with pytest.raises(OptionError, match="model has no meaning for audio-retrieval"):
        sensorium.pipeline("audio-retrieval", tiny_embedding.clap(), index=index())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("", "empty-text"),
        (None, "unsupported-type"),
        (Path("nowhere.wav"), "missing-file"),
        (b"no sound", "not-a-sound"),
        ({"image": b""}, "unsupported-type"),
    ],
)
def test_bad_queries(bad, code):
    with ours() as pipe:
        first, error, last = pipe([TEXTS[0], bad, TEXTS[1]], on_error="return")
    assert isinstance(error, InputError)
    assert (error.code, error.index) == (code, 1)
    assert [first.index, last.index] == [0, 2]


CONTRACT = Contract(
    build=ours,
    inputs=lambda: [*TEXTS, *(encoded(samples) for samples in make_audios()[:4])],
    bad=["", None, Path("nowhere.wav"), b"no sound"],
    options=[{"top_k": 3}, {"where": {"loud": True}}],
    tolerance=ROUNDING,
)


def test_a_sound_with_its_rate_is_one_query_wherever_one_or_many_are_taken():
    """As Gradio and librosa hand it over: a tuple, but not two queries."""
    samples = np.asarray(make_audio(1.0, seed=103, rate=RATE))
    here = index()
    wanted = here.search([{"audio": {"array": samples, "sampling_rate": RATE}}], 3)
    for query in ((RATE, samples), (samples, RATE), (float(RATE), torch.from_numpy(samples))):
        found = here.search(query, 3)
        assert len(found) == 1
        assert found.ids.tolist() == wanted.ids.tolist()
        assert here.search([query, query], 3).ids.tolist() == wanted.ids.tolist() * 2
    with ours() as pipe:
        for query in ((RATE, samples), (samples, RATE)):
            one = pipe(query, top_k=3)
            assert one.ids.tolist() == wanted.ids[0].tolist()
            assert pipe(query=query, top_k=3).ids.tolist() == one.ids.tolist()
            assert [hits.ids.tolist() for hits in pipe([query, query], top_k=3)] == [one.ids.tolist()] * 2
        with pytest.raises(OptionError, match="got one sound with its rate; put it in a list"):
            pipe.stream((RATE, samples))
    for several in (encoder().encode, encoder().encode_queries, here.add, lambda one: Index.build(one, encoder())):
        with pytest.raises(OptionError, match="got one sound with its rate; put it in a list"):
            several((RATE, samples))


@pytest.mark.parametrize("one", [b"RIFF", {"audio": b"RIFF"}, Path("a.wav"), io.BytesIO(b"RIFF"), 5])
def test_one_input_is_refused_where_several_are_expected(one):
    for several in (encoder().encode, index().add, lambda one: Index.build(one, encoder())):
        with pytest.raises(OptionError, match=f"got one {type(one).__name__}; put it in a list"):
            several(one)
