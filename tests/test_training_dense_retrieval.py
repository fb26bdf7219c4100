"""The recipe of training/dense_retrieval, on a WordNet of a few synsets in the real files' format."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.lexical.bm25 import LexicalIndex
from training.dense_retrieval.encoders import (
    Batches,
    BiEncoder,
    Shape,
    Training,
    encode,
    encode_passages,
    first_token,
    loss,
    train,
)
from training.dense_retrieval.evaluation import Accuracy, ask_all, nearest
from training.dense_retrieval.negatives import Negatives, lexical_negatives
from training.dense_retrieval.questions import FUNCTION_WORDS, QuestionMaker, Rules, split
from training.dense_retrieval.reader import Pages, ReaderTraining, answer, new_reader, train_reader
from training.dense_retrieval.saving import FOLDERS, save
from training.dense_retrieval.starting_point import rarity, start_from
from training.dense_retrieval.tokens import Passages, Vocabulary, padded
from training.dense_retrieval.wordnet import WordNet

LONGEST = 40
SMALL = Shape(layers=2, hidden=32, intermediate=64, heads=2)
THINGS = ["boat", "house", "wolf", "lamp", "river"]
KINDS = ["big", "old", "wet", "red"]
PLACES = ["near the sea", "under snow", "in a forest", "beside roads"]


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory) -> WordNet:
    """80 nouns, each with a definition of its own, and adjectives and verbs for synonyms."""
    folder = tmp_path_factory.mktemp("wordnet")
    nouns = [
        ([f"{kind[0]}{thing}{i}", f"{thing}_{i}"], f'a {kind} {thing} that stood {place}; "it was seen"')
        for i, (thing, kind, place) in enumerate(itertools.product(THINGS, KINDS, PLACES))
    ]
    nouns += [(["boat", "ship", "vessel"], "it floats"), (["wolf"], "a beast")]
    parts = {
        "noun": nouns,
        "verb": [(["stand", "rise_up"], "be upright"), (["stand", "bear"], "endure it")],
        "adj": [(["big(a)", "large", "great"], "of size"), (["wet"], "not dry")],
        "adv": [],
    }
    for part, synsets in parts.items():
        _write(folder, part, synsets)
        (folder / f"{part}.exc").write_text("stood stand\n" if part == "verb" else "")
    return WordNet(folder)


def _write(folder: Path, part: str, synsets: list[tuple[list[str], str]]) -> None:
    head = "  1 This is the licence.  \n"
    senses: dict[str, list[str]] = {}
    lines = []
    for i, (lemmas, gloss) in enumerate(synsets):
        offset = f"{i + 1:08d}"
        words = " ".join(f"{lemma} 0" for lemma in lemmas)
        lines.append(f"{offset} 00 {part[0]} {len(lemmas):02x} {words} 001 @ 00000001 n 0000 | {gloss}  \n")
        for lemma in lemmas:
            senses.setdefault(lemma.partition("(")[0].lower(), []).append(offset)
    index = [f"{lemma} {part[0]} {len(o)} 1 @ {len(o)} 0 {' '.join(o)}  \n" for lemma, o in senses.items()]
    (folder / f"data.{part}").write_text(head + "".join(lines))
    (folder / f"index.{part}").write_text(head + "".join(index))


@pytest.fixture(scope="module")
def maker(wordnet) -> QuestionMaker:
    return QuestionMaker(wordnet)


@pytest.fixture(scope="module")
def vocabulary(wordnet) -> Vocabulary:
    return Vocabulary.learn(wordnet.synsets, 300)


@pytest.fixture(scope="module")
def passages(wordnet, vocabulary) -> Passages:
    return Passages(vocabulary, wordnet.synsets, LONGEST)


def test_definitions_come_without_examples_and_markers(wordnet):
    assert wordnet.synsets[0].definition == "a big boat that stood near the sea"
    assert wordnet.synsets[0].title == "bboat0, boat 0"
    assert [synset.lemmas[0] for synset in wordnet.synsets if synset.id.startswith("a")] == ["big", "wet"]


def test_synonyms_are_of_the_most_frequent_sense_of_the_base_form(wordnet):
    assert wordnet.synonyms("stood") == (("rise up",),)  # and not "bear", of the second sense
    assert wordnet.synonyms("boats") == (("ship", "vessel"),)
    assert wordnet.synonyms("wolf") == wordnet.synonyms("nowhere") == ()


def test_a_missing_database_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="wordnet-base"):
        WordNet(tmp_path)


def test_questions_are_the_same_for_the_same_seed(maker):
    places = range(80)
    first, again, other = (ask_all(maker, places, seed=seed, part=7) for seed in (0, 0, 1))
    assert first == again
    assert sum(a.text != b.text for a, b in zip(first, other, strict=True)) > 60


def test_a_question_holds_words_of_its_definition_and_their_synonyms_but_not_its_answer(maker):
    changed = 0
    for place, question in enumerate(ask_all(maker, range(80), seed=0, part=7)):
        synset = maker.wordnet.synsets[place]
        own = synset.definition.split()
        allowed = {"what", *own, "ship", "vessel", "large", "great", "rise", "up"}
        words = question.text.split()
        answer_words = synset.definition[question.start : question.end].split()
        assert set(words) <= allowed and words.count("what") == 1
        assert 1 <= len(answer_words) <= 3 and not {answer_words[0], answer_words[-1]} & FUNCTION_WORDS
        assert not {word for word in answer_words if own.count(word) == 1} & set(words)
        changed += not set(words) <= {"what", *own}
    assert 20 < changed < 75


def test_rules_that_change_nothing_give_the_definition(maker):
    asis = QuestionMaker(maker.wordnet, Rules(drop=0, replace=0, longest_answer=0))
    question = asis.ask(maker.wordnet.synsets[0], np.random.default_rng(0))
    assert (question.text, question.start, question.end) == ("a big boat that stood near the sea", 0, 0)


def test_synsets_have_questions_in_one_part_only(maker):
    parts = split(maker, seed=0, dev=10, test=20)
    sets = [set(part.tolist()) for part in (parts.train, parts.dev, parts.test)]
    assert [len(each) for each in sets] == [50, 10, 20]
    assert len(set.union(*sets)) == 80  # so none is in two of them; what is too short is in none
    assert set.union(*sets) == set(range(80))
    assert split(maker, seed=0, dev=10, test=20).test.tolist() == parts.test.tolist()
    assert split(maker, seed=1, dev=10, test=20).test.tolist() != parts.test.tolist()


@pytest.mark.parametrize("longest", [40, 14, 9])
def test_rows_are_those_of_transformers_tokenizer(wordnet, vocabulary, longest):
    tokenizer = vocabulary.transformers("ctx_encoder", longest)
    passages = Passages(vocabulary, wordnet.synsets, longest)
    for i, synset in enumerate(wordnet.synsets):
        expected = tokenizer(synset.title, synset.definition, truncation=True, max_length=longest)
        row, first = passages.row(i)
        assert row == expected["input_ids"]
        assert [0] * first + [1] * (len(row) - first) == expected["token_type_ids"]


@pytest.mark.parametrize("layers", [1, 2])
def test_the_first_token_is_that_of_dpr_s_own_forward(passages, vocabulary, layers):
    torch.manual_seed(0)
    encoder = BiEncoder.new(Shape(layers=layers, hidden=32, heads=2).config(len(vocabulary.pieces))).passage
    with torch.no_grad():
        for weights in encoder.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
        rows = [passages.row(i) for i in (0, 30, 80, 79)]
        inputs = padded([row for row, _ in rows], [first for _, first in rows])
        torch.testing.assert_close(first_token(encoder, **inputs), encoder(**inputs).pooler_output, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def batches(maker, vocabulary, passages) -> Batches:
    train = np.arange(60)
    negatives = Negatives(np.stack([(train + 1) % 60, (train + 20) % 60], 1))
    options = Training(steps=60, batch_size=30, negatives=1, lr=1e-2)
    return Batches(maker, vocabulary, passages, train, negatives, options)


def test_a_batch_depends_on_its_step_and_holds_no_passage_twice(batches):
    one, again, other = batches.batch(3), batches.batch(3), batches.batch(4)
    assert one.questions == again.questions and one.passages == again.passages
    assert one.questions != other.questions
    assert 30 < len(one.passages) == len({tuple(row) for row in one.passages})
    assert one.right.tolist() == list(range(30))


def test_an_epoch_asks_about_each_synset_once(batches):
    rows = [tuple(row) for step in (0, 1) for row in batches.batch(step).passages[:30]]
    assert len(set(rows)) == 60


def test_training_lowers_the_loss_and_goes_on_where_it_was_interrupted(batches, vocabulary, tmp_path):
    config = SMALL.config(len(vocabulary.pieces))
    torch.manual_seed(0)
    whole = BiEncoder.new(config)
    with torch.no_grad():
        before = loss(whole, batches.batch(100)).item()
    list(train(whole, batches, until=40, checkpoint=tmp_path / "whole.pt"))
    with torch.no_grad():
        after = loss(whole, batches.batch(100)).item()
    assert after < 0.75 * before

    torch.manual_seed(0)
    assert list(train(BiEncoder.new(config), batches, until=15, checkpoint=tmp_path / "parts.pt")) == [15]
    resumed = BiEncoder.new(config)  # other weights, which are not to count
    assert list(train(resumed, batches, until=40, checkpoint=tmp_path / "parts.pt")) == [40]
    for name, weights in whole.modules.state_dict().items():
        torch.testing.assert_close(resumed.modules.state_dict()[name], weights, atol=1e-4, rtol=0)


def test_hard_negatives_are_bm25_s_best_other_training_passages(maker, tmp_path):
    texts = [f"{synset.title}\n{synset.definition}" for synset in maker.wordnet.synsets]
    index, part = LexicalIndex.build(texts), np.arange(0, 80, 2)
    found = lexical_negatives(maker, index, part, seed=0, count=5, path=tmp_path / "negatives.npy")
    assert found.places.shape == (40, 5)
    rng = np.random.default_rng([0, 4])
    for own, places in zip(part, found.places, strict=True):
        question = maker.ask(maker.wordnet.synsets[own], rng).text
        ranked = [row for row in index.search([question], k=len(texts))[1][0] if row % 2 == 0 and row != own]
        assert places.tolist() == [row for row in ranked if 0 <= row < 80][:5]
    drawn = found.draw(np.array([3, 7]), 2, np.random.default_rng(0))
    assert set(drawn[:2]) <= set(found.places[3]) and set(drawn[2:]) <= set(found.places[7])


def test_accuracy_counts_the_first_k():
    rows = np.full((4, 100), -1)
    rows[0, 0], rows[1, 19], rows[2, 20] = 10, 11, 12
    assert Accuracy.of(rows, np.array([10, 11, 12, 13])) == Accuracy(0.25, 0.5, 0.75)


def test_the_reader_finds_answers(maker, vocabulary, passages, tmp_path):
    torch.manual_seed(0)
    shape = Shape(layers=2, hidden=32, intermediate=64, heads=2, longest=80)
    config = shape.config(len(vocabulary.pieces))
    reader = new_reader(torch.randn(len(vocabulary.pieces), 48), len(vocabulary.pieces), shape)
    assert reader.config.to_dict() == transformers.DPRReader(config).config.to_dict()
    pages = Pages(maker, vocabulary, passages)
    part = np.arange(80)
    negatives = Negatives(np.stack([(part + 1) % 80, (part + 16) % 80], 1))
    options = ReaderTraining(steps=150, batch_size=32, lr=5e-3)
    list(train_reader(reader, pages, part, negatives, options, checkpoint=tmp_path / "reader.pt"))
    reader.eval()
    questions = ask_all(maker, range(80), seed=0, part=7)
    right = 0
    for place, question in enumerate(questions):
        best, text = answer(reader, pages, question.text, [place, (place + 37) % 80])
        right += best == place and text == maker.wordnet.synsets[place].definition[question.start : question.end]
    assert right > 20  # chance is below 4


def test_what_is_saved_is_loaded_by_transformers_and_by_sensorium(wordnet, maker, vocabulary, passages, tmp_path):
    torch.manual_seed(0)
    model = BiEncoder.new(SMALL.config(len(vocabulary.pieces)))
    with torch.no_grad():
        for weights in model.modules.parameters():  # what float16 holds, and the two encoders unlike each other
            weights.copy_((weights + 0.05 * torch.randn_like(weights)).half())
    reader = new_reader(torch.randn(len(vocabulary.pieces), 48), len(vocabulary.pieces), Shape(hidden=32, heads=2))
    measured = {"DPR": dict.fromkeys(("top_1", "top_20", "top_100"), 0.5), "reader": {"top_1": 1, "exact": 1, "f1": 1}}
    command = dict.fromkeys(
        ("steps", "negatives_from", "batch_size", "lr", "layers", "hidden", "vocabulary", "reader_steps", "seed"), 1
    )
    save(tmp_path, model, reader, vocabulary, measured=measured, options=command)

    texts = [(synset.title, synset.definition) for synset in wordnet.synsets]
    questions = [each.text for each in ask_all(maker, range(80), seed=0, part=7)]
    own = [
        encode_passages(model.passage, passages),
        encode(model.question, [vocabulary.question(q, 32) for q in questions]),
    ]
    theirs = _by_transformers(tmp_path, texts, questions)
    with_ours = Encoder.from_pretrained(tmp_path / FOLDERS["ctx_encoder"], device="cpu", dtype="float32")
    ours = [with_ours.encode(texts), with_ours.encode_queries(questions)]  # its other half it finds by the name
    with_ours.close()
    for a, b, c in zip(own, theirs, ours, strict=True):
        np.testing.assert_allclose(c, b, atol=2e-5)
        assert torch.cosine_similarity(a, torch.from_numpy(b)).min() > 0.999  # training computes in bfloat16
    assert (nearest(own[1], own[0], 1) == nearest(*map(torch.from_numpy, theirs[::-1]), 1)).mean() > 0.9

    transformers.DPRReader.from_pretrained(tmp_path / FOLDERS["reader"])
    card = (tmp_path / FOLDERS["reader"] / "README.md").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in card and "| DPR | 50.0% |" in card


def _by_transformers(folder: Path, texts: list[tuple[str, str]], questions: list[str]) -> list[np.ndarray]:
    """Vectors of passages and questions, by Transformers' own classes in float32, one at a time."""
    found = []
    for part, model, tokenizer, rows in (
        ("ctx_encoder", transformers.DPRContextEncoder, transformers.DPRContextEncoderTokenizerFast, texts),
        ("question_encoder", transformers.DPRQuestionEncoder, transformers.DPRQuestionEncoderTokenizerFast,
         [(question,) for question in questions]),
    ):  # fmt: skip
        place = folder / FOLDERS[part]
        encoder, cut = model.from_pretrained(place, dtype=torch.float32), tokenizer.from_pretrained(place)
        with torch.inference_mode():
            found.append(np.concatenate([encoder(**cut(*row, return_tensors="pt")).pooler_output for row in rows]))
    return found


def test_before_training_a_vector_is_its_words_weighted_by_how_rare_they_are(vocabulary, passages):
    torch.manual_seed(0)
    size = len(vocabulary.pieces)
    model = BiEncoder.new(Shape(layers=1, hidden=32, heads=2).config(size))
    words, rare = torch.randn(size, 32), rarity(passages, size)
    start_from([model.question, model.passage], words, rare)
    the, wolf = (vocabulary.pieces.index(piece) for piece in ("that", "wolf"))
    assert rare[wolf] > rare[the] == pytest.approx(np.log(1 + np.log(86 / 80)), abs=1e-5)

    bert = model.passage.ctx_encoder.bert_model
    bert.set_attn_implementation("eager")  # the one that tells its weights
    row, first = passages.row(32)
    inputs = padded([row], [first])
    with torch.no_grad():
        states = bert(**inputs, output_attentions=True)
    weights = states.attentions[0][0, :, 0].mean(0)
    at = row.index(wolf), row.index(the)
    assert weights[at[0]] > 1.5 * weights[at[1]]
