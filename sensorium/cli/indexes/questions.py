"""Files of questions with their answers, or with the ids of the passages that answer them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import InputError
from sensorium.retrieval.reading import strict_json


@dataclass(frozen=True)
class Questions:
    """Q questions.

    Attributes:
        texts: what is asked.
        answers: the right answers of each, or None where the file has none.
        relevant: the ids of the passages that answer each, or their grades by id, or None where the file has none.
    """

    texts: list[str]
    answers: list[list[str]] | None
    relevant: list[Any] | None


def read_questions(path: str) -> Questions:
    """Reads a file of JSON Lines: objects with "question", and "answers", "relevant", or both, the same in each.

    "answers" is a list of texts, "relevant" a list of ids or an object from ids to grades; any other key is left alone.

    Raises:
        InputError: `missing-file`, `unreadable-file`, `bad-encoding`, `bad-row`, `no-documents`.
    """
    rows = [_row(line, f"{path}, line {number}") for number, line in enumerate(_read(path), 1) if line.strip()]
    if not rows:
        raise InputError(f"{path}: expected a question a line, got none", code="no-documents", source=path)
    columns: dict[str, list[Any] | None] = {}
    for name in ("answers", "relevant"):
        having = [name in row for row in rows]
        if any(having) and not all(having):
            raise _bad(f"{path}: {name!r} is in {sum(having)} of {len(rows)} rows; expected it in all of them, or none")
        columns[name] = [row[name] for row in rows] if all(having) else None
    return Questions([row["question"] for row in rows], columns["answers"], columns["relevant"])


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a file of questions, found none", code="missing-file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", code="unreadable-file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8: {error}", code="bad-encoding") from error


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = strict_json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad(f"{where}: expected a JSON object, got {line[:60]!r} ({error})") from error
    question = row.get("question") if isinstance(row, Mapping) else None
    if not isinstance(question, str) or not question.strip():
        raise _bad(f'{where}: expected an object with a "question", got {line[:60]!r}')
    if "answers" not in row and "relevant" not in row:
        raise _bad(f'{where}: expected "answers", "relevant", or both beside "question", got {", ".join(row)}')
    answers = row.get("answers", [""])
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise _bad(f'{where}: expected "answers" to be a list of texts, at least one, got {answers!r:.60}')
    if not isinstance(row.get("relevant", []), (list, dict)) or not row.get("relevant", [0]):
        raise _bad(f'{where}: expected "relevant" to be a list of ids, or an object from ids to grades, not empty')
    return dict(row)


def _bad(message: str) -> InputError:
    return InputError(message, code="bad-row")
