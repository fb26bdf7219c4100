"""Train the checkpoint `starter/image-segmentation`: which of 64 nouns each pixel of a composed scene shows.

Run from the root of a checkout; two cores need about half an hour (`--help` lists the options):

    python -m training.starter_image_segmentation

The backbone starts from `starter/image-classification`, which has seen scenes of the same kind; the head starts fresh.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from sensorium.backbones import AutoBackbone
from sensorium.processors.image import ImageProcessor
from sensorium.tasks.heads import Composite, build_head
from training.glyphs import FONT, LABELS, GlyphSet, load_glyphs
from training.scenes import compose_labelled, draw_size

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "sensorium" / "starter" / "image-segmentation"
NAMES = ["background", *LABELS]

CARD = """\
---
license: apache-2.0
library_name: sensorium
pipeline_tag: image-segmentation
---
# starter/image-segmentation

A {parameters:,}-parameter composite (the backbone of `starter/image-classification`, fine-tuned, and Sensorium's
multi-scale head) that says of each pixel of a composed picture which of 64 everyday nouns it shows, or background.
It has seen emoji only: on photographs it is a guess.

## What it was trained on
{scenes:,} scenes drawn by `training/scenes.py`, of the kind that `starter/image-classification` was trained on, with
the outlines of the emoji as masks. Emoji of other things are background.

## How well it does
On {held_out:,} scenes freshly composed from another seed: mean intersection over union **{miou:.1%}** over the 65
classes, **{accuracy:.1%}** of the pixels right, the intersection over union of the main object alone {main:.1%}.

## How to make it again
```
{command}
```
It took {steps:,} steps of {batch_size} pictures, {minutes:.0f} minutes on two shared CPU cores.

