"""`sensorium doctor`: what is installed, what the machine has, and what "auto" would choose."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from typing import Any

from sensorium import openmp
from sensorium.pipelines.cores import usable_cores

PACKAGES = ("torch", "torchvision", "timm", "transformers", "huggingface-hub", "safetensors", "pillow", "numpy")


def examine(*, online: bool = False) -> dict[str, Any]:
    """Looks at this machine.

    Args:
        online: whether to ask the Hub if it can be reached; nothing else touches the network.

    Returns:
        Sections of facts by name, in plain values; `problems` is a list of lines, empty if there are none.
    """
    problems: list[str] = []
    facts: dict[str, Any] = {"versions": _versions(problems), "machine": _machine()}
    if not problems:
        facts |= {"cuda": _cuda(), "auto": _choices()}
    facts["hub"] = _hub(online, problems)
    facts["problems"] = problems
    return facts


def _versions(problems: list[str]) -> dict[str, str | None]:
    """The versions; torch and torchvision have to load, and together, for builds that do not match are common."""
    from sensorium import __version__

    versions: dict[str, str | None] = {"sensorium": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
            problems.append(f"{name} is not installed; install Sensorium again")
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        problems.append(f"torch and torchvision do not load ({reason}); install builds of both from one index")
    return versions


def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.executable,
        "cores": usable_cores(),
        "c++ compiler": next(filter(None, map(shutil.which, ("g++", "clang++", "c++", "cl"))), None),
        "triton": _installed("triton"),
    }


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda() -> dict[str, Any]:
    import torch

    cards = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(i)
        cards.append(f"cuda:{i} {card.name}, {card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}")
    return {"built for": torch.version.cuda, "cards": cards}


def _choices() -> dict[str, Any]:
    """What `pipeline()` chooses by default."""
    from sensorium.pipelines.compiling import can_compile
    from sensorium.pipelines.placement import cpu_features, resolve_device, resolve_dtype
    from sensorium.pipelines.workers import automatic_workers

    device = resolve_device()
    compiling = "once a run is long enough to pay for it" if can_compile(device) else "never: no compiler for it here"
    return {
        "device": str(device),
        "dtype": str(resolve_dtype("auto", device)).removeprefix("torch."),
        "compile": compiling,
        "num_workers": automatic_workers(),
        "openmp spins": openmp.told(),
        "cpu features": sorted(cpu_features()),
    }


def _hub(online: bool, problems: list[str]) -> dict[str, Any]:
    from huggingface_hub import constants

    facts: dict[str, Any] = {
        "endpoint": constants.ENDPOINT,
        "cache": constants.HF_HUB_CACHE,
        "offline mode": bool(constants.HF_HUB_OFFLINE),
    }
    if online:
        facts["reachable"] = _reach(constants.ENDPOINT, problems)
    return facts


def _reach(endpoint: str, problems: list[str]) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=10):
            return True
    except urllib.error.HTTPError:  # it answered
        return True
    except OSError as error:
        problems.append(f"the Hub at {endpoint} cannot be reached ({error}); use starter/… or local folders")
        return False
