"""Answers in passages and predictions, against DPR's and SQuAD's definitions written out here."""

from __future__ import annotations

import collections
import re
import string
import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.measuring import exact_match, f1_score, has_answer, normalize_answer

TOKENS = regex.compile(r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", flags=regex.I | regex.U | regex.M)


def by_dpr(text, answers):
    def words(value):
        return [found.group().lower() for found in TOKENS.finditer(unicodedata.normalize("NFD", value))]

    passage = words(text)
    for answer in map(words, answers):
        if any(passage[i : i + len(answer)] == answer for i in range(len(passage) - len(answer) + 1)):
            return True
    return False


TEXT = "In 1808 Johann Wolfgang von Goethe published Faust, Part One; e-mail did not exist. Déjà vu, Zürich!"


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["goethe"], True),
        (["von GOETHE published"], True),
        (["Faust , Part One"], True),  # tokens, not characters
        (["Goet"], False),  # no part of a token
        (["Faust Part"], False),  # punctuation counts
        (["E-Mail"], True),
        (["email"], False),
        (["De\u0301ja\u0300 vu"], True),
        (["deja vu"], False),  # accents count
        (["Schiller", "zürich"], True),
        (["1808."], False),
        (["Zürich! In"], False),
    ],
)
def test_has_answer(answers, found):
    assert by_dpr(TEXT, answers) is found
    assert has_answer(TEXT, answers) is found


PIECES = st.lists(st.sampled_from(["a", "B", "é", "e\u0301", " ", ".", "-", "_", "東", "1", "\n", "\u200b", "ab"]))


@given(text=PIECES.map("".join), answer=PIECES.map("".join).filter(TOKENS.search))
@example(text="a_b", answer="b")
def test_has_answer_is_dpr_s(text, answer):
    assert has_answer(text, [answer]) == by_dpr(text, [answer])


def test_has_answer_by_expressions():
    assert has_answer(TEXT, [r"18\d\d"], match="regex")
    assert has_answer(TEXT, ["goe"], match="regex")  # any characters, whatever their case
    assert has_answer(TEXT, ["Zürich"], match="regex")
    assert has_answer("one\ntwo", ["^two"], match="regex")
    assert not has_answer(TEXT, [r"19\d\d", "Schiller"], match="regex")


@pytest.mark.parametrize(
    ("text", "answers", "match", "code"),
    [
        (None, ["a"], "string", "not-text"),
        ("a", "a", "string", "not-text"),
        ("a", ["a", 3], "string", "not-text"),
        ("a", [], "string", "no-answers"),
        ("a", ["b", " "], "string", "empty-text"),
        ("a", ["\u200b"], "string", "empty-text"),
        ("a", ["b", ""], "regex", "empty-text"),
        ("a", ["("], "regex", "bad-pattern"),
    ],
)
def test_bad_answers(text, answers, match, code):
    with pytest.raises(InputError) as caught:
        has_answer(text, answers, match=match)
    assert caught.value.code == code


def test_bad_match():
    with pytest.raises(OptionError, match="fuzzy"):
        has_answer("a", ["a"], match="fuzzy")


# SQuAD ------------------------------------------------------------------------------------------


def squad_normal(text):
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction, answer):
    p, a = squad_normal(prediction).split(), squad_normal(answer).split()
    common = sum((collections.Counter(p) & collections.Counter(a)).values())
    if not p or not a:
        return float(p == a)
    if not common:
        return 0.0
    precision, recall = common / len(p), common / len(a)
    return 2 * precision * recall / (precision + recall)


ANSWERS = st.lists(st.sampled_from(["the", "The", "a", "an", "cat", "Cat.", "U.S.", "sat", "-", "ß", "theatre"])).map(
    " ".join
)


@given(rows=st.lists(st.tuples(ANSWERS | st.text(), st.lists(ANSWERS | st.text(), min_size=1, max_size=3)), min_size=1))
def test_exact_match_and_f1_are_squad_s(rows):
    predictions, answers = [row[0] for row in rows], [row[1] for row in rows]
    em = [max(squad_normal(p) == squad_normal(a) for a in right) for p, right in rows]
    f1 = [max(squad_f1(p, a) for a in right) for p, right in rows]
    assert exact_match(predictions, answers) == pytest.approx(sum(em) / len(rows))
    assert f1_score(predictions, answers) == pytest.approx(sum(f1) / len(rows))
    assert exact_match(predictions, answers) <= f1_score(predictions, answers) + 1e-12
    for prediction in predictions:
        assert normalize_answer(prediction) == squad_normal(prediction)


def test_by_hand():
    assert exact_match(["The cat.", "dog"], [["cat"], ["a cat", "cats"]]) == 0.5
    assert f1_score(["the black cat", "dog"], [["cat", "a big black cat"], ["cat"]]) == pytest.approx((4 / 5) / 2)
    assert f1_score([""], [["the"]]) == exact_match([""], [["the"]]) == 1


@pytest.mark.parametrize("measure", [exact_match, f1_score])
def test_bad_predictions(measure):
    for predictions, answers in (([], []), (["a"], []), ("a", [["a"]])):
        with pytest.raises(OptionError):
            measure(predictions, answers)
    for predictions, answers, code in (
        (["a", None], [["a"], ["a"]], "not-text"),
        (["a", "b"], [["a"], []], "no-answers"),
        (["a", "b"], [["a"], "b"], "not-text"),
    ):
        with pytest.raises(InputError) as caught:
            measure(predictions, answers)
        assert (caught.value.code, caught.value.index) == (code, 1)
