"""Job: a task over very many inputs, in a folder that survives whatever stops it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from sensorium.errors import JobError, JobStoppedError, OptionError, UnknownNameError
from sensorium.jobs.crew import Crew, LocalCrew
from sensorium.jobs.description import (
    ASKED,
    NAME,
    check_folder,
    check_same,
    digest_of,
    read_description,
    write_description,
)
from sensorium.jobs.driving import Driver
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.listing import Listing, write_listing
from sensorium.jobs.page import NAME as PAGE
from sensorium.jobs.page import write_page
from sensorium.jobs.parts import check_parts, counts_of, find_parts, sweep
from sensorium.jobs.relisting import Relisted, Relisting
from sensorium.jobs.reporting import JobReport
from sensorium.jobs.settings import SHARD_SIZE, RunSettings
from sensorium.jobs.stores import LocalStore, Store, open_store
from sensorium.jobs.stores.store import Lock
from sensorium.pipelines.settings import several_of
from sensorium.processors.limits import MediaLimits
from sensorium.tasks.catalogue import task_card

if TYPE_CHECKING:
    import pyarrow.dataset

SETTINGS = (
    "index",
    "processor",
    "device",
    "dtype",
    "compile",
    "batch_size",
    "num_workers",
    "decode",
    "limits",
    "revision",
    "cache_dir",
    "local_files_only",
    "use_safetensors",
    "trust_remote_code",
    "attn_implementation",
)
"""Arguments of `pipeline()` that a job takes: those that can be written down."""

FOLDERS = ("index", "processor", "cache_dir")
"""Those of them that may be folders."""


class Job:
    """A task over very many inputs. What it does lies in its folder; whatever stops it, the same call goes on.

        job = Job("image-classification", model="…", inputs="photos/**/*.jpg", out="runs/photos", options={"top_k": 3})
        report = job.run(progress=True)
        table = job.results().to_table()

    Each input has one row in the results, in the order of the inputs: with its result, or with why there is none.

    Attributes:
        folder: where it lies: a path, or the URL of a folder on an object store.
    """

    def __init__(
        self,
        task: str,
        model: str | os.PathLike[str] | None = None,
        *,
        inputs: Any,
        out: str | os.PathLike[str],
        options: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        carry: str | Iterable[str] = (),
        named: Mapping[str, Any] | None = None,
        exclude: str | Iterable[str] = (),
        shard_size: int = SHARD_SIZE,
        **settings: Any,
    ) -> None:
        """Says what is to be done; nothing is read or written before `run`.

        Args:
            task: a task's name.
            model: a name or a folder, as `pipeline()` takes them.
            inputs: one of, or a list of: files, folders, globs, URLs, addresses of fsspec (`s3://bucket/photos/`),
                texts, `@list.txt` with one a line; files of tables (`.parquet`, `.csv`, `.jsonl`, `.arrow`); archives
                of samples (`.tar`); or a table of pandas, polars, Arrow or `datasets`. They are listed when the job is
                begun, and files that come later are no part of it until `run(refresh=True)`.
            out: the job's folder, new or its own: a path, or a URL, such as `s3://bucket/run`.
            options: the task's options.
            columns: of a table: which column has which input of the task, `{"image": "path"}`; an input that is not
                named is in the column of its own name. Of archives, the end of the name of the member that has it.
            carry: columns of a table, or ends of the names of an archive's members, that go into the results as they
                are.
            named: inputs of the task that are the same for all, `{"question": "…"}`.
            exclude: patterns of files and folders that are left out.
            shard_size: inputs that are done, and written, together: what a run that is killed does again, at most, for
                each worker.
            **settings: arguments of `pipeline()` that can be written down: device, dtype, batch_size, limits, …;
                `index` is the folder of an index.

        Raises:
            UnknownNameError: no such task, option or setting; names the nearest one.
            OptionError: an invalid value.
        """
        for name in settings:
            if name not in SETTINGS:
                raise UnknownNameError("setting of a job", name, SETTINGS)
        card = task_card(task)
        for name in options or {}:
            if name not in {option.name for option in card.options}:
                raise UnknownNameError(f"option of {task}", name, [option.name for option in card.options])
        if isinstance(shard_size, bool) or not isinstance(shard_size, int) or shard_size < 1:
            raise OptionError(f"shard_size is a whole number from 1, got {shard_size!r}")
        if several_of(settings.get("device")) is not None or settings.get("device") == "all":
            raise OptionError(
                f"device={settings['device']!r} is for one process, and a job's workers are processes, by default one "
                "for each CUDA device: leave device out. CUDA_VISIBLE_DEVICES leaves cards out"
            )
        self._open(out)
        same = {name: plain_setting(name, value) for name, value in (named or {}).items()}
        self._inputs: Inputs | None = Inputs(
            inputs,
            dict(columns or {}),
            _several(carry),
            same,
            _several(exclude),
            limits=settings.get("limits") or MediaLimits(),
        )
        described = {
            "task": task,
            "model": None if model is None else _settled(model),
            "settings": {
                name: _settled(value) if name in FOLDERS else plain_setting(name, value)
                for name, value in settings.items()
                if value is not None
            },
            "options": {name: plain_setting(name, value) for name, value in (options or {}).items()},
            "inputs": self._inputs.described(),
            "shard_size": shard_size,
            "cwd": str(Path.cwd()) if self._inputs.depend_on_folder(card.inputs[0]) else None,
        }
        self._description: dict[str, Any] = json.loads(json.dumps(described))  # as it is read again

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """The job of a folder, as it was begun.

        Raises:
            JobError: there is no job.
        """
        self = cls.__new__(cls)
        self._open(folder)
        self._inputs = None
        with self._store.in_reach(JobError):
            known = read_description(self._store)
        if known is None:
            raise JobError(f"{self.folder} is not the folder of a job; expected what Job(…, out=…).run() has made")
        self._description = {name: known[name] for name in ASKED}
        return self

    def _open(self, folder: str | os.PathLike[str]) -> None:
        self._store = open_store(folder)
        self.folder = self._store.path if isinstance(self._store, LocalStore) else self._store.address

    def run(
        self,
        *,
        workers: int | Literal["auto"] = "auto",
        timeout_s: float = 600.0,
        load_timeout_s: float = 1800.0,
        max_failures: float | str | None = None,
        max_inputs_per_worker: int | None = None,
        engine: Literal["local", "ray"] = "local",
        ray_address: str | None = None,
        cpus_per_worker: int | None = None,
        gpus_per_worker: float | None = None,
        refresh: bool = False,
        redo_changed: bool = False,
        progress: bool = False,
    ) -> JobReport:
        """Does what is still to be done; returns at once where that is nothing.

        The model runs in processes of its own. An input that ends one of them, or gives nothing for `timeout_s`, is
        found, and has a row that says so; its neighbours have theirs.

        Args:
            workers: processes; "auto" is one for each CUDA device, or one; on Ray as many as the cluster has room for.
                Each loads the model.
            timeout_s: seconds without an outcome after which a worker is taken to hang.
            load_timeout_s: seconds that a worker may take to load the model, downloads included.
            max_failures: ends the job when more inputs fail: a share, `"5%"`, or a number; None never to.
            max_inputs_per_worker: inputs after which a worker is replaced; None for never.
            engine: where workers run: "local", on this machine; or "ray", on a cluster of Ray.
            ray_address: of the cluster, as `ray.init` takes it; that which runs here unless given, or else, or for
                "local", one that is started on this machine, and ended with the run.
            cpus_per_worker: CPUs of Ray that a worker takes, and threads that it has; its GPU's share, or 1.
            gpus_per_worker: GPUs of Ray that a worker takes; 1 where there are any, and `device` is not "cpu".
            refresh: lists the inputs again. New ones are added, as the last ones; the report's `refreshed` says how
                many, and which have changed or are gone. What was done stays.
            redo_changed: with `refresh`, does those that have changed again.
            progress: shows a progress bar on standard error.

        Raises:
            OptionError: an invalid value, a package that is not installed, inputs that are not there, or settings other
                than the folder's; each difference is named.
            JobError: another run uses the folder, or it holds something else.
            JobStoppedError: too many inputs failed, or no worker runs; what was done is kept.
            CheckpointError, UnknownNameError: as `pipeline()` raises them.
        """
        if redo_changed and not refresh:
            raise OptionError("redo_changed=True does again what refresh=True has found to be changed; give both")
        settings = RunSettings(
            workers,
            timeout_s,
            load_timeout_s,
            max_failures,
            max_inputs_per_worker,
            engine,
            ray_address,
            cpus_per_worker,
            gpus_per_worker,
        )
        return self._run(settings, again=None, progress=progress, refresh=refresh, redo_changed=redo_changed)

    def retry(self, codes: str | Iterable[str] = (), *, progress: bool = False, **settings: Any) -> JobReport:
        """Does again what has failed, and what is still to be done.

        Args:
            codes: the errors that are tried again, such as `"missing-file"`; all unless given.
            progress: shows a progress bar on standard error.
            **settings: as of `run`.

        Raises:
            SensoriumError: as `run`.
        """
        again = [codes] if isinstance(codes, str) else list(codes)
        return self._run(RunSettings(**settings), again=again, progress=progress)

    def status(self) -> JobReport:
        """How the job stands.

        Raises:
            JobError: nothing was begun, or a part is damaged.
        """
        with self._store.in_reach(JobError):
            return self._status()

    def _status(self) -> JobReport:
        report, known = JobReport(), read_description(self._store) or {}
        if "listing" not in known:
            raise JobError(f"{self.folder} holds no job whose inputs were listed; run it first")
        listing = self._listing(known)
        report.inputs, report.shards = listing.inputs, listing.shards
        parts = (part for part in find_parts(self._store).values() if part.shard < listing.shards)
        for _, counts in counts_of(parts, digest_of(known)):
            report.add(counts)
        return report

    def write_report(self) -> str:
        """Writes `report.html` into the folder, a page that loads nothing from elsewhere; each run leaves one, too.

        It tells how the job stands, how fast it went, the failures by their codes with the first of each (pictures
        small, of others their names), and the inputs that cost most.

        Returns:
            Where it lies: its path, or its URL.

        Raises:
            JobError: nothing was begun, or a part is damaged.
            OSError: it cannot be written.
        """
        report, known = self.status(), read_description(self._store) or {}
        return write_page(self._store, known, report, digest_of(known))

    def results(self, *, verify: bool = True) -> pyarrow.dataset.Dataset:
        """The rows that there are, in the order of the inputs, as a data set of Arrow.

        Their columns are `input_id` and `source` of the input, the carried ones, `status` ("ok", "failed" or
        "quarantined"), `error_code` and `error_message`, and those of the result, from which `from_row` of its class
        makes it again.

        Args:
            verify: whether to compare the files with their digests, which reads them.

        Raises:
            JobError: nothing is done yet, or a part is damaged.
        """
        with self._store.in_reach(JobError):
            known = read_description(self._store) or {}
            parts = [part for _, part in sorted(find_parts(self._store).items())]
            if not parts or "listing" not in known:
                raise JobError(f"{self.folder} has no results yet; run the job")
            for _ in counts_of(parts, digest_of(known)):
                pass
            if verify:
                check_parts(parts)
            return self._store.dataset([part.name for part in parts])

    def failures(self, *, verify: bool = True) -> pyarrow.dataset.Dataset:
        """The rows without a result, as a data set of Arrow; as `results`."""
        import pyarrow.compute

        return self.results(verify=verify).filter(pyarrow.compute.field("status") != "ok")

    def _run(
        self,
        settings: RunSettings,
        *,
        again: list[str] | None,
        progress: bool,
        refresh: bool = False,
        redo_changed: bool = False,
    ) -> JobReport:
        with self._store.in_reach(JobStoppedError):
            check_folder(self._store)
            self._store.make()
            with self._store.lock() as lock:
                description = self._begun()
                listing = self._listing(description) if "listing" in description else None
                sweep(self._store)
                run = Driver(self._store, description, settings, _crew(settings, description, lock, self._store))
                if refresh and listing is not None:
                    run.report.refreshed = self._refresh(description, listing, again=redo_changed)
                    listing = self._listing(description)
                return self._run_held(run, description, listing, again=again, progress=progress)

    def _run_held(
        self,
        run: Driver,
        description: dict[str, Any],
        listing: Listing | None,
        *,
        again: list[str] | None,
        progress: bool,
    ) -> JobReport:
        began = time.perf_counter()
        try:
            with _shown(progress) as shown:
                run.run(listing, partial(self._list, description), again, shown)
        finally:
            run.report.seconds = time.perf_counter() - began
            self._tell(description, run.report)
        sweep(self._store)  # parts of which there are newer ones
        return run.report

    def _tell(self, description: Mapping[str, Any], report: JobReport) -> None:
        """Leaves the counts and the report of a run, however it has ended; the rows do not depend on them."""
        if not report.inputs or (not report.ran and PAGE in self._store.names()):
            return
        try:
            if "result" in description:
                write_description(self._store, {**description, "counts": report.to_dict()})
            write_page(self._store, description, report, digest_of(description))
        except (OSError, JobError) as error:
            warnings.warn(f"what the run has done is kept, but it cannot be reported: {error}", stacklevel=4)

    def _begun(self) -> dict[str, Any]:
        """The description in the folder; written first where no inputs were listed yet, since then nothing was done."""
        known = read_description(self._store)
        if known is None or "listing" not in known:
            if find_parts(self._store):
                raise JobError(f"{self.folder} has results, and no {NAME} that tells of what; use another folder")
            known = dict(self._description)
            write_description(self._store, known)
        check_same(known, self._description, ASKED, self.folder)
        return {name: value for name, value in known.items() if name != "format"}

    def _list(self, description: dict[str, Any], task: Mapping[str, Any]) -> Listing:
        """Writes the listing."""
        if self._inputs is None:
            raise JobError(
                f"the inputs of {self.folder} were not listed when it was begun; make the call that began it"
            )
        facts: dict[str, Any] = {}
        batches = self._inputs.batches(task["inputs"], task["optional"], facts)
        if not write_listing(self._store, batches, facts, shard_size=self._description["shard_size"]):
            raise OptionError("no input was found: expected files, folders, globs, or a table with rows")
        listing = Listing(self._store)
        if facts.get("skipped"):
            warnings.warn(f"skipped {facts['skipped']}", UserWarning, stacklevel=6)
        description["listing"] = listing.digest
        write_description(self._store, description)
        return listing

    def _refresh(self, description: dict[str, Any], listing: Listing, *, again: bool) -> Relisted:
        """Lists the inputs again, and notes what is new."""
        if self._inputs is None:
            raise JobError(f"what the inputs of {self.folder} are is not known here; make the call that began it")
        card, facts = task_card(description["task"]), {"kind": listing.facts["kind"]}
        generations = {shard: part.generation for shard, part in find_parts(self._store).items()}
        known, shard_size = description.get("refreshed", []), description["shard_size"]
        with Relisting(listing, generations) as relisting:
            batches = self._inputs.batches(card.inputs, card.optional_inputs, facts)
            written = relisting.run(
                self._store, batches, facts, number=len(known) + 1, shard_size=shard_size, again=again
            )
        if written:
            description["refreshed"] = [*known, written]
            write_description(self._store, description)
        return relisting.found

    def _listing(self, description: Mapping[str, Any]) -> Listing:
        """The listing that was written when the job was begun, with what was added since."""
        listing = Listing(self._store, description.get("refreshed", ()))
        if listing.digest != description["listing"]:
            raise JobError(
                f"{listing.path} is not as it was written. It lists the inputs of the job: put it back, or start the "
                "job in another folder"
            )
        return listing


def _crew(settings: RunSettings, description: Mapping[str, Any], lock: Lock, folder: Store) -> Crew:
    """Where the workers come from."""
    if settings.engine == "local":
        return LocalCrew(settings, lock, folder)
    if folder.address.startswith("memory:"):
        raise OptionError(f"{folder} is seen by this process alone; on a cluster, out= is a folder that all nodes see")
    from sensorium.jobs.ray_crew import RayCrew

    return RayCrew(settings, description["settings"].get("device"))


@contextlib.contextmanager
def _shown(progress: bool) -> Iterator[Callable[[JobReport, int], None]]:
    """What is told how many inputs are done, and shows it if that is wanted."""
    if not progress:
        yield lambda _, __: None
        return
    from tqdm import tqdm

    with tqdm(unit="input") as bar:

        def show(report: JobReport, done: int) -> None:
            bar.total = report.inputs
            bar.initial = bar.initial or report.done
            bar.update(max(0, done - bar.n))

        yield show


def _settled(model: str | os.PathLike[str]) -> str:
    """A name; a folder's is made absolute.

    Raises:
        OptionError: something that was loaded, which cannot be written down.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise OptionError(f"a job is written down, and takes names and folders, got a loaded {type(model).__name__}")
    name = os.fspath(model)
    folder = Path(name).expanduser()
    return str(folder.absolute()) if folder.is_dir() else name


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def plain_setting(name: str, value: Any) -> Any:
    """A setting as JSON has it.

    Raises:
        OptionError: it cannot be written down.
    """
    if isinstance(value, MediaLimits):
        return dataclasses.asdict(value)
    if isinstance(value, os.PathLike):
        return str(Path(value).absolute())
    if isinstance(value, (list, tuple)):
        return [plain_setting(name, each) for each in value]
    if type(value).__module__ == "torch":  # a dtype or a device
        return str(value).removeprefix("torch.")
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise OptionError(f"a job is written down, and {name}={value!r:.100} cannot be; give names, numbers and folders")
