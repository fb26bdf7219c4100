"""The vocabulary, and texts as rows of token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor
from transformers import (
    DPRContextEncoderTokenizerFast,
    DPRQuestionEncoderTokenizerFast,
    DPRReaderTokenizerFast,
    PreTrainedTokenizerBase,
)

from training.dense_retrieval.wordnet import Synset

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, _, CLS, SEP, _ = range(5)
TOKENIZERS = {
    "question_encoder": DPRQuestionEncoderTokenizerFast,
    "ctx_encoder": DPRContextEncoderTokenizerFast,
    "reader": DPRReaderTokenizerFast,
}


class Vocabulary:
    """WordPieces, and texts cut into them as BERT's uncased tokenizer cuts them."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = list(pieces)
        self._tokenizer = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)}, lowercase=True)
        self._words: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, synsets: Iterable[Synset], size: int) -> Vocabulary:
        """Learns `size` pieces from titles and definitions; the same ones from the same texts."""
        tokenizer = BertWordPieceTokenizer(lowercase=True)
        texts = (text for synset in synsets for text in (synset.title, synset.definition))
        tokenizer.train_from_iterator(texts, size, special_tokens=list(SPECIAL), show_progress=False)
        found = tokenizer.get_vocab()
        return cls(sorted(found, key=found.__getitem__))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads what `save` wrote."""
        return cls(path.read_text(encoding="utf-8").splitlines())

    def save(self, path: Path) -> None:
        """Writes a piece a line."""
        path.write_text("\n".join(self.pieces) + "\n", encoding="utf-8")

    def transformers(self, part: str, longest: int) -> PreTrainedTokenizerBase:
        """Transformers' tokenizer of "question_encoder", "ctx_encoder" or "reader"."""
        vocab = {piece: i for i, piece in enumerate(self.pieces)}
        return TOKENIZERS[part](vocab=vocab, do_lower_case=True, model_max_length=longest)

    def pieces_of(self, text: str) -> list[int]:
        """The ids of a text without special tokens; words between spaces are remembered."""
        ids: list[int] = []
        for word in text.split():
            if word not in self._words:
                self._words[word] = self._tokenizer.encode(word, add_special_tokens=False).ids
            ids += self._words[word]
        return ids

    def question(self, text: str, longest: int) -> list[int]:
        """`[CLS] question [SEP]`."""
        return [CLS, *self.pieces_of(text)[: longest - 2], SEP]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters of each piece of a text."""
        return self._tokenizer.encode(text, add_special_tokens=False).offsets


class Passages:
    """All passages, cut into pieces once.

    Args:
        vocabulary: what cuts them.
        synsets: whose titles and definitions they are.
        longest: tokens a passage, special ones included; the end of a longer definition is left out.
    """

    def __init__(self, vocabulary: Vocabulary, synsets: Sequence[Synset], longest: int) -> None:
        self.longest = longest
        self.titles = [vocabulary.pieces_of(synset.title) for synset in synsets]
        self.texts = [vocabulary.pieces_of(synset.definition) for synset in synsets]

    def __len__(self) -> int:
        return len(self.titles)

    def row(self, i: int) -> tuple[list[int], int]:
        """`[CLS] title [SEP] definition [SEP]` and how long its first segment is.

        The longer of the two is cut first, as Transformers' truncation does it.
        """
        title, text = self.titles[i], self.texts[i]
        over = len(title) + len(text) + 3 - self.longest
        if over > 0:
            room = self.longest - 3
            shorter = min(len(title), len(text), room // 2)
            title, text = (title[:shorter], text[: room - shorter]) if len(title) <= len(text) else (
                title[: room - shorter], text[:shorter])  # fmt: skip
        return [CLS, *title, SEP, *text, SEP], len(title) + 2


def padded(rows: Sequence[Sequence[int]], first: Sequence[int] | None = None) -> dict[str, Tensor]:
    """The model's inputs of rows of token ids.

    Args:
        rows: (B) lists of ids.
        first: how many tokens of each are of segment 0; None for all.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids`, each (B, L) int64.
    """
    lengths = np.array([len(row) for row in rows])
    places = np.arange(lengths.max())
    mask = places < lengths[:, None]
    ids = np.full(mask.shape, PAD)
    ids[mask] = np.concatenate(rows)
    types = np.zeros_like(ids) if first is None else (mask & (places >= np.array(first)[:, None])).astype(int)
    arrays = {"input_ids": ids, "attention_mask": mask.astype(int), "token_type_ids": types}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