## Licence
The weights are under Apache-2.0. The scenes hold rendered glyphs of Noto Color Emoji (Copyright 2013-2017 Google
Inc.), a font under the SIL Open Font License 1.1 (https://openfontlicense.org). No part of the font is in this
folder; that licence does not extend to what is made with the font.
"""


def main() -> None:
    """Compose, train, measure, save."""
    options = parse_arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    pixels, targets = scenes(options, options.scenes, options.seed)
    print(f"composed {len(pixels)} scenes in {(time.monotonic() - began) / 60:.1f} min")
    composite, processor = build(options)
    steps = train(composite, processor, pixels, targets, options)
    minutes = (time.monotonic() - began) / 60
    miou, accuracy, main_iou = measure(composite, processor, options)
    print(f"mean IoU {miou:.2%}, pixels right {accuracy:.2%}, main object {main_iou:.2%}")
    composite.save_pretrained(options.out, processor)
    chosen = ("edge", "steps", "batch_size", "lr", "scenes", "seed")
    command = " ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in chosen)
    card = CARD.format(
        parameters=sum(p.numel() for p in composite.parameters()),
        scenes=options.scenes,
        held_out=options.held_out_scenes,
        miou=miou,
        accuracy=accuracy,
        main=main_iou,
        command=f"python -m training.starter_image_segmentation {command}",
        steps=steps,
        batch_size=options.batch_size,
        minutes=minutes,
    )
    (options.out / "README.md").write_text(card, encoding="utf-8")
    print(f"saved to {options.out}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the checkpoint starter/image-segmentation.")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the checkpoint")
    parser.add_argument("--edge", type=int, default=160, help="the model's input, px")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, help="end sooner if training has taken this long; costs repeatability")
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of the head; the backbone's is half")
    parser.add_argument("--scenes", type=int, default=16_000, help="scenes composed for training")
    parser.add_argument("--held-out-scenes", type=int, default=1_280)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads that train")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that compose")
    cache_folder = Path(tempfile.gettempdir()) / "sensorium-scenes"
    parser.add_argument("--cache", type=Path, default=cache_folder, help="folder for composed scenes")
    return parser.parse_args()


def build(options: argparse.Namespace) -> tuple[Composite, ImageProcessor]:
    """The composite with its fresh head, and its processor."""
    trained = Composite.from_pretrained("starter/image-classification").backbone
    backbone = AutoBackbone.from_config({**trained.spec, "out_indices": [1, 2, 3, 4]})
    kept = {name: value for name, value in trained.state_dict().items() if name in backbone.state_dict()}
    backbone.load_state_dict(kept, strict=False)
    missing = backbone.state_dict().keys() - kept.keys()
    if missing:
        raise RuntimeError(
            f"expected every weight in starter/image-classification, {sorted(missing)[:3]} are not there"
        )
    composite = build_head(backbone, NAMES, task="image-segmentation", width=96)
    processor = ImageProcessor.from_dict(
        {
            "image_processor_type": "SegformerImageProcessor",
            "do_resize": True,
            "size": {"height": options.edge, "width": options.edge},
            "resample": 2,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        }
    )
    return composite.to(memory_format=torch.channels_last), processor


def scenes(options: argparse.Namespace, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`(count, 3, edge, edge)` uint8 pictures and `(count, edge, edge)` uint8 classes, kept between runs."""
    options.cache.mkdir(parents=True, exist_ok=True)
    place = options.cache / f"segments-{options.edge}-{count}-{seed}.npz"
    if not place.exists():
        jobs = [(seed, start, min(start + 64, count), options.edge) for start in range(0, count, 64)]
        with multiprocessing.get_context("spawn").Pool(options.workers, _one_thread) as pool:
            parts = list(tqdm(pool.imap(_compose_chunk, jobs), total=len(jobs), mininterval=10))
        np.savez(place, pixels=np.concatenate([p for p, _ in parts]), targets=np.concatenate([t for _, t in parts]))
    found = np.load(place)
    return found["pixels"], found["targets"]


def train(
    composite: Composite,
    processor: ImageProcessor,
    pixels: np.ndarray,
    targets: np.ndarray,
    options: argparse.Namespace,
) -> int:
    """Train in place; returns the number of steps taken."""
    groups = [
        {"params": composite.head.parameters(), "lr": options.lr},
        {"params": composite.backbone.parameters(), "lr": options.lr / 2},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02, fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    composite.train()
    clock, began, smooth = tqdm(total=options.steps, unit="step", mininterval=20), time.monotonic(), 0.0
    for step, (batch, target) in enumerate(_batches(pixels, targets, options)):
        spent = (time.monotonic() - began) / 60 / options.minutes if options.minutes else 0.0
        progress = max(step / options.steps, spent)
        if progress >= 1:
            break
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            rising = min(1.0, progress / 0.05)
            group["lr"] = peak * rising * (0.5 + 0.5 * math.cos(math.pi * progress))
        values = processor.finish({"pixel_values": batch})["pixel_values"]
        logits = composite(values.contiguous(memory_format=torch.channels_last)).logits
        small = target[:, None].float()
        small = F.interpolate(small, size=logits.shape[-2:], mode="nearest-exact")[:, 0].long()
        loss = F.cross_entropy(logits, small)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(composite.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        clock.set_postfix(loss=f"{smooth:.3f}", done=f"{progress:.0%}", refresh=False)
        clock.update()
    return clock.n


@torch.inference_mode()
def measure(composite: Composite, processor: ImageProcessor, options: argparse.Namespace) -> tuple[float, float, float]:
    """Mean IoU over the classes, the share of pixels right, and the mean IoU of the main objects; all in [0, 1]."""
    composite.eval()
    pixels, targets = scenes(options, options.held_out_scenes, options.seed + 1)
    counts = np.zeros((len(NAMES), len(NAMES)), np.int64)
    main: list[float] = []
    for start in range(0, len(pixels), 64):
        batch = torch.from_numpy(pixels[start : start + 64])
        logits = composite(processor.finish({"pixel_values": batch})["pixel_values"]).logits
        whole = F.interpolate(logits, size=targets.shape[-2:], mode="bilinear", align_corners=False)
        for i, found in enumerate(whole.argmax(1).numpy()):
            right = targets[start + i]
            counts += np.bincount(right.ravel() * len(NAMES) + found.ravel(), minlength=counts.size).reshape(
                counts.shape
            )
            label = 1 + (start + i) % len(LABELS)
            union = ((right == label) | (found == label)).sum()
            main.append(float(((right == label) & (found == label)).sum() / max(union, 1)))
    hits = np.diag(counts)
    unions = counts.sum(0) + counts.sum(1) - hits
    return float(np.mean(hits / np.maximum(unions, 1))), float(hits.sum() / counts.sum()), float(np.mean(main))


def _batches(
    pixels: np.ndarray, targets: np.ndarray, options: argparse.Namespace
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng([options.seed, 0x5E6])
    for _ in range(options.steps):
        chosen = rng.integers(len(pixels), size=options.batch_size)
        batch, target = pixels[chosen], targets[chosen]
        mirrored = rng.random(options.batch_size) < 0.5
        batch[mirrored], target[mirrored] = batch[mirrored, ..., ::-1], target[mirrored, ..., ::-1]
        yield torch.from_numpy(batch), torch.from_numpy(target)


def _compose_chunk(job: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    seed, start, stop, edge = job
    pixels = np.empty((stop - start, 3, edge, edge), np.uint8)
    targets = np.empty((stop - start, edge, edge), np.uint8)
    for row, index in enumerate(range(start, stop)):
        rng = np.random.default_rng([seed, 0x5E6, index])
        picture, labels = compose_labelled(rng, index % len(LABELS), _glyphs(), size=draw_size(rng, (160, 260)))
        pixels[row] = np.asarray(picture.resize((edge, edge), resample=2)).transpose(2, 0, 1)
        targets[row] = np.asarray(labels.resize((edge, edge), resample=0))
    return pixels, targets


@cache
def _glyphs() -> GlyphSet:
    return load_glyphs(FONT)


def _one_thread() -> None:
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
