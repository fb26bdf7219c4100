"""Inputs taken apart into units, some at a time, on the threads of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from sensorium.checkpoints.opening import panics_told
from sensorium.processors.jpeg_on_device import JpegDecoder
from sensorium.tasks.base import Task, Unit

CHUNK = 8
"""Units that a worker takes from one input before others have their turn."""


@dataclass(slots=True)
class Chunk:
    """What a worker brings back.

    Attributes:
        raw: the input.
        units: some units of it, each with its bucket and its bytes.
        rest: the iterator of the others; None where these are the last.
        error: why there are no more, if something is wrong with the input.
        seconds: how long the work took.
        ended: when it was done, by `time.monotonic()`.
    """

    raw: Any
    units: list[tuple[Unit, Hashable, int]]
    rest: Iterator[Unit] | None
    error: Exception | None
    seconds: float
    ended: float


def advance(make: Callable[[], Iterator[Unit]], raw: Any, task: Task, decoder: JpegDecoder | None = None) -> Chunk:
    """Splits off the next few units of an input; runs on a worker.

    Args:
        make: gives the iterator of the units that are left.
        raw: the input.
        task: says how large units are, and which go together.
        decoder: of JPEGs; None for the CPU's.
    """
    began = time.perf_counter()
    units: list[tuple[Unit, Hashable, int]] = []
    rest: Iterator[Unit] | None = None
    failure: Exception | None = None
    try:
        with torch.inference_mode(), panics_told(), nullcontext() if decoder is None else decoder.here():
            rest = make()
            for unit in islice(rest, CHUNK):
                units.append((unit, task.bucket(unit), sum(t.nbytes for t in unit.inputs.values())))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one input is that input's outcome
        failure = error
    if len(units) < CHUNK or failure is not None:
        rest = None
    return Chunk(raw, units, rest, failure, time.perf_counter() - began, time.monotonic())
