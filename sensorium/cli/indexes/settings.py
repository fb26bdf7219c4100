"""The options of `sensorium index`, besides those that `sensorium run` has, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sensorium.cli.settings import LoadingSettings
from sensorium.jobs.settings import RunSettings
from sensorium.tasks.options import Count


@dataclass(frozen=True)
class BuildSettings:
    """What is built, and where.

    Attributes:
        encoder: what makes vectors of passages: a Hub id, a local folder or starter/…; of DPR the context
            encoder.
        out: the folder to write the index to.
        kind: exact, hnsw, ivfpq or a factory string of faiss; auto is by size, memory and --deletes.
        lexical: index the words, too, for --mode lexical and hybrid.
        deletes: passages will be deleted or replaced often, which graphs (HNSW) are bad at.
        overwrite: replace the index that is there.
        resume: keep what is encoded in OUT.part until the index is written, so that a build that was interrupted goes
            on where it stopped.
    """

    encoder: str
    out: str
    kind: str = "auto"
    lexical: bool = False
    deletes: bool = False
    overwrite: bool = False
    resume: bool = True


@dataclass(frozen=True)
class WorkerSettings(RunSettings):
    """How a job encodes, in processes of its own.

    Attributes:
        workers: processes that encode, each with the model; auto is one for each CUDA device, or one. Without it, and
            without the other settings of workers, this process encodes.
    """

    workers: Count | Literal["auto"] | None = None  # type: ignore[assignment]


@dataclass(frozen=True)
class AddSettings:
    """How it is added.

    Attributes:
        resume: keep what is encoded in INDEX.part until the index is written, so that an add that was interrupted goes
            on where it stopped.
    """

    resume: bool = True


OF_TEXTS = ("encoding", "errors")
"""Those of `ReadSettings` that have no meaning for pictures and sounds."""


@dataclass(frozen=True)
class ReadSettings:
    """How documents are read.

    Attributes:
        encoding: of text, Markdown and HTML files; utf-8, or what an HTML page declares, unless given.
        errors: what becomes of bytes that the encoding does not have: strict refuses the file, replace reads a mark
            for them.
        exclude: files and folders to leave out, by name, path or pattern, such as _sources or *.de.html; may be
            repeated.
        on_error: what becomes of a file, a row or a medium that cannot be read: skip reports it and leaves it out,
            raise stops there.
    """

    encoding: str | None = None
    errors: Literal["strict", "replace"] = "strict"
    exclude: tuple[str, ...] = ()
    on_error: Literal["skip", "raise"] = "skip"


@dataclass(frozen=True)
class VectorSettings:
    """How an encoder makes vectors.

    Attributes:
        query_model: what encodes queries, if that is another model; of DPR it is found by its name.
        query_prompt: what goes before each query; what the checkpoint was trained with, unless given.
        passage_prompt: the same for passages.
        pool: how a model without a pooling of its own makes one vector of its tokens'.
        similarity: dot or cosine; what the checkpoint says, unless given.
    """

    query_model: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    pool: Literal["own", "cls", "mean", "max"] = "own"
    similarity: Literal["dot", "cosine"] | None = None


@dataclass(frozen=True)
class EncoderSettings(LoadingSettings, VectorSettings):
    """Arguments of `Encoder.from_pretrained`, by the same names; those of its vectors come first.

    Attributes:
        revision: a branch, tag or commit of the encoder's Hub repository.
        compile: use torch.compile.
        batch_size: passages per batch.
        num_workers: threads that prepare passages; auto is one per core.
    """

    compile: bool = False


@dataclass(frozen=True)
class ReportSettings:
    """What is said.

    Attributes:
        json: print one JSON document to standard output.
        progress: show a progress bar on standard error; where that is a terminal, unless given.
        debug: show the traceback of an error.
    """

    json: bool = False
    progress: bool | None = None
    debug: bool = False


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured.

    Attributes:
        k: how many of the best passages to look at.
        match: how answers are looked for in passages: string, as texts, or regex, as patterns.
        reader: a model that reads the passages, by name or folder, so that its answers are measured, too.
    """

    k: tuple[int, ...] = (1, 5, 20, 100)
    match: Literal["string", "regex"] = "string"
    reader: str | None = None
