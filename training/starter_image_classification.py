"""Train the checkpoint `starter/image-classification`: 64 nouns in composed scenes.

Run from the root of a checkout; two cores need about an hour (`--help` lists the options):

    python -m training.starter_image_classification

Training scenes, weights and order depend on `--seed` alone; the last digits of the weights also depend on the
machine's floating-point kernels.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from sensorium.backbones import AutoBackbone
from sensorium.processors.image import ImageProcessor
from sensorium.tasks.heads import Composite, build_head
from training.card import Measured, write_card
from training.dataset import GrowingScenes, SceneSet, accuracy
from training.glyphs import FONT, LABELS

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "sensorium" / "starter" / "image-classification"


def main() -> None:
    """Compose, train, measure, save."""
    options = parse_arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    backbone = AutoBackbone.from_config(f"timm/{options.arch}")
    composite = build_head(backbone, list(LABELS))
    if options.init:
        composite.load_state_dict(Composite.from_pretrained(options.init).state_dict())
    composite.to(memory_format=torch.channels_last)
    processor = ImageProcessor.from_dict(recipe(options.edge))

    wider = recipe(options.edge, crop=_before_crop(options.edge))  # training takes the last crop at random places
    scenes = SceneSet(options.scenes, options.seed, (128, 200), wider, font=str(options.font))
    started = time.monotonic()
    growing = scenes.build(options.cache, workers=options.workers)
    weights, steps = train(composite, processor, growing, options)
    composite.load_state_dict(weights)

    minutes = (time.monotonic() - started) / 60

    measured = measure(composite, processor, options, steps=steps, minutes=minutes)
    composite.save_pretrained(options.out, processor)
    write_card(options.out, measured, options=vars(options))
    print(f"saved to {options.out}")


def recipe(edge: int, *, crop: int | None = None) -> dict[str, object]:
    """The `preprocessor_config.json` of a processor: shortest edge an eighth wider than the crop, ImageNet's colours.

    Args:
        edge: the model's input, px.
        crop: what is cropped instead of it, px.
    """
    return {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": _before_crop(edge)},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": crop or edge, "width": crop or edge},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }


def _before_crop(edge: int) -> int:
    return round(edge * 8 / 7)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the checkpoint starter/image-classification.")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the checkpoint")
    parser.add_argument("--init", type=Path, help="folder of a checkpoint to go on from, at full size from the start")
    parser.add_argument("--arch", default="mobilenetv4_conv_small_050", help="a timm architecture")
    parser.add_argument("--edge", type=int, default=128, help="the model's input, px")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--minutes", type=float, help="end sooner if training has taken this long; costs repeatability")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--label-smoothing", type=float, default=0.05)
    parser.add_argument("--scenes", type=int, default=32_000, help="scenes composed for training")
    parser.add_argument("--held-out-scenes", type=int, default=6_400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads that train")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that compose")
    parser.add_argument("--font", type=Path, default=FONT, help="NotoColorEmoji.ttf")
    cache = Path(tempfile.gettempdir()) / "sensorium-scenes"
    parser.add_argument("--cache", type=Path, default=cache, help="folder for composed scenes, ~64 KB each")
    return parser.parse_args()


def train(
    composite: Composite, processor: ImageProcessor, scenes: GrowingScenes, options: argparse.Namespace
) -> tuple[dict[str, torch.Tensor], int]:
    """Train in place.

    Returns:
        The moving average of the weights, which is better than the last ones, and the number of steps taken.
    """
    averaged = AveragedModel(composite, multi_avg_fn=_average, use_buffers=True)
    optimizer = torch.optim.AdamW(_groups(composite), lr=options.lr, weight_decay=0.05, fused=True)
    composite.train()
    clock, began = tqdm(total=options.steps, unit="step", mininterval=10), time.monotonic()
    smooth_loss = smooth_right = 0.0
    for step, (batch, target) in enumerate(_batches(scenes, options)):
        spent = (time.monotonic() - began) / 60 / options.minutes if options.minutes else 0.0
        progress = max(step / options.steps, spent)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.lr * _one_cycle(progress)
        values = processor.finish({"pixel_values": batch})["pixel_values"]
        logits = composite(_shrink(values, options.edge, 1.0 if options.init else progress)).logits
        loss = F.cross_entropy(logits, target, label_smoothing=options.label_smoothing)
        loss.backward()
        nn.utils.clip_grad_norm_(composite.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        averaged.update_parameters(composite)
        keep = min(0.98, step / (step + 1))
        smooth_loss = keep * smooth_loss + (1 - keep) * loss.item()
        smooth_right = keep * smooth_right + (1 - keep) * (logits.argmax(1) == target).float().mean().item()
        clock.set_postfix(loss=f"{smooth_loss:.3f}", right=f"{smooth_right:.3f}", done=f"{progress:.0%}", refresh=False)
        clock.update()
    return averaged.module.state_dict(), clock.n


def measure(
    composite: Composite, processor: ImageProcessor, options: argparse.Namespace, *, steps: int, minutes: float
) -> Measured:
    """Measure on scenes composed from another seed at ordinary picture sizes, and on unseen emoji."""
    composite.eval()

    @torch.inference_mode()
    def predict(pixels: np.ndarray) -> np.ndarray:
        values = processor.finish({"pixel_values": torch.from_numpy(np.array(pixels))})["pixel_values"]
        return composite(values).logits.argmax(1).numpy()

    results = []
    for held_out in (False, True):
        scenes = SceneSet(
            options.held_out_scenes, options.seed + 1, (180, 480), recipe(options.edge), held_out, str(options.font)
        )
        growing = scenes.build(options.cache, workers=options.workers)
        growing.wait_for(scenes.count)
        results.append(accuracy(predict, growing.pixels, growing.labels))
    (fresh, by_label), (unseen, unseen_by_label) = results
    names = list(LABELS)
    print(f"held-out accuracy {fresh:.2%} on {options.held_out_scenes} freshly composed scenes")
    print(f"unseen-emoji accuracy {unseen:.2%}: " + _listed(unseen_by_label, names, len(names)))
    print("hardest labels: " + _listed(by_label, names, 10))
    return Measured(
        held_out=fresh,
        held_out_scenes=options.held_out_scenes,
        hardest=_listed(by_label, names, 5),
        unseen=unseen,
        unseen_by_label=_listed(unseen_by_label, names, len(names)),
        parameters=sum(p.numel() for p in composite.parameters()),
        steps_taken=steps,
        minutes=minutes,
    )


def _listed(by_label: dict[int, float], names: list[str], count: int) -> str:
    worst = sorted(by_label, key=by_label.__getitem__)[:count]
    return ", ".join(f"{names[label]} {by_label[label]:.0%}" for label in worst)


def _one_cycle(progress: float) -> float:
    """Share of the peak learning rate: up for a tenth of the run, then down to zero along a cosine."""
    rising = 0.1
    if progress < rising:
        return 0.04 + 0.96 * progress / rising
    return 0.5 + 0.5 * math.cos(math.pi * (progress - rising) / (1 - rising))


def _shrink(values: torch.Tensor, edge: int, progress: float) -> torch.Tensor:
    """Bring a batch to the size of this part of the run: smaller pictures cost less and teach nearly as much."""
    now = 64 if progress < 0.5 else round(edge * 5 / 6) if progress < 0.75 else edge
    if now < edge:
        values = F.interpolate(values, size=(now, now), mode="bilinear", antialias=True)
    return values.contiguous(memory_format=torch.channels_last)


def _average(averaged: list[torch.Tensor], current: list[torch.Tensor], updates: torch.Tensor) -> None:
    """Move the averages towards the current values: quickly at first, by a 500th a step in the end."""
    share = max(1 / 500, 1 / (1 + 0.1 * int(updates)))
    for old, new in zip(averaged, current, strict=True):
        if old.is_floating_point():
            old.lerp_(new, share)
        else:
            old.copy_(new)


def _groups(model: nn.Module) -> list[dict[str, object]]:
    """Decay the matrices and kernels only, not biases and norms."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]


def _batches(scenes: GrowingScenes, options: argparse.Namespace) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draw batches by chance, each picture mirrored and cropped at random.

    A step draws from the scenes that its number allows, a fifth of them at first and all from the middle on: so
    training goes on while scenes are composed, and yet does not depend on how fast that is.
    """
    rng = np.random.default_rng([options.seed, 0xBA7C4, bool(options.init)])
    edge, count = options.edge, len(scenes.labels)
    room = scenes.pixels.shape[-1] - edge
    for step in range(options.steps):
        allowed = math.ceil(count * min(1.0, 0.2 + 1.6 * step / options.steps))
        scenes.wait_for(allowed)
        chosen = rng.integers(allowed, size=options.batch_size)
        batch = np.empty((len(chosen), 3, edge, edge), np.uint8)
        for slot, index in enumerate(chosen):
            top, left = rng.integers(0, room + 1, 2)
            crop = scenes.pixels[index, :, top : top + edge, left : left + edge]
            batch[slot] = crop[..., ::-1] if rng.random() < 0.5 else crop
        yield torch.from_numpy(batch), torch.from_numpy(scenes.labels[chosen])


if __name__ == "__main__":
    main()
