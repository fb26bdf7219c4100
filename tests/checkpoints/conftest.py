from __future__ import annotations

import pytest

from .folders import write


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def offline(monkeypatch):
    """Calling it does what HF_HUB_OFFLINE=1 does when huggingface_hub is imported."""
    return lambda: monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(params=["folder", "Hub"])
def place(request, here):
    """Puts files into a local folder or a repository, and gives the name of either."""
    if request.param == "folder":
        return lambda files: str(write(here / "tiny-folder", files))
    server = request.getfixturevalue("hub")

    def add(files) -> str:
        server.add("org/tiny", files)
        return "org/tiny"

    return add
