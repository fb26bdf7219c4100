"""A checkpoint that was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.checkpoints.config import Kind
from sensorium.checkpoints.options import LoadOptions
from sensorium.checkpoints.stored import StoredTensors, read_headers
from sensorium.checkpoints.weights import find_weights


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that was found, with its config; its weights may still have to be downloaded.

    Attributes:
        name: the name as the user wrote it.
        folder: a local folder (a Hub snapshot included) that holds the configuration files.
        kind: which library's checkpoint it is; a composite is one of ours, a backbone with a head;
            a backbone is one of ours alone, loaded by the caller.
        config: the parsed `config.json`.
        options: how it was opened; `options.revision` holds the revision that `name` named.
        revision: the 40-hex commit if it came from the Hub, else None.
        repo_id: the Hub repository if it came from the Hub, else None.
        root: the folder that was named, where `folder` is one in it (an old layout of sentence-transformers).
    """

    name: str
    folder: Path
    kind: Kind
    config: dict[str, Any]
    options: LoadOptions
    revision: str | None = None
    repo_id: str | None = None
    root: Path | None = None

    @property
    def architectures(self) -> list[str]:
        """The class names in the config, often one, or none."""
        return list(self.config.get("architectures") or [])

    @property
    def model_type(self) -> str | None:
        """Transformers' name of the architecture, such as `"vit"`, or None."""
        return self.config.get("model_type")

    @property
    def needs_remote_code(self) -> bool:
        """Whether the model class is only in the checkpoint's own Python files.

        True where the config has an `auto_map` and this Transformers does not know its `model_type`. Asking
        imports Transformers' list of names, and only if there is an `auto_map`.
        """
        if not self.config.get("auto_map"):
            return False
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

        return self.model_type not in CONFIG_MAPPING_NAMES

    def weights(self) -> list[Path]:
        """Make sure that the weight files are on this machine, downloading what is missing.

        Returns:
            One path, or those of all shards in the order of their names; all lie in `folder`.

        Raises:
            MissingWeightsError: there are none, or a shard is not there, or a file is a Git LFS pointer.
            UnsafeCheckpointError: there are only pickled ones and `use_safetensors` is True.
            CheckpointError: the index of the shards is broken or names files outside of the folder.
            DownloadError: they could not be downloaded.
        """
        return find_weights(self)

    def stored(self) -> StoredTensors:
        """Which tensors the weight files hold, by their headers, each of which is checked; no tensor is read.

        Raises:
            CheckpointError: a file is damaged, or none of safetensors; as `weights`.
        """
        return read_headers(self.weights(), of=self.name)
