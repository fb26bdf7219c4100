"""Questions made from definitions: words left out or replaced by synonyms, and a phrase asked for by "what"."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from training.dense_retrieval.wordnet import Synset, WordNet

WORD = re.compile(r"\w+(?:['-]\w+)*")

FUNCTION_WORDS = frozenset(
    """
    a about above after against all also an and another any are as at be because been being before between both but
    by can could did do does during each either especially etc few for from had has have having he her him his how i
    if in into is it its itself may more most much no nor not of off on one or other others out over own same she so
    some something someone somebody such than that the their them themselves then there these they this those
    through to too under until up upon used usually very was were what when where whether which while who whom whose
    will with within without would you your
    """.split()  # noqa: SIM905 - a list of them would fill a page
)
"""Words that are neither replaced nor asked for."""


@dataclass(frozen=True)
class Rules:
    """How far a question is from its definition.

    Attributes:
        drop: the chance of each word to be left out.
        replace: the chance of each other content word that has synonyms to be replaced by one.
        longest_answer: words of the phrase that is asked for, at most; 0 asks for none.
    """

    drop: float = 0.3
    replace: float = 0.5
    longest_answer: int = 3


Word = tuple[str, int, int]
"""A word in lower case, where it begins in the definition, and where it ends, in characters."""

FEWEST = 2
"""Content words that a question has at least."""


@dataclass(frozen=True)
class Question:
    """A question, and the place of its answer in the definition.

    Attributes:
        text: in lower case.
        start: of the answer, in characters of the definition; 0 if nothing is asked for.
        end: behind the answer; 0 if nothing is asked for.
    """

    text: str
    start: int
    end: int


class QuestionMaker:
    """Makes a definition's questions; with the same random numbers the same ones."""

    def __init__(self, wordnet: WordNet, rules: Rules | None = None) -> None:
        self.wordnet = wordnet
        self.rules = rules or Rules()
        self._words: dict[str, list[Word]] = {}

    def can_ask(self, synset: Synset) -> bool:
        """Whether a question can be made: whether there are words for an answer and for the question itself."""
        return sum(is_content(word) for word, _, _ in self._split(synset)) > FEWEST

    def ask(self, synset: Synset, rng: np.random.Generator) -> Question:
        """A question whose answer stands in the synset's definition. The synset is one that `can_ask` is true of."""
        words = self._split(synset)
        content = [i for i, (word, _, _) in enumerate(words) if is_content(word)]
        first, last = self._answer(words, content, rng)
        asked = first <= last
        for _ in range(10):
            text, kept = self._reword(words, first, last, rng)
            if kept >= FEWEST:
                break
        else:
            text = [word for i, (word, _, _) in enumerate(words) if not first <= i <= last]
        return Question(" ".join(text), words[first][1] if asked else 0, words[last][2] if asked else 0)

    def _answer(self, words: list[Word], content: list[int], rng: np.random.Generator) -> tuple[int, int]:
        """The first and the last word of the phrase that is asked for.

        It begins and ends with content words, and nothing but spaces lies between its words.
        """
        if not self.rules.longest_answer:
            return 0, -1
        spans = []
        for i, first in enumerate(content):
            for j, last in enumerate(content[i : i + len(content) - FEWEST], i):
                apart = any(words[k + 1][1] - words[k][2] > 1 for k in range(first, last))
                if last - first >= self.rules.longest_answer or apart:
                    break
                if len(content) - (j - i + 1) >= FEWEST:
                    spans.append((first, last))
        return spans[rng.integers(len(spans))]

    def _reword(self, words: list[Word], first: int, last: int, rng: np.random.Generator) -> tuple[list[str], int]:
        """The words of a question, and how many content words of the definition it keeps or replaces."""
        chances = rng.random((len(words), 4))
        text, kept = [], 0
        for i, (word, _, _) in enumerate(words):
            if first <= i <= last:
                text += ["what"] if i == first else []
                continue
            drop, replace, part, lemma = chances[i]
            if drop < self.rules.drop:
                continue
            content = is_content(word)
            kept += content
            groups = self.wordnet.synonyms(word) if content and replace < self.rules.replace else ()
            if groups:
                others = groups[int(part * len(groups))]
                word = others[int(lemma * len(others))].lower()  # noqa: PLW2901 - it is the word's place
            text.append(word)
        return text, kept

    def _split(self, synset: Synset) -> list[Word]:
        """Lower-case words with their characters in the definition."""
        if synset.id not in self._words:
            found = WORD.finditer(synset.definition)
            self._words[synset.id] = [(match[0].lower(), match.start(), match.end()) for match in found]
        return self._words[synset.id]


def is_content(word: str) -> bool:
    """Whether a lower-case word says something by itself."""
    return word not in FUNCTION_WORDS and len(word) > 1


@dataclass(frozen=True)
class Split:
    """Which synsets, by their places, have questions for what; no synset has questions in two parts.

    Attributes:
        train: for training.
        dev: for choosing.
        test: for measuring, once.
    """

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def split(maker: QuestionMaker, *, seed: int, dev: int = 1000, test: int = 4000) -> Split:
    """Shares out all synsets that can be asked about."""
    able = [i for i, synset in enumerate(maker.wordnet.synsets) if maker.can_ask(synset)]
    order = np.random.default_rng([seed, 1]).permutation(able)
    return Split(train=np.sort(order[dev + test :]), dev=order[test : test + dev], test=order[:test])
