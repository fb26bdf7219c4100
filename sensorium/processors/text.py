"""Text → token ids: `TextProcessor` runs a checkpoint's own tokenizer, from several threads at once."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.checkpoints.opening import panics_told
from sensorium.checkpoints.writing import checkpoint_written
from sensorium.errors import CheckpointError, InputError
from sensorium.processors.locating import load_auto, locate
from sensorium.processors.padding import Padding
from sensorium.processors.templates import apart
from sensorium.processors.tokenizer_files import check_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

LONGEST = 1_000_000
"""What Transformers writes for a tokenizer without a limit is far above this."""

VOCABULARIES = frozenset(
    ["merges.txt", "sentencepiece.bpe.model", "spiece.model", "tekken.json", "tokenizer.json", "tokenizer.model",
     "vocab.json", "vocab.txt"]
)  # fmt: skip
"""The files that vocabularies come in, whatever the tokenizer's class calls its own."""


@dataclass(frozen=True)
class Encoded:
    """The tokens of one text, or of a pair of texts.

    Attributes:
        ids: token ids.
        type_ids: which segment of the model's input each token belongs to.
        offsets: for each token the characters `(start, end)` of its text that it stands for, `(0, 0)` for special
            tokens. Empty where the tokenizer cannot tell.
        sequence_ids: 0 or 1 for tokens of the first and the second text, None for special tokens. Empty as `offsets`.
        names: the model's inputs that `tensors` gives.
        word_ids: for each token the number of its word in its text, None for special tokens and where the tokenizer
            knows no words. Empty as `offsets`.
    """

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    sequence_ids: list[int | None]
    names: tuple[str, ...]
    word_ids: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, length: int, *, side: str = "right", special: Collection[int] = ()) -> Encoded:
        """Leaves out tokens of the text, but no special ones, until `length` are left, as tokenizers truncate.

        Args:
            length: how many tokens stay at most; at least as many as there are special ones.
            side: "right" leaves out the last ones, "left" the first ones.
            special: the ids of special tokens, by which they are found where `sequence_ids` does not tell.
        """
        if len(self.ids) <= length:
            return self
        kinds = self.sequence_ids or [None if token in special else 0 for token in self.ids]
        text = [i for i, kind in enumerate(kinds) if kind is not None]
        out = len(self.ids) - length
        left_out = set(text[:out] if side == "left" else text[max(0, len(text) - out) :])
        kept = [i for i in range(len(self.ids)) if i not in left_out]
        rows: list[Any] = [self.ids, self.type_ids, self.offsets, self.sequence_ids, self.word_ids]
        ids, types, offsets, sequences, words = ([row[i] for i in kept] if row else row for row in rows)
        return Encoded(ids, types, offsets, sequences, self.names, words)

    def tensors(self) -> dict[str, Tensor]:
        """The model's inputs by name, `(length,)` int64 each."""
        values = {"input_ids": self.ids, "token_type_ids": self.type_ids, "attention_mask": [1] * len(self.ids)}
        return {name: torch.tensor(values[name], dtype=torch.int64) for name in self.names}


