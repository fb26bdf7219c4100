"""retrieval-qa: readers that point against `decode_best_spans` or a formula, those that write against `generate`."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.results import CitedAnswers
from sensorium.tasks.reading.prompts import PROMPT, filled_prompt
from sensorium.tasks.retrieval_qa import RetrievalQaOptions
from tests import reference_reading as reference
from tests import tiny, tiny_reading, tiny_text
from tests.contract import Contract, Opened, assert_close
from tests.tiny_text import words

QUESTION = "Where is the Zürich boat?"
QUESTIONS = [QUESTION, "Who walked along?", "what did the keeper say " + words(20, 3)]
PASSAGES = [{"title": words(1 + i % 4, 40 + i), "text": words(20 + 17 * i, i + 1)} for i in range(7)]
ODD = "Déjà vu: 東京 is a city 🙂, isn't it? e\u0301tude — \x00 unbelievable, re-opened."
PASSAGES += [{"title": "", "text": ODD}, {"title": "Zürich 🙂", "text": "boat"}]


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("retrieval-qa", folder, **settings)


def assert_as_decoded(result, expected, tokenizer):
    """Scores, passages, characters and tokens are those of `decode_best_spans`, in its order."""
    assert len(result) == len(expected) > 0
    for row, want in zip(result, expected, strict=True):
        assert row["span_score"] == pytest.approx(want["span_score"], rel=1e-5, abs=1e-4)  # float32 rounding, of a sum
        assert row["relevance_score"] == pytest.approx(want["relevance_score"], abs=1e-4)
        assert row["citations"] == [want["passage"] + 1]
        assert row["passage"]["text"] == PASSAGES[want["passage"]]["text"]
        if want["characters"] is None:
            assert (row["start"], row["end"]) == (None, None)
        else:
            assert (row["start"], row["end"]) == want["characters"]
            assert row["passage"]["text"][row["start"] : row["end"]] == row["answer"]
        spelled = "".join(piece.removeprefix("##") for piece in tokenizer.tokenize(row["answer"]))
        assert spelled == "".join(want["tokens"])  # half a word is cut into other pieces than the same letters in it


def test_dpr_s_answers_are_those_of_decode_best_spans():
    folder = tiny_reading.dpr()
    _, tokenizer = reference.dpr(folder)
    with ours(folder, batch_size=4) as pipe:
        for given, named in [
            ({"top_k": 16}, {}),
            ({"top_k": 30, "num_spans_per_passage": 7, "max_answer_len": 5}, {"num_spans": 30, "max_answer_length": 5,
                                                                               "num_spans_per_passage": 7}),
            ({"top_k": 3, "num_spans_per_passage": 1}, {"num_spans": 3, "num_spans_per_passage": 1}),
        ]:  # fmt: skip
            together = pipe(question=QUESTIONS, passages=PASSAGES, **given)
            for question, result in zip(QUESTIONS, together, strict=True):
                assert_as_decoded(result, reference.best_spans(folder, question, PASSAGES, **named), tokenizer)
        alone = pipe(question=QUESTION, passages=PASSAGES, top_k=16)
        assert_as_decoded(alone, reference.best_spans(folder, QUESTION, PASSAGES), tokenizer)
        found = [row["start"] for row in pipe(question=QUESTION, passages=PASSAGES, top_k=30)]
        assert None in found and 0 < found.count(None) < 30  # this reader also points to titles


@pytest.mark.slow
def test_dpr_s_answers_at_the_size_of_the_trained_readers():
    folder = tiny_reading.dpr(base=True)
    _, tokenizer = reference.dpr(folder)
    with ours(folder) as pipe:
        results = pipe(question=QUESTIONS, passages=PASSAGES, top_k=16)
    for question, result in zip(QUESTIONS, results, strict=True):
        assert_as_decoded(result, reference.best_spans(folder, question, PASSAGES), tokenizer)


def _dpr_logits(folder, question, passage, text_tokens=None):
    """Logits of a text's tokens, or of some of them, and of the passage's relevance."""
    model, tokenizer = reference.dpr(folder)
    head = tokenizer([question], [passage["title"]])["input_ids"][0]
    text = tokenizer(passage["text"], add_special_tokens=False)["input_ids"][text_tokens or slice(None)]
    with torch.inference_mode():
        output = model(torch.tensor([head + text]))
    start, end = (x[0, len(head) :].double().numpy() for x in (output.start_logits, output.end_logits))
    return start, end, float(output.relevance_logits)


def test_without_titles_answers_stand_in_the_text_alone_and_scores_are_shares():
    folder = tiny_reading.dpr()
    logits = [_dpr_logits(folder, QUESTION, passage) for passage in PASSAGES]
    order = sorted(range(len(PASSAGES)), key=lambda i: -logits[i][2])
    relevances = reference.log_sum([np.array([row[2] for row in logits])])
    expected = []
    for i in order:
        start, end, relevance = logits[i]
        for score, first, last in reference.separate(start, end, 64, 4):
            share = score - reference.log_sum([start]) - reference.log_sum([end])
            expected.append((i + 1, score, math.exp(relevance - relevances + share), first, last))
    with ours(folder) as pipe:
        result = pipe(question=QUESTION, passages=PASSAGES, top_k=12, title_spans=False)
    assert [numbers[0] for numbers in result.citations] == [row[0] for row in expected[:12]]
    np.testing.assert_allclose(result.span_scores, [row[1] for row in expected[:12]], rtol=1e-5)
    np.testing.assert_allclose(result.scores, [row[2] for row in expected[:12]], rtol=1e-3)
    _, tokenizer = reference.dpr(folder)
    for row, (_, _, _, first, last) in zip(result, expected, strict=False):
        offsets = tokenizer(row["passage"]["text"], add_special_tokens=False, return_offsets_mapping=True)
        offsets = offsets["offset_mapping"]
        assert (row["start"], row["end"]) == (offsets[first][0], offsets[last][1])


def test_a_passage_longer_than_the_model_is_read_in_windows():
    folder, passage = tiny_reading.dpr(), {"title": "the boat", "text": words(300, 5)}
    _, tokenizer = reference.dpr(folder)
    head = len(tokenizer(QUESTION, passage["title"])["input_ids"])
    offsets = tokenizer(passage["text"], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    room = 90 - head
    windows = [slice(b, b + room) for b in range(0, len(offsets), room - 20) if b == 0 or b + 20 < len(offsets)]
    logits = [_dpr_logits(folder, QUESTION, passage, window) for window in windows]
    best = max(range(len(windows)), key=lambda i: logits[i][2])
    ((score, first, last),) = reference.separate(*logits[best][:2], 64, 1)
    with ours(folder, batch_size=3) as pipe:
        given = {"max_seq_len": 90, "doc_stride": 20, "title_spans": False}
        result = pipe(question=QUESTION, passages=[passage], **given)
        assert pipe.stats()["stages"]["split"]["items"] == len(windows) > 5
        many = pipe(question=QUESTION, passages=[passage], top_k=50, num_spans_per_passage=50, **given)
        whole = pipe(question=QUESTION, passages=[{**passage, "text": words(1500, 5)}], top_k=4)  # 512 tokens a window
    row, begin = result[0], windows[best].start
    assert row["span_score"] == pytest.approx(score, rel=1e-5)
    assert (row["start"], row["end"]) == (offsets[begin + first][0], offsets[begin + last][1])
    spans = list(zip(many.starts.tolist(), many.ends.tolist(), strict=True))
    assert len(spans) == 50  # windows share tokens, and yet no answer comes twice, or lies in another
    assert not any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in spans for b in spans) and len(set(spans)) == 50
    assert len(whole) == 4


@pytest.mark.parametrize("architecture", tiny_text.READERS)
def test_spans_of_different_passages_are_compared_by_shared_normalisation(architecture):
    folder = tiny_text.reader(architecture)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    logits = [reference.text_logits(model, tokenizer, QUESTION, passage["text"]) for passage in PASSAGES]
    starts, ends = (reference.log_sum([row[i] for row in logits]) for i in (0, 1))
    expected = []
    for number, (start, end, offsets) in enumerate(logits, 1):
        for score, first, last in reference.separate(start, end, 15, 4):
            expected.append((score, number, offsets[first][0], offsets[last][1]))
    expected.sort(key=lambda row: -row[0])
    with ours(folder, batch_size=4) as pipe:
        result = pipe(question=QUESTION, passages=PASSAGES, top_k=8, align_to_words=False)
        widened = pipe(question=QUESTION, passages=PASSAGES, top_k=8)
    assert result.relevance_scores is None
    for row, (score, number, start, end) in zip(result, expected, strict=False):
        assert row["span_score"] == pytest.approx(score, rel=1e-5, abs=1e-5)
        assert (row["citations"], row["start"], row["end"]) == ([number], start, end)
        assert row["score"] == pytest.approx(math.exp(score - starts - ends), rel=1e-3)
    assert len({numbers[0] for numbers in result.citations}) > 1
    for row in widened:
        text, start, end = row["passage"]["text"], row["start"], row["end"]
        assert start == 0 or not joins(text[start - 1 : start + 1])
        assert end == len(text) or not joins(text[end - 1 : end + 1])


def joins(letters):
    """Whether two neighbouring letters stand in one word; of Chinese each is a word of its own."""
    return letters.isalpha() and letters.isascii()


@pytest.mark.parametrize("make", [tiny_reading.dpr, lambda: tiny_text.reader("bert")])
def test_the_search_counts_as_much_as_it_is_told_to(make):
    scores = [float(i == 4) for i in range(len(PASSAGES))]
    with ours(make()) as pipe:
        asked = {"question": QUESTION, "passages": PASSAGES}
        alone = pipe(asked, top_k=10)
        assert pipe({**asked, "scores": scores}, top_k=10) == alone == pipe({**asked, "scores": scores}, top_k=10,
                                                                            retrieval_weight=0)  # fmt: skip
        drawn = pipe({**asked, "scores": scores}, top_k=3, retrieval_weight=1000)
        assert drawn.citations == [[5]] * 3 != alone.citations[:3]
        assert np.all(np.diff(drawn.span_scores) <= 0)
        assert drawn.scores.sum() <= 1.001
        a_little = pipe({**asked, "scores": [0.0] * len(PASSAGES)}, top_k=10, retrieval_weight=3)
        np.testing.assert_allclose(a_little.scores, alone.scores, rtol=1e-5)
        with pytest.raises(InputError, match="scores") as caught:
            pipe(asked, retrieval_weight=0.5)
        assert caught.value.code == "no-scores"
        assert pipe(QUESTION, PASSAGES, scores, top_k=3, retrieval_weight=1000) == drawn
        assert pipe(question=QUESTION, passages=PASSAGES, scores=scores, top_k=3, retrieval_weight=1000) == drawn
        several = pipe({"question": QUESTIONS[:2], "passages": [PASSAGES] * 2, "scores": [scores, [*scores[1:], 0]]},
                       retrieval_weight=1000)  # fmt: skip
        assert [result.citations for result in several] == [[[5]], [[4]]]


def test_offsets_in_the_document_where_the_passage_knows_its_own():
    text = PASSAGES[1]["text"]
    passages = [{"text": text, "start": 1000, "end": 1000 + len(text), "id": "x", "source": "a.txt", "year": 1953}]
    with ours(tiny_text.reader("bert")) as pipe:
        row = pipe(question=QUESTION, passages=passages)[0]
        assert (row["document_start"], row["document_end"]) == (1000 + row["start"], 1000 + row["end"])
        assert row["passage"] == {**passages[0], "title": ""}
        passages[0]["end"] += 5  # its text is not that of the document, character by character
        assert pipe(question=QUESTION, passages=passages)[0]["document_start"] is None


WRITERS = {
    "causal": tiny_reading.causal,
    "chat": lambda: tiny_reading.causal(chat=True),
    "t5": lambda: tiny_reading.seq2seq("t5"),
    "bart": lambda: tiny_reading.seq2seq("bart"),
}


def written(folder, question, passages, **options):
    """What Transformers writes after the prompt."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    encodes = config.is_encoder_decoder
    auto = transformers.AutoModelForSeq2SeqLM if encodes else transformers.AutoModelForCausalLM
    prompt = filled_prompt(PROMPT, question, [{"title": "", **passage} for passage in passages], "unanswerable")
    if tokenizer.chat_template:
        message = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            message, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    else:
        inputs = tokenizer(prompt, return_tensors="pt")
        options |= {} if encodes else {"stop_strings": ["\n"], "tokenizer": tokenizer}
    with torch.inference_mode():
        ids = auto.from_pretrained(folder).generate(**inputs, **options)[0]
    ids = ids[1 if encodes else inputs["input_ids"].shape[1] :]
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", WRITERS)
def test_writers_write_what_generate_does_whatever_their_neighbours(kind):
    folder = WRITERS[kind]()
    asked = [(QUESTIONS[i % 3], PASSAGES[i : i + 1 + i % 3]) for i in range(5)]
    for options in ({"max_new_tokens": 12}, {"max_new_tokens": 8, "repetition_penalty": 1.5, "num_beams": 2}):
        expected = [written(folder, *each, **options) for each in asked]
        with ours(folder, batch_size=8) as pipe:
            results = pipe([{"question": q, "passages": p} for q, p in asked], **options)
            one = pipe(question=asked[1][0], passages=asked[1][1], **options)
        assert [result.answers.tolist() for result in results] == [[text] for text in expected]
        assert one.answers.tolist() == [expected[1]]
        assert len(set(expected)) > 1
        assert (one.scores, one.span_scores, one.relevance_scores, one.starts) == (None,) * 4
        assert (one.read, one.refused) == (len(asked[1][1]), False)


