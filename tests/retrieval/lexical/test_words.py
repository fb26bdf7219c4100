"""Terms of lexical search, and the tokens of an answer, against the expressions that DPR's tokenizer is made of."""

from __future__ import annotations

import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from sensorium.retrieval.lexical.words import answer_tokens, search_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (" \n\t.,;!", []),
        ("The quick brown fox, 2nd!", ["the", "quick", "brown", "fox", "2nd"]),
        ("Café CAFE cafe\u0301 caf\u00e9", ["cafe"] * 4),
        ("Straße STRASSE", ["strasse"] * 2),
        ("read_csv read-csv", ["read", "csv"] * 2),
        ("İstanbul ﬁne m² ½", ["istanbul", "fine", "m2", "1", "2"]),
        ("Жёлтый ΑΒΓ άβγ", ["желтыи", "αβγ", "αβγ"]),
        ("co\u00adoperate", ["cooperate"]),
        ("東京都", ["東", "京", "都", "東京", "京都"]),
        ("東", ["東"]),
        ("Python言語3", ["python", "言", "語", "言語", "3"]),
        ("한국", ["한", "국", "한국"]),
        ("ｶﾀｶﾅ", ["カ", "タ", "カ", "ナ", "カタ", "タカ", "カナ"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs are parts of a word
        ("naïve😀test", ["naive", "test"]),
    ],
)
def test_terms(text, terms):
    assert search_terms(text) == terms


@given(st.text())
def test_terms_do_not_depend_on_case_or_composition(text):
    terms = search_terms(text)
    assert all(term and not term.isspace() for term in terms)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert search_terms(unicodedata.normalize(form, text)) == terms
    assert search_terms(text.casefold()) == terms


REFERENCE = regex.compile(r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", flags=regex.I | regex.U | regex.M)


def reference(text):
    return [found.group().lower() for found in REFERENCE.finditer(unicodedata.normalize("NFD", text))]


# characters newer than this Python's Unicode are of another category to the reference
KNOWN = st.characters(exclude_categories=["Cn"])


@given(st.text(KNOWN))
@example("U.S.A. isn't snake_case — €5 ½ \x00\x1c\u200b\u2028 Ünïcode 東京 हिन्दी 1,000")
@example("__init__ a_b _ \ue000")
def test_answer_tokens_are_dpr_s(text):
    assert answer_tokens(text) == reference(text)
