"""Documents are cut where it is said, and every passage knows where it stands."""

# ruff: noqa: RUF001 - marks of other scripts

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError, OptionError
from sensorium.retrieval.reading.passages import Document, Heading
from sensorium.retrieval.reading.sentences import find_sentences, find_words
from sensorium.retrieval.reading.splitting import Splitting, split, split_sentences, split_words


def sentences_of(text):
    return [text[s.start : s.end] for s in find_sentences(text, 0, len(text), most_words=1000)]


# fmt: off
PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from([
        " ", "\n", "\n\n", "\r\n", ". ", "e.g. ", "Dr. ", "3.14", "! ", "ab ", "- item\n", "‘q’ ", " " * 500, "x" * 250,
        "。", "你好世界", "「はい」", "ภาษาไทย", "मैं। ", "\u3000", "\x1c", "\u200b", "😀",
    ]),
)
# fmt: on


@st.composite
def documents(draw):
    """Any text, with headings, pages and a beginning anywhere in it."""
    text = "".join(draw(st.lists(PIECES, max_size=60)))
    text = text.encode("utf-8", "ignore").decode()  # half of a surrogate pair is not a text
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=9)))
    start = places[0] if len(places) % 2 else 0
    pairs = list(zip(places[len(places) % 2 :: 2], places[len(places) % 2 + 1 :: 2], strict=True))
    headings = tuple(Heading(a, b, draw(st.integers(1, 3)), text[a:b].strip()) for a, b in pairs)
    pages = tuple(sorted({0, *draw(st.lists(st.integers(0, len(text)), max_size=3))}))
    return Document(text, "T", "s", {"m": 1}, headings, draw(st.sampled_from([(), pages])), start)


OPTIONS = st.one_of(
    st.builds(Splitting, st.just("sentences"), st.integers(1, 30), st.integers(0, 3)),
    st.integers(1, 30).flatmap(lambda n: st.builds(Splitting, st.just("words"), st.just(n), st.integers(0, n - 1))),
)


@settings(max_examples=400, deadline=None)
@given(documents(), OPTIONS)
def test_every_character_is_kept_and_knows_its_place(document, options):
    text = document.text
    words = [i for i in range(document.start, len(text)) if not text[i].isspace()]
    if not words:
        with pytest.raises(InputError) as caught:
            split(document, **options.to_dict())
        assert caught.value.code == "empty-text"
        return
    passages = split(document, **options.to_dict())
    covered = set()
    for passage in passages:
        assert text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip()
        assert (passage.title, passage.source, passage.metadata["m"]) == ("T", "s", 1)
        assert len(find_words(passage.text)) <= options.words
        covered.update(range(passage.start, passage.end))
        if document.pages:
            ends = (*document.pages[1:], len(text) + 1)
            first, last = passage.metadata["page"], passage.metadata["last_page"]
            assert document.pages[first - 1] <= passage.start < ends[first - 1]
            assert document.pages[last - 1] <= passage.end - 1 < ends[last - 1]
    assert covered.issuperset(words)
    assert min(covered) >= document.start
    starts, ends = [p.start for p in passages], [p.end for p in passages]
    assert starts == sorted(set(starts))  # in order, none twice
    assert ends == sorted(set(ends))  # and each has something that the one before has not
    if not options.overlap:
        assert all(a <= b for a, b in zip(ends, starts[1:], strict=False))
    assert split(document, **options.to_dict()) == passages


@settings(max_examples=200, deadline=None)
@given(documents(), OPTIONS)
def test_no_passage_by_sentences_goes_across_a_heading(document, options):
    if options.by != "sentences" or not document.text[document.start :].strip():
        return
    for passage in split(document, **options.to_dict()):
        inside = [h for h in document.headings if passage.start < h.start < passage.end]
        for heading in inside:  # only headings that come right under one another
            before = document.text[passage.start : heading.start]
            above = [h for h in document.headings if passage.start < h.end <= heading.start]  # or the end of one
            for one in reversed(above):
                before = before[: max(0, one.start - passage.start)] + before[max(0, one.end - passage.start) :]
            assert not before.strip()


