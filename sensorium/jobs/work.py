"""What a worker does: from a shard of the listing to its part."""

from __future__ import annotations

import dataclasses
import heapq
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from sensorium.checkpoints import resolve
from sensorium.errors import DeviceError, InputError, JobError, OptionError
from sensorium.jobs.description import PASSAGES
from sensorium.jobs.gauge import Gauge
from sensorium.jobs.inputs import RESERVED
from sensorium.jobs.listing import Listing
from sensorium.jobs.parts import find_parts, write_part
from sensorium.jobs.provenance import model_facts, versions
from sensorium.jobs.raws import raw_inputs
from sensorium.jobs.stores import Store
from sensorium.jobs.timings import SLOWEST
from sensorium.pipelines.factory import pipeline
from sensorium.pipelines.placement import resolve_device
from sensorium.pipelines.settings import Settings
from sensorium.processors.limits import MediaLimits
from sensorium.results.surrogates import storable
from sensorium.tasks.base import get_task

if TYPE_CHECKING:
    from sensorium.jobs.passage_work import PassagePipeline, PassageTask
    from sensorium.pipelines.pipeline import Pipeline
    from sensorium.tasks.base import Task

Tell = Callable[..., None]
OUTCOME = ("status", "error_code", "error_message")
_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError)  # what Arrow raises, of its own and Python's


