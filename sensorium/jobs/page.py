"""The report of a job, `report.html`: how it stands, how fast it went, what failed, and what cost most."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sensorium.jobs.listing import Listing
from sensorium.jobs.parts import find_parts
from sensorium.jobs.reporting import JobReport
from sensorium.jobs.stores import Store
from sensorium.jobs.thumbnails import thumbnails
from sensorium.jobs.timings import Rates, TimingSummary, read_timings
from sensorium.report import page

NAME = "report.html"

SHOWN = 6
"""Inputs that are shown of those that failed with the same code."""

SLOWEST = 20
"""Inputs that are named of those that cost most."""

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1000, 220, 64, 26, 28


@dataclass(frozen=True)
class FailureCard:
    """An input without a result, as the page shows it; `image` is a data URI, or None."""

    source: str
    message: str
    quarantined: bool
    image: str | None = None


def write_page(store: Store, description: Mapping[str, Any], report: JobReport, job: str) -> str:
    """Writes the report of a job, whole or not at all. A few parts are read for it, however many there are.

    Args:
        store: the folder of the job.
        description: of `job.json`.
        report: how it stands.
        job: its digest.

    Returns:
        Where it lies.

    Raises:
        JobError: a part is damaged.
        OSError: it cannot be written.
    """
    timings = TimingSummary(read_timings(store), slowest=SLOWEST)
    rates = timings.rates()
    pieces = page(
        "jobs/report.html.jinja",
        description["task"],
        _details(store, description),
        report=report,
        ran=timings.ran,
        timed=timings.shards,
        chart=None if rates is None else _chart(rates, timings.ran),
        failures=_failures(store, description, report.codes, job),
        slowest=_slowest(store, timings),
    )
    store.write(NAME, "".join(pieces).encode("utf-8", "backslashreplace"))
    return store.where(NAME)


def _details(store: Store, description: Mapping[str, Any]) -> dict[str, str]:
    names = ("model", "revision", "device", "dtype")
    told = {name: str(description[name]) for name in names if description.get(name) is not None}
    weights = description.get("checkpoint")
    versions = description.get("versions", {})
    more = {"checkpoint": weights[:12]} if weights else {}
    more |= {name: versions[name] for name in ("sensorium",) if name in versions}
    return {"folder": str(store), **told, **more}


def _failures(
    store: Store, description: Mapping[str, Any], codes: Counter[str], job: str
) -> list[tuple[str, int, list[FailureCard]]]:
    """The codes with how often each came, the commonest first, and their first inputs."""
    found: dict[str, list[FailureCard]] = defaultdict(list)
    lacking = {code: min(count, SHOWN) for code, count in codes.items()}
    for _, part in sorted(find_parts(store).items()):
        if not lacking:
            break
        here = part.counts(job)
        if not any(here[f"code:{code}"] for code in lacking):
            continue
        for row in part.rows(["source", "status", "error_code", "error_message"], failed=True):
            code = row["error_code"]
            if code in lacking:
                source = row["source"] or ""
                message = (row["error_message"] or "").removeprefix(f"{source}: ")
                found[code].append(FailureCard(source, message, row["status"] == "quarantined"))
                if len(found[code]) == lacking[code]:
                    del lacking[code]
    _illustrate(found, description)
    return [(code, count, found[code]) for code, count in codes.most_common()]


def _illustrate(found: Mapping[str, list[FailureCard]], description: Mapping[str, Any]) -> None:
    """Puts pictures into cards, but for those of inputs that end processes."""
    from sensorium.processors.folders import media_kind
    from sensorium.tasks.catalogue import known_tasks, task_card

    task = description["task"]  # a build of an index has the name of none
    if task not in known_tasks() or media_kind(task_card(task).inputs[0]) != "image":
        return
    places = [(code, i) for code, cards in found.items() for i, card in enumerate(cards) if not card.quarantined]
    paths = [found[code][i].source for code, i in places]
    uris = thumbnails(paths, description["settings"].get("limits"), description["cwd"])
    for (code, i), uri in zip(places, uris, strict=True):
        found[code][i] = replace(found[code][i], image=uri)


def _slowest(store: Store, timings: TimingSummary) -> list[dict[str, Any]]:
    """The dearest inputs, with what they are called and how they stand."""
    if not timings.slowest:
        return []
    size = Listing(store).size(0)
    parts, known = find_parts(store), dict[int, dict[str, Any]]()
    wanted = {number for number, _ in timings.slowest}
    for shard in {number // size for number in wanted} & parts.keys():
        for row in parts[shard].rows(["input_id", "source", "status", "error_code"]):
            if row["input_id"] in wanted:
                known[row["input_id"]] = row
    return [
        {"source": known[number]["source"], "state": known[number]["error_code"] or "ok", "seconds": seconds}
        for number, seconds in timings.slowest
        if number in known
    ]


def _chart(rates: Rates, ran: int) -> dict[str, Any]:
    """Where the bars of a chart stand, in its own units."""
    most = max(*rates.a_second, 1e-9)
    step = _nice(most / 4)
    top = step * math.ceil(most / step)
    high, wide = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - 12) / len(rates.a_second)
    bars = [
        {
            "x": round(LEFT + i * wide, 2),
            "y": round(TOP + high * (1 - rate / top), 2),
            "width": round(max(wide - 1, 0.5), 2),
            "height": round(high * rate / top, 2),
            "text": f"{rate:.4g} a second",
        }
        for i, rate in enumerate(rates.a_second)
    ]
    ticks = [
        {"at": round(TOP + high * (1 - i * step / top), 2), "text": f"{i * step:.6g}"}
        for i in range(round(top / step) + 1)
    ]
    place = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - 12}
    return {**place, "bars": bars, "ticks": ticks, "time": _told(rates.seconds), "mean": f"{ran / rates.seconds:.4g}"}


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, … times a power of ten."""
    unit = 10.0 ** math.floor(math.log10(value))
    return unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= value * 0.999)


def _told(seconds: float) -> str:
    """A stretch of time in the units that fit it: `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
