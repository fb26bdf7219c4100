"""What a tokenizer's files may ask for, before a library reads them: it would do whatever they say.

A chain of replacements makes a letter as long as it likes, a template puts as many tokens before a text, and memory
that is not there ends the process. A pattern that repeats what repeats takes a time that doubles with each character.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.processors.tokenizer_patterns import repeats

MAX_FILE_BYTES = 64 * 2**20
"""Of one file; the largest vocabularies that are published take half of it."""

FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json",
         "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "spiece.model", "tekken.json",
         "sentencepiece.bpe.model", "tokenizer.model", "bpe.codes", "source.spm", "target.spm")  # fmt: skip

MOST_GROWTH = 64
"""How many times as long as a text its replacements may make it, taken together."""

MOST_ADDED = 1_000
"""Tokens that are put around a text, and characters before it."""

_LONGEST_TEXT = 16_384  # characters of a text in the file: patterns, contents, tokens
_LONGEST_WORD = 10_000  # characters of a word that WordPiece looks through, in a time that grows with their square
_MOST_IDS = 2**24  # tables are made as long as the largest id
_MOST_STEPS = 200
_MOST_TIMES = 10_000  # by repeats with an end, in one another
_MOST_REPEATS = 8  # without an end, in one alternative of a pattern


def check_tokenizer(folder: Path, *, of: str) -> None:
    """Looks through the files of a tokenizer.

    Args:
        folder: with its files.
        of: the checkpoint's name, for the errors.

    Raises:
        CheckpointError: a file is too large, or asks for more than any tokenizer does; names the file and the entry.
    """
    for name in FILES:
        path = folder / name
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{of!r}: {name} should be at most {MAX_FILE_BYTES // 2**20} MiB, and is larger. It is damaged or no "
                "tokenizer's; get the checkpoint again from its source."
            )
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(of, "something", f"JSON, and is not ({type(error).__name__}: {error!s:.200})") from error
    if not isinstance(content, Mapping):
        raise _wrong(of, "something", "a JSON object")
    for entry, check in _CHECKS.items():
        try:
            check(content.get(entry), entry, of)
        except CheckpointError:
            raise
        except (TypeError, AttributeError, ValueError, KeyError, RecursionError) as error:
            raise _wrong(of, entry, f"what a tokenizer has there ({type(error).__name__}: {error!s:.200})") from error


def _check_part(content: Any, part: str, of: str) -> None:
    steps = list(_steps(content))
    if len(steps) > _MOST_STEPS:
        raise _wrong(of, part, f"at most {_MOST_STEPS} steps, and has {len(steps)}")
    for step in steps:
        _check_texts(step, of, part)
        for pattern in _patterns(step):
            _check_pattern(pattern, of, part)
    growth = math.prod(_growth(step, of, part) for step in steps)
    if growth > MOST_GROWTH:
        raise _wrong(of, part, f"replacements that make a text at most {MOST_GROWTH} times as long, not {growth:.3g}")
    added = sum(_added(step) for step in steps)
    if added > MOST_ADDED:
        raise _wrong(of, part, f"at most {MOST_ADDED:,} tokens around a text, and has {added:,}")


def _check_added(content: Any, entry: str, of: str) -> None:
    for token in content or ():
        if len(token["content"]) > _LONGEST_TEXT or not 0 <= token["id"] < _MOST_IDS:
            raise _wrong(
                of, entry, f"tokens of at most {_LONGEST_TEXT:,} characters, with ids from 0 to {_MOST_IDS - 1:,}"
            )


def _check_lengths(content: Any, entry: str, of: str) -> None:
    padding = content or {}
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed", 0) if isinstance(strategy, Mapping) else 0
    for value in (fixed, padding.get("pad_to_multiple_of") or 0):
        if not 0 <= value <= 1_000_000:
            raise _wrong(of, entry, "a length of at most 1,000,000 tokens")


def _check_model(model: Any, entry: str, of: str) -> None:
    if not isinstance(model, Mapping):
        raise _wrong(of, entry, "an object")
    longest = model.get("max_input_chars_per_word", 0)
    if longest is not None and not 0 <= longest <= _LONGEST_WORD:
        raise _wrong(of, "model.max_input_chars_per_word", f"at most {_LONGEST_WORD:,}, and is {longest!r:.40}")
    for name in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if len(model.get(name) or "") > _LONGEST_TEXT // 64:
            raise _wrong(of, f"model.{name}", f"a text of at most {_LONGEST_TEXT // 64} characters")
    vocabulary = model.get("vocab") or ()
    tokens = vocabulary if isinstance(vocabulary, Mapping) else (entry[0] for entry in vocabulary)
    ids = vocabulary.values() if isinstance(vocabulary, Mapping) else ()
    if min(ids, default=0) < 0 or max(ids, default=0) >= _MOST_IDS:
        raise _wrong(of, "model.vocab", f"ids from 0 to {_MOST_IDS - 1:,}")
    if max(map(len, tokens), default=0) > _LONGEST_TEXT:
        raise _wrong(of, "model.vocab", f"tokens of at most {_LONGEST_TEXT:,} characters")


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part's steps, those of sequences in it among them."""
    if not isinstance(part, Mapping):
        return
    yield part
    for name in ("normalizers", "pretokenizers", "processors", "decoders"):
        for step in part.get(name) or ():
            yield from _steps(step)


