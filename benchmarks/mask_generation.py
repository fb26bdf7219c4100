"""SAM ViT-B (random weights) on photographs: everything with 32×32 points, and prompts, against Transformers' pipeline.

    python -m benchmarks.mask_generation --images 2
    python -m benchmarks.mask_generation --device cuda --model sam-vit-huge --compile
    python -m benchmarks.mask_generation --drift

Random weights find nothing, so the last layers are moved until a third of the masks is thought good enough and their
logits are as large as trained ones are: the filters then leave some hundreds of masks, as they do for a photograph; the
suppression leaves few of these, since random masks are alike. The peer's best is sought over dtype × points a batch.
Prints pictures a second, seconds a picture outside the encoder, the highest memory of a process that does nothing else,
and what a second prompt on a picture costs beside the first.
"""

from __future__ import annotations

import argparse
import functools
import re
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, photographs, save
from benchmarks.machine import wait

GOOD_SHARE = 1 / 3
LOGIT_STD = 60.0
SIZES = {
    "sam-vit-base": {},
    "sam-vit-huge": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "mlp_dim": 5120,
        "global_attn_indexes": [7, 15, 23, 31],
    },
    "tiny": {"hidden_size": 48, "num_hidden_layers": 1, "mlp_dim": 32, "global_attn_indexes": []},
}


def checkpoint(name: str, folder: Path, image: str) -> Path:
    """Saves a model that answers on `image` as a trained one would, as far as the filters can see."""
    import torch
    from PIL import Image
    from transformers import SamConfig, SamImageProcessor, SamModel

    place = folder / f"mask-generation-{name}"
    if (place / "model.safetensors").exists():
        return place
    torch.manual_seed(0)
    model, processor = SamModel(SamConfig(vision_config=SIZES[name])).eval(), SamImageProcessor()
    with torch.inference_mode():
        for parameter_name, parameter in model.mask_decoder.named_parameters():
            if (
                parameter_name.endswith("weight") and parameter.ndim == 2
            ):  # so that points matter, as they do in the end
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[1] ** 0.5)
        pixels = processor(Image.open(image), return_tensors="pt")["pixel_values"]
        points = torch.rand(1, 32, 1, 2) * 700
        embedding = model.get_image_embeddings(pixels)
        logits = model(image_embeddings=embedding, input_points=points).pred_masks
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(LOGIT_STD / logits.std())
            head.proj_out.bias.mul_(LOGIT_STD / logits.std())
        scores = model(image_embeddings=embedding, input_points=points).iou_scores
        last = model.mask_decoder.iou_prediction_head.proj_out
        last.weight.mul_(0.1 / scores.std())
        last.bias.mul_(0.1 / scores.std())
        scores = model(image_embeddings=embedding, input_points=points).iou_scores
        last.bias.add_(0.88 - torch.quantile(scores.flatten(), 1 - GOOD_SHARE))
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def peer(place: Path, device: str, dtype: str) -> Any:
    import torch
    import transformers

    return transformers.pipeline("mask-generation", model=str(place), device=device, dtype=getattr(torch, dtype))


def ours(place: Path, device: str, dtype: str, *, compile: bool = False) -> Any:
    import sensorium

    return sensorium.pipeline("mask-generation", place, device=device, dtype=dtype, compile=compile)


class EncoderClock:
    """Adds up the seconds that a model's encoder takes."""

    def __init__(self, model: Any, device: str) -> None:
        self.seconds, self._began, self._device = 0.0, 0.0, device
        model.vision_encoder.register_forward_pre_hook(self._start)
        model.vision_encoder.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        wait(self._device)
        self._began = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        wait(self._device)
        self.seconds += time.perf_counter() - self._began


class Everything:
    """Finds everything on pictures, and keeps what it took outside the encoder; that of compiled code is not told."""

    def __init__(self, pipe: Any, arguments: argparse.Namespace, *, compiled: bool = False, **options: Any) -> None:
        self.pipe, self._device = pipe, arguments.device
        self._options = {"points_per_crop": arguments.points, **options}
        self._clock = None if compiled else EncoderClock(pipe.model, arguments.device)
        self.outside: list[float] = []
        self.masks = 0

    def __call__(self, images: list[str]) -> None:
        before, began = self._clock.seconds if self._clock else 0.0, time.perf_counter()
        self.masks = sum(len(self.pipe(image, **self._options)["scores"]) for image in images)
        wait(self._device)
        if self._clock:
            spent = time.perf_counter() - began - (self._clock.seconds - before)
            self.outside.append(spent / len(images))


