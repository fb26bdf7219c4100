"""The process that reads bombs, one after another, and tells how each ended and how much memory it took."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.isolation.bounds import address_space, bound_address_space
from tests.hostile.bomb import FINE

BUSY_S = 30
"""Seconds of a processor that a bomb may take; the kernel ends the process after them."""


def main() -> None:
    """Answers each line of JSON, `{"what": …, "path": …}`, with one. An argument bounds its addresses."""
    if sys.argv[1:]:
        importlib.import_module("torchvision.io")  # torch for a GPU takes 3 GB of addresses for itself
        bound_address_space(address_space() + int(sys.argv[1]))
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in sys.stdin:
        asked = json.loads(line)
        _forget()
        before = _memory("VmRSS")
        signal.setitimer(signal.ITIMER_PROF, BUSY_S)
        ended = _ended(READERS[asked["what"]], Path(asked["path"]))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"ended": ended, "grew": _memory("VmHWM") - before}), flush=True)


def _ended(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except SensoriumError as error:
        return str(getattr(error, "code", None) or type(error).__name__)
    except ValueError as error:
        return "ValueError" if type(error) is ValueError else f"{type(error).__name__}: {error!s:.500}"
    except BaseException as error:  # noqa: BLE001 - a panic of a library is none of Exception
        return f"{type(error).__module__}.{type(error).__name__}: {error!s:.500}"
    return FINE


def _forget() -> None:
    """Gives free memory back, and has the kernel begin anew to note the most that there was."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _memory(entry: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(entry):
            return int(line.split()[1]) * 1024
    raise LookupError(entry)


def _picture(path: Path) -> None:
    from sensorium.processors.media import load_image

    load_image(path)


def _sound(path: Path) -> None:
    from sensorium.processors.audio_reading import load_audio

    load_audio(path)


def _document(path: Path) -> None:
    from sensorium.retrieval.reading.documents import DocumentLimits, read_documents

    for _ in read_documents(path, limits=DocumentLimits(max_memory_bytes=2**30, timeout_s=BUSY_S)):
        pass


def _passages(path: Path) -> None:
    from sensorium.retrieval.reading.passage_files import read_passages

    for _ in read_passages(path):
        pass


def _inputs(path: Path) -> None:
    from sensorium.jobs.inputs import Inputs

    for _ in Inputs([str(path)]).batches(["image"], [], {}):
        pass


def _mask(path: Path) -> None:
    from sensorium.results import rle

    rle.decode(json.loads(path.read_bytes()))


def _index(path: Path) -> None:
    from sensorium.retrieval import Index

    Index.load(path)


def _checkpoint(path: Path) -> None:
    import numpy as np

    from sensorium import pipeline

    with pipeline("image-classification", model=str(path), device="cpu", compile=False, num_workers=1) as pipe:
        pipe(np.zeros((40, 50, 3), np.uint8))


def _reader(path: Path) -> None:
    from sensorium.processors.text import TextProcessor

    text = TextProcessor.from_pretrained(path)
    text.encode("a b a" * 100, "who was it?")


def _template(path: Path) -> None:
    from sensorium.processors.text import TextProcessor

    TextProcessor.from_pretrained(path).chat("hello")


READERS: dict[str, Callable[[Path], None]] = {
    "picture": _picture,
    "sound": _sound,
    "document": _document,
    "passages": _passages,
    "table": _inputs,
    "archive": _inputs,
    "mask": _mask,
    "index": _index,
    "checkpoint": _checkpoint,
    "reader": _reader,
    "template": _template,
}

if __name__ == "__main__":
    main()
