"""End to end from JPEG bytes, as a share of what the model's forward alone could do.

    python -m benchmarks.throughput --device cuda --images 20000 --batch-size 256

The bound is the compiled forward on a batch that lies on the device already; the share is what decoding, copying and
decoding results leave of it. `--peer` adds Transformers' pipeline at its defaults.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
import warnings
from pathlib import Path

import torch

import sensorium
from benchmarks.harness import photographs, save
from benchmarks.image_classification import MODELS, checkpoint, peer


def forward_bound(pipe: sensorium.Pipeline, rows: int, seconds: float = 3.0) -> float:
    """Items per second of the forward alone, on one batch that stays on the device."""
    task, device = pipe.task, pipe.device
    runtime = pipe._engine.runtime
    call = runtime.caller(compiled=runtime.compiler.setting is True)
    with torch.inference_mode():
        units = list(task.split(task.example(), task.options()))
        batch = {name: t.to(device) for name, t in task.collate(units * rows).items()}
        for _ in range(3):
            task.forward(batch, task.options(), call)
        _wait(device)
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            task.forward(batch, task.options(), call)
            done += rows
            if done % (8 * rows) == 0:
                _wait(device)
        _wait(device)
        return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="vit")
    parser.add_argument("--device", default=None)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    blobs = [Path(p).read_bytes() for p in photographs(folder / "photographs", 256)]
    pipe = sensorium.pipeline(
        "image-classification",
        checkpoint(arguments.model, folder),
        device=arguments.device,
        batch_size=arguments.batch_size,
        compile=not arguments.no_compile,
    )
    pipe(blobs[: arguments.batch_size] * (arguments.batch_size // len(blobs) + 1))
    bound = forward_bound(pipe, arguments.batch_size)
    rates = []
    for _ in range(arguments.rounds):
        pipe.reset_stats()
        began = time.perf_counter()
        for _ in pipe.stream(itertools.islice(itertools.cycle(blobs), arguments.images), total=arguments.images):
            pass
        rates.append(arguments.images / (time.perf_counter() - began))
    rate = sorted(rates)[len(rates) // 2]
    print(f"{arguments.model} on {pipe.device}: {rate:.1f} /s end to end")
    print(f"forward alone {bound:.1f} /s: {rate / bound:.0%} of it")
    stats = pipe.stats()
    print({name: stage["bottleneck"] for name, stage in stats["stages"].items()})
    figures = {"model": arguments.model, "rates": rates, "forward_only": bound, "share": rate / bound, "stats": stats}
    if arguments.peer:
        theirs = peer(checkpoint(arguments.model, folder), str(pipe.device), "float32")
        files = photographs(folder / "photographs", 256)
        began = time.perf_counter()
        theirs(files)
        figures["peer_defaults"] = len(files) / (time.perf_counter() - began)
        print(f"peer at its defaults {figures['peer_defaults']:.1f} /s: {rate / figures['peer_defaults']:.1f}×")
    save("throughput", figures)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