@pytest.mark.parametrize("kind", WRITERS)
def test_an_answer_is_streamed_as_it_is_written(kind):
    folder = WRITERS[kind]()
    with ours(folder) as pipe:
        pieces = list(pipe(question=QUESTION, passages=PASSAGES[:3], stream=True, max_new_tokens=20))
        whole = pipe(question=QUESTION, passages=PASSAGES[:3], max_new_tokens=20)
        assert list(pipe(question=QUESTION, passages=[], stream=True)) == []
    assert len(pieces) > 1
    assert "".join(pieces).strip() == whole.answers[0]


def saying(pipe, text):
    """Lets a writer write a text, whatever it is asked; gives the prompts that it was asked with."""
    tokenizer = pipe.processor.tokenizer
    asked = []

    def generate(input_ids, attention_mask, **_):
        asked.extend(tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(input_ids, attention_mask, strict=True))
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]] * len(input_ids))
        return torch.cat([input_ids, ids], dim=1)

    pipe.model.generate = generate
    return asked


def test_an_answer_s_citations_are_its_passages():
    with ours(tiny_reading.causal(chat=True)) as pipe:
        saying(pipe, "The river [3], or so they say [1][3, 9]. [12]")
        result = pipe(question=QUESTION, passages=PASSAGES[:4])
    assert result.citations == [[3, 1]]
    assert result[0]["passage"]["text"] == PASSAGES[2]["text"]
    assert result[0]["answer"] == "The river [3], or so they say [1][3, 9]. [12]"
    assert [each["text"] for each in result.passages] == [each["text"] for each in PASSAGES[:4]]


