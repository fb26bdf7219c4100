"""Runs of a job: what its folder holds is compared with what is asked, inputs are listed, and workers driven."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sensorium.errors import JobError, JobStoppedError, OptionError
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
from sensorium.jobs.parts import find_parts, sweep
from sensorium.jobs.relisting import Relisted, Relisting
from sensorium.jobs.reporting import JobReport
from sensorium.jobs.settings import RunSettings
from sensorium.jobs.stores import Store
from sensorium.jobs.stores.store import Lock
from sensorium.tasks.catalogue import task_card


@dataclass(frozen=True)
class RunPlan:
    """What a run does besides what is still to be done.

    Attributes:
        again: codes of failures that are tried again, empty for all; None to try none again.
        refresh: whether the inputs are listed again.
        redo_changed: whether those that have changed since are done again.
    """

    again: list[str] | None = None
    refresh: bool = False
    redo_changed: bool = False


class JobFolder:
    """A job's folder, and what is asked of it.

    Args:
        store: the folder.
        asked: what `described` gave.
        inputs: how they are listed; None where only what was begun is known.
    """

    def __init__(self, store: Store, asked: Mapping[str, Any], inputs: Inputs | None) -> None:
        self._store, self._asked, self._inputs = store, asked, inputs

    def run(self, settings: RunSettings, plan: RunPlan, *, progress: bool) -> JobReport:
        """Does what is still to be done.

        Args:
            settings: how.
            plan: what, besides.
            progress: shows a progress bar on standard error.

        Raises:
            SensoriumError: as `Job.run`.
        """
        with self._store.in_reach(JobStoppedError):
            check_folder(self._store)
            self._store.make()
            with self._store.lock() as lock:
                description = self._begun()
                listing = self.listing(description) if "listing" in description else None
                sweep(self._store)
                run = Driver(self._store, description, settings, _crew(settings, description, lock, self._store))
                if plan.refresh and listing is not None:
                    run.report.refreshed = self._refresh(description, listing, again=plan.redo_changed)
                    listing = self.listing(description)
                return self._run_held(run, description, listing, again=plan.again, progress=progress)

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
        if not report.inputs:
            return
        try:
            if not report.ran and report.is_told_by(description.get("counts", {})) and PAGE in self._store.names():
                return
            if "result" in description:
                write_description(self._store, {**description, "counts": report.to_dict()})
            write_page(self._store, description, report, digest_of(description))
        except (OSError, JobError) as error:
            warnings.warn(f"what the run has done is kept, but it cannot be reported: {error}", stacklevel=5)

    def _begun(self) -> dict[str, Any]:
        """The description in the folder; written first where no inputs were listed yet, since then nothing was done."""
        known = read_description(self._store)
        if known is None or "listing" not in known:
            if find_parts(self._store):
                raise JobError(f"{self._store} has results, and no {NAME} that tells of what; use another folder")
            known = dict(self._asked)
            write_description(self._store, known)
        check_same(known, self._asked, ASKED, self._store)
        return {name: value for name, value in known.items() if name != "format"}

    def _list(self, description: dict[str, Any], task: Mapping[str, Any]) -> Listing:
        """Writes the listing."""
        if self._inputs is None:
            raise JobError(
                f"the inputs of {self._store} were not listed when it was begun; make the call that began it"
            )
        facts: dict[str, Any] = {}
        batches = self._inputs.batches(task["inputs"], task["optional"], facts)
        if not write_listing(self._store, batches, facts, shard_size=self._asked["shard_size"]):
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
            raise JobError(f"what the inputs of {self._store} are is not known here; make the call that began it")
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

    def listing(self, description: Mapping[str, Any]) -> Listing:
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
