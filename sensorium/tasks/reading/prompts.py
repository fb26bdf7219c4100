"""What a writing reader is told, and what its answer says: which passages it cites, and whether it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from sensorium.errors import OptionError

REFUSAL = "unanswerable"
"""The word for a question without an answer; FLAN's, after SQuAD 2, so that small models know it too."""

PROMPT = """\
Answer the question from the numbered passages below and from nothing else. Cite the passages that you use by their \
numbers in square brackets, such as [1]. If the passages do not hold the answer, write only: {refusal}

{passages}

Question: {question}
Answer:"""
"""The prompt where a call has none of its own."""

_NEEDED, _KNOWN = {"question", "passages"}, {"question", "passages", "refusal"}
_CITATION = re.compile(r"\[\s*(\d+(?:\s*[,;]\s*\d+)*)\s*\]")
_THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)


def check_prompt(prompt: Any) -> None:
    """Refuses a prompt that cannot be filled in.

    Raises:
        OptionError: it is not a text, lacks `{question}` or `{passages}`, or has fields other than these and
            `{refusal}`.
    """
    if not isinstance(prompt, str):
        raise OptionError(f"prompt is a text with {{question}} and {{passages}}, got {type(prompt).__name__}")
    try:
        fields = [
            (name, spec, conversion) for _, name, spec, conversion in Formatter().parse(prompt) if name is not None
        ]
    except ValueError as error:
        raise OptionError(f"prompt cannot be filled in ({error}); write {{{{ and }}}} for braces") from error
    unknown = [name for name, spec, conversion in fields if name not in _KNOWN or spec or conversion]
    if unknown:
        raise OptionError(
            f"prompt has the fields {{question}}, {{passages}} and maybe {{refusal}}, got {{{unknown[0]}}}; "
            "write {{ and }} for braces"
        )
    missing = _NEEDED - {name for name, _, _ in fields}
    if missing:
        raise OptionError(f"prompt needs {{question}} and {{passages}}; {{{min(missing)}}} is missing")


def filled_prompt(prompt: str, question: str, passages: Sequence[Mapping[str, Any]], refusal: str) -> str:
    """The prompt with a question and passages, which are numbered from 1."""
    blocks = []
    for number, passage in enumerate(passages, 1):
        title = f"{passage['title']}\n" if passage["title"] else ""
        blocks.append(f"[{number}] {title}{passage['text'].strip()}")
    return prompt.format(question=question.strip(), passages="\n\n".join(blocks), refusal=refusal)


def without_thoughts(text: str) -> str:
    """An answer without what a reasoning model thought before it."""
    return _THOUGHT.sub("", text).strip()


def cited(text: str, count: int) -> list[int]:
    """The numbers of passages that an answer cites, as `[1]` or `[1, 3]`, each once, in the order of their naming.

    Args:
        text: the answer.
        count: how many passages there are; other numbers cite nothing, and are left out.
    """
    numbers = [int(number) for match in _CITATION.findall(text) for number in re.findall(r"\d+", match)]
    return [number for number in dict.fromkeys(numbers) if 1 <= number <= count]


def refuses(text: str, refusal: str) -> bool:
    """Whether an answer says that there is none: it begins with the refusal, or is empty but for citations."""
    said = re.sub(r"\W+", " ", _CITATION.sub(" ", text)).strip().casefold()
    word = re.sub(r"\W+", " ", refusal).strip().casefold()
    return not said or re.match(rf"(?:the question is )?{re.escape(word)}\b", said) is not None
