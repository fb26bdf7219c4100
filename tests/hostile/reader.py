"""How bombs are given to a process that reads them, and what is expected of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.hostile.bomb import Bomb

MOST_BYTES = 10**9
"""Of memory that a bomb may take, beyond what the process has."""


def tried(bomb: Bomb, reader: Reader, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Reads a bomb, and holds it to how it may end."""
    told = reader.read(bomb, bomb.write(folder))
    assert told is not None, "it ended the process, or took longer than it may"
    assert told["ended"] in bomb.ends
    assert int(str(told["grew"])) < most_bytes, told


class Reader:
    """A process that reads bombs; another one is started where it has ended.

    Args:
        address_space: bytes that it may have beyond what its libraries take; None for any number.
    """

    def __init__(self, address_space: int | None = None) -> None:
        self._arguments = [] if address_space is None else [str(address_space)]
        self._process: subprocess.Popen[str] | None = None

    def read(self, bomb: Bomb, path: Path) -> dict[str, object] | None:
        """How a bomb ended; None where it ended the process."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.hostile.reading", *self._arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": bomb.what, "path": str(path)}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self.close()
            return None
        told: dict[str, object] = json.loads(answer)
        return told

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None
