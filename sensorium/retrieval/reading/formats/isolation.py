"""Parsing in a process of its own, with a bound on time and memory: a hostile file can make a parser run for ever."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from dataclasses import asdict
from typing import Any

from sensorium.errors import InputError, LimitError, SensoriumError
from sensorium.isolation.bounds import OUT_OF_MEMORY
from sensorium.isolation.starting import command_of, start
from sensorium.retrieval.reading.formats.decoding import Coding
from sensorium.retrieval.reading.formats.limits import DocumentLimits
from sensorium.retrieval.reading.formats.worker import READY
from sensorium.retrieval.reading.passages import Document, Heading

_WORKER = "sensorium.retrieval.reading.formats.worker"
_LAST_BREATH_S = 5.0  # from the end of its answers to the process's own


class IsolatedParser:
    """Parses files, one at a time. Its process starts with the first, and ends with `close`.

    Not to be used from several threads at once.
    """

    def __init__(self, limits: DocumentLimits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: str, *, kind: str, name: str, coding: Coding) -> Document:
        """Parse one file.

        Args:
            path: of the file.
            kind: "Markdown", "HTML", "PDF", "Word" or "manual page".
            name: what to call it in an error, and the document's source.
            coding: what is known of the encoding of texts.

        Raises:
            InputError: `not-a-document`, `bad-encoding`, `corrupt`, `encrypted`, `no-text`, `missing-library`.
            LimitError: `parsing-timeout`, `too-much-memory`, `too-many-pages`, `too-many-characters`.
        """
        request = {"path": path, "kind": kind, "name": name, "coding": asdict(coding)}
        if self._process is None:
            self._start()
        begun = time.monotonic()
        line = self._ask(json.dumps(request).encode() + b"\n")
        if not line.endswith(b"\n"):
            error = self._died(self._wait(), time.monotonic() - begun, kind, name)
            self.close()
            raise error
        answer: dict[str, Any] = json.loads(line)
        if "document" in answer:
            fields = answer["document"]
            fields["headings"] = tuple(Heading(**heading) for heading in fields["headings"])
            fields["pages"] = tuple(fields["pages"])
            return Document(**fields)
        refusal = LimitError if answer["limit"] else InputError
        raise refusal(answer["message"], code=answer["code"], source=name)

    def close(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _wait(self) -> int | None:
        """The exit status of a process that has ended, or is just about to."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_BREATH_S)
        return self._process.returncode

    def _start(self) -> None:
        limits = json.dumps(asdict(self.limits))
        self._process = process = start(_WORKER, limits, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        if process.stdout.readline() != READY:
            self.close()
            shown = f"{' '.join(command_of(_WORKER))} '{{}}'"
            raise SensoriumError(
                f"expected a process that parses files, but it did not start in {self.limits.max_memory_bytes:,} bytes "
                f"of memory. Raise DocumentLimits.max_memory_bytes, or see what this says: {shown}"
            )

    def _ask(self, request: bytes) -> bytes:
        """The answer's line, or less if the process ended over it."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return process.stdout.readline()
        except BrokenPipeError:
            return b""
        except BaseException:  # Ctrl-C: the answer would be taken for the next file's
            self.close()
            raise

    def _died(self, status: int | None, seconds: float, kind: str, name: str) -> InputError:
        if seconds >= self.limits.timeout_s:
            return LimitError(
                f"{name}: expected a {kind} file that is parsed in {self.limits.timeout_s:g} s, got one that takes "
                f"longer. Cut the file, or raise DocumentLimits.timeout_s if you trust it.",
                code="parsing-timeout",
                source=name,
            )
        if status == OUT_OF_MEMORY:
            return LimitError(
                f"{name}: expected a {kind} file that is parsed in {self.limits.max_memory_bytes:,} bytes of memory, "
                f"got one that needs more. Cut the file, or raise DocumentLimits.max_memory_bytes if you trust it.",
                code="too-much-memory",
                source=name,
            )
        return InputError(
            f"{name}: expected a {kind} file that can be read, got one that crashed the parsing process. Write or "
            f"download it again, and check whether the machine ran out of memory.",
            code="corrupt",
            source=name,
        )
