"""Train DPR's two encoders and its reader on WordNet's definitions, measure them, and save them with their cards.

Run from the root of a checkout, with Debian's wordnet-base installed (`--help` lists the options):

    python -m training.dense_retrieval --work FOLDER --out FOLDER

What has been done lies in the work folder: the same command goes on where it was interrupted. Questions, batches and
order depend on `--seed` alone; the last digits of the weights also depend on the machine's floating-point kernels.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import DPRReader

from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.retrieval.lexical.bm25 import LexicalIndex
from training.dense_retrieval.encoders import Batches, BiEncoder, Shape, Training, train
from training.dense_retrieval.evaluation import (
    Accuracy,
    Reading,
    ask_all,
    found_by_bm25,
    found_by_encoder,
    found_by_ours,
    read_all,
)
from training.dense_retrieval.negatives import Negatives, lexical_negatives
from training.dense_retrieval.questions import QuestionMaker, Split, split
from training.dense_retrieval.reader import Pages, ReaderTraining, new_reader, train_reader
from training.dense_retrieval.saving import save
from training.dense_retrieval.starting_point import rarity, start_from, word_vectors
from training.dense_retrieval.tokens import Passages, Vocabulary
from training.dense_retrieval.wordnet import FOLDER, WordNet

LONGEST_PASSAGE = 48
MINILM = "starter/text-embedding"
DEV, TEST = 5, 7
"""Which random numbers make the questions of these parts."""


def main() -> None:
    """Prepare, train, measure, save."""
    options = parse_arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    run = Run.prepare(options)
    model = run.train_encoders()
    reader = run.train_reader(model)
    measured = run.measure(model, reader)
    print(json.dumps(measured, indent=1))
    (options.work / "measured.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")
    if options.out:
        save(options.out, model, reader, run.vocabulary, measured=measured, options=vars(options))
        print(f"saved to {options.out}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train DPR's encoders and reader on WordNet's definitions.")
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="folder of WordNet's database")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is worth keeping between runs")
    parser.add_argument("--out", type=Path, help="folder to put the three checkpoints in")
    parser.add_argument("--steps", type=int, default=Training.steps, help="of the encoders")
    parser.add_argument("--negatives-from", type=float, default=0.5, help="share of steps without hard negatives")
    parser.add_argument("--batch-size", type=int, default=Training.batch_size)
    parser.add_argument("--lr", type=float, default=Training.lr, help="peak learning rate of the encoders")
    parser.add_argument("--layers", type=int, default=Shape.layers)
    parser.add_argument("--hidden", type=int, default=Shape.hidden)
    parser.add_argument("--vocabulary", type=int, default=12_000)
    parser.add_argument("--reader-steps", type=int, default=ReaderTraining.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


@dataclass(frozen=True)
class Run:
    """What all stages work with."""

    options: argparse.Namespace
    maker: QuestionMaker
    parts: Split
    vocabulary: Vocabulary
    passages: Passages

    @classmethod
    def prepare(cls, options: argparse.Namespace) -> Run:
        """Reads WordNet, shares out its synsets, learns the vocabulary and cuts all passages."""
        wordnet = WordNet(options.wordnet)
        maker = QuestionMaker(wordnet)
        path = options.work / "vocab.txt"
        if not path.exists():
            Vocabulary.learn(wordnet.synsets, options.vocabulary).save(path)
        vocabulary = Vocabulary.load(path)
        passages = Passages(vocabulary, wordnet.synsets, LONGEST_PASSAGE)
        return cls(options, maker, split(maker, seed=options.seed), vocabulary, passages)

    def negatives(self) -> Negatives:
        """BM25's, eight for each training synset."""
        path = self.options.work / "negatives.npy"
        index = LexicalIndex.build(f"{synset.title}\n{synset.definition}" for synset in self.maker.wordnet.synsets)
        return lexical_negatives(self.maker, index, self.parts.train, seed=self.options.seed, count=8, path=path)

    def train_encoders(self) -> BiEncoder:
        """With in-batch negatives alone at first, then with one of BM25's for each question as well."""
        options = self.options
        shape = Shape(layers=options.layers, hidden=options.hidden, intermediate=2 * options.hidden)
        model = BiEncoder.new(shape.config(len(self.vocabulary.pieces)))
        self.start(model)
        training = Training(options.steps, options.batch_size, lr=options.lr, seed=options.seed)
        checkpoint = options.work / "encoders.pt"
        for hard, until in ((False, round(options.steps * options.negatives_from)), (True, options.steps)):
            negatives = self.negatives() if hard else None
            batches = Batches(self.maker, self.vocabulary, self.passages, self.parts.train, negatives, training)
            for step in train(model, batches, until=until, checkpoint=checkpoint):
                print(f"step {step} saved", flush=True)
            print(f"dev {self.accuracy(model, self.parts.dev, DEV)}", flush=True)
        return model

    def start(self, model: BiEncoder) -> None:
        """From MiniLM's vectors of words."""
        minilm = Encoder.from_pretrained(MINILM)
        words = word_vectors(self.vocabulary, minilm, self.options.hidden, self.options.work / "words.npy")
        minilm.close()
        start_from([model.question, model.passage], words, rarity(self.passages, len(self.vocabulary.pieces)))

    def train_reader(self, model: BiEncoder) -> DPRReader:
        """From the words of the passages' encoder."""
        words = model.passage.ctx_encoder.bert_model.embeddings.word_embeddings.weight.detach()
        reader = new_reader(words, len(self.vocabulary.pieces))
        pages = Pages(self.maker, self.vocabulary, self.passages)
        training = ReaderTraining(self.options.reader_steps, seed=self.options.seed)
        checkpoint = self.options.work / "reader.pt"
        for step in train_reader(reader, pages, self.parts.train, self.negatives(), training, checkpoint=checkpoint):
            print(f"reader step {step}", flush=True)
        return reader

    def accuracy(self, model: BiEncoder, places: np.ndarray, part: int) -> Accuracy:
        """Of our encoders, on the questions of a part."""
        questions = ask_all(self.maker, places, seed=self.options.seed, part=part)
        return Accuracy.of(found_by_ours(model, self.vocabulary, self.passages, questions), places)

    def measure(self, model: BiEncoder, reader: DPRReader) -> dict[str, dict[str, float]]:
        """On the test questions: our encoders, BM25 and MiniLM, and the reader on what our encoders find.

        The others also without titles, which no question was made of; and BM25 with the best of a few settings.
        """
        right, synsets, work = self.parts.test, self.maker.wordnet.synsets, self.options.work
        definitions, titled = [s.definition for s in synsets], [(s.title, s.definition) for s in synsets]
        questions = ask_all(self.maker, right, seed=self.options.seed, part=TEST)
        ours = found_by_ours(model, self.vocabulary, self.passages, questions)
        minilm = Encoder.from_pretrained(MINILM)
        found = {
            "DPR": ours,
            "BM25": found_by_bm25(["\n".join(pair) for pair in titled], questions),
            "BM25, without titles, k1 = b = 0.6": found_by_bm25(definitions, questions, k1=0.6, b=0.6),
            "MiniLM": found_by_encoder(minilm, titled, questions, work / "minilm.npy"),
            "MiniLM, without titles": found_by_encoder(minilm, definitions, questions, work / "minilm-untitled.npy"),
        }
        minilm.close()
        pages = Pages(self.maker, self.vocabulary, self.passages)
        reading: Reading = read_all(reader, pages, questions, right, ours[:, :20])
        table = {name: asdict(Accuracy.of(rows, right)) for name, rows in found.items()}
        return {**table, "reader": asdict(reading)}


if __name__ == "__main__":
    main()
