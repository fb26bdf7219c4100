"""`pipeline()`: from a task and a model to something that can be called."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

import torch
from torch import nn

from sensorium.checkpoints import Checkpoint, LoadOptions, resolve
from sensorium.errors import OptionError, TaskMismatchError
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement, place, resolve_device, resolve_dtype
from sensorium.processors.media import MediaLimits
from sensorium.tasks.base import Task, all_tasks, get_task
from sensorium.tasks.loading import describe_module
from sensorium.tasks.searching.search_task import SearchTask


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | nn.Module | None = None,
    *,
    index: Any = None,
    reader: str | os.PathLike[str] | nn.Module | None = None,
    processor: Any = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    compile: bool | Literal["auto"] = "auto",
    batch_size: int | Literal["auto"] = "auto",
    num_workers: int | Literal["auto"] = "auto",
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
) -> Pipeline:
    """Builds a pipeline for a task.

    Args:
        task: a task's name, such as "image-classification"; None to find it from the model.
        model: a Hub id (`org/name`, optionally `@revision`), `timm/…`, a local folder, `starter/…`, or a loaded
            Transformers, timm or Sensorium module; None for the task's default.
        index: an `Index`, for tasks that search one. Those that only search take no model: the index knows its encoder.
        reader: "retrieval-qa"'s model by its other name; one of the two is given.
        processor: a name, a folder or a loaded processor, instead of the checkpoint's own; needed for a loaded
            Transformers model.
        device: "cuda", "cuda:1", "mps", "cpu" or a CUDA ordinal; None for the best there is.
        dtype: "float32", "bfloat16", "float16", a torch.dtype, or "auto": bfloat16 where the hardware multiplies it
            natively, else float32. A loaded module keeps its own dtype under "auto".
        compile: True, False, or "auto": once a stream is long enough to win the compiling back.
        batch_size: units a batch, or "auto" for the fastest that fits.
        num_workers: threads that decode and prepare inputs, or "auto" for one a core.
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

    Raises:
        UnknownNameError: no such task; names the nearest one.
        OptionError: an argument with a value that it cannot have.
        CheckpointNotFoundError: no such folder, repository or revision.
        TaskMismatchError: the checkpoint is of another task; names the tasks that it fits.
        MissingWeightsError: the checkpoint lacks weights that the task needs.
        UnsafeCheckpointError: it needs pickled weights or code of its own, and nobody allowed them.
        DownloadError: the Hub could not be reached, or refused.
    """
    found = None if task is None else get_task(task)
    if index is not None and (
        found is None or (found.search_in is Task.search_in and not issubclass(found, SearchTask))
    ):
        raise OptionError(f"index is for tasks that search one, not for {'no task' if found is None else found.name}")
    options = LoadOptions(
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        trust_remote_code=trust_remote_code,
        use_safetensors=use_safetensors,
        attn_implementation=attn_implementation,
        device_map=device_map,
        quantization_config=quantization_config,
    )
    if found is not None and issubclass(found, SearchTask):
        given = {
            "model": model,
            "reader": reader,
            "processor": processor,
            "device": device,
            "limits": limits,
        }
        built, target = _over(found, index, options, **given, dtype=None if dtype == "auto" else dtype)
    else:
        built, target = _build(found, _one_model(found, model, reader), processor, options, device=device, dtype=dtype)
        if index is not None:
            built.search_in(index)
        built.limits = limits or MediaLimits()
    return Pipeline(
        built, Placement(target, built.dtype), batch_size=batch_size, compile=compile, num_workers=num_workers
    )


def _over(task: type[SearchTask], index: Any, options: LoadOptions, **given: Any) -> tuple[Task, torch.device]:
    """A task that searches an index, whose encoder is loaded already: what says how to load it is refused."""
    given |= {f.name: value for f in dataclasses.fields(options) if (value := getattr(options, f.name)) != f.default}
    for name, value in given.items():
        if value is not None:
            raise OptionError(
                f"{name} has no meaning for {task.name}: the index has its encoder. Choose it where the index is "
                "opened: Index.load(folder, encoder=Encoder.from_pretrained(…))"
            )
    built = task.over(index)
    return built, next(built.model.parameters()).device


def _one_model(task: type[Task] | None, model: Any, reader: Any) -> Any:
    """The model that was named, by either of its names, or the task's default."""
    if reader is not None:
        if task is None or task.name != "retrieval-qa":
            raise OptionError(f"reader is for retrieval-qa, not for {'no task' if task is None else task.name}")
        if model is not None:
            raise OptionError("model and reader name the same; give one of them")
        return reader
    return _default_model(task) if model is None else model


