"""Workers that are threads of the test, so that it sees what they do, and can let it fail.

What starts and hears a worker is what starts and hears a process; the process alone is replaced, by a thread at the
ends of two pipes.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

from sensorium.errors import SensoriumError
from sensorium.jobs import crew, page, work
from sensorium.jobs.gauge import Gauge
from sensorium.jobs.stores import open_store


class Thread:
    """In the place of `subprocess.Popen`."""

    pid = 0

    def __init__(self, command, **_):
        orders, self._orders = os.pipe()
        self._told, told = os.pipe()
        self.stdin, self.stdout = os.fdopen(self._orders, "wb"), os.fdopen(self._told, "rb")
        self._thread = threading.Thread(target=_work, args=(os.fdopen(orders, "rb"), os.fdopen(told, "wb")))
        self._thread.start()

    def kill(self):
        if not self.stdin.closed:
            self.stdin.close()

    def wait(self):
        self._thread.join()
        return 0


def _work(orders, out):
    """What `sensorium.jobs.worker` does."""

    def tell(event, **more):
        out.write(json.dumps({"event": event, **more}).encode() + b"\n")
        out.flush()

    with orders, out:
        try:
            first = json.loads(orders.readline())
            gauge = Gauge(Path(first["gauge"]))
            working = work.Work(open_store(first["folder"]), first["description"], gauge, tell, rank=first["rank"])
            for line in orders:
                order = json.loads(line)
                if order.get("do") == "end":
                    break
                working.do(order)
        except (SensoriumError, OSError) as error:
            tell("refused", error=type(error).__name__, message=str(error))


def use(monkeypatch):
    """Has the workers of this test in its own process, with one model for all of them."""
    monkeypatch.setattr(crew, "subprocess", SimpleNamespace(Popen=Thread, PIPE=None))
    monkeypatch.setattr(page, "thumbnails", lambda paths, *_: [None] * len(paths))  # made in a process of their own
    kept = functools.lru_cache(maxsize=None)(lambda text, number: real(json.loads(text), number))
    real = work._pipeline
    monkeypatch.setattr(
        work,
        "_pipeline",
        lambda description, number, _: kept(json.dumps({n: description[n] for n in _MADE_OF}), number),
    )


_MADE_OF = ("task", "model", "settings")