@pytest.mark.parametrize("said", ["unanswerable", "Unanswerable. [2]", "The question is unanswerable", " ", "[1]"])
def test_a_refusal_is_no_answer(said):
    with ours(tiny_reading.causal(chat=True)) as pipe:
        saying(pipe, said)
        result = pipe(question=QUESTION, passages=PASSAGES[:4])
    assert (len(result), result.refused, result.read, bool(result)) == (0, True, 4, False)
    assert result.to_dict()["answers"] == []
    assert result.to_dict()["refused"] is True


def test_what_a_model_thought_is_no_part_of_its_answer_and_a_bare_one_ends_with_the_line():
    with ours(tiny_reading.causal(chat=True)) as pipe:
        saying(pipe, "<think>\nis it [1]?\n</think>\n\nBen [2]")
        result = pipe(question=QUESTION, passages=PASSAGES[:4])
        assert (result.answers.tolist(), result.citations) == (["Ben [2]"], [[2]])
    with ours(tiny_reading.causal()) as pipe:
        saying(pipe, "Ben [2]\n\nQuestion: who?")
        assert pipe(question=QUESTION, passages=PASSAGES[:4]).answers.tolist() == ["Ben [2]"]
        saying(pipe, "Ben [2]\nClara")
        free = pipe(question=QUESTION, passages=PASSAGES[:4], generate_kwargs={"stop_strings": ["Question:"]})
        assert free.answers.tolist() == ["Ben [2]\nClara"]


