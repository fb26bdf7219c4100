"""Messages that speak of Python's arguments, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LIMIT = re.compile(r"\b(?:Media|Document)Limits\.(\w+)")
_VALUE = r"…|'[^']*'|\"[^\"]*\"|[\w.-]*[\w-]"
_VERBS = "is|has|takes|must|needs|was|leaves|means"


def in_options(message: str, flags: Mapping[str, str]) -> str:
    """A message with options where it names arguments: `--batch-size 8` for `batch_size=8`.

    Names of more than one word are found everywhere, others only before a "=" and at the beginning: they are words of
    English, too.

    Args:
        message: of an error.
        flags: the options of the command, without dashes, by the names of the arguments that they set.
    """
    message = re.sub(
        r"\b(?:Media|Document)Limits\.(\w+)", lambda m: f"--{flags.get(m[1], m[1].replace('_', '-'))}", message
    )
    if not flags:
        return message
    names = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    message = re.sub(rf"(?<![\w.\-/'\"])({names})=({_VALUE})", lambda m: _given(flags[m[1]], m[2]), message)
    message = re.sub(rf"^({names})(?= (?:{_VERBS})\b| ['\"])", lambda m: f"--{flags[m[1]]}", message)
    long = "|".join(name for name in names.split("|") if "_" in name)
    return re.sub(rf"(?<![\w.\-/'\"])({long})(?![\w/'\"])", lambda m: f"--{flags[m[1]]}", message) if long else message


def _given(flag: str, value: str) -> str:
    if value in ("True", "False"):
        return f"--{flag}" if value == "True" else f"--no-{flag}"
    return f"--{flag} {value.strip(chr(39) + chr(34))}"
