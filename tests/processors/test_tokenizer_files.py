"""Tokenizers that would take all memory, or all time: refused by name before a library reads them."""

from __future__ import annotations

import base64
import json
import shutil
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium import pipeline
from sensorium.errors import CheckpointError, InputError
from sensorium.processors import tokenizer_files
from sensorium.processors.text import TextProcessor
from sensorium.processors.tokenizer_files import check_tokenizer
from sensorium.processors.tokenizer_patterns import repeats
from tests import tiny_text


@pytest.fixture
def folder(tmp_path):
    """A copy of a reader's checkpoint, whose tokenizer may be changed."""
    shutil.copytree(tiny_text.reader("bert"), tmp_path / "bert")
    return tmp_path / "bert"


def change(folder, **entries):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return folder


def written(folder, **entries):
    (folder / "tokenizer.json").write_text(json.dumps({"model": {}, **entries}))


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def charsmap(*texts):
    blob = b"\0".join(text.encode() for text in texts)
    return base64.b64encode(struct.pack("<I", 4) + bytes(4) + blob).decode()


def added(count):
    known = {"[X]": {"id": "[X]", "ids": [1] * count, "tokens": ["x"] * count}}
    single = [{"SpecialToken": {"id": "[X]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": known}


THOUSAND = [replace({"String": "a"}, "a" * 1_000)] * 4
HOSTILE = {
    "four replacements": ({"normalizer": sequence("normalizers", *THOUSAND)}, "normalizer"),
    "one replacement": ({"normalizer": replace({"String": "a"}, "b" * 65)}, "normalizer"),
    "nothing replaced": ({"normalizer": replace({"String": ""}, "b" * 64)}, "normalizer"),
    "a pattern of nothing": ({"normalizer": replace({"Regex": "x*"}, "b" * 64)}, "normalizer"),
    "a place": ({"normalizer": replace({"Regex": "(?=x)"}, "b" * 64)}, "normalizer"),
    "sequences in sequences": (
        {"normalizer": sequence("normalizers", sequence("normalizers", *THOUSAND[:2]), *THOUSAND[:2])}, "normalizer"),
    "replacements of a decoder": ({"decoder": sequence("decoders", *THOUSAND)}, "decoder"),
    "a long text before": ({"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}}, "normalizer.prepend"),
    "a table of long texts": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap("a", "b" * 10**6)}}, "normalizer"),
    "very many steps": ({"normalizer": sequence("normalizers", *[{"type": "NFC"}] * 500)}, "normalizer"),
    "repeats of repeats": ({"pre_tokenizer": split("(a+)+$")}, "pre_tokenizer"),
    "repeats of repeats in a group": ({"pre_tokenizer": split("(?:x(?:a|b*)y){2,}")}, "pre_tokenizer"),
    "repeats in a row": ({"normalizer": replace({"Regex": "a*" * 20 + "b"}, "")}, "normalizer"),
    "a million tokens around": ({"post_processor": added(10**6)}, "post_processor"),
    "in a sequence": ({"post_processor": sequence("processors", added(600), added(600))}, "post_processor"),
    "a length of padding": (
        {"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "[PAD]"}}, "padding"),
    "an object as a part": ({"normalizer": {"type": "Sequence", "normalizers": 3}}, "normalizer"),
    "a list as a model": ({"model": []}, "model"),
}  # fmt: skip


@pytest.mark.parametrize(("entries", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_tokenizer_asks_for_is_refused_by_name(folder, entries, said):
    change(folder, **entries)
    for load in (TextProcessor.from_pretrained, lambda place: pipeline("question-answering", model=place)):
        with pytest.raises(CheckpointError, match=rf"{said} in tokenizer\.json should have"):
            load(folder)


def test_words_and_tokens_are_bounded(folder):
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    change(folder, model={**model, "max_input_chars_per_word": 10**9})
    with pytest.raises(
        CheckpointError, match=r"max_input_chars_per_word in tokenizer\.json should have at most 10,000"
    ):
        check_tokenizer(folder, of="x")
    change(folder, model={**model, "vocab": {**model["vocab"], "x": 10**9}})
    with pytest.raises(CheckpointError, match=r"model\.vocab in tokenizer\.json should have ids from 0 to 16,777,215"):
        check_tokenizer(folder, of="x")
    change(folder, model={**model, "vocab": {**model["vocab"], "x" * 20_000: 5}})
    with pytest.raises(CheckpointError, match="tokens of at most 16,384 characters"):
        check_tokenizer(folder, of="x")


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "special_tokens_map.json"])
def test_files_are_bounded(folder, name, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "MAX_FILE_BYTES", 2**20)
    (folder / name).write_bytes(b"{}" + b" " * 2**20)
    with pytest.raises(CheckpointError, match=f"{name} should be at most 1 MiB"):
        TextProcessor.from_pretrained(folder)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?<=a+)b("])
def test_a_pattern_that_is_none_is_an_error_of_the_checkpoint(folder, pattern):
    change(folder, pre_tokenizer=split(pattern))
    with pytest.raises(CheckpointError, match=r"tokenizer"):
        TextProcessor.from_pretrained(folder)


def test_a_panic_while_a_text_is_read_is_the_error_of_that_text(folder, monkeypatch):
    """As where a pattern takes too long, which the library tells by a panic, no `Exception`."""
    monkeypatch.setattr(tokenizer_files, "repeats", lambda pattern: (False, 0, 1))
    change(folder, pre_tokenizer=split("(a+)+$"))
    settings = folder / "tokenizer_config.json"  # a class that keeps the file's own parts
    generic = {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **generic}))
    with pytest.raises(InputError, match="tokenizer failed") as caught:
        TextProcessor.from_pretrained(folder).encode("a" * 40 + "b")
    assert caught.value.code == "tokenizer-failed"
    with pipeline("question-answering", model=folder, device="cpu", compile=False) as answer:
        bad, good = answer(
            [{"question": "who?", "context": "a" * 40 + "b"}, {"question": "who?", "context": "it was a dog"}],
            on_error="return",
        )
    assert (type(bad).__name__, bad.code) == ("InputError", "tokenizer-failed")
    assert type(good).__name__ == "Answers"


def test_what_the_library_raises_for_a_text_is_the_error_of_that_text(folder):
    """It raises a bare Exception, where a text has what the vocabulary lacks, the word for that included."""
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": {"a": 0}}
    change(folder, model={**model, "max_input_chars_per_word": 100}, post_processor=None, added_tokens=[])
    generic = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(generic))
    with pytest.raises(InputError, match=r"Missing \[UNK\]") as caught:
        TextProcessor.from_pretrained(folder).encode("b", special_tokens=False)
    assert caught.value.code == "tokenizer-failed"