def test_a_prompt_of_one_s_own():
    with ours(tiny_reading.causal()) as pipe:
        asked = saying(pipe, "keine Antwort!")
        prompt = "Frage: {question} {{sic}}\n{passages}\nSonst: {refusal}"
        result = pipe(
            question=" {question}? ", passages=["a boat {0}", "an owl"], prompt=prompt, refusal="Keine Antwort"
        )
        assert result.refused
        assert not pipe(question=QUESTION, passages=["a"]).refused
    assert asked[
        0
    ] == "<s>Frage: {question}? {sic}\n[1] a boat {0}\n\n[2] an owl\nSonst: Keine Antwort</s>".removesuffix(
        "</s>" if not asked[0].endswith("</s>") else ""
    )


def test_passages_that_do_not_fit_are_left_out_from_the_end():
    folder = tiny_reading.causal(positions=900)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    passages = [{"title": "", "text": words(60, i)} for i in range(9)]
    lengths = [len(tokenizer(filled_prompt(PROMPT, QUESTION, passages[:n], "unanswerable"))["input_ids"])
               for n in range(10)]  # fmt: skip
    with ours(folder) as pipe:
        for new in (20, 256, 400):
            fit = max(n for n in range(10) if lengths[n] <= 900 - new)
            result = pipe(question=QUESTION, passages=passages, max_new_tokens=new)
            assert 0 < fit < 9 and result.read == fit
            assert [each["text"] for each in result.passages] == [each["text"] for each in passages[:fit]]
        assert pipe(question=QUESTION, passages=passages, num_passages=2).read == 2
        for question, passage, code in [(QUESTION, words(900, 1), "passage-too-long"),
                                        (words(900, 1), "a boat", "question-too-long")]:  # fmt: skip
            with pytest.raises(InputError, match="does not fit") as caught:
                pipe(question=question, passages=passage)
            assert caught.value.code == code
        with pytest.raises(OptionError, match="max_new_tokens is less than 900"):
            pipe(question=QUESTION, passages=passages, max_new_tokens=900)


