"""What every test runs under: no network but a Hub of our own on the loopback, and an empty Hub cache; maybe a card."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.passing import remove_folders

from . import cards
from .hub_server import HubServer

# Hypothesis measures time, too, unless told not to: a deadline for an example, and one for making it up.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# The tests start dozens of Pythons, and each would compile torch and Transformers anew, which takes longer than to
# import them, where the environment forbids to keep what is compiled, as that of many containers does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_SERVER = pytest.StashKey[HubServer]()
_HOME = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config: pytest.Config) -> None:
    """Point huggingface_hub, which reads its environment when it is imported, to our server and a folder of its own."""
    if "huggingface_hub" in sys.modules:
        raise pytest.UsageError("huggingface_hub was imported before tests/conftest.py could set HF_ENDPOINT")
    config.stash[_SERVER] = HubServer()
    config.stash[_HOME] = tempfile.TemporaryDirectory(prefix="hub-home-")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        os.environ.pop(name, None)
    os.environ |= {
        "HF_ENDPOINT": config.stash[_SERVER].url,
        "HF_HOME": config.stash[_HOME].name,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "250",  # seconds; its own ten are few on a busy machine
        "HF_HUB_ETAG_TIMEOUT": "250",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVER in config.stash:
        config.stash[_SERVER].close()
        config.stash[_HOME].cleanup()
    remove_folders()  # before workers of the test run are ended


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, also where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and not cards.there_is_one():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def pretend_card(request: pytest.FixtureRequest) -> Iterator[None]:
    """The pretend device around a test marked gpu, if that is asked for; what goes wrong on it fails the test."""
    if not cards.PRETEND or request.node.get_closest_marker("gpu") is None:
        yield
        return
    from .pretend_cuda import PretendCuda

    with PretendCuda(devices=2) as cuda:
        yield
        cuda.check()


@pytest.fixture
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The Hub that names resolve to: empty, and with an empty cache. `hub.add("org/name", folder)` fills it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    server = request.config.stash[_SERVER]
    server.reset()
    yield server
    server.reset()
