"""image-retrieval against a NumPy brute force over Transformers' own vectors of pictures and texts, in float32."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors.media import MediaLimits
from sensorium.retrieval import Encoder, Index
from tests import tiny_text
from tests.contract import Contract
from tests.media import make_image, make_images
from tests.passing import passing_folder

ROUNDING = 2e-5  # float32; cosines
TEXTS = ["a red boat", "an owl on a bridge", tiny_text.words(9, 3)]
COUNT = 24


@functools.cache
def files():
    """Pictures in a folder, as files that lose nothing."""
    folder = passing_folder("sensorium-pictures-")
    for i in range(COUNT):
        make_image(40 + i, 64 - i, seed=100 + i).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


@functools.cache
def encoder(kind="clip", device="cpu", dtype="float32", limits=None):
    return Encoder.from_pretrained(tiny_text.matcher(kind), device=device, dtype=dtype, limits=limits)


@functools.cache
def index(kind="clip", device="cpu", dtype="float32"):
    rows = [{"image": path, "title": path.stem, "even": i % 2 == 0} for i, path in enumerate(files())]
    return Index.build(rows, encoder(kind, device, dtype), device=device)


def ours(kind="clip", *, device="cpu", dtype="float32", **settings):
    """A pipeline; the index's encoder has the device and the dtype."""
    return sensorium.pipeline("image-retrieval", index=index(kind, device, dtype), **{"compile": False, **settings})


@functools.cache
def reference(kind="clip"):
    """Transformers' unit vectors of pictures and of texts."""
    folder = tiny_text.matcher(kind)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    fill = "max_length" if kind == "siglip" else True  # as SigLIP was trained, and its page says

    def unit(found):
        rows = found if isinstance(found, torch.Tensor) else found.pooler_output
        return torch.nn.functional.normalize(rows, dim=-1)[0].double().numpy()

    def of_image(image):
        with torch.inference_mode():
            return unit(model.get_image_features(**processor(images=image, return_tensors="pt")))

    def of_text(text):
        inputs = processor(text=[text], padding=fill, return_tensors="pt")
        with torch.inference_mode():
            return unit(model.get_text_features(**inputs))

    return of_image, of_text


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_equals_a_brute_force_over_transformers_vectors(kind):
    from PIL import Image

    of_image, of_text = reference(kind)
    x = np.stack([of_image(Image.open(path).convert("RGB")) for path in files()])
    queries = [*TEXTS, *make_images()]
    q = np.stack([of_text(query) if isinstance(query, str) else of_image(query) for query in queries])
    with ours(kind, batch_size=2) as pipe:
        found = pipe(queries, top_k=COUNT)
    for row, query, hits in zip(q @ x.T, queries, found, strict=True):
        np.testing.assert_allclose(hits.scores, np.sort(row)[::-1], atol=ROUNDING)
        np.testing.assert_allclose(hits.scores, row[hits.ids], atol=ROUNDING)
        assert hits.query == (query if isinstance(query, str) else None)
    assert len({tuple(hits.ids.tolist()) for hits in found}) > 3, "queries are told apart"


def test_a_picture_of_the_index_finds_itself_in_any_form():
    from PIL import Image

    path = files()[5]
    with ours() as pipe:
        for query in (path, path.read_bytes(), Image.open(path), {"image": str(path)}, np.asarray(Image.open(path))):
            hits = pipe(query, top_k=1)
            assert hits.ids.tolist() == [5]
            assert hits.scores[0] == pytest.approx(1, abs=ROUNDING)
            assert hits[0]["source"] == str(path)
            assert hits.query is None


def test_a_str_is_a_text_and_never_a_path():
    with ours() as pipe:
        as_text, said = pipe(str(files()[5])), pipe({"text": str(files()[5])})
        assert as_text.query == str(files()[5])
        np.testing.assert_allclose(as_text.scores, said.scores, atol=ROUNDING)
        assert as_text.scores[0] < 0.999


def test_filters_and_metadata():
    with ours() as pipe:
        hits = pipe("a red boat", top_k=COUNT, where={"even": True})
        assert sorted(hits.ids.tolist()) == list(range(0, COUNT, 2))
        assert all(passage["title"] == files()[i].stem for i, passage in zip(hits.ids, hits.passages, strict=True))


def test_what_is_for_texts_alone():
    with ours() as pipe:
        with pytest.raises(OptionError, match="a reranker reads texts"):
            pipe("a red boat", reranker=object())
        with pytest.raises(OptionError, match="has no words"):
            pipe("a red boat", mode="lexical")
    with pytest.raises(OptionError, match=r"the index holds image; .*Use 'image-retrieval'"):
        sensorium.pipeline("retrieval", index=index())
    with pytest.raises(OptionError, match="image-retrieval"):
        sensorium.pipeline("audio-retrieval", index=index())
    with pytest.raises(OptionError, match="lexical=True is for texts"):
        Index.build(files()[:2], encoder(), lexical=True)
    with pytest.raises(OptionError, match="model has no meaning for image-retrieval"):
        sensorium.pipeline("image-retrieval", tiny_text.matcher("clip"), index=index())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("", "empty-text"),
        (None, "unsupported-type"),
        (Path("nowhere.jpg"), "missing-file"),
        (b"no picture", "not-a-picture"),
        ({"audio": b""}, "unsupported-type"),
        ({"text": 3}, "not-text"),
    ],
)
def test_bad_queries(bad, code):
    with ours() as pipe:
        first, error, last = pipe(["a red boat", bad, make_image()], on_error="return")
    assert isinstance(error, InputError)
    assert (error.code, error.index) == (code, 1)
    assert [first.index, last.index] == [0, 2]


def test_the_encoder_s_limits_hold_for_queries():
    strict = encoder(limits=MediaLimits(max_pixels=3000))
    made = Index.build([make_image(20, 30), make_image(30, 20)], strict)
    with sensorium.pipeline("image-retrieval", index=made, compile=False) as pipe, pytest.raises(LimitError):
        pipe(make_image(200, 200))


CONTRACT = Contract(
    build=ours,
    inputs=lambda: [*TEXTS, *make_images()[:4]],
    bad=["", None, Path("nowhere.jpg"), b"no picture"],
    options=[{"top_k": 3}, {"where": {"even": True}}],
    tolerance=ROUNDING,
)
