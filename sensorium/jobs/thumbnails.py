"""Small pictures of inputs that failed, made in a process of its own: whatever they do to a decoder, the job is done.

As a program it reads paths from standard input, one JSON string a line, and gives a data URI or null for each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sensorium.errors import InputError
from sensorium.processors.limits import MediaLimits

TIMEOUT_S = 30.0
"""Seconds that all of them together may take; what is not made until then is left out."""


def thumbnails(paths: Sequence[str], limits: Mapping[str, Any] | None, folder: str | None) -> list[str | None]:
    """Data URIs of pictures; None of what is no picture, or is not on this machine.

    Args:
        paths: of the pictures.
        limits: what each may cost, as a job has written it down.
        folder: the working directory that relative paths are of.
    """
    if not paths:
        return []
    words = "".join(json.dumps(line) + "\n" for line in (dict(limits or {}), *paths)).encode()
    command = [sys.executable, "-P", "-m", "sensorium.jobs.thumbnails"]
    made = b""
    with suppress(OSError):  # such as a folder that is not there any more
        try:
            made = subprocess.run(
                command,
                input=words,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                timeout=TIMEOUT_S,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired as late:
            made = late.stdout or b""
    uris = [json.loads(line) for line in made.splitlines(keepends=True) if line.endswith(b"\n")]
    return [*uris, *[None] * (len(paths) - len(uris))]


def main() -> None:
    """Makes them."""
    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True  # half a picture shows more than none
    limits, *paths = (json.loads(line) for line in sys.stdin)
    for path in paths:
        print(json.dumps(_thumbnail(path, MediaLimits(**{**limits, "allow_urls": False}))), flush=True)


def _thumbnail(path: str, limits: MediaLimits) -> str | None:
    from sensorium.processors.media import load_pil
    from sensorium.report import data_uri

    try:
        return data_uri(load_pil(path, limits=limits))
    except InputError:
        return None


if __name__ == "__main__":
    main()
