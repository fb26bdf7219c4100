"""Models are found by their names before torch is imported, which takes seconds: a wrong name is told at once."""

from __future__ import annotations

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.cli.settings import IndexSettings, LoadingSettings


def find_model(name: str | None, settings: LoadingSettings, *, revision: str | None = None) -> Checkpoint | None:
    """The checkpoint that an option names; None where it was not given.

    Raises:
        CheckpointError: it cannot be found, and why.
    """
    if name is None:
        return None
    names = ("cache_dir", "local_files_only", "trust_remote_code", "use_safetensors")
    return resolve(name, LoadOptions(revision=revision, **{name: getattr(settings, name) for name in names}))


def find_encoder(index: IndexSettings, settings: LoadingSettings) -> None:
    """Finds what is named of an index's encoder.

    Raises:
        CheckpointError: one of its models cannot be found, and why.
    """
    for name in (index.encoder, index.query_model):
        find_model(name, settings)