@pytest.mark.parametrize("make", [tiny_reading.dpr, lambda: tiny_text.reader("bert"), tiny_reading.causal])
def test_nothing_to_read_is_no_answer_and_no_error(make):
    with ours(make()) as pipe:
        result = pipe(question=QUESTION, passages=[])
        assert (len(result), result.read, result.refused, result.index) == (0, 0, False, 0)
        mixed = pipe([{"question": QUESTION, "passages": passages} for passages in ([], PASSAGES[:2], [])])
        assert [result.read for result in mixed] == [0, 2, 0]
        assert [result.index for result in mixed] == [0, 1, 2]


def test_a_passage_without_tokens_holds_no_answer():
    with ours(tiny_reading.dpr()) as pipe:
        result = pipe(question=QUESTION, passages=["\x00", "the boat"], top_k=9)
        assert {numbers[0] for numbers in result.citations} == {2}


def test_every_form_of_a_call():
    some, others = PASSAGES[:2], PASSAGES[2:5]
    with ours(tiny_reading.dpr()) as pipe:
        one = pipe(question=QUESTION, passages=some)
        assert isinstance(one, CitedAnswers)
        assert len(one) == 1
        assert one == pipe(QUESTION, some) == pipe({"question": QUESTION, "passages": some, "id": 3})
        assert pipe(QUESTION, some[0]) == pipe(QUESTION, [some[0]])
        assert pipe(QUESTION, some[0]["text"]) == pipe(QUESTION, [{"text": some[0]["text"]}])
        several = pipe([{"question": QUESTION, "passages": each} for each in (some, others)])
        assert_close(several[0].to_dict(), one.to_dict())
        for forms in (
            pipe(question=[QUESTION] * 2, passages=[some, others]),
            pipe(question=QUESTION, passages=[some, others]),
            pipe([QUESTION] * 2, [some, others]),
            pipe({"question": QUESTION, "passages": [some, others]}),
            list(pipe.stream({"question": QUESTION, "passages": each} for each in (some, others))),
        ):
            assert_close([form.to_dict() for form in forms], [each.to_dict() for each in several])
        asked = pipe(question=QUESTIONS, passages=some)
        assert_close([each.to_dict() for each in asked[:2]], [one.to_dict(), pipe(QUESTIONS[1], some).to_dict()])
        with pytest.raises(OptionError, match="lengths"):
            pipe(question=QUESTIONS, passages=[some, others])
        with pytest.raises(OptionError, match="passages missing"):
            pipe(question=QUESTION)


