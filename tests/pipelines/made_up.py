"""A made-up task that stresses the core: many units an input, merged again, and a model of two kinds of input."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import torch
from torch import nn

from sensorium.errors import InputError, OptionError
from sensorium.processors.padding import Padding
from sensorium.results import Result
from sensorium.tasks.base import Options, Task, Unit


class Scorer(nn.Module):
    """Multiplies each window of a series by the embedding of a question, and sums."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(8, 4)
        self.embedding.weight.data = torch.randn(8, 4, generator=generator)
        self.calls: list[int] = []
        self.fits_rows = 10**9
        self.fails_on: float | None = None
        self.inside = 0
        self.most_inside = 0

    def forward(self, window, question):
        if not torch.compiler.is_compiling():
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.calls.append(len(window))
            if len(window) > self.fits_rows:
                self.inside -= 1
                raise torch.OutOfMemoryError(f"{len(window)} rows do not fit")
            if self.fails_on is not None and bool((window == self.fails_on).any()):
                self.inside -= 1
                raise ValueError("a value that this model cannot take")
            self.inside -= 1
        return (window * self.embedding(question)).sum(-1)


@dataclass(frozen=True)
class WindowOptions(Options):
    scale: float = 1.0
    length: int = 4

    def __post_init__(self) -> None:
        if self.length < 1:
            raise OptionError(f"length is a whole number from 1, got {self.length}")


@dataclass
class Total(Result):
    value: float
    windows: int
    index: int

    def to_dict(self):
        return {"value": self.value}


class WindowScoring(Task):
    """Sums the scores of all windows of a series for a question."""

    name = "window-scoring"
    summary = "a made-up task"
    inputs = ("series", "question")
    optional_inputs = ("start",)
    options = WindowOptions

    def __init__(self, model=None, processor=None) -> None:
        super().__init__(model or Scorer(), processor)
        self.split_threads: set[str] = set()
        self.open_units = 0

    @classmethod
    def fits(cls, checkpoint):
        return None

    @classmethod
    def load(cls, checkpoint, *, processor=None):
        return cls()

    @classmethod
    def wrap(cls, model, processor):
        return cls(model, processor)

    def split(self, raw, options):
        self.split_threads.add(threading.current_thread().name)
        series = torch.as_tensor(raw["series"], dtype=torch.float32)[raw.get("start", 0) :]
        if not torch.isfinite(series).all():
            raise InputError("series must be finite", code="not-finite")
        width = 4
        for offset in range(0, len(series), width):
            window = torch.zeros(width)
            part = series[offset : offset + width]
            window[: len(part)] = part
            yield Unit({"window": window, "question": torch.tensor(raw["question"])}, meta=offset)

    def forward(self, batch, options, call):
        return call(self.model, batch["window"], batch["question"]) * options.scale

    def decode(self, outputs, metas, options):
        assert len(outputs) == len(metas), "padding must be dropped before decode"
        return list(zip(metas, outputs.float().cpu().tolist(), strict=True))

    def merge(self, parts, options, index):
        offsets = [offset for offset, _ in parts]
        assert offsets == sorted(offsets), "parts must come in the order of their units"
        return Total(sum(value for _, value in parts), len(parts), index)

    def example(self):
        return {"series": [1.0, 2.0, 3.0, 4.0], "question": 1}


class WholeScoring(WindowScoring):
    """The same with the whole series as one unit: units of different lengths, padded in a batch."""

    name = "whole-scoring"

    def __init__(self, model=None, processor=None) -> None:
        super().__init__(model, processor)
        self.padded = {"window": Padding(math.nan), "real": Padding(0)}

    def split(self, raw, options):
        series = torch.as_tensor(raw["series"], dtype=torch.float32)
        real = torch.ones(len(series), dtype=torch.bool)
        yield Unit({"window": series, "real": real, "question": torch.tensor(raw["question"])}, meta=0)

    def forward(self, batch, options, call):
        self.model.calls.append(tuple(batch["window"].shape))
        weights = self.model.embedding(batch["question"]).repeat(1, -(-batch["window"].shape[1] // 4))
        scores = batch["window"] * weights[:, : batch["window"].shape[1]]
        return scores.masked_fill(~batch["real"].bool(), 0).sum(-1) * options.scale


def expected(raw, scale=1.0):
    """The reference: the whole series at once, in float64."""
    weight = Scorer().embedding.weight.data.double()[raw["question"]]
    series = torch.as_tensor(raw["series"], dtype=torch.float64)
    padded = torch.zeros(-(-len(series) // 4) * 4, dtype=torch.float64)
    padded[: len(series)] = series
    return float((padded.view(-1, 4) * weight).sum()) * scale


class TotalScoring(WindowScoring):
    """Scores the totals that another task gives: a task with one upstream."""

    name = "total-scoring"

    def __init__(self, upstream=None) -> None:
        super().__init__()
        self.upstream = upstream or WindowScoring()

    def upstream_options(self, options):
        return WindowOptions(length=options.length)

    def split(self, raw, options):
        assert isinstance(raw, Total)
        if raw.value > 1e6:
            raise InputError("too much", code="too-much")
        return super().split({"series": [raw.value], "question": 1}, options)