def everything(place: Path, images: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn; the seconds outside the encoder come from the same runs."""
    device = arguments.device
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Callable[[], Any], int]:
        pipe, options = peers(setting["dtype"]), {"points_per_batch": setting["batch_size"]}
        pipe(images[0], points_per_crop=2, **options)
        side = arguments.points if device.startswith("cuda") else arguments.sample  # all would take a CPU minutes
        return lambda: pipe(images[0], points_per_crop=side, **options), 1

    best, tried = fastest(ready, arguments)
    sides = {
        "peer, defaults (float32, 64 points)": Everything(peers("float32"), arguments),
        f"peer, best ({label(best)})": Everything(peers(best["dtype"]), arguments, points_per_batch=best["batch_size"]),
        "ours, defaults": Everything(ours(place, device, "auto"), arguments),
        "ours, float32": Everything(ours(place, device, "float32"), arguments),
    }
    if arguments.compile:
        sides["ours, compiled"] = Everything(ours(place, device, "auto", compile=True), arguments, compiled=True)
    runs = {name: (lambda side=side: side(images)) for name, side in sides.items()}
    found = in_turn(runs, len(images), arguments)
    figures = compared(found)
    mine = {name: side.pipe for name, side in sides.items() if name.startswith("ours")}
    points = arguments.points
    figures |= shares_of_bound(
        found, mine, images[:1], device, run=lambda pipe, some: pipe(some, points_per_crop=points)
    )
    rest = {name: median(side.outside[arguments.warmup :]) for name, side in sides.items() if side.outside}
    for name, each in rest.items():
        beyond = rest["peer, defaults (float32, 64 points)"] / each
        print(f"  {name}: {each:.4f} s a picture outside the encoder ({beyond:.2f}×), {sides[name].masks} masks")
    return {
        **figures,
        "peer_settings_tried": tried,
        "outside": rest,
        "masks": {name: side.masks for name, side in sides.items()},
    }


def second_prompt(place: Path, image: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The first prompt on a picture, its encoding included, and further ones."""
    figures = {}
    for dtype in ("float32", "auto"):
        pipe = ours(place, arguments.device, dtype)
        first, later = [], []
        for round_ in range(arguments.rounds + 1):
            began = time.perf_counter()
            with pipe.image(image) as opened:
                opened.masks(points=[[250, 180]])
                wait(arguments.device)
                middle = time.perf_counter()
                opened.masks(points=[[100 + 10 * round_, 90]])
                wait(arguments.device)
                later.append(time.perf_counter() - middle)
            first.append(middle - began)
        share = median(later[1:]) / median(first[1:])
        print(f"  second prompt, {dtype}: {median(later[1:]) * 1e3:.0f} ms, {share:.1%} of the first")
        figures[dtype] = {"first_s": median(first[1:]), "second_s": median(later[1:]), "share": share}
    return figures


def memory(place: Path, image: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The highest memory, MB, of processes that each do one picture: on a card the card's, else the resident set."""
    jobs = {
        "peer, float32, 64 points": (peer, "float32"),
        "ours, float32": (ours, "float32"),
        "ours, defaults": (ours, "auto"),
    }
    found = {}
    for name, (build, dtype) in jobs.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            job = pool.submit(_highest, build, place, image, arguments.device, dtype, arguments.points)
            found[name] = job.result()
        print(f"  {name}: {found[name]:.0f} MB at most")
    return found


def drift(place: Path, images: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """bfloat16 against float32 on 64 points per picture: IoU of masks and difference of scores."""
    import numpy as np

    points = np.stack(np.meshgrid(np.linspace(30, 470, 8), np.linspace(30, 345, 8)), -1).reshape(-1, 1, 2)
    exact, fast = (ours(place, arguments.device, dtype) for dtype in ("float32", "bfloat16"))
    overlaps, scores = [], []
    for image in images:
        a, b = (pipe(image, points=points) for pipe in (exact, fast))
        both, either = (a.masks & b.masks).sum((1, 2)), (a.masks | b.masks).sum((1, 2))
        overlaps.append(both[either > 0] / either[either > 0])
        scores.append(np.abs(a.scores - b.scores))
    overlap, score = np.concatenate(overlaps), np.concatenate(scores)
    figures = {
        "median_iou": float(np.median(overlap)),
        "iou_5_percent": float(np.quantile(overlap, 0.05)),
        "median_score_difference": float(np.median(score)),
        "largest_score_difference": float(score.max()),
    }
    print("  bfloat16 against float32:", ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return figures


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--model", choices=SIZES, default="sam-vit-base")
    found.count("--images", 1, 8)
    found.add_argument("--points", type=int, default=32, help="points per side")
    found.peer_settings(16, batch_sizes=(64, 256), batch_sizes_on_cuda=(64, 256, 1024))
    found.add_argument("--compile", action="store_true", help="also ours with compile=True")
    found.add_argument("--no-memory", action="store_true", help="measures no memory, for which processes are started")
    found.add_argument("--drift", action="store_true", help="only how far bfloat16 is from float32")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    images = photographs(folder / "photographs", arguments.images)
    place = checkpoint(arguments.model, folder, images[0])
    print(f"\n{arguments.model}, {arguments.points}×{arguments.points} points")
    if arguments.drift:
        save("mask-generation-drift", drift(place, images, arguments), arguments)
        return
    figures = {
        "model": arguments.model,
        "everything": everything(place, images, arguments),
        "second_prompt": second_prompt(place, images[0], arguments),
    }
    if not arguments.no_memory:
        figures["memory_mb"] = memory(place, images[0], arguments)
    save("mask-generation", figures, arguments)


def _highest(build: Callable[..., Any], place: Path, image: str, device: str, dtype: str, points: int) -> float:
    import torch

    warnings.filterwarnings("ignore")
    build(place, device, dtype)(image, points_per_crop=points)
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss would count the parent's pages, too
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    main()
