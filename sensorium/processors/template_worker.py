"""The process that renders chat templates: a line of JSON in, a line of JSON out. `templates.py` starts and ends it."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from typing import Any

READY = b"ready\n"

TIMEOUT_S = 10.0
"""For one prompt; templates take milliseconds."""

MAX_BYTES = 512 * 2**20
"""Of memory, beyond what the process has when it starts."""

MAX_CHARACTERS = 4 * 2**20
"""Of a prompt."""


def main() -> None:
    """Answers requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    from transformers.utils.chat_template_utils import render_jinja_template

    _bound_memory()
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        # Ends this process from outside of the interpreter, whatever it is doing, even if nobody is waiting any more.
        faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
        answers.write(json.dumps(_answer(render_jinja_template, json.loads(line))).encode() + b"\n")
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


def _answer(render: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        prompts, spans = render(**request)
    except MemoryError:
        return {"error": f"it needs more than {MAX_BYTES // 2**20} MiB of memory"}
    except Exception as error:  # noqa: BLE001 - a template raises whatever it likes
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    if sum(map(len, prompts)) > MAX_CHARACTERS:
        return {"error": f"it gives more than {MAX_CHARACTERS:,} characters"}
    return {"prompts": prompts, "spans": spans}


def _bound_memory() -> None:
    """Lets the process have so much more memory than it has now, where the system can tell and hold it."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not needed for anything else
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        return


if __name__ == "__main__":
    main()
