"""Job: a task over very many inputs, in a folder that survives whatever stops it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from sensorium.errors import JobError, OptionError
from sensorium.jobs.asking import check_asked, described, plain_setting
from sensorium.jobs.description import ASKED, digest_of, read_description
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.page import write_page
from sensorium.jobs.parts import check_parts, counts_of, find_parts
from sensorium.jobs.reporting import JobReport
from sensorium.jobs.running import JobFolder, RunPlan
from sensorium.jobs.settings import SHARD_SIZE, RunSettings
from sensorium.jobs.stores import LocalStore, open_store
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    import pyarrow.dataset


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
        check_asked(task, settings, options or {}, shard_size)
        self._open(out)
        same = {name: plain_setting(name, value) for name, value in (named or {}).items()}
        listed = Inputs(
            inputs,
            dict(columns or {}),
            _several(carry),
            same,
            _several(exclude),
            limits=settings.get("limits") or MediaLimits(),
        )
        asked = described(task, model, listed, settings=settings, options=options or {}, shard_size=shard_size)
        self._folder = JobFolder(self._store, asked, listed)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """The job of a folder, as it was begun.

        Raises:
            JobError: there is no job.
        """
        self = cls.__new__(cls)
        self._open(folder)
        with self._store.in_reach(JobError):
            known = read_description(self._store)
        if known is None:
            raise JobError(f"{self.folder} is not the folder of a job; expected what Job(…, out=…).run() has made")
        self._folder = JobFolder(self._store, {name: known[name] for name in ASKED}, None)
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
        return self._folder.run(settings, RunPlan(None, refresh, redo_changed), progress=progress)

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
        return self._folder.run(RunSettings(**settings), RunPlan(again), progress=progress)

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
        listing = self._folder.listing(known)
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


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
