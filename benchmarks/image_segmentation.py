"""A folder of 640×480 JPEGs through SegFormer-B0 and Mask2Former (random weights), against Transformers' pipeline.

    python -m benchmarks.image_segmentation --models segformer --images 48
    python -m benchmarks.image_segmentation --drift

Prints the peer at its defaults, the peer at its best of dtype × batch size × workers, and ours, in pictures per second
of whole runs from file names to segments (the peer makes every mask, ours the label map); ours with every mask made,
too; the cost of upsampling and arg-max alone; and with `--drift` how far bfloat16 moves the maps.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.harness import compared, in_turn, photographs, ratio, save

LABELS = 150


def _segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    config = SegformerConfig(hidden_sizes=[32, 64, 160, 256], depths=[2, 2, 2, 2], decoder_hidden_size=256)
    config.num_labels = LABELS
    return SegformerForSemanticSegmentation(config), SegformerImageProcessor(size={"height": 512, "width": 512})


def _mask2former():
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

    config = Mask2FormerConfig()  # Swin-T, 100 queries
    config.num_labels = 80
    return Mask2FormerForUniversalSegmentation(config), Mask2FormerImageProcessor(
        size={"shortest_edge": 480, "longest_edge": 800}
    )


MODELS = {"segformer": (_segformer, {}), "mask2former": (_mask2former, {"threshold": 0.02, "subtask": "instance"})}


def checkpoint(name: str, folder: Path, images: list[str]) -> Path:
    """Saves the model with random weights, its classes given equal chances, as `from_pretrained` wants it.

    Without that a random SegFormer gives nearly all pixels one class, and both sides would have less to do than with a
    trained one.
    """
    import torch
    from PIL import Image

    place = folder / f"{name}-segmentation"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        model, processor = MODELS[name][0]()
        model.eval()
        if name == "segformer":
            with torch.no_grad():
                pixels = processor(images=[Image.open(image) for image in images[:4]], return_tensors="pt")
                values = model(**pixels).logits.movedim(1, 0).flatten(1)
                classifier = model.decode_head.classifier
                classifier.weight.div_(values.std(1).view(-1, 1, 1, 1))
                classifier.bias.sub_(values.mean(1)).div_(values.std(1))
        model.save_pretrained(place)
        processor.save_pretrained(place)
    return place


def peer(place: Path, device: str, dtype: str):
    import torch
    import transformers

    return transformers.pipeline(
        "image-segmentation",
        model=str(place),
        image_processor=str(place),
        device=device,
        dtype=getattr(torch, dtype),
    )


def best_of_peer(place: Path, images: list[str], options: dict, grid: argparse.Namespace) -> tuple[dict, dict]:
    """Tries the peer's settings on a few pictures and returns the fastest with all rates; what crashes is named."""
    tried: dict[str, float | str] = {}
    best: tuple[float, dict] = (0.0, {})
    for dtype in grid.dtypes:
        pipe = peer(place, grid.device, dtype)
        for batch_size, workers in itertools.product(grid.batch_sizes, grid.workers):
            label = f"{dtype} batch {batch_size} workers {workers}"
            sample = images[: max(2 * batch_size, grid.sample)]
            try:
                pipe(images[:1], **options)
                began = time.perf_counter()
                pipe(sample, batch_size=batch_size, num_workers=workers, **options)
            except Exception as error:  # noqa: BLE001 - some settings crash the peer, and that is a finding
                tried[label] = f"{type(error).__name__}: {error}"[:120]
                continue
            rate = len(sample) / (time.perf_counter() - began)
            tried[label] = round(rate, 2)
            if rate > best[0]:
                best = (rate, {"dtype": dtype, "batch_size": batch_size, "num_workers": workers})
    return best[1], tried


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    import sensorium

    images, options = photographs(folder / "photographs", arguments.images, size=(640, 480)), MODELS[name][1]
    place, device = checkpoint(name, folder, images), arguments.device
    best, tried = best_of_peer(place, images, options, arguments)
    setting = {key: best[key] for key in ("batch_size", "num_workers")}
    peers = {dtype: peer(place, device, dtype) for dtype in {"float32", best["dtype"]}}
    mine = {
        "ours, defaults": sensorium.pipeline("image-segmentation", place, device=device),
        "ours, float32, eager": sensorium.pipeline(
            "image-segmentation", place, device=device, dtype="float32", compile=False
        ),
    }
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers["float32"](images, **options),
        f"peer, best ({best})": lambda: peers[best["dtype"]](images, **setting, **options),
        "peer, float32, best batch": lambda: peers["float32"](images, **setting, **options),
        **{label: (lambda pipe=pipe: pipe(images, **options)) for label, pipe in mine.items()},
        "ours, defaults, every mask made": lambda: [list(each) for each in mine["ours, defaults"](images, **options)],
    }
    found = in_turn(runs, len(images), rounds=arguments.rounds)
    print(f"\n{name}")
    figures = compared(found)
    stats = {label: pipe.stats() for label, pipe in mine.items()}
    enlarged = upsampling(place, images[0], device)
    return {**figures, "peer_settings_tried": tried, "stats": stats, "upsampling": enlarged}


