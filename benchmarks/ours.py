"""Our pipelines as benchmarks set them: exact, as they come, and compiled."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser


def compiles(parser: Parser, on_cpu: int, on_cuda: int) -> None:
    """Adds what the compiled pipeline is given: `--compiled-batch`, or `--no-compile`.

    Args:
        parser: of the benchmark.
        on_cpu: units of a batch of its graph, on a CPU.
        on_cuda: the same on a card.
    """
    parser.count("--compiled-batch", on_cpu, on_cuda, "units of a batch of the compiled pipeline")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled pipeline out")


def pipes(
    task: str, place: Path, inputs: Sequence[Any], arguments: argparse.Namespace, **options: Any
) -> dict[str, Any]:
    """Pipelines by the names of what they are set to, the exact one first; the compiled one has compiled.

    Args:
        task: its name.
        place: the checkpoint's folder.
        inputs: what will be run; the first of them are compiled for.
        arguments: with the `device`, and what `compiles` adds.
        options: of the calls.
    """
    import sensorium

    device = arguments.device
    found = {
        "ours, float32, eager": sensorium.pipeline(task, place, device=device, dtype="float32", compile=False),
        "ours, defaults": sensorium.pipeline(task, place, device=device),
    }
    if not arguments.no_compile:
        size = arguments.compiled_batch
        compiled = sensorium.pipeline(task, place, device=device, compile=True, batch_size=size)
        began = time.perf_counter()
        compiled(inputs[:size], **options)
        print(f"{place.name}: compiled in {time.perf_counter() - began:.1f} s")
        found["ours, compiled"] = compiled
    return found
