"""WordNet's database files: synsets with their definitions, and synonyms of words as they stand in a text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
"""Where Debian's package wordnet-base puts them."""

PARTS = ("noun", "verb", "adj", "adv")

SUFFIXES = {
    "noun": [("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
             ("ies", "y")],
    "verb": [("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    "adj": [("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    "adv": [],
}  # fmt: skip
"""Endings and what stands in their place in the base form: WordNet's own rules of detachment, morphy(7WN)."""


@dataclass(frozen=True)
class Synset:
    """Words that mean the same, and what they mean.

    Attributes:
        id: of WordNet, as "n00001740".
        lemmas: the words, spaces in them.
        definition: the gloss without its examples.
    """

    id: str
    lemmas: tuple[str, ...]
    definition: str

    @property
    def title(self) -> str:
        """The lemmas, with commas between them."""
        return ", ".join(self.lemmas)


class WordNet:
    """The database.

    Attributes:
        synsets: in the order of the files, nouns first.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        """Reads `data.*`, `index.*` and `*.exc`.

        Raises:
            FileNotFoundError: they are not in the folder.
        """
        if not (folder / "data.noun").is_file():
            raise FileNotFoundError(
                f"expected WordNet's database (data.noun, index.noun, …) in {folder}. On Debian it comes with the "
                "package wordnet-base; --wordnet names another folder."
            )
        self.synsets: list[Synset] = []
        self._lemmas: dict[tuple[str, int], tuple[str, ...]] = {}
        for part in PARTS:
            for line in _lines(folder / f"data.{part}"):
                offset, synset = _synset(line)
                self.synsets.append(synset)
                self._lemmas[part, offset] = synset.lemmas
        self._senses = {part: dict(_first_sense(line) for line in _lines(folder / f"index.{part}")) for part in PARTS}
        self._exceptions = {part: dict(_exceptions(folder / f"{part}.exc")) for part in PARTS}
        self.synonyms = cache(self._synonyms)

    def base_forms(self, word: str, part: str) -> list[str]:
        """The lemmas of a part of speech that a lower-case word may be a form of, itself first if it is one."""
        senses = self._senses[part]
        found = [word] if word in senses else []
        if word in self._exceptions[part]:
            found.append(self._exceptions[part][word])
        else:
            stems = [word.removesuffix(end) + new for end, new in SUFFIXES[part] if word.endswith(end)]
            found += [stem for stem in stems if len(stem) > 2]
        return [form for form in dict.fromkeys(found) if form in senses]

    def _synonyms(self, word: str) -> tuple[tuple[str, ...], ...]:
        """What may stand in a lower-case word's place.

        For each part of speech that the word can be, the other lemmas of its most frequent sense (the first in
        `index.*`), as base forms; parts of speech without any are left out.
        """
        groups = []
        for part in PARTS:
            forms = self.base_forms(word, part)
            if not forms:
                continue
            lemmas = self._lemmas[part, self._senses[part][forms[0]]]
            others = tuple(lemma for lemma in lemmas if lemma.lower() not in (*forms, word))
            if others:
                groups.append(others)
        return tuple(groups)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")]


def _synset(line: str) -> tuple[int, Synset]:
    data, _, gloss = line.partition(" | ")
    offset, _, kind, count, *rest = data.split(" ")
    words = [re.sub(r"\((a|p|ip)\)$", "", word) for word in rest[: 2 * int(count, 16) : 2]]
    lemmas = tuple(dict.fromkeys(word.replace("_", " ") for word in words))
    return int(offset), Synset(kind + offset, lemmas, _definition(gloss))


def _definition(gloss: str) -> str:
    """The gloss up to its first example, which stands in quotation marks."""
    definition = re.split(r'[;:,]?\s*(?<!\w)"', gloss.strip(), maxsplit=1)[0].strip(" ;:,")
    return definition or gloss.strip()


def _first_sense(line: str) -> tuple[str, int]:
    """A lemma of `index.*`, and the offset of its most frequent sense in `data.*`."""
    lemma, _, senses, pointers, *rest = line.split()
    first = rest[int(pointers) + 2]
    if int(senses) < 1:
        raise ValueError(f"no senses of {lemma!r}")
    return lemma.replace("_", " "), int(first)


def _exceptions(path: Path) -> list[tuple[str, str]]:
    return [(form.replace("_", " "), base.replace("_", " ")) for form, base, *_ in map(str.split, _lines(path))]