def test_by_words_is_what_dpr_does():
    words = [f"w{i}" for i in range(250)]
    text = "  " + "\n".join(" ".join(words[i : i + 7]) for i in range(0, 250, 7))
    passages = split_words(Document(text, "Faust"))
    assert [p.text.split() for p in passages] == [words[:100], words[100:200], words[200:]]
    assert {p.title for p in passages} == {"Faust"}
    shared = split_words(Document(text), words=100, overlap=40)
    assert [p.text.split() for p in shared] == [words[:100], words[60:160], words[120:220], words[180:]]
    assert len(split_words(Document(" ".join(words[:140])), words=100, overlap=40)) == 2
    assert len(split_words(Document(" ".join(words[:100])), words=100, overlap=40)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We left.", ["It rained.", "We left."]),
        (
            "Dr. Smith met J. R. Jones at 3 p.m. today. He left.",
            ["Dr. Smith met J. R. Jones at 3 p.m. today.", "He left."],
        ),
        ("Pi is 3.14 or so. In 1999. That was it.", ["Pi is 3.14 or so.", "In 1999.", "That was it."]),
        (
            "See Fig. 3 and e.g. Table 2, cf. Miller et al. 2020.",
            ["See Fig. 3 and e.g. Table 2, cf. Miller et al. 2020."],
        ),
        ("1. First thing\n2. Second thing", ["1. First thing", "2. Second thing"]),
        ("Things:\n- one\n- two", ["Things:", "- one", "- two"]),
        ("“Stop!” he said. “Why?” She ran.", ["“Stop!” he said.", "“Why?”", "She ran."]),
        ("Wait... What?! No…", ["Wait...", "What?!", "No…"]),
        ("a title\n\nA paragraph", ["a title", "A paragraph"]),
        ("broken\nover lines. and on", ["broken\nover lines. and on"]),
        ("我爱你。你好吗？「好！」他说。", ["我爱你。", "你好吗？", "「好！」", "他说。"]),
        ("これは本です。よい本。", ["これは本です。", "よい本。"]),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
        ("Er kam z.B. Montag. Dann ging er.", ["Er kam z.B. Montag.", "Dann ging er."]),
        ("Visit www.example.org/a.b.html now! It works.", ["Visit www.example.org/a.b.html now!", "It works."]),
    ],
)
def test_where_sentences_end(text, expected):
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two words", ["two", "words"]),
        ("你好，世界。", ["你", "好，", "世", "界。"]),
        ("「はい」と", ["「", "は", "い」", "と"]),
        ("iPhone手机 ok", ["iPhone", "手", "机", "ok"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("x" * 250, ["x" * 100, "x" * 100, "x" * 50]),
    ],
)
def test_what_counts_as_a_word(text, expected):
    assert [text[a:b] for a, b in find_words(text)] == expected


def test_sentences_are_whole_and_the_last_begins_the_next_passage():
    said = [f"Sentence {i} has exactly six words." for i in range(6)]
    passages = split_sentences(Document(" ".join(said)), words=20, overlap=1)
    assert [p.text for p in passages] == [" ".join(said[0:3]), " ".join(said[2:5]), " ".join(said[4:6])]
    assert [p.text for p in split_sentences(Document(" ".join(said)), words=20, overlap=0)] == [
        " ".join(said[0:3]),
        " ".join(said[3:6]),
    ]
    # where what is shared and what is new do not fit together, less is shared
    assert [p.text for p in split_sentences(Document(" ".join(said)), words=7, overlap=1)] == said


