"""`pipeline()`: from a task and a model to something that can be called.

What is wrong with a call is told before torch is imported, which takes seconds: a keyword, a task and a setting that do
not exist, and a model that cannot be found.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from sensorium.checkpoints import Checkpoint, resolve
from sensorium.errors import OptionError
from sensorium.pipelines.other_names import known_names_only
from sensorium.pipelines.settings import Devices, Settings
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import TaskCard, task_card

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sensorium.pipelines.pipeline import Pipeline


@known_names_only
def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | Checkpoint | nn.Module | None = None,
    *,
    index: Any = None,
    reader: str | os.PathLike[str] | Checkpoint | nn.Module | None = None,
    detector: str | os.PathLike[str] | Checkpoint | nn.Module | Pipeline | None = None,
    processor: Any = None,
    device: Devices = None,
    dtype: str | torch.dtype = "auto",
    compile: bool | Literal["auto", "max-autotune", "cudagraphs"] = "auto",
    batch_size: int | Literal["auto"] = "auto",
    num_workers: int | Literal["auto"] = "auto",
    decode: Literal["cpu", "cuda"] = "cpu",
    limits: MediaLimits | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
    use_safetensors: bool = True,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    progress: bool = False,
) -> Pipeline:
    """Builds a pipeline for a task.

    Args:
        task: a task's name, such as "image-classification"; None to find it from the model.
        model: a Hub id (`org/name`, optionally `@revision`), `timm/…`, a local folder, `starter/…`, a Checkpoint
            that was found, or a loaded Transformers, timm or Sensorium module; None for the task's default.
        index: an `Index`, for tasks that search one. Those that only search take no model: the index knows its encoder.
        reader: "retrieval-qa"'s model by its other name; one of the two is given.
        detector: what finds people for "pose-estimation": a detection pipeline, or a detector's checkpoint, which runs
            with the settings below and its own processor. A call then takes pictures alone.
        processor: a name, a folder or a loaded processor, instead of the checkpoint's own; needed for a loaded
            Transformers model.
        device: "cuda", "cuda:1", "mps", "cpu" or a CUDA ordinal (-1 for the CPU); None for the best there is. A list
            puts a copy of the model on each of several, such as ["cuda:0", "cuda:1"], among which batches are shared
            out; "all" is every CUDA device of the machine, and where there is none as None.
        dtype: "float32", "bfloat16", "float16", a torch.dtype, or "auto": bfloat16 where the hardware multiplies it
            natively, else float32. A loaded module keeps its own dtype under "auto".
        compile: True, False, or "auto": once a stream is long enough to win the compiling back. "max-autotune" also
            has inductor try further kernels, which takes longer, and keeps what is faster on the first batch.
            "cudagraphs", on CUDA alone, compiles nothing: each shape of batch is recorded as a CUDA graph, in a moment.
        batch_size: units per batch, or "auto" for the fastest that fits.
        num_workers: threads that decode and prepare inputs, or "auto" for one per core, two where `limits` isolate
            pictures.
        decode: "cuda" decodes and resizes baseline JPEGs on the model's GPU. It changes pixels: nvJPEG's differ from
            libjpeg's by a few levels, and resizing adds one at most. Sessions and all other pictures use the CPU.
        limits: what an input may cost (pixels, bytes, seconds, addresses).
        revision: a branch, tag or commit of the Hub repository.
        token: a Hub token, True for the stored one, False for none.
        cache_dir: where Hub files are kept.
        local_files_only: makes no request to the Hub.
        use_safetensors: False also allows pickled weights, read with torch's safe unpickler.
        trust_remote_code: True lets the checkpoint's own Python code run.
        attn_implementation: passed to Transformers ("sdpa", "eager", "flash_attention_2", …).
        device_map: passed to Transformers; spreads the model over devices.
        quantization_config: passed to Transformers.
        progress: shows Transformers' progress bar on standard error while weights are read.

    Raises:
        UnknownNameError: no such task or argument; names the nearest one.
        OptionError: an argument with an invalid value, or one that Transformers has; says what to do.
        CheckpointNotFoundError: no such folder, repository or revision.
        TaskMismatchError: the checkpoint is of another task; names the tasks that it fits.
        MissingWeightsError: the checkpoint lacks weights that the task needs.
        UnsafeCheckpointError: it needs pickled weights or code of its own, and nobody allowed them.
        DownloadError: the Hub could not be reached, or refused.
    """
    given = dict(locals())  # before anything else is named here
    settings = Settings.of(**{name: given[name] for name in Settings.names()})
    card = None if task is None else task_card(task)
    if card is None and model is None and index is None and reader is None:
        raise OptionError('name a task, a model, or both: pipeline("image-classification"), pipeline(model="…")')
    if _is_loaded(card, model, index, reader):
        model, reader = _found(model, settings), _found(reader, settings)
    detector = _found(detector, settings)
    from sensorium.pipelines.assembling import assemble  # torch comes with it

    parts = {"index": index, "reader": reader, "detector": detector}
    return assemble(task, model, settings, processor, parts=parts, build=pipeline, given=given)


def _is_loaded(card: TaskCard | None, model: Any, index: Any, reader: Any) -> bool:
    """Whether the model that is named is one that the task loads; else it is refused, wherever it lies."""
    searches = None if card is None else card.searches
    if searches == "always" or (model is not None and reader is not None):
        return False
    return searches == "optionally" or (index is None and reader is None)


def _found(model: Any, settings: Settings) -> Any:
    """The checkpoint that a name stands for; a module, and None, are as they are."""
    return resolve(model, settings.access) if isinstance(model, (str, os.PathLike)) else model
