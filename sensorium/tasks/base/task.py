"""Task: what a pipeline does between raw inputs and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError
from sensorium.processors.audio_forms import is_with_rate
from sensorium.processors.media import MediaLimits, is_batch, split_batch
from sensorium.processors.padding import Padding
from sensorium.tasks.base.head import Head
from sensorium.tasks.base.loader import Loader
from sensorium.tasks.base.models import Models
from sensorium.tasks.base.runtime import Runtime
from sensorium.tasks.base.session import Runner, Session
from sensorium.tasks.base.unit import Batch, Call, Empty, Fit, Unit
from sensorium.tasks.options import Options


class Task(ABC):
    """Names the inputs and options of a task and turns raw inputs into results.

    The engine calls `split`, `collate`, `forward`, `decode` and `merge`, in this order; a task overrides those in which
    it differs. `split` runs on several threads at once; the rest runs on one thread at a time.

    Attributes:
        name: the task's name in kebab-case.
        summary: one line for lists of tasks.
        inputs: the names of its inputs, in the order in which a call takes them.
        optional_inputs: the names of inputs that may be left out. If a task has one input and none of these is
            given, a raw input is that input itself; otherwise it is a mapping with these keys.
        options: the class of its options.
        own_options: the names of options that an input may bring for itself, `{"image": …, "candidate_labels": […]}`:
            they go before the call's, and `split` reads them.
        models: the models of Transformers that it takes; its own `fits` covers any others.
        default: the checkpoint that serves it where none is named, pinned to a revision; None if there is none.
        takes: the names of further arguments of `pipeline()` that it needs, such as an index to search.
        head: what `build_head` puts on a bare backbone for this task; None where it has no such head.
        runtime: where its model runs, and in which dtype; the pipeline puts its own there.
        limits: what its inputs may cost; set by the pipeline.
        padded: the tensors of a unit whose last axis may differ from its neighbours' in a batch, and how they are
            padded. The model must be told what is padding, so that neighbours never change a result.
        on_host: the tensors of a batch that stay on the CPU: what `forward` asks for the values of, which on a device
            would make it wait.
        upstream: a loaded task whose results are this one's raw inputs, so that a call takes that task's inputs; None
            for most.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    optional_inputs: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[type[Options]] = Options
    own_options: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[Models, ...]] = ()
    default: ClassVar[str | None] = None
    takes: ClassVar[tuple[str, ...]] = ()
    head: ClassVar[type[Head] | None] = None

    def __init__(self, model: nn.Module, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.runtime = Runtime(model)
        self.limits = MediaLimits()
        self.padded: Mapping[str, Padding] = {}
        self.on_host: frozenset[str] = frozenset()
        self.upstream: Task | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's arithmetic."""
        return self.runtime.dtype

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """Says from a checkpoint's configuration alone whether it suits the task: one of `models`, or with a `head`.

        Returns:
            "native" if the checkpoint was saved for this task, "possible" if it can be used for it, else None.
        """
        if checkpoint.kind == "composite":
            built_for_it = cls.head is not None and checkpoint.config["sensorium"].get("task") == cls.name
            return "native" if built_for_it else None
        if checkpoint.kind != "transformers":
            return None
        degrees = [models.fit(checkpoint) for models in cls.models]
        return "native" if "native" in degrees else "possible" if "possible" in degrees else None

    @classmethod
    def assemble(cls, loader: Loader, model: Any, parts: Mapping[str, Any]) -> Self:
        """Puts a task together for `pipeline()`; the default loads the model.

        Args:
            loader: loads models by the settings of the call.
            model: a name, a folder, a loaded module, or None.
            parts: the further arguments of the call that `takes` names, as far as they were given.

        Raises:
            OptionError: a part or a setting that the task cannot have.
        """
        return loader.load(cls, model)

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads the checkpoint's model (and its processor, unless one is given) for the task.

        Raises:
            CheckpointError: the checkpoint cannot be used; the message says why and what to do.
        """

    @classmethod
    @abstractmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a model that the caller has loaded.

        Raises:
            TaskMismatchError: the model's output is not one of this task's.
        """

    def check(self, options: Any) -> None:  # noqa: B027 - most tasks take what their options allow
        """Refuses options that the loaded model cannot serve, before any work.

        Raises:
            OptionError: such an option; the message says what the model can do.
        """

    def upstream_options(self, options: Any) -> Any:
        """The options of the upstream task for a call to this one; by default its defaults."""
        return None if self.upstream is None else self.upstream.options()

    def expand(self, inputs: Any) -> list[Any] | None:
        """Splits several inputs into raw inputs; None for one input, or for a lazy stream of them.

        The default takes lists, tuples and 4-D arrays apart, but not a sound as a tuple of its array and its rate.
        """
        return split_batch(inputs) if is_batch(inputs) and not is_with_rate(inputs) else None

    def combine(self, named: Mapping[str, Any]) -> Any:
        """Turns inputs given by name into what a call takes: one raw input, or a list of them.

        Lists of one length go side by side; a single value goes with each of them.

        Raises:
            OptionError: an input is missing, or lists are of different lengths.
        """
        missing = [name for name in self.inputs if name not in named]
        if missing:
            raise OptionError(f"{self.name} needs the inputs {', '.join(self.inputs)}; {', '.join(missing)} missing")
        if list(named) == list(self.inputs) and len(named) == 1:
            return named[self.inputs[0]]
        lengths = {len(v) for v in named.values() if isinstance(v, (list, tuple))}
        if not lengths:
            return dict(named)
        if len(lengths) > 1:
            raise OptionError(f"{self.name} takes lists of one length side by side, got the lengths {sorted(lengths)}")
        rows = range(lengths.pop())
        return [{k: v[i] if isinstance(v, (list, tuple)) else v for k, v in named.items()} for i in rows]

    @abstractmethod
    def split(self, raw: Any, options: Any) -> Iterable[Unit]:
        """Turns one raw input into its units, lazily where they are many.

        Raises:
            InputError: the input cannot be processed.
        """

    def bucket(self, unit: Unit) -> Hashable:
        """Units in one bucket may share a batch; by default their tensors must agree in shape and dtype.

        The last axes of `padded` tensors only have to be padded to the same length.
        """
        return tuple((name, self._room(name, tensor), tensor.dtype) for name, tensor in unit.inputs.items())

    def cost(self, unit: Unit) -> float:
        """How much work a unit is, in units of the usual size; all units in a bucket cost the same.

        A batch whose size is "auto" holds as many units as cost that size together: more of the small ones.
        """
        return 1.0

    def collate(self, units: Sequence[Unit], empty: Empty = torch.empty) -> Batch:
        """Joins the units of one bucket into a batch.

        Args:
            units: at least one.
            empty: makes a tensor of a shape and dtype to write into; on CUDA it lies in pinned memory.
        """
        batch: Batch = {}
        for name in units[0].inputs:
            tensors = [unit.inputs[name] for unit in units]
            padding = self.padded.get(name)
            make = torch.empty if name in self.on_host else empty  # pinned memory is written anew a few batches later
            batch[name] = _stack(tensors, make) if padding is None else padding.stack(tensors, make)
        return batch

    def _room(self, name: str, tensor: Tensor) -> tuple[int, ...]:
        padding = self.padded.get(name)
        shape = tuple(tensor.shape)
        return shape if padding is None else (*shape[:-1], padding.length(shape[-1]))

    @abstractmethod
    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Runs the model on a batch that lies on the device.

        Args:
            batch: tensors with a batch axis, on the device but for those in `on_host`; it may hold rows of padding
                after the last unit.
            options: the call's options.
            call: runs the parts that are worth compiling.

        Returns:
            Tensors (in any nest of dicts, lists, tuples) whose first axis is the batch's.
        """

    @abstractmethod
    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Turns a batch of outputs into one part per unit, on the device, and brings them to the CPU once."""

    @abstractmethod
    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Any:
        """Joins the parts of one input, in the order of its units, into its result."""

    def open(self, raw: Any, runner: Runner) -> Session:
        """Encodes one input and keeps it on the device, for a task that can then answer many cheap requests about it.

        With an option `stream` the session writes the text of a result, too: see `Session.pieces`.

        Args:
            raw: the input that is costly to encode.
            runner: runs the session's steps on the device.

        Raises:
            OptionError: the task keeps nothing of an input.
            InputError: the input cannot be processed.
        """
        raise OptionError(f"{self.name} keeps nothing of an input; call the pipeline with it")

    @abstractmethod
    def example(self) -> Any:
        """A raw input of the usual size, with which a pipeline is warmed up."""


def _stack(tensors: Sequence[Tensor], empty: Empty) -> Tensor:
    """Stacks along a new first axis; pictures that lie channels-last in memory stay so, row by row a plain copy."""
    first = tensors[0]
    if first.ndim == 3 and first.stride(0) == 1 and first.shape[0] > 1:
        channels, height, width = first.shape
        batch = empty((len(tensors), height, width, channels), dtype=first.dtype).permute(0, 3, 1, 2)
    else:
        batch = empty((len(tensors), *first.shape), dtype=first.dtype)
    for row, tensor in zip(batch, tensors, strict=True):
        row.copy_(tensor)
    return batch
