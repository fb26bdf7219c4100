"""A worker: a process that loads the model once, and makes the parts of those shards that it is told to.

It reads its orders from standard input, one JSON object a line, and answers in the same way. When its standard input
ends, because whoever started it has ended, it ends at once, wherever it is.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from sensorium.errors import SensoriumError
from sensorium.jobs.gauge import Gauge


class Wire:
    """Orders in, answers out, on file descriptors that nothing else in the process writes to."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)  # whatever a library prints goes where messages go
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, args=(sys.stdin.buffer,), daemon=True).start()

    def tell(self, event: str, **more: Any) -> None:
        """Answers."""
        os.write(self._out, json.dumps({"event": event, **more}).encode() + b"\n")

    def next(self) -> dict[str, Any]:
        """The next order."""
        return self._orders.get()

    def _read(self, orders: BinaryIO) -> None:
        for line in orders:
            self._orders.put(json.loads(line))
        os._exit(0)


def main() -> None:
    """Works until it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    if sys.platform == "linux":  # ends with it, even in a library that lets no other thread run
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    wire = Wire()
    order = wire.next()
    try:
        from sensorium.jobs.stores import open_store
        from sensorium.jobs.work import Work  # with torch and all: after the reading thread has begun

        gauge = Gauge(Path(order["gauge"]))
        place = {"rank": order["rank"], "threads": order.get("threads")}
        work = Work(open_store(order["folder"]), order["description"], gauge, wire.tell, **place)
        while (order := wire.next()).get("do") != "end":
            work.do(order)
    except (SensoriumError, OSError) as error:  # of the job, not of an input: whoever reads this ends the run with it
        wire.tell("refused", error=type(error).__name__, message=str(error))
    except BaseException:  # noqa: BLE001 - maybe of an input, which is looked for as after any other end of a worker
        traceback.print_exc()
        os._exit(1)  # at once: the reading thread holds standard input
    os._exit(0)  # no thread of a library keeps it


if __name__ == "__main__":
    main()