class TextProcessor:
    """Turns texts into what a checkpoint's model expects, by the checkpoint's own tokenizer.

    It never truncates and never pads: what is too long is for the task to split or to refuse. Safe in several threads.

    Attributes:
        tokenizer: Transformers' own; not to be called from several threads.
        input_names: the model's inputs that `Encoded.tensors` gives.
        rows: how many tokens the model knows; None where that is not known, and any id is given.
        segments: how many segments of text it tells apart; None as for `rows`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        names = ("input_ids", "token_type_ids", "attention_mask")
        self.input_names = tuple(name for name in names if name in tokenizer.model_input_names)
        self.rows: int | None = None
        self.segments: int | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | PathLike[str] | Checkpoint, *, options: LoadOptions | None = None
    ) -> TextProcessor:
        """Load the tokenizer of a checkpoint, or of a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: a Hub id, a local folder, `starter/…`, or a checkpoint that is already found.
            options: how to find and open it. Code that comes with a checkpoint runs only if `trust_remote_code` is set.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointError: it has no tokenizer, or a broken one.
            UnsafeCheckpointError: its tokenizer is its own code, which the caller did not allow.
        """
        from transformers import AutoTokenizer

        name, folder, options = locate(name_or_folder, options, "tokenizer.json", "tokenizer_config.json")
        check_tokenizer(folder, of=name)
        tokenizer = load_auto(AutoTokenizer, folder, options, of=name, kind="tokenizer", file="tokenizer_config.json")
        named = set(getattr(tokenizer, "vocab_files_names", {}).values())  # none where bytes are the vocabulary
        if named and not any((folder / file_name).is_file() for file_name in named | VOCABULARIES):
            raise CheckpointError(
                f"{name!r} has no tokenizer: none of {', '.join(sorted(named))} is in {folder}, and Transformers would "
                "make an empty one, which knows no words. Pass processor=, with the name or folder of one that has."
            )
        return cls(tokenizer)

    @classmethod
    def from_transformers(cls, processor: Any) -> TextProcessor:
        """Take a loaded tokenizer of Transformers, or a processor that has one."""
        tokenizer = getattr(processor, "tokenizer", processor)
        if not hasattr(tokenizer, "model_input_names") or not hasattr(tokenizer, "convert_ids_to_tokens"):
            raise CheckpointError(f"expected a tokenizer of Transformers, got {type(processor).__name__}")
        return cls(tokenizer)

    @property
    def max_length(self) -> int | None:
        """How many tokens the model takes at most, or None where the checkpoint does not say."""
        length = int(self.tokenizer.model_max_length)
        return length if length < LONGEST else None

    @property
    def padding(self) -> dict[str, Padding]:
        """What pads shorter texts of a batch, for `Task.padded`; on the tokenizer's own side."""
        side = self.tokenizer.padding_side
        values = {
            "input_ids": self.tokenizer.pad_token_id or 0,
            "token_type_ids": self.tokenizer.pad_token_type_id,
            "attention_mask": 0,
        }
        return {name: Padding(values[name], max_length=self.max_length, side=side) for name in self.input_names}

    @property
    def prompt_padding(self) -> dict[str, Padding]:
        """What pads shorter prompts of a batch: on the left, since what a model writes goes on from the right."""
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        values = {"input_ids": pad or 0, "attention_mask": 0, "token_type_ids": 0}
        return {name: Padding(value, side="left") for name, value in values.items()}

    def checked(self, rows: int | None, segments: int | None) -> TextProcessor:
        """The same tokenizer for a model with tables of so many tokens and segments: it refuses what lies past them.

        On a GPU a look-up past a table's end ends all work of the process, not that of one text.
        """
        same = copy.copy(self)
        same.rows, same.segments = rows, segments
        return same

    def lower_case(self) -> None:
        """Makes the tokenizer lower-case texts first, if it does not do so already.

        To be called before the first text.

        Raises:
            CheckpointError: the tokenizer is a slow one.
        """
        from tokenizers import normalizers

        if not getattr(self.tokenizer, "is_fast", False):
            raise CheckpointError(
                f"the checkpoint wants lower-case texts, which needs a fast tokenizer, got "
                f"{type(self.tokenizer).__name__}. Pass processor=, with one that has a tokenizer.json."
            )
        backend = self.tokenizer.backend_tokenizer
        own = backend.normalizer
        steps: list[Any] = [*own] if isinstance(own, normalizers.Sequence) else [] if own is None else [own]  # type: ignore[misc]
        if not any(isinstance(step, normalizers.Lowercase) for step in steps):
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])

    def chat(self, message: str) -> str:
        """A user's message laid out by the checkpoint's chat template, up to where the answer begins.

        Raises:
            InputError: `template-failed`.
        """
        with self._lock, apart():
            text: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
            )
        return text

    def encode(self, text: str, pair: str | None = None, *, special_tokens: bool = True) -> Encoded:
        """Tokens of a text, or of two in one sequence.

        Args:
            text: any text.
            pair: the second one.
            special_tokens: whether to add the model's own ([CLS], </s>, …).

        Raises:
            InputError: `not-text`, where a text is not a str, or contains what is not a character;
                `token-out-of-range`, where the model does not know one of its tokens; `tokenizer-failed`.
        """
        for part in (text, *([] if pair is None else [pair])):
            if not isinstance(part, str):
                raise InputError(f"expected a text (str), got {type(part).__name__}", code="not-text")
            if _LONE_SURROGATE.search(part):
                raise InputError(
                    "expected a text, got one with half of a surrogate pair, which is not a character", code="not-text"
                )
        try:
            with panics_told():
                encoded = self._encoded(text, pair, special_tokens)
        except Exception as error:  # tokenizers raises bare ones, and panics are told as errors, too
            raise InputError(
                f"the checkpoint's tokenizer failed on this text ({type(error).__name__}: {error}). Correct its "
                "patterns, or pass another processor=",
                code="tokenizer-failed",
            ) from error
        self.check_ids(encoded.ids)
        types = encoded.type_ids if "token_type_ids" in self.input_names else []
        if self.segments is not None and types and max(types) >= self.segments:
            raise InputError(
                f"the tokenizer gives a text of two parts the segment {max(types)}, and the model has {self.segments}. "
                "Use the tokenizer that the model was trained with",
                code="token-out-of-range",
            )
        return encoded

    def _encoded(self, text: str, pair: str | None, special_tokens: bool) -> Encoded:
        if self._fast is None:
            return self._encode_slowly(text, pair, special_tokens)
        encoding = self._fast.encode(text, pair, add_special_tokens=special_tokens)
        rows = (encoding.ids, encoding.type_ids, encoding.offsets, encoding.sequence_ids)
        return Encoded(*rows, self.input_names, encoding.word_ids)

    def check_ids(self, ids: Sequence[int], *, besides: Collection[int] = ()) -> None:
        """Refuses tokens that the model does not know.

        Args:
            ids: of a text.
            besides: ids that the model does not look up, such as that of a picture's place.

        Raises:
            InputError: `token-out-of-range`.
        """
        if self.rows is None or not ids or max(ids) < self.rows:
            return
        unknown = next((id_ for id_ in ids if id_ >= self.rows and id_ not in besides), None)
        if unknown is None:
            return
        with self._lock:
            token, count = self.tokenizer.convert_ids_to_tokens(unknown), len(self.tokenizer)
        raise InputError(
            f"the text holds the token {token!r} with the id {unknown}, and the model's table of tokens has "
            f"{self.rows} rows: the tokenizer has {count} tokens, more than the model knows. Use the tokenizer that it "
            "was trained with, or train it with a row for each (resize_token_embeddings)",
            code="token-out-of-range",
        )

    def decode(self, ids: Sequence[int] | Tensor, *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        with self._lock:
            text: str = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        return text

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the tokenizer's files, so that `from_pretrained` gives this processor again."""
        with checkpoint_written(Path(folder)) as new:
            self.tokenizer.save_pretrained(new)

    @cached_property
    def _fast(self) -> Tokenizer | None:
        """A copy of the Rust tokenizer that neither truncates nor pads; one that is never changed may be shared."""
        from tokenizers import Tokenizer

        if not getattr(self.tokenizer, "is_fast", False):
            return None
        copy = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        return copy

    def _encode_slowly(self, text: str, pair: str | None, special_tokens: bool) -> Encoded:
        with self._lock:
            encoding: Mapping[str, Any] = self.tokenizer(
                text,
                pair,
                add_special_tokens=special_tokens,
                return_token_type_ids=True,
                truncation=False,
                verbose=False,
            )
        ids = list(encoding["input_ids"])
        return Encoded(ids, list(encoding.get("token_type_ids") or [0] * len(ids)), [], [], self.input_names)

    def __repr__(self) -> str:
        return f"TextProcessor({type(self.tokenizer).__name__}, vocab_size={len(self.tokenizer)})"