def _build(
    task: type[Task] | None,
    model: Any,
    processor: Any,
    options: LoadOptions,
    *,
    device: str | int | torch.device | None,
    dtype: str | torch.dtype,
) -> tuple[Task, torch.device]:
    """The task with its model, in its place."""
    target = resolve_device(None if device == "auto" else device)
    if isinstance(model, nn.Module):
        built = _wrap(task, model, processor, options)
        chosen = None if dtype == "auto" else resolve_dtype(dtype, target)
    else:
        if options.device_map is not None and device is not None:
            raise OptionError(
                f"device={device!r} and device_map={options.device_map!r} were both given; pass one of them"
            )
        chosen = resolve_dtype(dtype, target)
        built = _load(task, resolve(model, dataclasses.replace(options, dtype=chosen)), processor)
    spread = any(each is not None for each in (options.device_map, options.quantization_config))
    spread = spread or hasattr(built.model, "hf_device_map")
    place(built.model, Placement(target, chosen), spread=spread)
    return built, next(built.model.parameters()).device if spread else target


def _default_model(task: type[Task] | None) -> str:
    if task is None:
        raise OptionError('name a task, a model, or both: pipeline("image-classification"), pipeline(model="…")')
    if task.default is None:
        raise OptionError(f"{task.name} has no default model; name one: pipeline({task.name!r}, model=…)")
    return task.default


def _load(task: type[Task] | None, checkpoint: Checkpoint, processor: Any) -> Task:
    task = task or _task_for(checkpoint)
    if task.fits(checkpoint) is None:
        raise _mismatch(task.name, checkpoint)
    return task.load(checkpoint, processor=processor)


def _wrap(task: type[Task] | None, model: nn.Module, processor: Any, options: LoadOptions) -> Task:
    """Takes a loaded module; arguments that only matter while loading are refused, not ignored."""
    for field in dataclasses.fields(LoadOptions):
        if getattr(options, field.name) != field.default:
            raise OptionError(f"{field.name} has no meaning for a loaded {type(model).__name__}; leave it out")
    described = describe_module(model)
    task = task or _task_for(described)
    if task.fits(described) is None:
        raise _mismatch(task.name, described)
    return task.wrap(model, processor)


def _task_for(checkpoint: Checkpoint) -> type[Task]:
    """The one task that the checkpoint was saved for, or that it can serve where it does not say what it is."""
    fits = {name: task.fits(checkpoint) for name, task in all_tasks().items()}
    for degree in ("native",) if checkpoint.architectures else ("native", "possible"):
        names = [name for name, fit in fits.items() if fit == degree]
        if len(names) == 1:
            return get_task(names[0])
        if names:
            raise TaskMismatchError(f"{checkpoint.name!r} fits several tasks: {', '.join(names)}; name one", fits=names)
    raise _mismatch(None, checkpoint)


def _mismatch(task: str | None, checkpoint: Checkpoint) -> TaskMismatchError:
    degrees = {name: other.fits(checkpoint) for name, other in all_tasks().items()}
    fits = [name for degree in ("native", "possible") for name, fit in degrees.items() if fit == degree]
    what = ", ".join(checkpoint.architectures) or checkpoint.model_type or checkpoint.kind
    wanted = f"does not fit the task {task!r}" if task else "was saved for no task that Sensorium has"
    advice = f"It fits: {', '.join(fits)}." if fits else "It fits none of this version's tasks."
    return TaskMismatchError(f"{checkpoint.name!r} ({what}) {wanted}. {advice}", fits=fits)
