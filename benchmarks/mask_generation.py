"""SAM ViT-B (random weights) on photographs: everything with 32×32 points, and prompts, against Transformers' pipeline.

    python -m benchmarks.mask_generation --images 2
    python -m benchmarks.mask_generation --drift

Random weights find nothing, so the last layers are moved until a third of the masks is thought good enough and their
logits are as large as trained ones are: the filters then leave some hundreds of masks, as they do for a photograph; the
suppression leaves few of these, since random masks are alike.
Prints seconds a picture in all and outside the encoder, the highest memory of a process that does nothing else, and
what a second prompt on a picture costs beside the first.
"""

from __future__ import annotations

import argparse
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

from benchmarks.harness import as_rows, in_turn, photographs, ratio, ratio_value, save

GOOD_SHARE = 1 / 3
LOGIT_STD = 60.0
SIZES = {
    "sam-vit-base": {},
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


def ours(place: Path, device: str, dtype: str) -> Any:
    import sensorium

    return sensorium.pipeline("mask-generation", place, device=device, dtype=dtype, compile=False)


class EncoderClock:
    """Adds up the seconds that a model's encoder takes."""

    def __init__(self, model: Any) -> None:
        self.seconds, self._began = 0.0, 0.0
        model.vision_encoder.register_forward_pre_hook(self._start)
        model.vision_encoder.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        _wait()
        self._began = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        _wait()
        self.seconds += time.perf_counter() - self._began


def everything(place: Path, images: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn; the seconds outside the encoder come from the same runs."""
    grid = {"points_per_crop": arguments.points}
    pipes = {
        "peer, defaults (float32, 64 points)": (peer(place, arguments.device, "float32"), {}),
        "peer, float32, 256 points": (peer(place, arguments.device, "float32"), {"points_per_batch": 256}),
        "peer, bfloat16, 64 points": (peer(place, arguments.device, "bfloat16"), {}),
        "ours, defaults": (ours(place, arguments.device, "auto"), {}),
        "ours, float32": (ours(place, arguments.device, "float32"), {}),
    }
    runs: dict[str, Callable[[], Any]] = {}
    clocks: dict[str, EncoderClock] = {}
    outside: dict[str, list[float]] = {}
    masks: dict[str, int] = {}
    for label, (pipe, options) in pipes.items():
        try:
            pipe(images[0], points_per_crop=2, **options)
        except (RuntimeError, TypeError) as error:
            print(f"{label} fails: {error}")
            continue
        clocks[label] = EncoderClock(pipe.model)

        def run(pipe: Any = pipe, label: str = label, options: dict[str, Any] = options) -> None:
            before, began = clocks[label].seconds, time.perf_counter()
            masks[label] = sum(len(pipe(image, **grid, **options)["scores"]) for image in images)
            _wait()
            spent = time.perf_counter() - began - (clocks[label].seconds - before)
            outside.setdefault(label, []).append(spent / len(images))

        runs[label] = run
    found = in_turn(runs, len(images), rounds=arguments.rounds, warmup=arguments.warmup)
    first = next(iter(found))
    ratios = {}
    for label, measurement in found.items():
        rest = median(outside[label][arguments.warmup :])
        print(f"  {measurement}; outside the encoder {rest:.2f} s a picture; {masks[label]} masks")
        if label.startswith("ours"):
            beyond = median(outside[first][arguments.warmup :]) / rest
            print(
                f"  {label}: {ratio(measurement, found[first])} the peer's defaults, {beyond:.2f}× outside the encoder"
            )
            ratios[label] = {name: ratio_value(measurement, other) for name, other in found.items()}
            ratios[label]["outside the encoder"] = beyond
    return {"measurements": as_rows(list(found.values())), "outside": outside, "ratios": ratios, "masks": masks}


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
                _wait()
                middle = time.perf_counter()
                opened.masks(points=[[100 + 10 * round_, 90]])
                _wait()
                later.append(time.perf_counter() - middle)
            first.append(middle - began)
        share = median(later[1:]) / median(first[1:])
        print(f"  second prompt, {dtype}: {median(later[1:]) * 1e3:.0f} ms, {share:.1%} of the first")
        figures[dtype] = {"first_s": median(first[1:]), "second_s": median(later[1:]), "share": share}
    return figures


def memory(place: Path, image: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The highest resident set, MB, of processes that each do one picture."""
    jobs = {
        "peer, float32, 64 points": (peer, "float32"),
        "ours, float32": (ours, "float32"),
        "ours, defaults": (ours, "auto"),
    }
    found = {}
    for label, (build, dtype) in jobs.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            job = pool.submit(_highest, build, place, image, arguments.device, dtype, arguments.points)
            found[label] = job.result()
        print(f"  {label}: {found[label]:.0f} MB at most")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="sam-vit-base")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--points", type=int, default=32, help="points per side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--drift", action="store_true", help="only how far bfloat16 is from float32")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    images = photographs(folder / "photographs", arguments.images)
    place = checkpoint(arguments.model, folder, images[0])
    print(f"\n{arguments.model}, {arguments.points}×{arguments.points} points")
    if arguments.drift:
        save("mask-generation-drift", drift(place, images, arguments))
        return
    save(
        "mask-generation",
        {
            "everything": everything(place, images, arguments),
            "second_prompt": second_prompt(place, images[0], arguments),
            "memory_mb": memory(place, images[0], arguments),
        },
    )


def _highest(build: Callable[..., Any], place: Path, image: str, device: str, dtype: str, points: int) -> float:
    warnings.filterwarnings("ignore")
    build(place, device, dtype)(image, points_per_crop=points)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss would count the parent's pages, too
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
