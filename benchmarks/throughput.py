"""End to end from JPEG bytes to labels, as a share of what forward passes alone, and decoding alone, could do.

    python -m benchmarks.throughput --device cuda --images 20000 --batch-size 256

The forward-only bound is the compiled model, normalising included, on a batch that lies on the device already; the
decode-only bound is decoding and fitting the same bytes on as many threads as the pipeline has. The lower one bounds
any way of running them, and the share is what the pipeline reaches of it. `--peer` adds Transformers' pipeline at its
defaults and at its best of dtype × batch size × workers, which reads the same pictures from files. `--decode cuda`
decodes on the card, and tells how many of the pictures get the label that they get when the CPU decodes them, from the
trained model that comes in the package.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import sensorium
from benchmarks.arguments import Parser
from benchmarks.harness import Measurement, Setting, fastest, in_turn, label, of_call, photographs, sampled, save
from benchmarks.image_classification import MODELS, checkpoint, peer
from benchmarks.machine import seconds
from sensorium.processors.media import load_image


def forward_only(pipe: sensorium.Pipeline, rows: int, *, compiled: bool) -> float:
    """Items per second of the forward alone, on one batch that stays on the device."""
    task, runtime = pipe.task, pipe._engine.runtime
    call, options = runtime.caller(compiled=compiled), task.options()
    with torch.inference_mode():
        units = list(task.split(task.example(), options)) * rows
        batch = runtime.upload(task, units[:rows])
        with runtime.running():
            return rows / seconds(lambda: task.forward(batch, options, call), pipe.device, warmup_s=1.0)


def decode_only(pipe: sensorium.Pipeline, blobs: list[bytes]) -> float:
    """Items per second of decoding and fitting alone, on the pipeline's number of threads."""

    def decode(blob: bytes) -> None:
        with torch.inference_mode():
            pipe.task.processor.fit(load_image(blob))

    threads = pipe._engine.workers
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        return len(blobs) / seconds(lambda: list(pool.map(decode, blobs)), "cpu", calls=3)


def labels_agree(files: list[str], device: str) -> float:
    """The share of pictures whose best label is the same whether the card or the CPU decodes them."""
    found = []
    for decode in ("cpu", "cuda"):
        with sensorium.pipeline(
            "image-classification", "starter/image-classification", device=device, dtype="float32", decode=decode
        ) as pipe:
            found.append([result.labels[0] for result in pipe(files)])
    share = sum(a == b for a, b in zip(*found, strict=True)) / len(files)
    print(f"  {share:.2%} of {len(files)} pictures get the same label when the CPU decodes them")
    return share


def peers_best(place: Path, files: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """The peer's rates, at its defaults on a part of the files and at its best on all."""
    peers = functools.cache(functools.partial(peer, place, arguments.device))

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, sample = peers(setting["dtype"]), sampled(files, arguments, setting["batch_size"])
        return lambda: pipe(sample, **of_call(setting)), len(sample)

    best, tried = fastest(ready, arguments)
    few = files[: arguments.sample]
    defaults = in_turn({"peer, defaults": lambda: peers("float32")(few)}, len(few), arguments)
    whole = {f"peer, best ({label(best)})": lambda: peers(best["dtype"])(files, **of_call(best))}
    found = {**defaults, **in_turn(whole, len(files), arguments)}
    return {"rates": {name: each.rates for name, each in found.items()}, "peer_settings_tried": tried}


def measure(pipe: sensorium.Pipeline, blobs: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the stream and both bounds, prints the shares, and returns all."""
    compiled, count = not arguments.no_compile, arguments.images

    def stream() -> None:
        for _ in pipe.stream(itertools.islice(itertools.cycle(blobs), count), total=count):
            pass

    forward = forward_only(pipe, arguments.batch_size, compiled=compiled)
    decode = decode_only(pipe, blobs)
    pipe.reset_stats()
    found: Measurement = in_turn({"end to end": stream}, count, arguments)["end to end"]
    print(f"{arguments.model} on {pipe.device}, {pipe.placement.dtype}, batches of {arguments.batch_size}")
    print(f"  {found}")
    print(f"  forward alone {forward:.1f} /s ({found.median / forward:.0%} of it reached)")
    print(
        f"  decoding alone, {pipe._engine.workers} threads {decode:.1f} /s ({found.median / decode:.0%} of it reached)"
    )
    print(f"  share of the lower bound: {found.median / min(forward, decode):.0%}")
    stats = pipe.stats()
    print("  waited for:", {name: round(stage["bottleneck"], 3) for name, stage in stats["stages"].items()})
    return {
        "model": arguments.model,
        "rates": found.rates,
        "forward_only": forward,
        "decode_only": decode,
        "share_of_forward": found.median / forward,
        "share_of_decode": found.median / decode,
        "stats": stats,
    }


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--model", choices=MODELS, default="vit")
    found.count("--images", 256, 20_000)
    found.count("--batch-size", 8, 256)
    found.add_argument("--pictures", type=int, default=256, help="different ones, which come again and again")
    found.add_argument("--decode", choices=["cpu", "cuda"], default="cpu", help="where JPEGs are decoded")
    found.add_argument("--no-compile", action="store_true")
    found.add_argument("--peer", action="store_true")
    found.peer_settings(64, workers=(0, 2))
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    files = photographs(folder / "photographs", arguments.pictures)
    place = checkpoint(arguments.model, folder)
    with sensorium.pipeline(
        "image-classification",
        place,
        device=arguments.device,
        batch_size=arguments.batch_size,
        compile=not arguments.no_compile,
        decode=arguments.decode,
    ) as pipe:
        figures = measure(pipe, [Path(path).read_bytes() for path in files], arguments)
    if arguments.decode == "cuda":
        figures["labels_agree"] = labels_agree(files, arguments.device)
    if arguments.peer:
        figures["peer"] = peers_best(place, files, arguments)
        for name, rates in figures["peer"]["rates"].items():
            print(f"  {Measurement(name, rates)}")
    save("throughput" if arguments.decode == "cpu" else "throughput-decode-cuda", figures, arguments)


if __name__ == "__main__":
    main()
