"""Windows against the tokenizer's own: the same tokens, and characters that stand where they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError
from sensorium.processors.text import TextProcessor
from sensorium.processors.windows import CONTEXT, COUNTED, NEVER, NOTHING, titled_windows, window_padding, windows
from tests import tiny_text

QUESTION = "Where is the boat?"


def besides(tokenizer):
    """How many tokens of a window are not the context's."""
    return len(tokenizer.tokenize(QUESTION)) + tokenizer.num_special_tokens_to_add(pair=True)


@pytest.mark.parametrize("make", [tiny_text.wordpiece, tiny_text.byte_pairs])
@pytest.mark.parametrize("side", ["left", "right"])
@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 120), room=st.integers(12, 60), overlap=st.integers(0, 40), seed=st.integers(0, 99))
def test_the_same_windows_as_the_tokenizer_s(make, side, count, room, overlap, seed):
    tokenizer = make()
    context = tiny_text.words(count, seed)
    special = besides(tokenizer)
    length = special + max(room, overlap + 1)
    tokenizer.truncation_side = side
    try:
        expected = tokenizer(
            QUESTION,
            context,
            truncation="only_second",
            max_length=length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
        )
        found = list(windows(TextProcessor(tokenizer), QUESTION, context, length=length, overlap=overlap))
    finally:
        tokenizer.truncation_side = "right"
    assert [window.inputs["input_ids"].tolist() for window in found] == expected["input_ids"]
    for i, window in enumerate(found):
        for name in window.inputs:
            assert window.inputs[name].tolist() == expected[name][i]
        inside = [j for j, which in enumerate(expected.sequence_ids(i)) if which == 1]
        assert (window.roles == CONTEXT).nonzero()[:, 0].tolist() == inside
        assert window.roles[0] == NOTHING
        tokens = np.array(inside)
        starts, ends = window.characters(tokens, tokens, whole_words=False)
        assert list(zip(starts, ends, strict=True)) == [expected.encodings[i].offsets[j] for j in inside]
        starts, ends = window.characters(tokens, tokens, whole_words=True)
        own = [expected.encodings[i].word_to_chars(expected.encodings[i].word_ids[j], 1) for j in inside]
        assert list(zip(starts, ends, strict=True)) == own


def test_characters_of_other_scripts():
    context = "🙂🙂 e\u0301tude 東京 is 👩‍👩‍👧 the\x00re naïve"
    for make in (tiny_text.wordpiece, tiny_text.byte_pairs):
        (window,) = windows(TextProcessor(make()), QUESTION, context, length=200, overlap=0)
        at = (window.roles == CONTEXT).nonzero()[:, 0].numpy()
        starts, ends = window.characters(at, at, whole_words=True)
        texts = {context[start:end].strip() for start, end in zip(starts, ends, strict=True)}
        assert {"is", "naïve"} <= texts
        assert (starts < ends).all()
        assert ends.max() == len(context)


def test_a_classification_token_in_the_question_counts_and_is_no_answer():
    processor = TextProcessor(tiny_text.wordpiece())
    (window,) = windows(processor, "Is [CLS] here?", "yes [CLS] it is", length=50, overlap=0)
    special = (window.inputs["input_ids"] == processor.tokenizer.cls_token_id).nonzero()[:, 0].tolist()
    assert [int(window.roles[at]) for at in special] == [NOTHING, COUNTED, CONTEXT]


def test_a_question_is_cut_to_its_first_tokens():
    processor = TextProcessor(tiny_text.wordpiece())
    (whole,) = windows(processor, "the river begins in the hills", "a boat", length=50, overlap=0)
    (cut,) = windows(processor, "the river begins in the hills", "a boat", length=50, overlap=0, question_length=2)
    (short,) = windows(processor, "the river", "a boat", length=50, overlap=0)
    assert cut.inputs["input_ids"].tolist() == short.inputs["input_ids"].tolist()
    assert len(cut.roles) < len(whole.roles)


def test_texts_that_make_no_window():
    processor = TextProcessor(tiny_text.wordpiece())
    for question, context in ((" ", "a"), ("a", "\x00"), ("", "a"), ("a", "")):
        with pytest.raises(InputError) as caught:
            list(windows(processor, question, context, length=50, overlap=10))
        assert caught.value.code == "empty-text"
    with pytest.raises(InputError, match="leave 5 of a window's") as caught:
        length = besides(processor.tokenizer) + 5
        list(windows(processor, QUESTION, tiny_text.words(50), length=length, overlap=5))
    assert caught.value.code == "question-too-long"


