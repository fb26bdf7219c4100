"""text-ranking against sentence-transformers' CrossEncoder, on the same checkpoint, in float32."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.results.ranking import Ranking
from sensorium.tasks.text_ranking import TextRanking
from sensorium.tasks.texts.pairs import longest_first
from tests import tiny_ranking, tiny_text
from tests.contract import Contract

PARITY = 1e-5  # float32 rounding
QUERY = "Where is the Zürich boat?"
SHORT = [tiny_text.words(n, n) for n in (1, 3, 9, 14, 2, 20)]  # any of them fits
LONG = [tiny_text.words(n, n) for n in (40, 200, 61)]


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("text-ranking", folder, **settings)


def reference(folder, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        from sentence_transformers import CrossEncoder

        encoder = CrossEncoder(str(folder), device="cpu", **settings)
    encoder.tokenizer.model_max_length = 64  # for RoBERTa it takes 66, two more than the model has places for
    return encoder


def inputs():
    return [
        {"query": QUERY, "text": SHORT},
        {"query": "Who saw?", "text": SHORT[2]},
        {"query": "river", "text": SHORT[:2]},
        {"query": SHORT[3], "text": [SHORT[2]]},
    ]


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_ranking.ranker("bert"), **settings),
    inputs=inputs,
    bad=["text", None, {"query": QUERY}, {"text": "a"}, {"query": "", "text": "a"}, {"query": "a", "text": []},
         {"query": QUERY, "text": [SHORT[0], ""]}, {"query": QUERY, "text": LONG}],
    options=[{"top_k": 2}, {"activation": "identity"}, {"max_length": 20, "truncation": True}],
)  # fmt: skip


@pytest.mark.parametrize("architecture", tiny_ranking.RANKERS)
def test_scores_are_those_of_the_cross_encoder(architecture):
    folder = tiny_ranking.ranker(architecture)
    encoder = reference(folder)
    queries = [QUERY, "Who saw?", tiny_text.words(70, 5)]
    with ours(folder, batch_size=4) as pipe:
        together = pipe(query=queries, text=[SHORT + LONG] * 3, truncation=True, max_length=64)
        for query, result in zip(queries, together, strict=True):
            # one by one: what the reference pads changes the scores of some models
            expected = encoder.rank(query, SHORT + LONG, return_documents=True, batch_size=1)
            assert_ranked(result.to_dict(), expected)
            assert np.ptp(result.scores) > 0.01  # or this tells nothing
        alone = pipe(QUERY, SHORT[2])
        assert alone.score == pytest.approx(float(encoder.predict((QUERY, SHORT[2]))), abs=PARITY)
        logits = pipe(QUERY, LONG[0], activation="identity", truncation=True, max_length=64)
        expected = encoder.predict([(QUERY, LONG[0])], activation_fn=torch.nn.Identity())
        assert logits.score == pytest.approx(float(expected[0]), rel=PARITY, abs=PARITY)


def assert_ranked(got, expected):
    assert [list(row) for row in got] == [["corpus_id", "score", "text"]] * len(expected)
    np.testing.assert_allclose([r["score"] for r in got], [r["score"] for r in expected], atol=PARITY)
    by_id = {row["corpus_id"]: row for row in expected}
    for row in got:  # neighbours that agree to rounding may change places
        assert row["text"] == by_id[row["corpus_id"]]["text"]
        assert row["score"] == pytest.approx(by_id[row["corpus_id"]]["score"], abs=PARITY)
    assert sorted(row["corpus_id"] for row in got) == sorted(by_id)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("most", [10, 11, 25, 64])
def test_pairs_are_cut_as_transformers_cuts_them(side, most):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_ranking.ranker("bert"), truncation_side=side)
    folder = tiny_ranking.ranker("bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    with sensorium.pipeline("text-ranking", model, processor=tokenizer, device="cpu", compile=False) as pipe:
        for query in (SHORT[0], SHORT[5], LONG[0]):
            for text in (SHORT[0], SHORT[5], LONG[0], LONG[1]):
                pair = tokenizer(query, text, truncation="longest_first", max_length=most, return_tensors="pt")
                with torch.inference_mode():
                    expected = float(model(**pair).logits)
                got = pipe(query, text, truncation=True, max_length=most, activation="identity")
                assert got.score == pytest.approx(expected, rel=PARITY, abs=PARITY)


def test_what_is_kept_of_two_texts():
    assert longest_first(10, 3, 8) == (5, 3)
    assert longest_first(3, 10, 8) == (3, 5)
    assert longest_first(10, 10, 9) == (4, 5)
    assert longest_first(11, 10, 9) == (5, 4)
    assert longest_first(4, 5, 8) == (4, 4)


def test_every_form_of_a_call():
    with ours(tiny_ranking.ranker("bert")) as pipe:
        ranking = pipe(QUERY, SHORT)
        assert isinstance(ranking, Ranking)
        assert ranking == pipe(query=QUERY, text=SHORT) == pipe({"query": QUERY, "text": SHORT})
        assert len(ranking) == len(SHORT)
        assert (np.diff(ranking.scores) <= 0).all()
        assert ranking.texts == [SHORT[i] for i in ranking.order]
        assert pipe(QUERY, SHORT, top_k=2) == ranking[:2]
        pair = pipe(QUERY, SHORT[1])
        assert pair.to_dict() == {"corpus_id": 0, "score": pair.score, "text": SHORT[1]}
        assert isinstance(pipe(QUERY, [SHORT[1]]).to_dict(), list)
        others = ["river", "hill"]
        for several in (
            pipe(query=[QUERY, *others], text=[SHORT, SHORT[0], SHORT[:2]]),
            pipe([{"query": QUERY, "text": SHORT}, {"query": "river", "text": SHORT[0]},
                  {"query": "hill", "text": SHORT[:2]}]),
            list(pipe.stream(iter([{"query": q, "text": t, "id": 3} for q, t in
                                   zip([QUERY, *others], [SHORT, SHORT[0], SHORT[:2]], strict=True)]))),
        ):  # fmt: skip
            assert [len(each) for each in several] == [6, 1, 2]
            assert several[0].order.tolist() == ranking.order.tolist()
        assert [r.score for r in pipe(["river", "hill"], SHORT[0])] == [
            pytest.approx(pipe(q, SHORT[0]).score, abs=1e-6) for q in ("river", "hill")
        ]
        with pytest.raises(OptionError, match="lengths"):
            pipe(query=["a", "b"], text=["a", "b", "c"])
        with pytest.raises(OptionError, match="text missing"):
            pipe(query=QUERY)


def test_equal_scores_keep_their_order():
    with ours(tiny_ranking.ranker("bert")) as pipe:
        with torch.no_grad():  # equal to the bit on every chip: the same text may be rounded otherwise in another row
            pipe.model.classifier.weight.zero_()
        ranking = pipe(QUERY, SHORT[:4])
        assert len(set(ranking.scores.tolist())) == 1
        assert ranking.order.tolist() == [0, 1, 2, 3]


def test_texts_of_many_queries_share_batches():
    with ours(tiny_ranking.ranker("bert"), batch_size=16) as pipe:
        pipe(query=[QUERY] * 8, text=[[SHORT[2]] * 4] * 8)
        assert pipe.stats()["batches"] <= 4  # 32 pairs; a batch may be launched before it is full


# The activation ---------------------------------------------------------------------------------


def changed(tmp_path, file, **entries):
    folder = tmp_path / "changed"
    shutil.copytree(tiny_ranking.ranker("bert"), folder, dirs_exist_ok=True)
    path = folder / file
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **entries}))
    return folder


IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config.json", {"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.0.1"}}),
        ("config.json", {"sbert_ce_default_activation_function": IDENTITY}),
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.Sigmoid"}),
        ("config.json", {"sentence_transformers": {"activation_fn": SIGMOID},
                         "sbert_ce_default_activation_function": IDENTITY}),
        ("config.json", {"sentence_transformers": {"version": "4.0.1"}}),
    ],
)  # fmt: skip
def test_the_checkpoint_names_its_activation(tmp_path, file, entries):
    folder = changed(tmp_path, file, **entries)
    expected = reference(folder).predict([(QUERY, text) for text in SHORT])
    with ours(folder) as pipe:
        got = pipe(QUERY, SHORT)
        np.testing.assert_allclose(got.scores, expected[got.order], rtol=PARITY, atol=PARITY)


@pytest.mark.parametrize("activation", [torch.nn.Identity(), torch.nn.Sigmoid()])
def test_folders_of_sentence_transformers(tmp_path, activation):
    encoder = reference(tiny_ranking.ranker("bert"), activation_fn=activation, prompts={"q": "river: "})
    encoder.default_prompt_name = "q"
    encoder.save_pretrained(str(tmp_path))
    expected = encoder.predict([(QUERY, text) for text in SHORT])
    with ours(tmp_path) as pipe:
        got = pipe(QUERY, SHORT)
    np.testing.assert_allclose(got.scores, expected[got.order], rtol=PARITY, atol=PARITY)
    assert np.abs(expected - encoder.predict([(QUERY, text) for text in SHORT], prompt="")).max() > PARITY


def test_an_activation_that_is_not_known_has_to_be_chosen(tmp_path):
    folder = changed(tmp_path, "config.json", sbert_ce_default_activation_function="torch.nn.Tanh")
    with ours(folder) as pipe:
        with pytest.raises(OptionError, match="Tanh"):
            pipe(QUERY, SHORT)
        assert 0 < pipe(QUERY, SHORT, activation="sigmoid").score < 1


def test_a_prompt_that_is_missing(tmp_path):
    folder = changed(tmp_path, "config_sentence_transformers.json", default_prompt_name="q", prompts={})
    with pytest.raises(CheckpointError, match="default prompt 'q'"):
        ours(folder)


def test_further_modules_are_refused(tmp_path):
    folder = changed(tmp_path, "config.json")
    kinds = ("Transformer", "Dense")
    rows = [{"idx": i, "name": str(i), "path": "", "type": f"sentence_transformers.x.{k}"} for i, k in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(rows))
    with pytest.raises(CheckpointError, match="Transformer, Dense"):
        ours(folder)


def test_texts_are_lowered_where_the_checkpoint_has_it_so(tmp_path):
    shutil.copytree(tiny_ranking.ranker("roberta"), tmp_path, dirs_exist_ok=True)  # its tokenizer knows capitals
    with ours(tmp_path) as pipe:
        expected, other = pipe("where is anna", "in the river").score, pipe("Where is Anna", "in the River").score
    assert abs(expected - other) > PARITY
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    with ours(tmp_path) as pipe:
        assert pipe("Where is Anna", "in the River").score == pytest.approx(expected, abs=PARITY)


def test_a_stored_length_is_kept_to(tmp_path):
    folder = changed(tmp_path, "sentence_bert_config.json", max_seq_length=12)
    with ours(folder) as pipe:
        with pytest.raises(InputError, match="expected 12 at most"):
            pipe(QUERY, SHORT[3])
        with pytest.raises(OptionError, match="at most 12"):
            pipe(QUERY, SHORT, max_length=13)


# Bad input ---------------------------------------------------------------------------------------

BAD = {
    "empty-text": [
        {"query": "", "text": "a"},
        {"query": "a", "text": " \n"},
        {"query": "a", "text": ["b", ""]},
        {"query": "a", "text": "\x00"},  # BERT's tokenizer drops it
    ],
    "not-text": [
        {"query": None, "text": "a"},
        {"query": "a", "text": 3},
        {"query": "a", "text": ["b", b"c"]},
        {"query": "a", "text": "half a pair \ud83d"},
    ],
    "no-query": [{"text": "a"}],
    "no-text": [{"query": "a"}, {"query": "a", "text": []}],
    "text-too-long": [{"query": QUERY, "text": LONG[0]}, {"query": QUERY, "text": [SHORT[0], LONG[1]]}],
    "unsupported-type": ["text", None, 3, ("a", "b")],
}


@pytest.mark.parametrize("code", BAD)
def test_bad_inputs_among_good_ones(code):
    good = {"query": QUERY, "text": SHORT[:3]}
    with ours(tiny_ranking.ranker("bert")) as pipe:
        outcomes = pipe([x for bad in BAD[code] for x in (good, bad)], on_error="return")
        assert [outcome.code for outcome in outcomes[1::2]] == [code] * len(BAD[code])
        expected = pipe(good)
        for outcome in outcomes[::2]:
            assert outcome.order.tolist() == expected.order.tolist()
            np.testing.assert_allclose(outcome.scores, expected.scores, atol=1e-6)


def test_the_text_at_fault_is_named():
    with ours(tiny_ranking.ranker("bert")) as pipe:
        with pytest.raises(InputError, match=r"text 6 have \d+ tokens together, expected 64 .* truncation=True"):
            pipe(QUERY, [*SHORT, *LONG])
        with pytest.raises(InputError, match="text 1 is empty"):
            pipe(QUERY, ["a", " "])
        with pytest.raises(InputError, match="raise max_length="):
            pipe(QUERY, SHORT[2], truncation=True, max_length=4)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0}, {"top_k": True}, {"activation": "tanh"}, {"truncation": 1}, {"max_length": 0},
        {"max_length": 65},
    ],
)  # fmt: skip
def test_bad_options_fail_before_any_work(options):
    with ours(tiny_ranking.ranker("bert")) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe(QUERY, SHORT, **options)
        assert pipe.stats()["inputs"] == 0


def test_checkpoints_of_other_tasks():
    with pytest.raises(TaskMismatchError, match="text-ranking"):
        ours(tiny_ranking.ranker("bert", num_labels=3))
    with pytest.raises(TaskMismatchError, match="question-answering"):
        ours(tiny_text.reader("bert"))


def test_a_loaded_model_needs_its_tokenizer():
    folder = tiny_ranking.ranker("bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="processor="):
        sensorium.pipeline("text-ranking", model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with sensorium.pipeline(model=model, processor=tokenizer, device="cpu", compile=False) as pipe:
        assert isinstance(pipe.task, TextRanking)
        got = pipe(QUERY, SHORT)
    with ours(folder) as pipe:
        np.testing.assert_allclose(got.scores, pipe(QUERY, SHORT).scores, atol=PARITY)


def test_a_model_that_is_not_told_what_is_filling_gets_none():
    folder = tiny_ranking.ranker("bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, model_input_names=["input_ids"])
    with sensorium.pipeline("text-ranking", model, processor=tokenizer, device="cpu", compile=False) as pipe:
        for text, row in zip(SHORT, pipe(query=[QUERY] * 6, text=SHORT), strict=True):
            with torch.inference_mode():
                ids = tokenizer(QUERY, text, return_tensors="pt")["input_ids"]
                assert row.score == pytest.approx(float(model(input_ids=ids).logits.sigmoid()), abs=PARITY)
