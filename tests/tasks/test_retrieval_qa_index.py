"""retrieval-qa that finds its passages in an index: what a search gives, read as if it had been given."""

from __future__ import annotations

import numpy as np
import pytest

import sensorium
from sensorium.errors import InputError, OptionError
from sensorium.retrieval import Index, Passage, Reranker
from tests import tiny_ranking, tiny_reading, tiny_text
from tests.contract import Contract
from tests.tasks.test_retrieval import QUERIES, encoder, index

SETTINGS = {"device": "cpu", "dtype": "float32", "compile": False}
ROUNDING = 2e-5  # float32; logits of a few units


def ours(folder=None, *, over=None, **settings):
    reader = folder or tiny_reading.dpr()
    return sensorium.pipeline("retrieval-qa", reader=reader, index=over or index(), **{**SETTINGS, **settings})


def same(found, wanted):
    assert found.answers.tolist() == wanted.answers.tolist()
    assert found.citations == wanted.citations
    assert found.passages == wanted.passages
    for name in ("scores", "span_scores", "relevance_scores"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("make", [tiny_reading.dpr, lambda: tiny_text.reader("bert"), tiny_reading.causal])
@pytest.mark.parametrize("options", [{}, {"mode": "hybrid"}, {"where": {"year": [1990, 1993]}}, {"num_passages": 3}])
def test_equals_a_search_whose_passages_are_given(make, options):
    searched = {name: value for name, value in options.items() if name != "num_passages"}
    with ours(make()) as pipe, sensorium.pipeline("retrieval-qa", make(), **SETTINGS) as read:
        count = options.get("num_passages", 5 if make is tiny_reading.causal else 20)
        found = pipe(QUERIES[:3], **options)
        for question, result in zip(QUERIES, found, strict=False):
            (hits,) = index().search([question], count, **searched)
            same(result, read(question=question, passages=list(hits.passages)))
            assert result.read == len(hits)


def test_a_reranker_and_the_weight_of_the_search():
    reranker = Reranker.from_pretrained(tiny_ranking.ranker("bert"), **SETTINGS)
    with reranker, ours() as pipe, sensorium.pipeline("retrieval-qa", tiny_reading.dpr(), **SETTINGS) as read:
        (hits,) = index().search(QUERIES[:1], 4, reranker=reranker)
        found = pipe(QUERIES[0], num_passages=4, reranker=reranker, retrieval_weight=2.0, top_k=4)
        given = {"question": QUERIES[0], "passages": list(hits.passages), "scores": hits.scores.tolist()}
        same(found, read(given, retrieval_weight=2.0, top_k=4))
        plain = pipe(QUERIES[0], num_passages=4, top_k=4)
    assert [p["id"] for p in found.passages] != [p["id"] for p in plain.passages], "the reranker changes the order"


def test_one_list_and_stream_agree():
    with ours(batch_size=3) as pipe:
        one = [pipe(question) for question in QUERIES]
        assert [result.index for result in one] == [0] * len(QUERIES)
        for forms in (pipe(QUERIES), list(pipe.stream(iter(QUERIES))), pipe(question=QUERIES)):
            assert [result.index for result in forms] == list(range(len(QUERIES)))
            for a, b in zip(forms, one, strict=True):
                same(a, b)
        same(pipe(question=QUERIES[1]), one[1])
        assert pipe([]) == []


@pytest.mark.parametrize("on_error", ["return", "skip"])
def test_bad_questions_keep_their_places(on_error):
    asked = [QUERIES[0], "", QUERIES[1], 3, None, QUERIES[2], " "]
    with ours(batch_size=2) as pipe:
        want = [pipe(question) for question in QUERIES[:3]]
        outcomes = pipe(asked, on_error=on_error)
        with pytest.raises(InputError, match="input 1"):
            pipe(asked)
    good = [outcome for outcome in outcomes if not isinstance(outcome, InputError)]
    assert [result.index for result in good] == [0, 2, 5]
    for result, one in zip(good, want, strict=True):
        same(result, one)
    if on_error == "return":
        assert [(each.index, each.code) for each in outcomes if isinstance(each, InputError)] == [
            (1, "empty-text"), (3, "not-text"), (4, "not-text"), (6, "empty-text"),
        ]  # fmt: skip


@pytest.mark.parametrize("make", [tiny_reading.dpr, lambda: tiny_text.reader("bert"), tiny_reading.causal])
def test_a_search_that_finds_nothing_gives_no_answer_and_no_error(make):
    with ours(make()) as pipe:
        nothing, again = pipe(QUERIES[:2], where={"year": 1800})
        assert (len(nothing), nothing.read, nothing.refused, nothing.index, again.index) == (0, 0, False, 0, 1)
        assert nothing.to_dict()["answers"] == []
        assert pipe(QUERIES[0], where={"year": 1990}).read > 0


def test_an_answer_knows_where_it_stands_in_its_document():
    text = "The river begins in the hills. It runs past the old mill to the sea."
    made = Index.build([Passage(text[31:], title="river", source="river.md", start=31, end=len(text))], encoder())
    with ours(over=made) as pipe:
        answer = pipe("Where does the river run?", title_spans=False)[0]
    assert answer["passage"]["source"] == "river.md"
    assert text[answer["document_start"] : answer["document_end"]] == answer["answer"]


def test_what_is_done_upstream_is_counted():
    with ours(batch_size=2) as pipe:
        pipe([*QUERIES, ""], on_error="skip")
        stats = pipe.stats()
        assert (stats["upstream"]["inputs"], stats["upstream"]["failures"]) == (len(QUERIES) + 1, 1)
        assert stats["inputs"] == len(QUERIES) + 1
        pipe.reset_stats()
        assert (pipe.stats()["inputs"], pipe.stats()["upstream"]["inputs"]) == (0, 0)
        pipe.warmup()
        assert (pipe.stats()["failures"], pipe.stats()["upstream"]["failures"]) == (0, 0)
    with sensorium.pipeline("retrieval-qa", tiny_reading.dpr(), **SETTINGS) as pipe:
        assert "upstream" not in pipe.stats()


def test_an_answer_is_streamed_over_what_is_found():
    with ours(tiny_reading.causal()) as pipe:
        written = "".join(pipe(QUERIES[0], stream=True, max_new_tokens=12)).strip()
        whole = pipe(QUERIES[0], max_new_tokens=12)
        assert written.startswith(whole.answers[0])
        assert list(pipe(QUERIES[0], stream=True, where={"year": 1800})) == []


def test_what_is_for_an_index_and_what_is_not():
    vectors = Index.from_vectors(np.eye(4, dtype=np.float32))
    with pytest.raises(OptionError, match="has no encoder"):
        ours(over=vectors)
    with pytest.raises(OptionError, match="index is an Index"):
        ours(over="folder")
    with pytest.raises(OptionError, match="model and reader are the same thing"):
        sensorium.pipeline("retrieval-qa", tiny_reading.dpr(), reader=tiny_reading.dpr(), index=index())
    with ours() as pipe:
        with pytest.raises(InputError, match="expected a text"):
            pipe({"question": QUERIES[0], "passages": ["a boat"]})
        with pytest.raises(OptionError, match="mode is one of"):
            pipe(QUERIES[0], mode="words")
        with pytest.raises(sensorium.UnknownNameError, match="Did you mean 'year'"):
            pipe(QUERIES, where={"yaer": 1990}, on_error="skip")
    with sensorium.pipeline("retrieval-qa", tiny_reading.dpr(), **SETTINGS) as read:
        for option in ({"where": {"year": 1}}, {"mode": "dense"}, {"reranker": object()}):
            with pytest.raises(OptionError, match="is for a search, and the passages are given here"):
                read(QUERIES[0], ["a boat"], **option)


def test_the_contract_holds_over_an_index():
    """What tests/test_contract.py asks of passages that are given, asked of those that are found."""
    from tests import test_contract as contract_tests

    contract = Contract(
        build=ours,
        inputs=lambda: QUERIES,
        bad=["", None, 3],
        options=[{"top_k": 3}, {"where": {"year": 1991}}, {"retrieval_weight": 0.5}],
        tolerance=ROUNDING,
    )
    with contract.build(batch_size=3) as pipe:
        contract_tests.test_one_list_and_stream_agree_for_all_options(pipe, contract)
        contract_tests.test_neighbours_do_not_matter(pipe, contract)
        contract_tests.test_bad_inputs_cost_no_good_one(pipe, contract)
        contract_tests.test_threads_share_a_pipeline(pipe, contract)
