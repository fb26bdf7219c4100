"""Chat templates are programs that come with a checkpoint: they run in a process of their own, which can be ended."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.errors import InputError, SensoriumError
from sensorium.processors.template_worker import READY, TIMEOUT_S

_PACKAGES = Path(__file__).parents[2]  # where `sensorium` is found
_HERE = threading.local()


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Within it, on this thread, Transformers' processors and tokenizers render templates in the process for them.

    Raises:
        InputError: `template-failed`, where a template raises an error, takes longer than 10 s, or gives or needs more
            than any does.
    """
    _install()
    before, _HERE.apart = getattr(_HERE, "apart", False), True
    try:
        yield
    finally:
        _HERE.apart = before


@functools.cache
def _install() -> None:
    """Puts a function of ours where Transformers' classes look for the one that renders; other threads get theirs."""
    from transformers import processing_utils, tokenization_utils_base

    for module in (processing_utils, tokenization_utils_base):
        module.render_jinja_template = functools.partial(_render, module.render_jinja_template)


def _render(original: Any, /, **settings: Any) -> Any:
    return _RENDERER.render(settings) if getattr(_HERE, "apart", False) else original(**settings)


class _Renderer:
    """The process, which starts with the first template. It may be used from several threads, one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that has started it: after a fork it is not the child's

    def render(self, settings: dict[str, Any]) -> tuple[list[str], Any]:
        """The prompts of conversations.

        Args:
            settings: the arguments of Transformers' function.

        Raises:
            InputError: `template-failed`.
        """
        try:
            request = json.dumps(settings).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise _failed(f"what it is given cannot be told to another process ({error})") from error
        with self._lock:
            line = self._ask(request)
        if not line.endswith(b"\n"):
            raise _failed(f"it takes longer than {TIMEOUT_S:g} s, or ends the process that it runs in")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise _failed(answer["error"])
        return answer["prompts"], answer["spans"]

    def _ask(self, request: bytes) -> bytes:
        """The answer's line, or less if the process ended over it."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        line = b""
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            if not line.endswith(b"\n"):  # also after Ctrl-C: the answer would be taken for the next one's
                self.close()
        return line

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        if self._owner != os.getpid():
            self._process = None  # of the process that forked this one
        self.close()
        inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        command = [sys.executable, "-P", "-W", "ignore", "-m", "sensorium.processors.template_worker"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_PACKAGES), *inherited])},
        )
        self._process, self._owner = process, os.getpid()
        assert process.stdout is not None
        if process.stdout.readline() != READY:
            self.close()
            raise SensoriumError(
                f"expected a process that renders chat templates, but it did not start. See what this says: "
                f"{' '.join(command)}"
            )
        return process

    def close(self) -> None:
        """Ends the process, if there is one of this process."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()


def _failed(why: str) -> InputError:
    return InputError(
        f"the checkpoint's chat template failed on this input: {why}. Correct the template, or pass another processor=",
        code="template-failed",
    )


_RENDERER = _Renderer()
atexit.register(_RENDERER.close)
