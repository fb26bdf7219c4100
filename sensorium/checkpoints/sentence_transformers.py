"""The files that sentence-transformers keeps beside a model: its modules, their settings, prompts and limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.checkpoints.checkpoint import Checkpoint
from sensorium.checkpoints.config import parse_json, read_json
from sensorium.checkpoints.hub import fetch
from sensorium.errors import CheckpointError

_SETTINGS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
             "sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
             "sentence_xlnet_config.json")  # fmt: skip

_LONGEST_NAME = 255  # bytes of a folder's name, on any file system


@dataclass(frozen=True)
class Module:
    """One of the modules that a text's vector goes through.

    Attributes:
        kind: the name of its class, such as "Pooling".
        type: the full name of its class.
        path: its folder in the checkpoint; empty for the checkpoint's own.
    """

    kind: str
    type: str
    path: str


@dataclass(frozen=True)
class Stored:
    """What sentence-transformers' files say of a checkpoint.

    Attributes:
        modules: in order, the model itself first; empty for a checkpoint that it did not write.
        settings: of the model: `max_seq_length`, `do_lower_case`, …
        prompts: texts that go before inputs, by name.
        default_prompt_name: the one that is used where none is asked for.
        similarity: the name of the function that vectors are compared with, or None where it is not said.
    """

    modules: tuple[Module, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str | None = None


def read_stored(checkpoint: Checkpoint) -> Stored:
    """Read them, as far as there are any.

    Raises:
        CheckpointError: a file that cannot be read, or holds something of another type.
    """
    home = checkpoint.root or checkpoint.folder
    config = _optional(home / "config_sentence_transformers.json", of=checkpoint.name)
    settings: dict[str, Any] = {}
    for name in _SETTINGS:
        settings = settings or _optional(checkpoint.folder / name, of=checkpoint.name)
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    plain = isinstance(prompts, dict) and all(isinstance(text, str | None) for text in prompts.values())
    if not plain or not isinstance(default, str | None):
        raise CheckpointError(
            f"{checkpoint.name!r}: prompts in config_sentence_transformers.json should be texts by name, and "
            f"default_prompt_name one of those names, got {prompts!r:.100} and {default!r:.100}. Correct that file."
        )
    if default is not None and default not in prompts:
        raise CheckpointError(
            f"{checkpoint.name!r}: config_sentence_transformers.json names the default prompt {default!r}, and has "
            f"{', '.join(map(repr, prompts)) or 'no prompt'}. Correct that entry."
        )
    return Stored(
        modules=_modules(home, of=checkpoint.name),
        settings=settings,
        prompts={name: text or "" for name, text in prompts.items()},
        default_prompt_name=default,
        similarity=config.get("similarity_fn_name"),
    )


def module_file(checkpoint: Checkpoint, module: Module, name: str) -> Path | None:
    """A file of a module, downloaded if need be; None if the checkpoint has none of that name.

    Raises:
        DownloadError: it could not be downloaded.
    """
    path = f"{module.path}/{name}" if module.path else name
    file = (checkpoint.root or checkpoint.folder) / path
    if not file.is_file() and checkpoint.repo_id is not None:
        fetch(checkpoint.repo_id, checkpoint.revision, checkpoint.options, allow=[path])
    return file if file.is_file() else None


def transformer_folder(folder: Path, *, of: str) -> Path | None:
    """Where the model itself lies, if that is a folder of its own, as in an old layout; else None."""
    modules = _modules(folder, of=of)
    return folder / modules[0].path if modules and modules[0].path else None


def _modules(folder: Path, *, of: str) -> tuple[Module, ...]:
    path = folder / "modules.json"
    if not path.is_file():
        return ()
    rows = parse_json(path, of=of)
    modules = []
    for row in rows if isinstance(rows, list) else [rows]:
        kind, subfolder = (row.get("type"), row.get("path")) if isinstance(row, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(subfolder, str) or not _is_inside(subfolder):
            raise CheckpointError(
                f"{of!r}: modules.json should list modules, each with a type and the path of a folder beside it, got "
                f"{row!r:.100}. Correct that file."
            )
        modules.append(Module(kind.rpartition(".")[2], kind, subfolder))
    return tuple(modules)


def _is_inside(path: str) -> bool:
    if len(path.encode(errors="surrogatepass")) > _LONGEST_NAME:
        return False
    return not path or not (path.startswith((".", "~")) or any(sign in path for sign in "/\\:\0"))


def _optional(path: Path, *, of: str) -> dict[str, Any]:
    return read_json(path, of=of) if path.is_file() else {}