def test_a_passage_of_a_split_document_can_be_read():
    from sensorium.retrieval.reading.passages import Passage

    text = PASSAGES[1]["text"]
    passage = Passage(text, title="boats", source="x.md", start=5, end=5 + len(text), id=7)
    with ours(tiny_reading.dpr()) as pipe:
        result = pipe(QUESTION, [passage], title_spans=False)
    assert result[0]["passage"]["id"] == 7
    assert result[0]["document_start"] == 5 + result[0]["start"]


BAD = {
    "unsupported-type": ["Who?", None, 3, ("Who?", "a")],
    "no-question": [{"passages": ["a"]}, {"question": None, "passages": ["a"]}],
    "no-passages": [{"question": "Who?"}],
    "empty-text": [
        {"question": " ", "passages": ["a"]},
        {"question": "\x00", "passages": ["a"]},  # BERT's tokenizer drops it
        {"question": "Who?", "passages": ["a", ""]},
        {"question": "Who?", "passages": [{"title": "a", "text": "\n"}]},
    ],
    "not-text": [
        {"question": 3, "passages": ["a"]},
        {"question": "Who?", "passages": [3]},
        {"question": "Who?", "passages": 3},
        {"question": "Who?", "passages": [{"title": "no text"}]},
        {"question": "Who?", "passages": [{"text": "a", "title": 4}]},
        {"question": "Who?", "passages": ["half a pair \ud83d"]},
    ],
    "bad-scores": [
        {"question": "Who?", "passages": ["a"], "scores": [1, 2]},
        {"question": "Who?", "passages": ["a"], "scores": [math.nan]},
        {"question": "Who?", "passages": ["a"], "scores": "x"},
    ],
    "question-too-long": [{"question": words(600, 1), "passages": ["a boat"]}],
}


@pytest.mark.parametrize("code", BAD)
def test_bad_inputs_among_good_ones(code):
    good = {"question": QUESTION, "passages": PASSAGES[:2]}
    with ours(tiny_reading.dpr()) as pipe:
        outcomes = pipe([x for bad in BAD[code] for x in (good, bad)], on_error="return")
        assert [outcome.code for outcome in outcomes[1::2]] == [code] * len(BAD[code])
        alone = pipe(good)[0]
        for outcome in outcomes[::2]:
            assert {**outcome[0], "score": 0, "span_score": 0, "relevance_score": 0} == {
                **alone, "score": 0, "span_score": 0, "relevance_score": 0
            }  # fmt: skip
            assert outcome.span_scores[0] == pytest.approx(alone["span_score"], rel=1e-5)


def test_a_bad_passage_is_told_by_its_number():
    with ours(tiny_reading.dpr()) as pipe, pytest.raises(InputError, match="passage 2 is empty"):
        pipe(QUESTION, ["a", " ", "b"])


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_k": None},
        {"num_passages": 0},
        {"num_spans_per_passage": True},
        {"max_answer_len": 0},
        {"max_seq_len": 513},  # more than the model has positions
        {"doc_stride": -1},
        {"doc_stride": 600},
        {"align_to_words": 1},
        {"title_spans": "no"},
        {"retrieval_weight": -1},
        {"retrieval_weight": math.inf},
        {"stream": None},
        {"where": {"year": 1953}},  # nothing is searched
        {"prompt": "{question} {passages}"},
        {"refusal": "no"},
        {"max_new_tokens": 5},
        {"generate_kwargs": {"num_beams": 2}},
        {"stream": True},
    ],
)
def test_bad_options_and_those_of_writers_fail_before_any_work(options):
    with ours(tiny_reading.dpr()) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe(QUESTION, PASSAGES, **options)
        assert pipe.stats()["inputs"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 3},
        {"num_spans_per_passage": 1},
        {"max_answer_len": 4},
        {"max_seq_len": 100},
        {"doc_stride": 4},
        {"align_to_words": False},
        {"title_spans": False},
        {"retrieval_weight": 0.0},
        {"prompt": "{question}"},
        {"prompt": "{question} {passages} {context}"},
        {"prompt": "{question.__class__} {passages}"},
        {"prompt": "{question} {passages} {"},
        {"prompt": 3},
        {"refusal": "?"},
        {"temperature": 0.5},  # nothing is drawn
    ],
)
def test_bad_options_and_those_of_readers_that_point(options):
    with ours(tiny_reading.causal()) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe(QUESTION, PASSAGES, **options)
        with pytest.raises(OptionError, match="beams"):
            pipe(QUESTION, PASSAGES, stream=True, num_beams=2)
        assert pipe.stats()["inputs"] == 0


