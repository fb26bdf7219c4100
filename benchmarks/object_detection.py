"""RT-DETR-r50 at 640 px and DETR-r50 (random weights) on 500×375 JPEGs, against Transformers' pipeline.

    python -m benchmarks.object_detection --models rt_detr detr --images 48
    python -m benchmarks.object_detection --drift

Prints, for each model: the peer at its defaults, the peer at its best of dtype × batch size × workers (on a CPU each
tried in a process of its own, as RT-DETR in bfloat16 may end its process there), ours at its defaults and compiled, in
pictures per second of whole runs from file names to boxes; and their ratios. `--drift` prints how far bfloat16 and
compiling move scores and boxes, px: of the same query, or of the nearest box for RT-DETR, which sorts its queries by
score. Untrained boxes lie closer together than trained ones, so that this is no more than a hint.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, photographs, sampled, save, settings

FOLDER = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
EVERYTHING = 0.0  # random weights are sure of nothing: a threshold at which each box goes through post-processing


def _rt_detr():
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor

    return RTDetrForObjectDetection(RTDetrConfig(num_labels=80)), RTDetrImageProcessor()


def _detr():
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    backbone = ResNetConfig(out_features=["stage4"])
    return DetrForObjectDetection(DetrConfig(backbone_config=backbone, num_labels=91)), DetrImageProcessor()


def _yolos():
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    sizes = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "image_size": [800, 1333]}
    return YolosForObjectDetection(YolosConfig(**sizes, num_labels=91)), YolosImageProcessor()


def _tiny():
    """For trying this script out."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, out_features=["stage4"])
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    size = {"shortest_edge": 64, "longest_edge": 107}
    return DetrForObjectDetection(DetrConfig(backbone_config=backbone, **sizes)), DetrImageProcessor(size=size)


MODELS = {"rt_detr": _rt_detr, "detr": _detr, "yolos": _yolos, "tiny": _tiny}


def checkpoint(name: str) -> Path:
    """Saves the model with random weights, as `from_pretrained` wants it."""
    import torch

    place = FOLDER / f"detector-{name}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        model, processor = MODELS[name]()
        model.save_pretrained(place)
        processor.save_pretrained(place)
    return place


def peer(place: Path, device: str, dtype: str):
    import torch
    import transformers

    return transformers.pipeline("object-detection", model=str(place), device=device, dtype=getattr(torch, dtype))


def ours(place: Path, device: str, **settings):
    import sensorium

    return sensorium.pipeline("object-detection", place, device=device, **settings)


def find_all(pipe, images: list[str], setting: Setting) -> list:
    """What the peer finds.

    Raises:
        RuntimeError: it lost boxes, as where scores are NaN.
    """
    found = pipe(images, threshold=EVERYTHING, **of_call(setting))
    if not all(found):
        raise RuntimeError("nothing found at a threshold of 0")
    return found


def trial(name: str, device: str, setting: Setting, images: list[str]) -> float:
    """The peer's pictures per second in one setting."""
    pipe = peer(checkpoint(name), device, setting["dtype"])
    pipe(images[: setting["batch_size"]], **of_call(setting))
    began = time.perf_counter()
    find_all(pipe, images, setting)
    return len(images) / (time.perf_counter() - began)


