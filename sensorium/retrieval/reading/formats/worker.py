"""The process that parses files: a line of JSON in, a line of JSON out. `isolation.py` starts it, and ends it."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

from sensorium.errors import InputError, LimitError
from sensorium.isolation.bounds import OUT_OF_MEMORY, end_when_full
from sensorium.retrieval.reading.formats.decoding import Coding
from sensorium.retrieval.reading.formats.files import read_file
from sensorium.retrieval.reading.formats.limits import DocumentLimits
from sensorium.retrieval.reading.passages import Document

READY = b"ready\n"


def main() -> None:
    """Answers requests until standard input ends."""
    limits = DocumentLimits(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a parser prints is not an answer
    end_when_full(limits.max_memory_bytes)
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        # Ends this process from outside of the interpreter, whatever it is doing, even if nobody is waiting any more.
        faulthandler.dump_traceback_later(limits.timeout_s, exit=True)
        _answer(json.loads(line), limits, answers)
        faulthandler.cancel_dump_traceback_later()


def _answer(request: dict[str, Any], limits: DocumentLimits, answers: BinaryIO) -> None:
    name = request["name"]
    try:
        answer = {"document": asdict(_read(request, limits))}
        line = json.dumps(answer, ensure_ascii=False).encode()
    except InputError as error:
        line = _refusal(error)
    except OSError as error:
        line = _refusal(
            InputError(
                f"{name}: expected a file that can be read, got {error}. Check its permissions.",
                code="unreadable-file",
                source=name,
            )
        )
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # what filled it is still held, and an answer takes some, too
    except Exception as error:  # noqa: BLE001 - parsers raise anything on a damaged file
        line = _refusal(
            InputError(
                f"{name}: expected a {request['kind']} file that can be read, got one that its parser cannot read: "
                f"{type(error).__name__}: {str(error)[:300]}. Write or download it again.",
                code="corrupt",
                source=name,
            )
        )
    answers.write(line + b"\n")
    answers.flush()


def _read(request: dict[str, Any], limits: DocumentLimits) -> Document:
    kind, name = request["kind"], request["name"]
    data = read_file(request["path"], name=name, limits=limits)
    if kind == "PDF":
        from sensorium.retrieval.reading.formats.pdf import read_pdf

        return read_pdf(data, name=name, limits=limits)
    if kind == "Word":
        from sensorium.retrieval.reading.formats.word import read_word

        return read_word(data, name=name, limits=limits)
    if kind == "manual page":
        from sensorium.retrieval.reading.formats.man import read_man

        return read_man(data, name=name, coding=Coding(**request["coding"]))
    if kind == "HTML":
        from sensorium.retrieval.reading.formats.html import read_html

        return read_html(data, name=name, coding=Coding(**request["coding"]))
    from sensorium.retrieval.reading.formats.markdown import read_markdown

    return read_markdown(data, name=name, coding=Coding(**request["coding"]))


def _refusal(error: InputError) -> bytes:
    limit = isinstance(error, LimitError)
    return json.dumps({"message": error.message, "code": error.code, "limit": limit}).encode()


if __name__ == "__main__":
    main()
