"""How a process that reads hostile files is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

_PACKAGES = Path(__file__).parents[2]  # where `sensorium` is found


def command_of(module: str) -> list[str]:
    """The command that runs a module of this package, and imports nothing that lies in the folder of the call."""
    return [sys.executable, "-P", "-W", "ignore", "-m", module]


def start(
    module: str, *arguments: str, settings: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> subprocess.Popen[bytes]:
    """Starts a process that runs a module of this package.

    Args:
        module: its name.
        arguments: what it is given.
        settings: what is added to its environment.
        options: further ones of `subprocess.Popen`.
    """
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_PACKAGES), *inherited]), **settings}
    return subprocess.Popen([*command_of(module), *arguments], stderr=subprocess.DEVNULL, env=environment, **options)