def test_neighbours_share_half_of_what_is_left_unless_told():
    processor = TextProcessor(tiny_text.wordpiece())
    context = tiny_text.words(600)
    for length, shared in ((400, 128), (40, (40 - besides(processor.tokenizer)) // 2)):
        cut = list(windows(processor, QUESTION, context, length=length, overlap=None))
        told = list(windows(processor, QUESTION, context, length=length, overlap=shared))
        assert [(w.begin, w.end) for w in cut] == [(w.begin, w.end) for w in told] and len(cut) > 1
    with pytest.raises(InputError, match="leave 0 of a window's"):
        list(windows(processor, QUESTION, context, length=besides(processor.tokenizer), overlap=None))


def test_filling_goes_to_the_right_and_only_where_the_model_is_told():
    tokenizer = tiny_text.wordpiece()
    tokenizer.padding_side = "left"
    try:
        padding = window_padding(TextProcessor(tokenizer))
    finally:
        tokenizer.padding_side = "right"
    assert {each.side for each in padding.values()} == {"right"}
    rows = [torch.full((length,), CONTEXT, dtype=torch.uint8) for length in (9, 10)]
    assert padding["roles"].stack(rows)[0, 9:].tolist() == [NEVER] * (padding["roles"].length(10) - 9)
    assert window_padding(TextProcessor(tiny_text.pieces())) == {}


@pytest.mark.parametrize("title", ["the old bridge", ""])
@pytest.mark.parametrize("search", [True, False])
def test_a_title_stands_before_the_context_in_every_window(title, search):
    from tests.tiny_reading import dpr_tokenizer

    tokenizer, context = dpr_tokenizer(), "Déjà vu. " + tiny_text.words(90, 3)
    head = tokenizer([QUESTION], [title])["input_ids"][0]  # as a list, or an empty one would be none
    encoded = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    found = list(
        titled_windows(TextProcessor(tokenizer), QUESTION, title, context, length=64, overlap=10, search_title=search)
    )
    assert len(found) > 2
    titled = len(tokenizer.tokenize(title))
    for window in found:
        ids = window.inputs["input_ids"].tolist()
        assert ids == head + encoded["input_ids"][window.begin : window.end]
        assert len(ids) <= 64 and set(window.inputs) == {"input_ids", "attention_mask"}
        searched = titled + 1 if search and window.begin == 0 else 0
        assert window.roles.tolist() == [NEVER] * (len(head) - searched) + [CONTEXT] * (searched + len(ids) - len(head))
    assert [a.end - b.begin for a, b in itertools.pairwise(found)] == [10] * (len(found) - 1)
    first, last = found[0], found[-1]
    start, end = encoded["offset_mapping"][2][0], encoded["offset_mapping"][4][1]
    assert first.text(2, 4) == (context[start:end], start, end)
    tokens = last.tokens(np.array([last.at]), np.array([last.at + 1]), whole_words=False)
    assert [x.tolist() for x in tokens] == [[last.begin], [last.begin + 1]]
    assert first.text(-1, -1) == ("", -1, -1)
    assert first.text(-1, 0) == (context[: encoded["offset_mapping"][0][1]], -1, -1)
    if title:
        places = tokenizer(title, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        assert first.text(-1 - titled, -2) == first.text(-1 - titled, -1) == (title, -1, -1)
        assert first.text(-1 - titled, 0)[0] == f"{title} {context[: encoded['offset_mapping'][0][1]]}"
        assert first.text(-titled, -titled)[0] == title[slice(*places[1])]


def test_a_context_without_tokens_has_no_window_and_a_long_title_no_room():
    from tests.tiny_reading import dpr_tokenizer

    processor = TextProcessor(dpr_tokenizer())
    sizes = {"length": 64, "overlap": 10, "search_title": True}
    assert list(titled_windows(processor, QUESTION, "a", "\x00", **sizes)) == []
    with pytest.raises(InputError, match="Shorten the question or the title") as caught:
        list(titled_windows(processor, QUESTION, tiny_text.words(60), tiny_text.words(50), **sizes))
    assert caught.value.code == "question-too-long"
    with pytest.raises(InputError, match="the question has no words"):
        list(titled_windows(processor, "\x00", "a", "b", **sizes))
