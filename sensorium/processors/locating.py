"""Where a processor's files are: with a checkpoint, or in a folder that holds a processor alone."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve


def locate(
    place: str | PathLike[str] | Checkpoint, options: LoadOptions | None, *files: str
) -> tuple[str, Path, LoadOptions]:
    """Find the folder that holds a processor.

    Args:
        place: a name, a folder, or a checkpoint that is already found.
        options: how to find and open it; None for the checkpoint's own, or the defaults.
        files: a folder with one of these and no `config.json` is a processor that was saved without a model.

    Returns:
        The name for messages, the folder, and the options.
    """
    if isinstance(place, Checkpoint):
        return place.name, place.folder, options or place.options
    options = options or LoadOptions()
    folder = Path(place).expanduser()
    if any((folder / name).is_file() for name in files) and not (folder / "config.json").exists():
        return str(place), folder, options
    checkpoint = resolve(place, options)
    return checkpoint.name, checkpoint.folder, checkpoint.options