def best_of_peer(name: str, images: list[str], arguments: argparse.Namespace) -> tuple[Setting, dict]:
    """The fastest of the peer's settings, and what came of each; on a CPU each runs in a process of its own."""
    if arguments.device.startswith("cuda"):
        peers = functools.cache(functools.partial(peer, checkpoint(name), arguments.device))

        def ready(setting: Setting) -> tuple[Any, int]:
            pipe, sample = peers(setting["dtype"]), sampled(images, arguments, setting["batch_size"])
            return lambda: find_all(pipe, sample, setting), len(sample)

        return fastest(ready, arguments)
    tried: dict[str, object] = {}
    best: tuple[float, Setting] = (0.0, {"dtype": "float32", "batch_size": 1})
    for setting in settings(arguments):
        words = [name, arguments.device, json.dumps(setting), str(max(setting["batch_size"], arguments.sample))]
        command = [sys.executable, "-m", "benchmarks.object_detection", "--trial", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            tried[label(setting)] = f"failed: exit code {done.returncode} {last}"
            continue
        rate = json.loads(done.stdout.strip().splitlines()[-1])
        tried[label(setting)] = round(rate, 3)
        if rate > best[0]:
            best = (rate, setting)
    print(f"{name}: the peer's settings: {tried}")
    return best[1], tried


def speed(name: str, arguments: argparse.Namespace) -> dict:
    place, device = checkpoint(name), arguments.device
    images = photographs(FOLDER / "photographs", arguments.images)
    best, tried = best_of_peer(name, images, arguments)
    peers = {dtype: peer(place, device, dtype) for dtype in {"float32", best["dtype"]}}
    mine = {"ours, defaults": ours(place, device)}
    if not arguments.no_compile:
        mine["ours, compiled"] = ours(place, device, compile=True, batch_size=arguments.compiled_batch)
        began = time.perf_counter()
        mine["ours, compiled"](images[: arguments.compiled_batch])
        print(f"{name}: compiled in {time.perf_counter() - began:.1f} s")
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers["float32"](images, threshold=EVERYTHING),
        f"peer, best ({label(best)})": lambda: find_all(peers[best["dtype"]], images, best),
        **{key: (lambda pipe=pipe: pipe(images, threshold=EVERYTHING)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(images), arguments)
    print(f"\n{name}")
    figures = {**compared(found), **shares_of_bound(found, mine, images[:2], device)}
    stats = {key: pipe.stats() for key, pipe in mine.items()}
    return {**figures, "peer_settings_tried": tried, "stats": stats}


def drift(name: str, arguments: argparse.Namespace) -> dict:
    """How far boxes (px) and scores of the same query and class move from float32's, run eagerly."""
    place, images = checkpoint(name), photographs(FOLDER / "photographs", arguments.sample)
    settings = {"bfloat16": {"dtype": "bfloat16", "compile": False}}
    if not arguments.no_compile:
        settings["float32 compiled"] = {"dtype": "float32", "compile": True}
        settings["bfloat16 compiled"] = {"dtype": "bfloat16", "compile": True}
    exact = ours(place, arguments.device, dtype="float32", compile=False, batch_size=1)(images, threshold=EVERYTHING)
    figures = {}
    for mode, setting in settings.items():
        found = ours(place, arguments.device, batch_size=1, **setting)(images, threshold=EVERYTHING)
        by_query = name != "rt_detr"
        pairs = [_moved(a, b, by_query=by_query) for a, b in zip(exact, found, strict=True)]
        moved, scores = (np.concatenate(each) for each in zip(*pairs, strict=True))
        figures[mode] = {
            "boxes_px": {"median": float(np.median(moved)), "p95": float(np.percentile(moved, 95))},
            "scores": {"median": float(np.median(scores)), "largest": float(scores.max())},
            "compared": "the same query" if by_query else "the nearest box",
        }
        print(f"{name:<8} {mode:<18} {figures[mode]}")
    return figures


def _moved(a, b, *, by_query: bool) -> tuple[np.ndarray, np.ndarray]:
    """How far the sides of each box of `a` (the largest of four, px) and its score are from those of a box of `b`."""
    distance = np.abs(a.xyxy[:, None] - b.xyxy[None]).max(-1)
    rows = np.arange(len(a))
    other = rows if by_query else distance.argmin(1)
    return distance[rows, other], np.abs(a.scores - b.scores[other])


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--models", nargs="+", choices=MODELS, default=["rt_detr", "detr"])
    found.count("--images", 48, 256)
    found.count("--compiled-batch", 4, 32)
    found.add_argument("--no-compile", action="store_true")
    found.peer_settings(8, batch_sizes=(1, 4, 8), workers=(0,))
    found.add_argument(
        "--drift", action="store_true", help="only how far boxes and scores move, on `--sample` pictures"
    )
    found.add_argument("--trial", nargs=4, help=argparse.SUPPRESS)
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    if arguments.trial:
        name, device, setting, count = arguments.trial
        print(json.dumps(trial(name, device, json.loads(setting), photographs(FOLDER / "photographs", int(count)))))
        return
    for name in arguments.models:
        checkpoint(name)
    photographs(FOLDER / "photographs", max(arguments.images, arguments.sample, *arguments.batch_sizes))
    measure = drift if arguments.drift else speed
    figures = {name: measure(name, arguments) for name in arguments.models}
    save("object-detection-drift" if arguments.drift else "object-detection", figures, arguments)


if __name__ == "__main__":
    main()