class Work:
    """One worker's model, and the shards that it makes with it.

    Args:
        folder: of the job.
        description: of `job.json`.
        gauge: where it shows how far it is.
        tell: answers.
        rank: its number among the workers, which says on which of several devices it runs.
        threads: those that decode, unless the job says how many: its share of the cores; None for one a core.
    """

    def __init__(
        self,
        folder: Store,
        description: Mapping[str, Any],
        gauge: Gauge,
        tell: Tell,
        *,
        rank: int,
        threads: int | None = None,
    ) -> None:
        self._folder, self._description, self._gauge, self._tell = folder, description, gauge, tell
        if description["cwd"] is not None:
            os.chdir(description["cwd"])  # relative paths mean what they meant when the job was begun
        task = _task(description["task"])
        task.options.parse(description["options"])
        if description["model"] is not None:  # a wrong name is told before inputs are listed
            given = {name: value for name, value in _settings(description).items() if name in Settings.names()}
            resolve(description["model"], Settings.of(**given).access)
        devices = torch.cuda.device_count() if wants_cuda(description["settings"].get("device")) else 1
        tell("task", inputs=task.inputs, optional=task.optional_inputs, devices=max(1, devices))
        self._pipe = _pipeline(description, rank % max(1, devices), threads)
        self._pipe.task.check(task.options.parse(description["options"]))
        self._schema, facts = self._find_out()
        tell("ready", facts=facts)
        self._listing: Listing | None = None

    def do(self, order: Mapping[str, Any]) -> None:
        """Makes the part of a shard, or looks for the input that ends the process.

        Args:
            order: `shard`, `generation`; `quarantined`, outcomes of inputs that are not run, by their places in the
                shard; `alone`, places of inputs to be run one by one, whose outcomes are not kept; `one_by_one`,
                whether all are run so, and kept; `codes`, the errors that are tried again, of an older part;
                `changed`, the places of inputs that have changed since that was made.
        """
        self._listing = self._listing or self._opened()
        began, shard, rows = time.perf_counter(), order["shard"], self._listing.read(order["shard"])
        torch.manual_seed(random.Random(f"{self._seed}-{shard}").getrandbits(63))  # what is drawn is drawn again
        raws = list(raw_inputs(rows, self._listing.facts, self._description["inputs"]["named"]))
        if order.get("alone") is not None:
            for place in order["alone"]:
                self._gauge.taken = place + 1
                self._run([raws[place]])
                self._gauge.given = place + 1
            self._tell("cleared", shard=shard)
            return
        codes, changed = order.get("codes"), order.get("changed", [])
        before = self._before(shard) if codes is not None or changed else None
        failed = _failed(before, codes) if before is not None and codes is not None else []
        again = range(len(raws)) if before is None else sorted({*failed, *changed})
        quarantined = {int(place): error for place, error in order.get("quarantined", {}).items()}
        places = [place for place in again if place not in quarantined]
        outcomes = self._outcomes(raws, places, one_by_one=order.get("one_by_one", False))
        try:
            table = self._table(rows, dict(zip(places, outcomes, strict=True)), quarantined, before)
        except Exception as error:  # no input's: another worker would fail in the same way
            raise JobError(f"the rows of shard {shard} cannot be made: {type(error).__name__}: {error}") from error
        part = write_part(self._folder, table, order["job"], shard, order["generation"])
        slowest = _slowest([rows.column("input_id")[place].as_py() for place in places], outcomes)
        done = {"part": part.name, "counts": part.counts(order["job"]), "ran": len(places)}
        self._tell("done", shard=shard, **done, seconds=round(time.perf_counter() - began, 4), slowest=slowest)

    def _opened(self) -> Listing:
        """The listing; what the user has named as an input may be opened, wherever it is."""
        listing, limits = Listing(self._folder, self._description.get("refreshed", ())), self._pipe.task.limits
        named = [f"{scheme}://" for scheme in listing.facts.get("schemes", ()) if listing.facts["kind"] == "files"]
        self._pipe.task.limits = dataclasses.replace(limits, allow_remote=(*limits.allow_remote, *named))
        return listing

    @property
    def _seed(self) -> int:
        """What the random draws of the job come from: its option of that name, where the task has one."""
        return int(self._description["options"].get("seed") or 0)

    def _before(self, shard: int) -> pa.Table:
        """What an older part says of the outcomes."""
        told = [*OUTCOME, *self._schema.names]
        return find_parts(self._folder)[shard].read().select(told)

    def _outcomes(self, raws: list[Any], places: list[int], *, one_by_one: bool) -> list[Any]:
        """The outcomes of the inputs at these places."""
        if not one_by_one:
            return self._run(_Watched([raws[place] for place in places], places, self._gauge))
        outcomes = []
        for place in places:
            self._gauge.taken = place + 1
            outcomes += self._run([raws[place]])
            self._gauge.given = place + 1
        return outcomes

    def _run(self, raws: list[Any]) -> list[Any]:
        given = []
        stream = self._pipe.stream(raws, on_error="return", total=len(raws), **self._description["options"])
        try:
            for outcome in stream:
                given.append(outcome)
                if isinstance(raws, _Watched):
                    raws.given(len(given), failed=isinstance(outcome, InputError))
        except DeviceError:
            os._exit(75)  # a process that cannot use its device any more: one of the inputs may have done it
        return given

    def _table(
        self,
        rows: pa.Table,
        outcomes: Mapping[int, Any],
        quarantined: Mapping[int, Mapping[str, str]],
        before: pa.Table | None,
    ) -> pa.Table:
        """The rows of the part."""
        made = [
            {"status": "quarantined", **quarantined[place]} if place in quarantined else {}
            for place in range(len(rows))
        ]
        for place, outcome in outcomes.items():
            made[place] = _row_of(outcome)
        if before is not None:
            kept = before.to_pylist()
            made = [row or kept[place] for place, row in enumerate(made)]
        columns = {"input_id": rows.column("input_id"), "source": rows.column("source")}
        columns |= {name: rows.column(name) for name in self._description["inputs"]["carry"]}
        columns |= self._typed(made)
        schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()])
        metadata = {b"sensorium.task": self._pipe.task.name, b"sensorium.result": self._result}
        return pa.table(columns, schema=schema.with_metadata(metadata))

    def _typed(self, made: list[dict[str, Any]]) -> dict[str, pa.Array]:
        """The columns of what was made; a result that does not fit them is a failure."""
        try:
            return self._columns(made)
        except _MISFITS:
            for row in made:
                try:
                    self._columns([row])
                except _MISFITS as error:
                    row.clear()
                    message = f"the result does not fit the columns of the job: {error}"
                    row.update(_row_of(InputError(message, code="other-columns")))
            return self._columns(made)

    def _columns(self, made: list[dict[str, Any]]) -> dict[str, pa.Array]:
        fields = [*(pa.field(name, pa.string()) for name in OUTCOME), *self._schema]
        return {field.name: pa.array([row.get(field.name) for row in made], field.type) for field in fields}

    def _find_out(self) -> tuple[pa.Schema, dict[str, Any]]:
        """The columns of the results, told from an example, and what the job is made with."""
        options = self._description["options"]
        task = self._pipe.task
        limits, task.limits = task.limits, MediaLimits()  # those of the job are not for the example
        example = self._pipe(task.example(), **options)
        task.limits = limits
        schema = example.schema()
        self._result = type(example).__name__
        carried = self._description["inputs"]["carry"]
        taken = [name for name in carried if name in schema.names]
        if taken:
            raise OptionError(
                f"the column {taken[0]!r} cannot be carried: the results of {self._pipe.task.name} have one of that "
                f"name. Give it another one in the table; theirs are {', '.join([*RESERVED, *schema.names])}"
            )
        facts = {
            **model_facts(self._pipe.checkpoint, self._description["settings"].get("processor")),
            "dtype": str(self._pipe.placement.dtype).removeprefix("torch."),
            "device": str(self._pipe.device),
            "result": self._result,
            "columns": {field.name: str(field.type) for field in schema},
            "seed": self._seed,
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        return schema, facts


class _Watched(list[Any]):
    """Inputs of a run that shows on a gauge how many of them were taken, by their places in the shard."""

    def __init__(self, raws: list[Any], places: list[int], gauge: Gauge) -> None:
        super().__init__(raws)
        self._places, self._gauge = [*places, places[-1] + 1 if places else 0], gauge
        gauge.reset()
        gauge.given = self._places[0]

    def __iter__(self) -> Iterator[Any]:
        for i, raw in enumerate(super().__iter__()):
            self._gauge.taken = self._places[i] + 1
            yield raw

    def given(self, count: int, *, failed: bool) -> None:
        self._gauge.given = self._places[count]
        self._gauge.failed += failed


def wants_cuda(device: Any) -> bool:
    """Whether a device as `pipeline()` takes it leaves open which of several CUDA devices it is."""
    return device in (None, "cuda") and resolve_device(device).type == "cuda"


def _settings(description: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `pipeline()`, as they were given to the job."""
    settings = dict(description["settings"])
    if settings.get("limits") is not None:
        settings["limits"] = MediaLimits(**settings["limits"])
    return settings


def _task(name: str) -> type[Task | PassageTask]:
    if name == PASSAGES:
        from sensorium.jobs.passage_work import PassageTask  # with retrieval, which other tasks do without

        return PassageTask
    return get_task(name)


def _pipeline(description: Mapping[str, Any], number: int, threads: int | None = None) -> Pipeline | PassagePipeline:
    settings = _settings(description)
    if wants_cuda(settings.get("device")):
        settings["device"] = f"cuda:{number}"
    if description["task"] == PASSAGES:
        from sensorium.jobs.passage_work import PassagePipeline

        return PassagePipeline(description["model"], settings)
    if settings.get("compile", "auto") == "auto":  # whether that pays would depend on timing, and rows on it
        settings["compile"] = False
    if settings.get("index") is not None:
        from sensorium.retrieval import Index

        settings["index"] = Index.load(settings["index"])
    if threads is not None and settings.get("num_workers") in (None, "auto"):
        settings["num_workers"] = threads
    return pipeline(description["task"], description["model"], **settings).keep_steady()


def _failed(part: pa.Table, codes: list[str]) -> list[int]:
    """The places of the rows that failed, with one of these codes if any is named."""
    rows = zip(part.column("status").to_pylist(), part.column("error_code").to_pylist(), strict=True)
    return [i for i, (status, code) in enumerate(rows) if status != "ok" and (not codes or code in codes)]


def _row_of(outcome: Any) -> dict[str, Any]:
    """An outcome in the columns of a part."""
    if isinstance(outcome, InputError):
        return {"status": "failed", "error_code": outcome.code, "error_message": storable([outcome.message])[0]}
    return {"status": "ok", **outcome.to_row()}


def _slowest(ids: list[int], outcomes: list[Any]) -> list[tuple[int, float]]:
    """Those of the inputs that have cost most, the dearest first, with the seconds that each has."""
    costs = ((number, outcome.seconds or 0.0) for number, outcome in zip(ids, outcomes, strict=True))
    return [(number, round(s, 4)) for number, s in heapq.nlargest(SLOWEST, costs, key=lambda cost: cost[1])]
