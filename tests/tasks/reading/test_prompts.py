"""Prompts of readers that write, and what is read out of their answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import OptionError
from sensorium.tasks.reading.prompts import (
    PROMPT,
    REFUSAL,
    check_prompt,
    cited,
    filled_prompt,
    refuses,
    without_thoughts,
)


def test_passages_are_numbered_with_their_titles():
    passages = [{"title": "Faust", "text": " Goethe wrote {it}.\n"}, {"title": "", "text": "A [1] in a text."}]
    text = filled_prompt("{passages}|{question}|{refusal}", " Who {x}? ", passages, "none")
    assert text == "[1] Faust\nGoethe wrote {it}.\n\n[2] A [1] in a text.|Who {x}?|none"
    usual = filled_prompt(PROMPT, "Who?", passages, REFUSAL)
    assert usual.index(REFUSAL) < usual.index("[1] Faust") < usual.index("[2] A") < usual.index("Question: Who?")
    assert usual.endswith("Answer:")
    check_prompt(PROMPT)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (None, "is a text"),
        ("Who?", "passages} is missing"),
        ("{passages}", "question} is missing"),
        ("{question} {passages} {0}", "got {0}"),
        ("{question} {passages} {}", "got {}"),
        ("{question!r} {passages}", "got {question}"),
        ("{question:>9} {passages}", "got {question}"),
        ("{question.__class__} {passages}", "got {question.__class__}"),
        ("{question} {passages[0]}", "got {passages"),
        ("{question} {passages} }", "cannot be filled in"),
    ],
)
def test_a_prompt_that_cannot_be_filled_in_is_refused(prompt, told):
    with pytest.raises(OptionError) as caught:
        check_prompt(prompt)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Goethe [1].", [1]),
        ("Goethe [3] and [1], [3].", [3, 1]),
        ("both [1, 2] [ 3;1 ]", [1, 2, 3]),
        ("[0] [6] [99999999999999999999] [a] [1a] [] 1 (2) [-1]", []),
        ("[1][2]", [1, 2]),
    ],
)
def test_citations(text, numbers):
    assert cited(text, 5) == numbers


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 6))
def test_every_number_of_a_passage_is_cited_once_in_order(numbers, count):
    text = " and ".join(f"so says [{number}]" for number in numbers)
    assert cited(text, count) == [n for n in dict.fromkeys(numbers) if 1 <= n <= count]


@pytest.mark.parametrize("text", ["unanswerable", " Unanswerable.", '"unanswerable" [1]', "**Unanswerable**: no one",
                                  "The question is unanswerable.", "", "\n", "[1], [2]", "…"])  # fmt: skip
def test_refusals(text):
    assert refuses(text, REFUSAL)


@pytest.mark.parametrize("text", ["Goethe", "unanswerably", "It is called unanswerable [1]", "answerable", "0"])
def test_answers_are_no_refusals(text):
    assert not refuses(text, REFUSAL)


def test_a_refusal_of_one_s_own():
    assert refuses("Keine Antwort, leider.", "keine Antwort!")
    assert not refuses("unanswerable", "keine Antwort")
    assert refuses("(?) nichts", "(?) nichts")


def test_thoughts_are_no_answer():
    assert without_thoughts("<think>[1]?\nno</think>\n\nGoethe [2] ") == "Goethe [2]"
    assert without_thoughts("Goethe <think>") == "Goethe <think>"
