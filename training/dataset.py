"""Composed scenes, brought to a model's input size by its own processor and kept in a memory map."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.processors.image import ImageProcessor
from training.glyphs import FONT, GlyphSet, load_glyphs
from training.scenes import compose, draw_size

CHUNK = 64
DRAWN_BY = ("glyphs.py", "backgrounds.py", "scenes.py")


@dataclass(frozen=True)
class SceneSet:
    """A reproducible set of scenes: the same fields give the same pictures, on any number of processes.

    Attributes:
        count: number of scenes; scene `i` shows label `i % labels`.
        seed: scene `i` is drawn from the random state `(seed, i)`.
        shortest: range of the shortest edge of the composed picture, px.
        recipe: `preprocessor_config.json` of the processor that brings it to the model's size.
        held_out: use the emoji that no training picture holds; only the nouns which have some appear.
        font: the font file.
    """

    count: int
    seed: int
    shortest: tuple[int, int]
    recipe: dict[str, Any]
    held_out: bool = False
    font: str = str(FONT)

    def build(self, folder: Path, *, workers: int) -> GrowingScenes:
        """Begin to compose, or go on where an earlier run has stopped.

        Args:
            folder: where the pictures are kept; 64 KB a scene at 146 px.
            workers: number of processes.
        """
        return GrowingScenes(self, folder, workers=workers)

    def picture(self, index: int) -> tuple[np.ndarray, int]:
        """Compose scene `index`: `(3, H, W)` uint8 at the model's size, and its label."""
        shown = _shown_labels(self)
        label = shown[index % len(shown)]
        rng = np.random.default_rng([self.seed, index])
        scene = compose(rng, label, _glyphs(self), size=draw_size(rng, self.shortest))
        pixels = torch.from_numpy(np.array(scene)).permute(2, 0, 1)
        return _processor(self).fit(pixels)["pixel_values"].numpy(), label


class GrowingScenes:
    """Scenes that other processes compose, in order, while the first of them are in use already.

    Attributes:
        pixels: `(count, 3, H, W)` uint8, a memory map; blank from the first scene that is not composed yet.
        labels: `(count,)` int64.
    """

    def __init__(self, scenes: SceneSet, folder: Path, *, workers: int) -> None:
        self._scenes, self._workers = scenes, workers
        self._target = folder / f"scenes-{_fingerprint(scenes)}.npy"
        self._partial, self._counter = self._target.with_suffix(".part"), self._target.with_suffix(".count")
        self._ready, self._failure = 0, None
        self._news = threading.Condition()
        self.labels = np.resize(np.array(_shown_labels(scenes), dtype=np.int64), scenes.count)
        if self._target.exists():
            self._ready, self.pixels = scenes.count, np.load(self._target, mmap_mode="r")
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self._counter.exists():
            self._ready = int(self._counter.read_text())
        else:
            shape = (scenes.count, *scenes.image(0)[0].shape)
            np.lib.format.open_memmap(self._partial, "w+", np.uint8, shape).flush()
        self.pixels = np.load(self._partial, mmap_mode="r")
        threading.Thread(target=self._compose, daemon=True).start()

    def wait_for(self, count: int) -> None:
        """Block until the first `count` scenes are composed.

        Raises:
            RuntimeError: composing them failed.
        """
        with self._news:
            self._news.wait_for(lambda: self._ready >= count or self._failure)
        if self._failure:
            raise RuntimeError(f"composing scenes into {self._partial} failed") from self._failure

    def _compose(self) -> None:
        starts = range(self._ready, self._scenes.count, CHUNK)
        jobs = ((self._scenes, self._partial, start) for start in starts)
        try:
            with multiprocessing.get_context("spawn").Pool(self._workers, _one_thread) as pool:
                for stop in pool.imap(_compose_chunk, jobs):
                    self._counter.write_text(str(stop))
                    with self._news:
                        self._ready = stop
                        self._news.notify_all()
            self._partial.rename(self._target)
            self._counter.unlink()
        except Exception as failure:  # noqa: BLE001 - handed to whoever waits
            with self._news:
                self._failure = failure
                self._news.notify_all()


def accuracy(
    predict: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, labels: np.ndarray, *, batch_size: int = 128
) -> tuple[float, dict[int, float]]:
    """Measure how often `predict` names the label.

    Args:
        predict: `(B, 3, H, W)` uint8 to `(B,)` label indices.
        pixels: `(N, 3, H, W)` uint8.
        labels: `(N,)` int64.
        batch_size: pictures a call.

    Returns:
        The share of right answers in [0, 1], over all pictures and by label.
    """
    starts = range(0, len(labels), batch_size)
    right = np.concatenate([predict(pixels[s : s + batch_size]) == labels[s : s + batch_size] for s in starts])
    return float(right.mean()), {int(k): float(right[labels == k].mean()) for k in np.unique(labels)}


def _fingerprint(scenes: SceneSet) -> str:
    """Name a set by its fields and by the code that draws it, so that a stale file is never opened."""
    parts = [json.dumps(asdict(scenes), sort_keys=True)]
    parts += [Path(__file__).with_name(name).read_text() for name in DRAWN_BY]
    return sha256("".join(parts).encode()).hexdigest()[:16]


def _one_thread() -> None:
    torch.set_num_threads(1)


def _compose_chunk(job: tuple[SceneSet, Path, int]) -> int:
    scenes, target, start = job
    pixels = np.load(target, mmap_mode="r+")
    stop = min(start + CHUNK, scenes.count)
    for index in range(start, stop):
        pixels[index] = scenes.image(index)[0]
    return stop


def _glyphs(scenes: SceneSet) -> GlyphSet:
    return _load_glyphs(scenes.font, scenes.held_out)


def _shown_labels(scenes: SceneSet) -> list[int]:
    return [index for index, group in enumerate(_glyphs(scenes).by_label) if group]


def _processor(scenes: SceneSet) -> ImageProcessor:
    return _load_processor(json.dumps(scenes.recipe))


@cache
def _load_glyphs(font: str, held_out: bool) -> GlyphSet:
    return load_glyphs(Path(font), held_out=held_out)


@cache
def _load_processor(recipe: str) -> ImageProcessor:
    return ImageProcessor.from_dict(json.loads(recipe))
