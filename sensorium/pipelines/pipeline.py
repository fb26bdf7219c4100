"""Pipeline: a task with its model and processor, ready to be called."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Self

import torch
from torch import nn

from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.opening import opening
from sensorium.errors import OptionError
from sensorium.pipelines.calling import Calling, OnError
from sensorium.pipelines.chains import Crops, Keep, crops_found
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.inputs import check_delay, gather, is_lazy, length_of
from sensorium.pipelines.other_names import check_names
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.remaking import Making
from sensorium.pipelines.saving import save
from sensorium.pipelines.settings import Settings
from sensorium.pipelines.tables import spread
from sensorium.processors.several import refuse_one
from sensorium.tasks.base import Options, Task

MAX_DELAY_S = 0.005
"""Seconds for which a submitted input waits for others unless told otherwise. A lone caller pays them in full; with 8
callers and more, anything from 0 to 50 ms gave the same throughput, since batches gather while the model runs."""


class Pipeline:
    """Runs one task with one model; built by `sensorium.pipeline()`.

    One input gives one result; a list, tuple or 4-D array gives a list; any other iterable gives a lazy stream.
    May be called from several threads at once. As a context manager it ends its threads on leaving.

    Attributes:
        task: the Task with its model and processor.
        placement: the device and dtype that the model runs in; of several devices the first.
    """

    def __init__(
        self,
        task: Task,
        placement: Placement,
        *,
        copies: Sequence[Task] = (),
        batch_size: int | Literal["auto"] = "auto",
        compile: bool | Literal["auto", "max-autotune", "cudagraphs"] = "auto",
        num_workers: int | Literal["auto"] = "auto",
        decode: Literal["cpu", "cuda"] = "cpu",
        recipe: Making | None = None,
    ) -> None:
        self.task, self.placement, self._recipe = task, placement, recipe
        settings = Settings(compile=compile, batch_size=batch_size, num_workers=num_workers, decode=decode)
        self._engine = Engine(task, settings, copies=copies)

    @property
    def model(self) -> nn.Module:
        """The module that runs, on its device."""
        return self.task.model

    @property
    def processor(self) -> Any:
        """The Processor that turns raw media into the model's tensors."""
        return self.task.processor

    @property
    def device(self) -> torch.device:
        """Where batches go; the first of several."""
        return self.placement.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All devices on which there is a copy of the model."""
        return tuple(forwarder.device for forwarder in self._engine.forwarders)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What the model was loaded from; None for one that the caller has loaded."""
        return None if self._recipe is None else self._recipe.checkpoint

    def __call__(
        self, *inputs: Any, on_error: OnError = "raise", progress: bool = False, dedupe: bool = False, **options: Any
    ) -> Any:
        """Runs the task.

        Args:
            *inputs: one raw input, a list or tuple of them, a 4-D array or tensor, or any other iterable; a folder or
                glob of pictures or sounds, a column or table of pandas, polars or Arrow, an array of texts or objects;
                rows that have the input by its name. A task of several inputs also takes them one by one
                (`pipe(image, question)`), by name (`question=…`), or both.
            on_error: "raise" ends the call at the first input that cannot be processed; "skip" leaves it out;
                "return" puts its `InputError` in its place.
            progress: shows a progress bar on standard error.
            dedupe: computes inputs that are the same once: files of one path, time of change and size, equal texts,
                bytes and arrays; not URLs, PIL images and open files. What fails is tried each time.
            **options: the task's options; an unknown one fails before any work.

        Returns:
            A result for one input (None if it was skipped), a list for several, a lazy stream for any other iterable.
            With a task's option `stream=True` an iterator of the pieces of one input's text.

        Raises:
            UnknownNameError: no such option; names the nearest one.
            OptionError: an option with an invalid value.
            InputError: an input that cannot be processed, under `on_error="raise"`.
        """
        check_names(self.task, options, inputs=True, also=("on_error", "progress", "dedupe"))
        raw, several = gather(self.task, inputs, options)
        calling, parsed = Calling(on_error, progress, dedupe), self._parse(options)
        if getattr(parsed, "stream", False):
            if several is not None or is_lazy(raw):
                raise OptionError("stream=True gives the text of one input, piece by piece; give one input a call")
            return self._engine.sessions.pieces(self._engine.prepared(raw, parsed), parsed)
        if several is not None:
            return list(calling.outcomes(self._engine, several, parsed, len(several)))
        if is_lazy(raw):
            return calling.outcomes(self._engine, raw, parsed, length_of(raw))
        outcomes = list(calling.outcomes(self._engine, [raw], parsed, 1))
        return outcomes[0] if outcomes else None

    def stream(
        self,
        inputs: Iterable[Any],
        /,
        *,
        on_error: OnError = "raise",
        progress: bool = False,
        dedupe: bool = False,
        total: int | None = None,
        **options: Any,
    ) -> Generator[Any, None, None]:
        """Runs the task over an iterable, lazily, in order, holding a few batches at a time.

        Each result comes as soon as it can be had: a source that is slower than the model, such as a camera or a
        queue, is never waited for while there is something to do. Batches fill up with what comes while the model runs.

        A list, tuple, array or tensor is read on the caller's thread. Any other iterable is read on a thread of its
        own, a few batches ahead: the code of a generator runs there, in a copy of the caller's context variables, and
        must not wait for what the caller's thread holds, nor use what belongs to that thread (an SQLite connection).
        What it raises comes out of the stream, after the results of all that it gave before. Leaving the stream ends
        the reading; an input that the source is making by then is waited for, but for no longer than a second.

        Args:
            inputs: any iterable of raw inputs.
            on_error: as in a call.
            progress: shows a progress bar on standard error.
            dedupe: as in a call; what came of 16,384 inputs is kept at most, and 256 MB of it.
            total: the number of inputs where `inputs` does not tell its length; for the progress bar, and for
                deciding whether compiling pays.
            **options: the task's options.

        Yields:
            A result for each input; each knows its `index`.

        Raises:
            OptionError, UnknownNameError, InputError: as in a call.
        """
        if isinstance(inputs, (str, bytes)):
            raise OptionError("stream takes an iterable of inputs, got one input; call the pipeline with it instead")
        check_names(self.task, options, also=("on_error", "progress", "dedupe", "total"))
        inputs = spread(self.task, inputs)
        refuse_one(inputs, "inputs")
        calling, parsed = Calling(on_error, progress, dedupe), self._parse(options)
        if getattr(parsed, "stream", False):
            raise OptionError("stream=True gives the text of one input, piece by piece; call the pipeline with one")
        total = length_of(inputs) if total is None else total
        return calling.outcomes(self._engine, inputs, parsed, total)

    def crop(self, images: Any, /, *, margin: float = 0.0, keep: Keep = None, **options: Any) -> Crops:
        """Cuts out what is found on pictures, for another pipeline: `detect.crop(images).through(classify)`.

        Args:
            images: one picture, several, or any iterable of them; read lazily.
            margin: how much is cut out around an object on each side, in shares of its box's width and height.
            keep: says of a row of a result, such as `{"label": …, "score": …}`, whether it is cut out; None for all.
            **options: the task's options.

        Returns:
            `Crop`s, which any pipeline that takes pictures takes, with an InputError in the place of a picture that
            failed; `through` gives what comes of them picture by picture.

        Raises:
            OptionError, UnknownNameError: as in a call.
        """
        return crops_found(self, images, options, {"margin": margin, "keep": keep})

    def submit(self, *inputs: Any, max_delay_s: float = MAX_DELAY_S, **options: Any) -> Future[Any]:
        """Takes one input and returns at once; for servers, queues, and whoever has one input at a time.

        Inputs of all callers share batches, where their options are equal. A batch starts when it is full, or when
        the first of its units has waited `max_delay_s`; while the model runs, the next one gathers. Callbacks of a
        future run on the thread that runs the batches, and should be short.

        Args:
            *inputs: one raw input, by position or by name, as in a call.
            max_delay_s: seconds from 0 for which a unit may wait for others: more fills batches, less answers sooner.
            **options: the task's options; an unknown one fails here, before any work.

        Returns:
            A future of what a call of this input gives. Its exception is the input's InputError, or a ClosedError
            where the pipeline was closed meanwhile. One that is cancelled costs no forward pass that has not begun.

        Raises:
            QueueFullError: 1024 inputs are waiting or under way; this one was not taken.
            OptionError, UnknownNameError: as in a call.
        """
        check_delay(max_delay_s)
        check_names(self.task, options, inputs=True, also=("max_delay_s",))
        raw, several = gather(self.task, inputs, options)
        parsed = self._parse(options)
        if several is not None or is_lazy(raw):
            raise OptionError("submit takes one input; submit each of several, or call the pipeline with them")
        if getattr(parsed, "stream", False):
            raise OptionError("stream=True gives text piece by piece; call the pipeline with one input")
        return self._engine.submit(raw, parsed, max_delay_s=max_delay_s)

    async def acall(self, *inputs: Any, max_delay_s: float = MAX_DELAY_S, **options: Any) -> Any:
        """Runs the task on one input without keeping the event loop waiting: `await pipe.acall(x)`.

        Takes, gives and raises what `submit` and the result of its future do. Cancelling the call cancels its input.
        """
        return await asyncio.wrap_future(self.submit(*inputs, max_delay_s=max_delay_s, **options))

    @contextmanager
    def image(self, image: Any, /, *, timeout_s: float | None = None) -> Iterator[Any]:
        """Encodes one picture and keeps it on the device, for tasks that ask many things of one picture.

            with pipe.image("x.jpg") as image:
                image.masks(points=[[450, 600]])

        Args:
            image: one picture, as a call takes it.
            timeout_s: seconds without use after which it is closed, and a further use refused; None for never.

        Yields:
            A `Session` with the task's own methods; what it holds on the device is let go on leaving, or at `close()`.

        Raises:
            OptionError: the task keeps nothing of a picture, or the timeout is not a number above 0.
            InputError: the picture cannot be processed.
        """
        with self._engine.sessions.open(image, timeout_s=timeout_s) as opened:
            yield opened

    @contextmanager
    def video(self, video: Any, /, *, timeout_s: float | None = None) -> Iterator[Any]:
        """Opens one film, for tasks that go through it frame by frame while they are told what to look for.

            with pipe.video("x.mp4") as film:
                film.add("ball", points=[[450, 600]])
                for masks in film.stream():
                    print(masks.lines())

        Args:
            video: one film, as a call takes it, or the number of a camera.
            timeout_s: seconds without use after which it is closed, and a further use refused; None for never.

        Yields:
            A `Session` with the task's own methods; the film, and what is remembered of it, is let go on leaving, or at
            `close()`.

        Raises:
            OptionError: the task keeps nothing of a film, or the timeout is not a number above 0.
            InputError: the film cannot be opened.
        """
        if "video" not in self.task.inputs:
            raise OptionError(f"{self.task.name} takes no films; give it the frames of one: pipe.stream(frames(film))")
        with self._engine.sessions.open(video, timeout_s=timeout_s) as opened:
            yield opened

    def warmup(self, *, batch_sizes: Iterable[int] | None = None, **options: Any) -> Self:
        """Runs an example through the model, on each device, so that the first real call is as fast as later ones.

        `stats()["compiled"]` says what was compiled for it, and how long each took.

        Args:
            batch_sizes: the sizes of the batches to run; 1 unless given, or with `compile=True` every power of two
                up to the pipeline's batch size.
            **options: the task's options.
        """
        parsed = self._parse(options)
        if batch_sizes is None:
            largest = self._engine.sizer.size
            powers = [1 << i for i in range(largest.bit_length()) if 1 << i < largest]
            batch_sizes = [*powers, largest] if self._engine.runtime.compiler.always else [1]
        for size in batch_sizes:
            self._engine.warm([self.task.example()] * size, parsed)
        return self

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes model and processor, so that `pipeline(task, folder)` gives the same answers.

        Args:
            folder: gets the files of the checkpoint that was loaded, or a loaded module as it is now.

        Raises:
            OptionError: it searches an index, was loaded from this folder, or is of a module of no known kind.
        """
        save(self.task, folder, recipe=self._recipe)

    def keep_steady(self) -> Self:
        """Makes batches that depend on the inputs alone from here on, so that the same inputs give the same results.

        An "auto" batch size is then one middling size instead of the fastest that fits; with `compile="auto"` it may
        still depend on timing from when on a stream is compiled. Jobs run so.
        """
        self._engine.keep_steady()
        return self

    def stats(self) -> dict[str, Any]:
        """What has been done since the pipeline was built, or since `reset_stats()`.

        Returns:
            `stages`: for each of source, split, forward, decode and merge, the items, the seconds of work and
            `bottleneck`, the share of the time for which the run waited for it; and counts of inputs, failures,
            deduplicated (the same as earlier ones), batches, padded_rows, eager_batches (run without compiling for
            want of room for their shape), out_of_memory, compiles, recompiles; `compiled`, for each function and shape
            that was ever compiled the seconds, and whether it is a CUDA graph; `batch_size`, the size in use, the
            largest of several devices'; `devices`, for each its name, batches, units, seconds, batch_size,
            out_of_memory, and whether it is lost;
            `sessions`, of pictures and films that are kept and texts that are streamed: opened, open at the moment,
            timed_out, and the steps that they took.
            `upstream` holds the same of the task whose results this one's inputs are made from, where there is one.
        """
        return self._engine.stats()

    def reset_stats(self) -> None:
        """Starts counting afresh."""
        self._engine.reset_stats()

    def close(self) -> None:
        """Ends the pipeline's threads; a later call starts new ones."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Made again by the call that made it: what `pickle`, `copy` and other processes get."""
        if self._recipe is None:
            raise TypeError("a pipeline that pipeline() has not built can be neither pickled nor copied")
        return self._recipe.reduce()

    def __repr__(self) -> str:
        model, names = type(self.task.model).__name__, [str(device) for device in self.devices]
        device = names[0] if len(names) == 1 else names
        return f"Pipeline({self.task.name!r}, {model}, device={device!r}, dtype={self.placement.dtype})"

    def _parse(self, options: Mapping[str, Any]) -> Options:
        """The call's options, checked."""
        check_names(self.task, options)
        parsed = self.task.options.parse(options)
        checkpoint = self.checkpoint  # whose own settings are looked at together with the call's
        with nullcontext() if checkpoint is None else opening(checkpoint.name, checkpoint.folder):
            self.task.check(parsed)
        return parsed
