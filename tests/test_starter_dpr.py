"""The DPR checkpoints that ship with the package: they are whole and small, and find and read what they learnt to.

The definitions are WordNet's (WordNet 3.0 Copyright 2006 by Princeton University; the licence stands in the cards), the
questions the first ones of those that no checkpoint was trained or chosen on.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import sensorium
from sensorium import CheckpointError, pipeline
from sensorium.retrieval import Encoder, Index

STARTERS = Path(sensorium.__file__).parent / "starter"
CONTEXT, QUESTION, READER = (f"starter/dpr-{part}-wordnet" for part in ("ctx_encoder", "question_encoder", "reader"))
FLOAT = {"device": "cpu", "dtype": "float32"}

ASKED = [
    (
        "Neapolitan ice cream",
        "a block of ice cream with 3 or 4 layers of different colors and flavors",
        "a stop of water ice cream with or 4 of different what and",
        "colors",
    ),
    (
        "inquisition",
        "a severe interrogation (often violating the rights or privacy of individuals)",
        "what interrogation go against the or privacy of individuals",
        "severe",
    ),
    (
        "spotted owl, Strix occidentalis",
        "a large owl of North America found in forests from British Columbia to central Mexico; has dark brown plumage "
        "and a heavily spotted chest",
        "owl of northwards america found in wood british columbia river to central united mexican states has dark "
        "brown plumage a what chest",
        "heavily spotted",
    ),
    (
        "pick, break up",
        "attack with or as if with a pickaxe of ice or rocky ground, for example",
        "attack as with pickax of ice or what ground for example",
        "rocky",
    ),
    (
        "stratification",
        "the placing of seeds in damp sand or sawdust or peat moss in order to preserve them or promote germination",
        "the set of seeds in what or peat moss to preserve them or germination",
        "sand or sawdust",
    ),
    (
        "party game",
        "a game to amuse guests at a party",
        "a game to what at a political party",
        "amuse guests",
    ),
    (
        "edit, redact",
        "prepare for publication or presentation by correcting, revising, or adapting",
        "prepare for publication or presentation by what",
        "correcting",
    ),
    (
        "baronet, Bart",
        "a member of the British order of honor; ranks below a baron but above a knight",
        "a the of honor ranks what but a dub",
        "below a baron",
    ),
    (
        "shrewish, nagging",
        "continually complaining or faultfinding",
        "what complaintive faultfinding",
        "continually",
    ),
    (
        "Gothic",
        "characteristic of the style of type commonly used for printing German",
        "what of the mode of type unremarkably used for publish german",
        "characteristic",
    ),
    (
        "tender",
        "offer or present for acceptance",
        "offering or what for credence",
        "present",
    ),
    (
        "sausage curl",
        "a fat sausage-shaped curl",
        "what sausage-shaped curl",
        "fat",
    ),
    (
        "harvester, reaper",
        "farm machine that gathers a food crop from the fields",
        "farm that what crop from the w. c. fields",
        "gathers a food",
    ),
    (
        "still, stock-still",
        "without moving or making a sound",
        "without moving or making what",
        "sound",
    ),
]
"""A title, its definition, a question about it, and the answer."""

TITLES = [title for title, _, _, _ in ASKED]


@pytest.fixture(scope="module")
def encoder():
    with Encoder.from_pretrained(CONTEXT, **FLOAT) as both:
        yield both


@pytest.fixture(scope="module")
def index(encoder):
    return Index.build([(title, definition) for title, definition, _, _ in ASKED], encoder, device="cpu")


def test_they_are_whole_and_small():
    size = 0
    for name in (CONTEXT, QUESTION, READER):
        folder = STARTERS / name.removeprefix("starter/")
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert set(files) == {
            "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        size += sum(files.values())
        assert "WordNet 3.0 Copyright 2006 by Princeton University" in (folder / "README.md").read_text("utf-8")
        with safe_open(folder / "model.safetensors", "pt") as weights:
            assert all(weights.get_tensor(key).isfinite().all() for key in weights.keys())  # noqa: SIM118
    assert size <= 20_000_000


def test_the_encoders_are_a_pair_by_their_names(encoder):
    spec = encoder.spec()
    assert (spec["model"], spec["query_model"], spec["similarity"]) == (CONTEXT, QUESTION, "dot")
    with pytest.raises(CheckpointError, match=re.escape(CONTEXT)):
        Encoder.from_pretrained(QUESTION, **FLOAT)


def test_an_index_of_them_does_not_depend_on_where_the_package_is(index, tmp_path):
    index.save(tmp_path / "i")
    assert str(STARTERS) not in (tmp_path / "i" / "index.json").read_text("utf-8")
    loaded = Index.load(tmp_path / "i", device="cpu")
    assert loaded.search(ASKED[0][2], 1)[0][0]["title"] == TITLES[0]


def test_their_vectors_are_those_of_transformers(encoder):
    import transformers

    for name, kind, encode, rows in (
        ("ctx_encoder", "Context", encoder.encode, [(title, text) for title, text, _, _ in ASKED]),
        ("question_encoder", "Question", encoder.encode_queries, [(question,) for _, _, question, _ in ASKED]),
    ):
        folder = STARTERS / f"dpr-{name}-wordnet"
        model = getattr(transformers, f"DPR{kind}Encoder").from_pretrained(folder, dtype=torch.float32)
        tokenizer = getattr(transformers, f"DPR{kind}EncoderTokenizerFast").from_pretrained(folder)
        with torch.inference_mode():
            want = [model(**tokenizer(*row, return_tensors="pt")).pooler_output[0].numpy() for row in rows]
        given = rows if name == "ctx_encoder" else [question for (question,) in rows]
        np.testing.assert_allclose(encode(given), np.stack(want), atol=2e-5)


def test_questions_find_their_definitions(index):
    found = index.search([question for _, _, question, _ in ASKED], 1)
    assert [hits[0]["title"] for hits in found] == TITLES


def test_answers_are_read_in_what_is_found(index):
    with pipeline("retrieval-qa", reader=READER, index=index, **FLOAT) as ask:
        answers = [result[0] for result in ask([question for _, _, question, _ in ASKED], title_spans=False)]
    assert [answer["passage"]["title"] for answer in answers] == TITLES
    right = [answer["answer"] == wanted for answer, (_, _, _, wanted) in zip(answers, ASKED, strict=True)]
    assert sum(right) >= 9, "ten of the fourteen matched to the letter where this was written"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* are longer than the 64 tokens:UserWarning")
def test_they_do_as_well_as_their_cards_say():
    """Over all of WordNet, with the pipeline's own search and reader; needs Debian's wordnet-base."""
    from training.dense_retrieval.__main__ import TEST
    from training.dense_retrieval.evaluation import Accuracy, ask_all
    from training.dense_retrieval.questions import QuestionMaker, split
    from training.dense_retrieval.wordnet import FOLDER, WordNet

    if not FOLDER.is_dir():
        pytest.skip("wordnet-base is not installed")
    wordnet = WordNet()
    maker = QuestionMaker(wordnet)
    right = split(maker, seed=0).test
    questions = ask_all(maker, right, seed=0, part=TEST)
    with Encoder.from_pretrained(CONTEXT, **FLOAT) as encoder:
        index = Index.build([(synset.title, synset.definition) for synset in wordnet.synsets], encoder, device="cpu")
        found = Accuracy.of(index.search([question.text for question in questions], 100).ids, right)
        card = (STARTERS / "dpr-ctx_encoder-wordnet" / "README.md").read_text("utf-8")
        told = re.search(r"\| DPR \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)% \|", card).groups()
        measured = (found.top_1, found.top_20, found.top_100)
        np.testing.assert_allclose(measured, [float(share) / 100 for share in told], atol=0.002)
        some = [question.text for question in questions[:1000]]
        with pipeline("retrieval-qa", reader=READER, index=index, **FLOAT) as ask:
            answers = ask(some, title_spans=False, on_error="return")
    texts = [synset.definition[q.start : q.end] for synset, q in zip((wordnet.synsets[i] for i in right), questions)]  # noqa: B905
    exact = np.mean([not isinstance(a, Exception) and a[0]["answer"] == t for a, t in zip(answers, texts)])  # noqa: B905
    assert exact > 0.57
