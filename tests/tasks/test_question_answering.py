"""question-answering against the formulas of Transformers 4.57's pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.tasks.question_answering import QuestionAnswering, QuestionAnsweringOptions
from tests import reference_answers, tiny, tiny_text
from tests.contract import Contract, assert_close

PARITY = 1e-5  # float32 rounding, on probabilities
QUESTION = "Where is the Zürich boat?"
ODD = "Déjà vu: 東京 is a city 🙂, isn't it? e\u0301tude — \x00 unbelievable, re-opened. "
CONTEXTS = [
    tiny_text.words(5, 1),
    tiny_text.words(40, 2),
    ODD + tiny_text.words(150, 3),
    tiny_text.words(700, 4) + ODD,
    ODD * 12,
]


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("question-answering", folder, **settings)


def reference(folder, question, context, **options):
    model, tokenizer = _loaded(folder)
    return reference_answers.answers(model, tokenizer, question, context, **options)


def _loaded(folder):
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def assert_same(mine, expected, context, tolerance=PARITY):
    assert type(mine) is type(expected)  # a dict for one answer, a list for several
    mine, expected = ([x] if isinstance(x, dict) else x for x in (mine, expected))
    assert [list(row) for row in mine] == [["score", "start", "end", "answer"]] * len(expected)
    for a, b in zip(mine, expected, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=tolerance)
        assert {**a, "score": 0} == {**b, "score": 0}
        assert context[a["start"] : a["end"]] == a["answer"]


OPTIONS = [
    {},
    {"top_k": 5},
    {"top_k": 4, "align_to_words": False},
    {"handle_impossible_answer": True, "top_k": 3},
    {"max_seq_len": 64, "doc_stride": 16, "top_k": 4},
    {"max_seq_len": 50, "doc_stride": 0},
    {"max_answer_len": 3, "top_k": 6},
]


@pytest.mark.parametrize("architecture", tiny_text.READERS)
def test_same_answers_as_4_57(architecture):
    folder = tiny_text.reader(architecture)
    model, tokenizer = _loaded(folder)
    with ours(folder, batch_size=3) as pipe:
        assert pipe.task.name == "question-answering"
        for options in OPTIONS:
            together = pipe(question=QUESTION, context=CONTEXTS, **options)
            for i, (context, result) in enumerate(zip(CONTEXTS, together, strict=True)):
                expected = reference_answers.answers(model, tokenizer, QUESTION, context, **options)
                assert_same(result.to_dict(), expected, context)
                assert result.index == i
        alone = pipe(question=QUESTION, context=CONTEXTS[2], top_k=5)
        assert_same(alone.to_dict(), reference(folder, QUESTION, CONTEXTS[2], top_k=5), CONTEXTS[2])


def test_neighbours_of_other_lengths_do_not_change_an_answer():
    with ours(tiny_text.reader("bert"), batch_size=4) as pipe:
        pairs = [{"question": f"{QUESTION} {i}", "context": context} for i, context in enumerate(CONTEXTS)]
        together, backwards = pipe(pairs, top_k=3), pipe(pairs[::-1], top_k=3)[::-1]
        for pair, a, b in zip(pairs, together, backwards, strict=True):
            alone = pipe(pair, top_k=3)
            for other in (a, b):
                assert other.answers.tolist() == alone.answers.tolist()
                np.testing.assert_allclose(other.scores, alone.scores, atol=1e-6)


def test_windows_of_several_contexts_share_batches():
    context = tiny_text.words(700, 4)
    with ours(tiny_text.reader("bert"), batch_size=64) as pipe:
        pipe(question=QUESTION, context=context, max_seq_len=100)
        windows = pipe.stats()["stages"]["split"]["items"]
        pipe.reset_stats()
        pipe(question=QUESTION, context=[context] * 8, max_seq_len=100)
        # the last window of each is shorter; a batch is launched before a group is full where it would wait too long
        assert pipe.stats()["stages"]["split"]["items"] == 8 * windows
        assert pipe.stats()["batches"] <= 8 * windows / 64 + 3


def test_every_form_of_a_call(tmp_path):
    context, other = CONTEXTS[1], CONTEXTS[0]
    with ours(tiny_text.reader("bert")) as pipe:
        one = pipe(question=QUESTION, context=context)
        assert one == pipe(QUESTION, context) == pipe({"question": QUESTION, "context": context})
        assert isinstance(one, sensorium.Answers)
        assert one.to_dict() == one[0]
        assert list(one[0]) == ["score", "start", "end", "answer"]
        pairs = [{"question": QUESTION, "context": text} for text in (context, other)]
        several = pipe(pairs)
        for forms in (
            pipe(question=[QUESTION, QUESTION], context=[context, other]),
            pipe(question=QUESTION, context=[context, other]),
            pipe([QUESTION, QUESTION], [context, other]),
            pipe({"question": QUESTION, "context": [context, other]}),
            list(pipe.stream(pairs)),
            list(pipe({**pair, "id": 7} for pair in pairs)),  # a data set's row has more columns
        ):
            assert [x.answers.tolist() for x in forms] == [x.answers.tolist() for x in several]
        asked = pipe(question=[QUESTION, "Who?"], context=context)
        assert_close(asked[0].to_dict(), one.to_dict())
        assert asked[1] == pipe("Who?", context)
        with pytest.raises(OptionError, match="lengths"):
            pipe(question=[QUESTION] * 2, context=[context] * 3)
        with pytest.raises(OptionError, match="context missing"):
            pipe(question=QUESTION)


def test_equal_answers_are_one_with_the_sum_of_their_scores():
    folder, context = tiny_text.reader("bert"), "The heron saw the boat. " * 30
    expected = reference(folder, "Who saw?", context, top_k=40, max_answer_len=2)
    with ours(folder) as pipe:
        result = pipe("Who saw?", context, top_k=40, max_answer_len=2)
    assert_same(result.to_dict(), expected, context)
    folded = [answer.lower() for answer in result.answers.tolist()]
    assert len(set(folded)) == len(folded) < 90  # of the 90 best spans many are equal
    assert "the boat" in folded


def test_answers_are_widened_to_whole_words_only_if_asked():
    context = CONTEXTS[1]
    with ours(tiny_text.reader("bert")) as pipe:
        whole = pipe(QUESTION, context, top_k=20)
        parts = pipe(QUESTION, context, top_k=20, align_to_words=False)
    assert any(context[end - 1 : end + 1].isalpha() for end in parts.ends.tolist() if end < len(context))
    assert not any(context[end - 1 : end + 1].isalpha() for end in whole.ends.tolist() if end < len(context))


def test_no_answer_has_the_score_of_the_least_sure_window():
    folder = tiny_text.reader("bert")
    with ours(folder) as pipe:
        result = pipe(QUESTION, CONTEXTS[0], handle_impossible_answer=True, top_k=100)
        assert pipe(QUESTION, CONTEXTS[0], top_k=100).answers.tolist().count("") == 0
    (at,) = (result.answers == "").nonzero()[0]
    model, tokenizer = _loaded(folder)
    with torch.inference_mode():
        output = model(**tokenizer(QUESTION, CONTEXTS[0], return_tensors="pt"))
    kept = [0, *range(len(tokenizer(QUESTION)["input_ids"]), output.start_logits.shape[1] - 1)]
    start, end = (x[0, kept].softmax(-1)[0] for x in (output.start_logits, output.end_logits))
    assert result.scores[at] == pytest.approx(float(start * end), abs=PARITY)
    assert (result.starts[at], result.ends[at]) == (0, 0)


def test_a_question_is_cut_only_if_asked():
    question, context = tiny_text.words(90, 5), CONTEXTS[1]
    folder = tiny_text.reader("bert")
    _, tokenizer = _loaded(folder)
    ids = tokenizer(question, add_special_tokens=False)["input_ids"][:20]
    shorter = tokenizer.decode(ids)
    assert tokenizer(shorter, add_special_tokens=False)["input_ids"] == ids
    with ours(folder) as pipe:
        assert_same(pipe(question, context).to_dict(), reference(folder, question, context), context)
        cut = pipe(question, context, max_question_len=20)
        assert_same(cut.to_dict(), reference(folder, shorter, context), context)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tokenizer_that_truncates_on_the_left_lays_its_windows_from_the_end(side):
    folder, context = tiny_text.reader("bert"), CONTEXTS[3]
    model, tokenizer = _loaded(folder)
    tokenizer.truncation_side = side
    expected = reference_answers.answers(model, tokenizer, QUESTION, context, max_seq_len=90, top_k=5)
    with sensorium.pipeline("question-answering", model, processor=tokenizer, device="cpu", compile=False) as pipe:
        assert_same(pipe(QUESTION, context, max_seq_len=90, top_k=5).to_dict(), expected, context)


def test_a_tokenizer_that_pads_on_the_left_has_the_context_first():
    """As 4.57 lays it out; but it takes the question's tokens for the context's here, which ours does not."""
    model, tokenizer = _loaded(tiny_text.reader("bert"))
    tokenizer.padding_side = "left"
    context, other = CONTEXTS[1], tiny_text.words(47, 9)
    inputs = tokenizer(context, QUESTION, return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    allowed = torch.tensor([i == 0 for i in inputs.sequence_ids(0)])
    counted = allowed | (inputs["input_ids"][0] == tokenizer.cls_token_id)
    start, end = (x[0].masked_fill(~counted, -1e4).softmax(-1) for x in (output.start_logits, output.end_logits))
    band = (start[:, None] * end[None]).triu().tril(14) * allowed[:, None] * allowed[None]
    s, e = divmod(int(band.argmax()), band.shape[1])
    offsets = inputs.encodings[0].offsets
    with sensorium.pipeline("question-answering", model, processor=tokenizer, device="cpu", compile=False) as pipe:
        alone = pipe(QUESTION, context, align_to_words=False)
        together = pipe(question=QUESTION, context=[other, context], align_to_words=False)
    assert alone[0]["start"] == offsets[s][0]
    assert alone[0]["end"] == offsets[e][1]
    assert alone[0]["score"] == pytest.approx(float(band.max()), abs=PARITY)
    assert together[1].answers.tolist() == alone.answers.tolist()
    assert together[1].scores[0] == pytest.approx(alone.scores[0], abs=1e-6)


def test_a_model_that_is_not_told_what_is_filling_gets_none():
    model, tokenizer = _loaded(tiny_text.reader("distilbert"))
    tokenizer.model_input_names = ["input_ids"]
    with sensorium.pipeline("question-answering", model, processor=tokenizer, device="cpu", compile=False) as pipe:
        for context, result in zip(CONTEXTS, pipe(question=QUESTION, context=CONTEXTS), strict=True):
            expected = reference_answers.answers(model, tokenizer, QUESTION, context)
            assert_same(result.to_dict(), expected, context)


BAD = {
    "empty-text": [
        {"question": "", "context": "a"},
        {"question": "Who?", "context": ""},
        {"question": " \n", "context": "a"},
        {"question": "Who?", "context": "\x00"},  # BERT's tokenizer drops it
    ],
    "not-text": [
        {"question": "Who?", "context": None},
        {"question": 3, "context": "a"},
        {"question": "Who?", "context": b"a"},
        {"question": "Who?", "context": "half a pair \ud83d"},
    ],
    "no-question": [{"context": "a"}],
    "no-context": [{"question": "Who?"}],
    "unsupported-type": ["Who?", None, 3, ("Who?", "a")],
}


@pytest.mark.parametrize("code", BAD)
def test_bad_inputs_among_good_ones(code):
    good = {"question": QUESTION, "context": CONTEXTS[0]}
    with ours(tiny_text.reader("bert")) as pipe:
        inputs = [x for bad in BAD[code] for x in (good, bad)]
        outcomes = pipe(inputs, on_error="return")
        assert [outcome.code for outcome in outcomes[1::2]] == [code] * len(BAD[code])
        alone = pipe(good).to_dict()
        for outcome in outcomes[::2]:
            assert_close(outcome.to_dict(), alone)


def test_a_question_longer_than_the_window():
    with ours(tiny_text.reader("bert")) as pipe:
        with pytest.raises(InputError, match="max_question_len=") as caught:
            pipe(tiny_text.words(200), CONTEXTS[3], max_seq_len=128)
        assert caught.value.code == "question-too-long"
        # one that leaves the context more than the overlap is served
        assert len(pipe(tiny_text.words(200), CONTEXTS[3], max_seq_len=128, max_question_len=30)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_k": True},
        {"doc_stride": -1},
        {"doc_stride": 400},
        {"max_answer_len": 0},
        {"max_seq_len": 513},  # more than the model has positions
        {"max_question_len": 0},
        {"handle_impossible_answer": 1},
        {"align_to_words": None},
    ],
)
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_bad_options_fail_before_any_work(options, architecture):
    with ours(tiny_text.reader(architecture)) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe(QUESTION, CONTEXTS[0], **options)
        assert pipe.stats()["inputs"] == 0


def test_defaults_are_those_of_4_57():
    given = dataclasses.asdict(QuestionAnsweringOptions())
    assert given == {
        "top_k": 1,
        "doc_stride": None,  # min(max_seq_len // 2, 128)
        "max_answer_len": 15,
        "max_seq_len": None,  # 384, or as many as the tokenizer allows
        "max_question_len": None,  # with a fast tokenizer 4.57 cuts no question, whatever this says
        "handle_impossible_answer": False,
        "align_to_words": True,
    }
    assert QuestionAnswering.default == "distilbert/distilbert-base-cased-distilled-squad@564e9b5"


def test_a_loaded_model_needs_its_tokenizer():
    model, tokenizer = _loaded(tiny_text.reader("distilbert"))
    with pytest.raises(CheckpointError, match="processor="):
        sensorium.pipeline("question-answering", model)
    with sensorium.pipeline(model=model, processor=tokenizer, device="cpu", compile=False) as pipe:
        assert pipe.task.name == "question-answering"
        got = pipe(QUESTION, CONTEXTS[1]).to_dict()
    assert_same(got, reference(tiny_text.reader("distilbert"), QUESTION, CONTEXTS[1]), CONTEXTS[1])


def test_a_checkpoint_of_another_task_is_told_the_right_one():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match="question-answering"):
        sensorium.pipeline("image-classification", tiny_text.reader("bert"))


def test_bfloat16_drifts_less_than_promised():
    with ours(tiny_text.reader("bert")) as exact, ours(tiny_text.reader("bert"), dtype="bfloat16") as fast:
        for context in CONTEXTS[:3]:
            a, b = (pipe(QUESTION, context, top_k=200) for pipe in (exact, fast))
            drifted = dict(zip(b.answers.tolist(), b.scores.tolist(), strict=True))
            assert drifted[a.answers[0]] == pytest.approx(float(a.scores[0]), abs=0.05)


def _inputs():
    return [{"question": QUESTION, "context": context} for context in (*CONTEXTS[:3], tiny_text.words(60, 8))]


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_text.reader("bert"), **settings),
    inputs=_inputs,
    bad=[BAD["empty-text"][1], BAD["not-text"][0], BAD["no-context"][0], "Who?"],
    options=[{"top_k": 3}, {"handle_impossible_answer": True, "top_k": 2, "max_seq_len": 80}],
)