def upsampling(place: Path, image: str, device: str) -> dict[str, float]:
    """Milliseconds of upsampling and arg-max from one picture's logits to 640×480, the peer's way and ours."""
    import torch
    from PIL import Image
    from torch.nn.functional import interpolate
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    from sensorium.tasks.segmentation.maps import class_map

    if "segformer" not in place.name:
        return {}
    model = AutoModelForSemanticSegmentation.from_pretrained(place).eval().to(device)
    pixels = AutoImageProcessor.from_pretrained(place)(images=Image.open(image), return_tensors="pt").to(device)
    size, figures = (480, 640), {}
    with torch.inference_mode():
        random = model(**pixels).logits[0]
        noise = torch.randn_like(random)
        for label, logits in (("random weights", random), ("white noise, the worst case", noise)):
            ways = {
                "peer": lambda logits=logits: interpolate(
                    logits[None], size=size, mode="bilinear", align_corners=False
                )[0].argmax(0),
                "ours": lambda logits=logits: class_map(logits, size),
            }
            times = in_turn({key: (lambda way=way: way().cpu()) for key, way in ways.items()}, 1, rounds=5)
            for key, measurement in times.items():
                figures[f"{label}: {key}"] = round(1000 / measurement.median, 2)
            print(f"  upsampling, {label}: {ratio(times['ours'], times['peer'])} the peer's way")
    return figures


def drift(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    """Shares of pixels that keep their class in bfloat16, and the mean IoU of the classes of the float32 maps."""
    import sensorium

    images = photographs(folder / "photographs", arguments.images, size=(640, 480))
    place = checkpoint(name, folder, images)
    settings = {"device": arguments.device, "compile": False}
    with (
        sensorium.pipeline("image-segmentation", place, dtype="float32", **settings) as exact,
        sensorium.pipeline("image-segmentation", place, dtype="bfloat16", **settings) as fast,
    ):
        pairs = list(zip(exact(images, subtask="semantic"), fast(images, subtask="semantic"), strict=True))
    same = [float((a.segmentation == b.segmentation).mean()) for a, b in pairs]
    overlaps = []
    for a, b in pairs:
        for value in a.values.tolist():
            one, other = a.segmentation == value, b.segmentation == value
            overlaps.append((float((one & other).sum() / (one | other).sum()), int(one.sum())))
    shares = np.array([area for _, area in overlaps]) / sum(area for _, area in overlaps)
    figures = {
        "pixels of the same class": float(np.mean(same)),
        "mask IoU, mean": float(np.mean([iou for iou, _ in overlaps])),
        "mask IoU, weighted by area": float(np.dot([iou for iou, _ in overlaps], shares)),
    }
    print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["segformer"])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--sample", type=int, default=8, help="pictures for each of the peer's settings")
    parser.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    figures = {name: work(name, arguments, folder) for name in arguments.models}
    save("image-segmentation-drift" if arguments.drift else "image-segmentation", figures)


if __name__ == "__main__":
    main()