def test_a_passage_ends_with_its_paragraph_where_it_is_half_full():
    first, second = "One two three four five six. Seven eight.", "Nine ten eleven. Twelve thirteen fourteen."
    passages = split_sentences(Document(f"{first}\n\n{second}"), words=12, overlap=0)
    assert [p.text for p in passages] == [first, second]
    passages = split_sentences(Document(f"Few words.\n\n{second} Fifteen sixteen seventeen."), words=10, overlap=0)
    assert [p.text for p in passages] == [f"Few words.\n\n{second}", "Fifteen sixteen seventeen."]


def test_no_passage_is_a_part_of_the_next():
    first, second = "a " * 6 + "end.", "B " * 3 + "end."
    third = "C " * 3 + "end."
    passages = split_sentences(Document(f"{first}\n\n{second} {third}"), words=12, overlap=1)
    assert [p.text for p in passages] == [first, f"{second} {third}"]


def test_a_long_sentence_is_cut_at_lines_and_a_long_line_at_words():
    words = " ".join(f"w{i}" for i in range(25))
    assert [len(p.text.split()) for p in split_sentences(Document(words), words=10, overlap=1)] == [10, 10, 5]
    table = "\n".join(f"| row {i} | of a table |" for i in range(4))  # nine words a line
    lines = table.splitlines()
    passages = split_sentences(Document(table), words=20, overlap=0)
    assert [p.text for p in passages] == ["\n".join(lines[:2]), "\n".join(lines[2:])]


def headed(text, *levels, title=""):
    """A document whose lines that begin with # are headings."""
    headings, place = [], 0
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            headings.append(Heading(place, place + len(line.rstrip()), level, line.strip("# \n")))
        place += len(line)
    return Document(text, title, headings=tuple(headings))


def test_headings_cut_and_name_their_sections():
    text = "Intro.\n# Guide\n## Install\nRun it.\n### Windows\nClick.\n## Use\nCall it. Twice.\n## Empty"
    passages = split_sentences(headed(text, title="Guide"), words=50, overlap=2)
    assert [(p.text, p.metadata.get("section")) for p in passages] == [
        ("Intro.", None),
        ("# Guide\n## Install\nRun it.", "Install"),
        ("### Windows\nClick.", "Install > Windows"),
        ("## Use\nCall it. Twice.", "Use"),
        ("## Empty", "Empty"),
    ]
    assert split_sentences(headed(text), words=50)[2].metadata["section"] == "Guide > Install > Windows"
    by_words = split_words(headed(text), words=50)
    assert [p.text for p in by_words] == [text]
    assert "section" not in by_words[0].metadata


def test_headings_of_one_level_have_passages_of_their_own():
    passages = split_sentences(headed("# A\n# B\n## C\n# D\ntext"))
    assert [p.text for p in passages] == ["# A", "# B\n## C", "# D\ntext"]


def test_front_matter_goes_into_no_passage():
    document = Document("---\ntitle: X\n---\nText.", start=17)
    for by in ("words", "sentences"):
        assert [(p.text, p.start) for p in split(document, by=by)] == [("Text.", 17)]


def test_options_can_be_written_and_are_checked():
    assert Splitting() == Splitting("sentences", 120, 1)
    assert Splitting("words") == Splitting("words", 100, 0)
    options = Splitting("words", 50)
    assert Splitting(**json.loads(json.dumps(options.to_dict()))) == options
    text = Document(" ".join(["word"] * 120))
    assert len(split(text, **options.to_dict())) == 3
    for bad in [
        {"by": "lines"},
        {"by": []},
        {"words": 0},
        {"words": 1.5},
        {"words": True},
        {"words": 1001},
        {"overlap": -1},
        {"by": "words", "words": 10, "overlap": 10},
    ]:
        with pytest.raises(OptionError):
            split(text, **bad)


def test_metadata_that_passages_get_is_refused():
    document = Document("Text.", metadata={"page": "7"}, pages=(0,))
    with pytest.raises(InputError, match="'page'") as caught:
        split(document)
    assert caught.value.code == "bad-metadata"
    assert split(Document("Text.", metadata={"page": "7"}))[0].metadata == {"page": "7"}