def _growth(step: Mapping[str, Any], of: str, part: str) -> float:
    """How many times as long a step may make a text, at most."""
    if step.get("type") == "Precompiled":
        if _longest_replacement(step.get("precompiled_charsmap")) > MOST_ADDED:
            raise _wrong(of, part, f"a precompiled_charsmap with replacements of at most {MOST_ADDED:,} bytes")
        return 1.0
    if step.get("type") != "Replace":
        return 1.0
    content, pattern = step.get("content") or "", step.get("pattern") or {}
    text = pattern.get("String") if isinstance(pattern, Mapping) else pattern
    least = int(not _may_be_empty(pattern.get("Regex") or "")) if text is None else len(text)
    return max(1.0, len(content) / least) if least else 1.0 + len(content)


def _longest_replacement(charsmap: Any) -> int:
    """The longest text that sentencepiece's table puts in the place of one; more than any where it is damaged."""
    if not charsmap:
        return 0
    if not isinstance(charsmap, (str, list)):  # bytes of a number would be as many as it says
        return MOST_ADDED + 1
    try:
        table = base64.b64decode(charsmap if isinstance(charsmap, str) else bytes(charsmap))
    except (binascii.Error, ValueError):
        return MOST_ADDED + 1
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return max((len(found[0]) for found in re.finditer(rb"[^\0]+", texts)), default=0)


_WITHOUT_WIDTH = ("(?=", "(?!", "(?<", r"\b", r"\B", "^", "$")


def _may_be_empty(pattern: str) -> bool:
    """Whether a pattern of Oniguruma may match nothing, and so between all characters; true where nobody knows."""
    plain = re.sub(r"\\[pP]\{[^}]*\}|\\X|\\R|\\h", "a", pattern)
    if any(mark in plain for mark in ("(?=", "(?!", "(?<", r"\b", r"\B")):
        return True
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Python would read in another way some day
            return re.compile(plain).match("") is not None
    except (re.error, RecursionError, OverflowError):
        return True


def _patterns(step: Mapping[str, Any]) -> Iterator[str]:
    pattern = step.get("pattern")
    if isinstance(pattern, Mapping) and pattern.get("Regex") is not None:
        yield pattern["Regex"]


def _check_texts(step: Mapping[str, Any], of: str, part: str) -> None:
    for name, value in step.items():
        limit = MOST_ADDED if name in ("prepend", "prefix", "suffix", "replacement") else _LONGEST_TEXT
        texts = value.values() if isinstance(value, Mapping) else [value]
        if name != "precompiled_charsmap" and any(isinstance(text, str) and len(text) > limit for text in texts):
            raise _wrong(of, f"{part}.{name}", f"a text of at most {limit:,} characters")


def _check_pattern(pattern: str, of: str, part: str) -> None:
    """Refuses repeats of what repeats without an end, and very many such repeats one after another."""
    nested, most, times = repeats(pattern)
    if times > _MOST_TIMES:
        raise _wrong(of, part, f"patterns that repeat a part at most {_MOST_TIMES:,} times, and has {pattern[:80]!r}")
    if nested:
        raise _wrong(of, part, f"patterns that do not repeat what repeats without an end, and has {pattern[:80]!r}")
    if most > _MOST_REPEATS:
        raise _wrong(
            of, part, f"patterns of at most {_MOST_REPEATS} repeats one after another, and has {pattern[:80]!r}"
        )


def _added(step: Mapping[str, Any]) -> int:
    """How many tokens a step puts around a text, at most."""
    known = step.get("special_tokens") or {}
    sizes = {name: len(entry.get("ids") or ()) for name, entry in known.items()} if isinstance(known, Mapping) else {}
    most = 0
    for name in ("single", "pair"):
        pieces = [piece.get("SpecialToken") for piece in step.get(name) or () if isinstance(piece, Mapping)]
        most = max(most, sum(sizes.get(piece["id"], 1) for piece in pieces if piece), len(step.get(name) or ()))
    return most


_CHECKS: Mapping[str, Callable[[Any, str, str], None]] = {
    **dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"), _check_part),
    "padding": _check_lengths,
    "model": _check_model,
    "added_tokens": _check_added,
}


def _wrong(of: str, entry: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"{of!r}: {entry} in tokenizer.json should have {expected}. It is damaged, or not to be trusted; get the "
        "checkpoint again from its source."
    )
