"""The options that `sensorium run` has for every task, or for every task of a kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.errors import OptionError

Count = int | Literal["auto"]


@dataclass(frozen=True)
class ModelSettings:
    """Which model runs.

    Attributes:
        model: a Hub id (org/name, optionally @revision), timm/…, a local folder or starter/…; the task's default unless
            given.
        processor: a name or folder to take the processor from instead of the checkpoint.
    """

    model: str | None = None
    processor: str | None = None


@dataclass(frozen=True)
class LoadingSettings:
    """How a model is found, loaded and run: what a command line can say of `sensorium.pipelines.settings.Settings`.

    Attributes:
        revision: a branch, tag or commit of the Hub repository.
        device: where it runs: cuda, cuda:1, mps, cpu or a CUDA ordinal; several with commas, such as cuda:0,cuda:1, or
            all, each with a copy of the model; the best there is unless given.
        dtype: of weights and arithmetic: float32, bfloat16 or float16; auto is bfloat16 where the hardware multiplies
            it natively.
        compile: whether to use torch.compile; once a run is long enough to pay for it, unless given.
        batch_size: units per batch.
        num_workers: threads that decode and prepare inputs; auto is one per core.
        cache_dir: where Hub files are kept.
        local_files_only: make no request to the Hub.
        use_safetensors: with --no-use-safetensors pickled weights are read too, by torch's safe unpickler.
        trust_remote_code: let the checkpoint's own Python code run.
        attn_implementation: passed to Transformers (sdpa, eager, flash_attention_2, …).
    """

    revision: str | None = None
    device: int | str | None = None
    dtype: str = "auto"
    compile: bool | None = None
    batch_size: Count = "auto"
    num_workers: Count = "auto"
    cache_dir: str | None = None
    local_files_only: bool = False
    use_safetensors: bool = True
    trust_remote_code: bool = False
    attn_implementation: str | None = None


@dataclass(frozen=True)
class PipelineSettings(LoadingSettings, ModelSettings):
    """Arguments of `sensorium.pipeline()`, by the same names; those of its model come first.

    Attributes:
        decode: where JPEGs are decoded: cuda decodes and resizes them on the model's GPU, with pixels that differ a
            little.
    """

    decode: Literal["cpu", "cuda"] = "cpu"


ENCODER_ACCESS = (
    "dtype",
    "cache_dir",
    "local_files_only",
    "use_safetensors",
    "trust_remote_code",
    "attn_implementation",
)
"""The settings of a pipeline that, with its device, are also those of the encoder of the index that it searches."""


@dataclass(frozen=True)
class IndexSettings:
    """Which index a task searches, and how it is opened.

    Attributes:
        index: the folder of an index, as `sensorium index build` writes it.
        encoder: where the encoder of the index is now, by name or folder; where it was at the build, unless given.
        query_model: the same for what encodes queries, where that is another model.
        verify: compare the index's files with their digests first, which reads them once.
    """

    index: str | None = None
    encoder: str | None = None
    query_model: str | None = None
    verify: bool = True


@dataclass(frozen=True)
class InputSettings:
    """Which files of folders are inputs, and whether the same input is computed again.

    Attributes:
        dedupe: compute inputs that are the same once, such as a file that is named twice, or equal texts.
        exclude: files and folders to leave out, by name, path or pattern, such as thumbnails or *.small.jpg; may be
            repeated.
    """

    dedupe: bool = False
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.exclude:
            if not pattern.strip("/"):
                raise OptionError(f"--exclude takes a pattern such as thumbnails or '*.small.jpg', got {pattern!r}")
        patterns = (pattern.removeprefix("./").strip("/") for pattern in self.exclude)
        object.__setattr__(self, "exclude", tuple(patterns))


OUTPUT_SUFFIXES = (".jsonl", ".csv", ".parquet", ".npz", ".coco.json")
_SUFFIXES_TOLD = f"{', '.join(OUTPUT_SUFFIXES[:-1])} or {OUTPUT_SUFFIXES[-1]}"


def kind_of_file(name: str) -> str:
    """What a file's name ends in, from its last dot; `.coco.json` from the one before."""
    return ".coco.json" if name.endswith(".coco.json") else Path(name).suffix


@dataclass(frozen=True)
class OutputSettings:
    """Where results go, and what becomes of failures.

    Attributes:
        json: print one JSON object per line to standard output (JSON Lines).
        output: write to this file instead: results.jsonl, a JSON object per line as they come; results.parquet,
            a row for each input in typed columns; results.csv, the same with lists and structs as JSON; vectors.npz,
            embeddings as one NumPy archive; or found.coco.json, boxes or masks as a COCO file.
        html: write a self-contained page with each picture and its result to this file as well.
        overwrite: replace the files that --output and --html name, if they are there and hold anything.
        on_error: what a failed input gives: return its error row, skip it without one, raise to end the run.
        progress: show a progress bar on standard error; where that is a terminal, unless given.
        debug: show the traceback of an error.
    """

    json: bool = False
    output: str | None = None
    html: str | None = None
    overwrite: bool = False
    on_error: Literal["return", "skip", "raise"] = "return"
    progress: bool | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        if self.json and self.output:
            raise OptionError("--json writes to standard output and --output to a file; pass one of them")
        if self.output and kind_of_file(self.output) not in OUTPUT_SUFFIXES:
            raise OptionError(f"--output takes a file name ending in {_SUFFIXES_TOLD}, got {self.output!r}")
        for option, name in (("output", self.output), ("html", self.html)):
            if name and (Path(name).is_dir() or not Path(name).absolute().parent.is_dir()):
                raise OptionError(f"--{option} takes a file in a folder that exists, got {name!r}")
            if name and not self.overwrite and Path(name).is_file() and Path(name).stat().st_size:
                raise OptionError(
                    f"--{option} {name}: a file of this name is there; pass --overwrite to replace it, or name another"
                )