PUBLISHED = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r" ?[^(\s|[.,!?])]+",
    r" {2,}",
    r"[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{M}&&[^\p{Han}]]+(?i:'s|'t)?",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_patterns_of_published_tokenizers_pass(pattern):
    nested, row, times = repeats(pattern)
    assert not nested
    assert row <= 2
    assert times <= 3


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", (False, 0)), ("a+", (False, 1)), ("a+b*", (False, 2)), ("a+|b*", (False, 1)), ("(a+)b+", (False, 2)),
        ("(a+)+", (True, 2)), ("(a+)?", (False, 1)), ("(a|b)*", (False, 1)), ("(a+|b)*", (True, 2)),
        ("((a+)b)*", (True, 2)), ("(a{3})+", (False, 1)), ("(a{3,})+", (True, 2)), ("(a{999})+", (True, 2)),
        (r"\(a+\)+", (False, 2)), ("[(a+)]+", (False, 1)), ("(?:a+)++", (True, 2)), ("(?<name>a+)*", (True, 2)),
        ("[[a]+]+", (False, 1)), ("a+?b", (False, 1)), ("((", (False, 0)), ("))+", (False, 1)),
    ],
)  # fmt: skip
def test_repeats(pattern, expected):
    assert repeats(pattern)[:2] == expected


@given(st.text(alphabet="ab()[]|*+?{},\\2^:<>!=p", max_size=60) | st.text(max_size=60))
def test_any_text_can_be_looked_at(pattern):
    nested, row, times = repeats(pattern)
    assert isinstance(nested, bool)
    assert row >= 0
    assert times >= 1


@pytest.mark.parametrize(
    ("pattern", "times"),
    [("a", 1), ("a{3}", 3), ("(a{3}b){2}", 6), ("a{3}{4}", 12), ("(a{3})?{2}", 6), ("((a{2,5}|b)c){0,3}", 15)],
)
def test_repeats_in_one_another_multiply(pattern, times):
    assert repeats(pattern).times == times


@pytest.mark.parametrize("form", ["Regex of a Split", "Regex of a Replace"])
def test_a_pattern_that_repeats_for_ever_is_refused_before_it_is_tried(tmp_path, form):
    pattern = "a?"
    for _ in range(7):
        pattern = f"({pattern}){{99}}"
    kind = {"type": form.rpartition(" ")[2], "pattern": {"Regex": pattern}, "content": "b"}
    written(tmp_path, normalizer=kind)
    with pytest.raises(CheckpointError, match="repeat a part at most"):
        check_tokenizer(tmp_path, of="x")


@pytest.mark.parametrize("charsmap", [10**13, {"a": 1}, 1.5, True])
def test_a_charsmap_that_is_a_number_takes_no_memory(tmp_path, charsmap):
    written(tmp_path, normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap})
    with pytest.raises(CheckpointError, match="precompiled_charsmap"):
        check_tokenizer(tmp_path, of="x")