@pytest.mark.parametrize(
    "text",
    [
        "x" * 20_000_000,
        "." * 3_000_000 + "x",
        "a" + " " * 20_000_000 + "b",
        "\n \n" * 2_000_000 + "x",
        "\n" + "1" * 3_000_000,
        "a. " * 1_000_000,
        "好" * 1_000_000,
        "(" * 3_000_000 + " x",
    ],
    ids=["word", "dots", "spaces", "blank lines", "digits", "letters", "han", "brackets"],
)
@pytest.mark.parametrize("by", ["words", "sentences"])
def test_hostile_texts_take_linear_time_and_make_no_long_passage(text, by):
    """Some seconds: with a quadratic rule this would not end, in hours."""
    passages = split(Document(text), by=by)
    assert max(len(p.text) for p in passages) < 60_000


class Counting:
    """Counts as an encoder does: two tokens of its own, one for each character of a word, and one between texts."""

    limit = 60

    def count_tokens(self, passages):
        pairs = [each if isinstance(each, tuple) else ("", each) for each in passages]
        return [2 + sum(len(part) for title, text in [pair] for part in (title + " " + text).split()) for pair in pairs]


def test_passages_of_as_many_tokens_as_an_encoder_reads():
    text = (
        "It begins in the hills. It runs past the mill. Then it meets the sea.\n\nFew have seen where. " + "word " * 40
    )
    encoder = Counting()
    for document in (Document(text), Document(text, "The river")):
        for tokens in (None, 40, 1000):
            passages = split(document, by="tokens", tokens=tokens, encoder=encoder)
            counts = encoder.count_tokens([(p.title, p.text) for p in passages])
            assert max(counts) <= (tokens or 60) and max(counts) <= 60
            assert sum(count > 25 for count in counts) >= len(counts) - 2, "they are well filled"
            covered = sorted({i for p in passages for i in range(p.start, p.end) if not text[i].isspace()})
            assert covered == [i for i, letter in enumerate(text) if not letter.isspace()]
    first, second, *_ = split(Document(text), by="tokens", tokens=45, encoder=encoder)
    assert first.text == "It begins in the hills. It runs past the mill."
    assert second.text.startswith("It runs past the mill. Then it meets"), "a sentence is shared"
    (alone, *_) = split(Document(text), by="tokens", tokens=45, overlap=0, encoder=encoder)[1:]
    assert alone.text.startswith("Then it meets")
    long = split(Document("x" * 90 + " y"), by="tokens", encoder=encoder)
    assert [p.text for p in long] == ["x" * 90, "y"], "a word is not cut"


def test_what_goes_with_tokens():
    document = Document("It begins in the hills.", "The river")
    encoder = Counting()
    for wrong, said in (
        ({"by": "tokens"}, "encoder goes with by"),
        ({"encoder": encoder}, "encoder goes with by"),
        ({"tokens": 30}, 'tokens has no meaning for by="sentences"'),
        ({"by": "tokens", "words": 30, "encoder": encoder}, 'words has no meaning for by="tokens"'),
        ({"by": "tokens", "tokens": 0, "encoder": encoder}, "tokens is a whole number"),
        ({"by": "tokens", "tokens": 11, "encoder": encoder}, "tokens is more than 11, which title and encoder take"),
    ):
        with pytest.raises(OptionError, match=said):
            split(document, **wrong)
    encoder.limit = None
    with pytest.raises(OptionError, match="reads any number of tokens"):
        split(document, by="tokens", encoder=encoder)
    assert len(split(document, by="tokens", tokens=90, encoder=encoder)) == 1
    options = Splitting("tokens", tokens=90)
    assert options.to_dict() == {"by": "tokens", "overlap": 1, "tokens": 90}
    assert Splitting(**options.to_dict()) == options and "tokens" not in Splitting().to_dict()
