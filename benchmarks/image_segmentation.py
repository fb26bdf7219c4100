"""A folder of 640×480 JPEGs through SegFormer-B0, Mask2Former or EoMT (random weights), against Transformers' pipeline.

    python -m benchmarks.image_segmentation --models segformer --images 48
    python -m benchmarks.image_segmentation --drift

Prints the peer at its defaults, the peer at its best of dtype × batch size × workers, and ours, in pictures per second
of whole runs from file names to segments (the peer makes every mask, ours the label map); ours with every mask made,
too; the cost of upsampling and arg-max alone; and with `--drift` how far bfloat16 moves the maps.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, photographs, sampled, save
from benchmarks.machine import seconds
from benchmarks.ours import compiles, pipes

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


def _eomt():
    from transformers import EomtConfig, EomtForUniversalSegmentation, EomtImageProcessor

    config = EomtConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6)
    config.num_labels = 80
    return EomtForUniversalSegmentation(config), EomtImageProcessor(do_pad=True)


MODELS = {
    "segformer": (_segformer, {}),
    "mask2former": (_mask2former, {"threshold": 0.02, "subtask": "instance"}),
    "eomt": (_eomt, {"threshold": 0.02, "subtask": "instance"}),
}


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


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    images, options = photographs(folder / "photographs", arguments.images, size=(640, 480)), MODELS[name][1]
    place, device = checkpoint(name, folder, images), arguments.device
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, sample = peers(setting["dtype"]), sampled(images, arguments, setting["batch_size"])
        pipe(images[:1], **options)
        return lambda: pipe(sample, **of_call(setting), **options), len(sample)

    best, tried = fastest(ready, arguments)
    mine = pipes("image-segmentation", place, images, arguments, **options)
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers("float32")(images, **options),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(images, **of_call(best), **options),
        "peer, float32, best batch": lambda: peers("float32")(images, **of_call(best), **options),
        **{key: (lambda pipe=pipe: pipe(images, **options)) for key, pipe in mine.items()},
        "ours, defaults, every mask made": lambda: [list(each) for each in mine["ours, defaults"](images, **options)],
    }
    found = in_turn(runs, len(images), arguments)
    print(f"\n{name}")
    figures = {**compared(found), **shares_of_bound(found, mine, images[:4], device)}
    stats = {key: pipe.stats() for key, pipe in mine.items()}
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
        for kind, logits in (("random weights", random), ("white noise, the worst case", noise)):
            ways = {
                "peer": lambda logits=logits: interpolate(
                    logits[None], size=size, mode="bilinear", align_corners=False
                )[0].argmax(0),
                "ours": lambda logits=logits: class_map(logits, size),
            }
            spent = {key: 1e3 * seconds(way, device) for key, way in ways.items()}
            figures |= {f"{kind}: {key}": round(each, 3) for key, each in spent.items()}
            print(f"  upsampling, {kind}: {spent['peer'] / spent['ours']:.2f}× the peer's way")
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


def parser() -> Parser:
    found = Parser(__doc__, rounds=5)
    found.add_argument("--models", nargs="+", choices=MODELS, default=["segformer"])
    found.count("--images", 48, 256)
    compiles(found, 4, 32)
    found.peer_settings(8, batch_sizes=(1, 4, 8), workers=(0, 2))
    found.add_argument("--drift", action="store_true", help="measure bfloat16's drift and nothing else")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    figures = {name: work(name, arguments, folder) for name in arguments.models}
    save("image-segmentation-drift" if arguments.drift else "image-segmentation", figures, arguments)


if __name__ == "__main__":
    main()
