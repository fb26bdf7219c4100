"""Where a processor's files are, with a checkpoint or in a folder of its own, and how Transformers reads them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.checkpoints.opening import is_panic, likely_entries
from sensorium.checkpoints.sizes import check_files
from sensorium.checkpoints.writing import finish_saving
from sensorium.errors import CheckpointError, SensoriumError, UnsafeCheckpointError


def locate(
    name_or_folder: str | PathLike[str] | Checkpoint, options: LoadOptions | None, *files: str
) -> tuple[str, Path, LoadOptions]:
    """Find the folder that holds a processor.

    Args:
        name_or_folder: a name, a folder, or a checkpoint that is already found.
        options: how to find and open it; None for the checkpoint's own, or the defaults.
        files: a folder with one of these and no `config.json` is a processor that was saved without a model.

    Returns:
        The name for messages, the folder, and the options.
    """
    if isinstance(name_or_folder, Checkpoint):
        return name_or_folder.name, name_or_folder.folder, options or name_or_folder.options
    options = options or LoadOptions()
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        finish_saving(folder)
    if any((folder / name).is_file() for name in files) and not (folder / "config.json").exists():
        check_files(folder, of=str(name_or_folder), own_code=options.trust_remote_code)
        return str(name_or_folder), folder, options
    checkpoint = resolve(name_or_folder, options)
    return checkpoint.name, checkpoint.folder, checkpoint.options


def load_located(
    auto_class: Any,
    name_or_folder: str | PathLike[str] | Checkpoint,
    options: LoadOptions | None,
    files: Sequence[str],
    *,
    kind: str,
    of: str,
) -> Any:
    """What one of Transformers' `Auto…` classes reads of a checkpoint, or of a folder of a processor's own.

    Args:
        auto_class: as for `load_auto`.
        name_or_folder: as for `locate`.
        options: as for `locate`.
        files: one of these it has to have.
        kind: as for `load_auto`.
        of: what it prepares, for the errors.

    Raises:
        CheckpointNotFoundError: there is no such checkpoint.
        CheckpointError: it has none of the files, or one that cannot be read.
        UnsafeCheckpointError: as `load_auto`.
        DownloadError: the Hub could not be reached, or refused.
    """
    name, folder, options = locate(name_or_folder, options, *files)
    if not any((folder / file).is_file() for file in files):
        raise CheckpointError(
            f"{name!r} has no {files[0]} in {folder}, so it is not known how to prepare {of}, and a guess would give "
            f"wrong answers. Pass processor=, with the name or folder of a checkpoint that was trained in the same way."
        )
    return load_auto(auto_class, folder, options, of=name, kind=kind, file=files[0])


def load_auto(
    auto_class: Any, folder: Path, options: LoadOptions, *, of: str, kind: str, file: str, **settings: Any
) -> Any:
    """What one of Transformers' `Auto…` classes reads in a local folder; code runs only if the options say so.

    Args:
        auto_class: `AutoImageProcessor`, `AutoFeatureExtractor`, `AutoTokenizer`.
        folder: with its files.
        options: how to open it.
        of: the name of the checkpoint, for the errors.
        kind: the field's word for what is loaded, for the errors.
        file: where its settings are, for the errors.
        settings: what is to be other than in the file.

    Raises:
        UnsafeCheckpointError: it is the checkpoint's own code, which the caller did not allow.
        CheckpointError: Transformers cannot read it.
    """
    try:
        return auto_class.from_pretrained(
            folder,
            local_files_only=options.local_files_only or not options.trust_remote_code,
            token=options.token,
            cache_dir=options.cache_dir,
            trust_remote_code=options.trust_remote_code,
            **settings,
        )
    except (SensoriumError, Warning):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        if "trust_remote_code" in str(error) and not options.trust_remote_code:
            raise UnsafeCheckpointError(
                f"{of!r} brings its own code for its {kind}, which is not run unless asked for. Read it, and pass "
                "trust_remote_code=True if you trust it, or pass another processor=."
            ) from error
        raise CheckpointError(
            f"{of!r} has no {kind} to use: Transformers cannot read the {kind} in {folder} ({type(error).__name__}: "
            f"{error!s:.300}).{likely_entries(folder, str(error))} Correct its {file}, or pass processor=, with a name "
            "or folder of a checkpoint that has one."
        ) from error