def test_titles_are_for_dpr_s_readers():
    with ours(tiny_text.reader("bert")) as pipe, pytest.raises(OptionError, match="title_spans"):
        pipe(QUESTION, PASSAGES, title_spans=True)


def test_how_many_passages_a_search_should_find():
    for make, count in [(tiny_reading.dpr, 20), (lambda: tiny_text.reader("bert"), 20), (tiny_reading.causal, 5)]:
        with ours(make()) as pipe:
            assert pipe.task.wanted_passages(RetrievalQaOptions()) == count
            assert pipe.task.wanted_passages(RetrievalQaOptions(num_passages=7)) == 7


def test_which_checkpoints_fit():
    with sensorium.pipeline(model=tiny_reading.dpr(), device="cpu", compile=False) as pipe:
        assert pipe.task.name == "retrieval-qa"
    with sensorium.pipeline(model=tiny_text.reader("bert"), device="cpu", compile=False) as pipe:
        assert pipe.task.name == "question-answering"
    with pytest.raises(TaskMismatchError, match="image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match="retrieval-qa"):
        sensorium.pipeline("question-answering", tiny_reading.dpr())


def test_a_loaded_model_needs_its_tokenizer_a_fast_one_to_point():
    model, tokenizer = reference.dpr(tiny_reading.dpr())
    with pytest.raises(CheckpointError, match="processor="):
        sensorium.pipeline("retrieval-qa", model)
    with (
        sensorium.pipeline(model=model, processor=tokenizer, device="cpu", compile=False) as pipe,
        ours(tiny_reading.dpr()) as other,
    ):
        assert_close(pipe(QUESTION, PASSAGES).to_dict(), other(QUESTION, PASSAGES).to_dict())
    slow = transformers.CanineTokenizer()
    with pytest.raises(CheckpointError, match="fast tokenizer"):
        sensorium.pipeline("retrieval-qa", model, processor=slow)


def test_bfloat16_drifts_less_than_promised():
    with ours(tiny_reading.dpr()) as exact, ours(tiny_reading.dpr(), dtype="bfloat16") as fast:
        a, b = (pipe(QUESTION, PASSAGES, top_k=36) for pipe in (exact, fast))
    moved = dict(zip([numbers[0] for numbers in b.citations], b.relevance_scores.tolist(), strict=True))
    for numbers, relevance in zip(a.citations, a.relevance_scores.tolist(), strict=True):
        assert moved[numbers[0]] == pytest.approx(relevance, abs=0.1)  # 1.7, of 8 bits, through two layers


def test_defaults():
    given = {name: value for name, value in dataclasses.asdict(RetrievalQaOptions()).items() if value is not None}
    assert given == {"top_k": 1, "stream": False}


def _inputs():
    return [
        {"question": QUESTIONS[i % 3], "passages": PASSAGES[i : i + 3], "scores": [3.0, 2.0, 1.0]} for i in range(4)
    ]


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_reading.dpr(), **settings),
    inputs=_inputs,
    bad=[BAD["empty-text"][0], BAD["not-text"][1], BAD["no-passages"][0], "Who?"],
    options=[{"top_k": 5}, {"title_spans": False, "max_answer_len": 4}, {"retrieval_weight": 0.5, "top_k": 3}],
    opened=Opened(
        build=lambda **settings: ours(tiny_reading.causal(), **settings),
        raw=lambda: {"question": QUESTION, "passages": PASSAGES[:3]},
        ask=lambda session, pipe: "".join(session.pieces(pipe.task.options(max_new_tokens=12))).strip(),
        call=lambda pipe: str(pipe(QUESTION, PASSAGES[:3], max_new_tokens=12).answers[0]),
    ),
)
