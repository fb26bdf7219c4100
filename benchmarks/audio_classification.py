"""Clips through wav2vec2-base and AST (random weights), against Transformers' pipeline.

    python -m benchmarks.audio_classification --models wav2vec2 ast --clips 256
    python -m benchmarks.audio_classification --drift

Prints, for each model: the peer at its defaults, the peer at its best of dtype × batch size, and ours at its defaults,
eager in float32, and compiled, in clips per second; and their ratios. wav2vec2 gets clips of 1 to 15 s, AST ten seconds
each (a quarter as many). The clips are arrays at 16 kHz, as the peer reads files only through an ffmpeg binary;
`--files` gives ours the same clips as FLAC files, to see what decoding costs. `--drift` compares bfloat16 with float32:
the largest change of a probability, and how often the best label changes.
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
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, sampled, save

RATE = 16_000


def _wav2vec2():
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=12)), Wav2Vec2FeatureExtractor()


def _ast():
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    return ASTForAudioClassification(ASTConfig(num_labels=527)), ASTFeatureExtractor()


MODELS = {"wav2vec2": _wav2vec2, "ast": _ast}


def checkpoint(name: str, folder: Path) -> Path:
    """Saves the model with random weights, as `from_pretrained` wants it."""
    import torch

    place = folder / f"audio-{name}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        model, extractor = MODELS[name]()
        with torch.no_grad():
            for head in (getattr(model.classifier, "dense", model.classifier),):
                head.weight.mul_(20)  # so that sounds differ in their labels, which random weights alone do not give
        model.save_pretrained(place)
        extractor.save_pretrained(place)
    return place


def clips(name: str, count: int) -> list[np.ndarray]:
    """Tones that come and go, with noise: 1 to 15 s for wav2vec2, 10 s for AST."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count if name == "wav2vec2" else max(1, count // 4)):
        time_s = np.arange(round((rng.uniform(1, 15) if name == "wav2vec2" else 10.0) * RATE)) / RATE
        tones = sum(np.sin(2 * np.pi * rng.uniform(80, 4000) * time_s + rng.uniform(0, 6)) for _ in range(5))
        loudness = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.5, 4) * time_s)
        noise = rng.standard_normal(len(time_s))
        made.append((0.06 * loudness * tones + rng.uniform(0.002, 0.05) * noise).astype(np.float32))
    return made


def as_files(audios: list[np.ndarray], folder: Path) -> list[Path]:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:04d}.flac" for i in range(len(audios))]
    for path, audio in zip(paths, audios, strict=True):
        soundfile.write(path, audio, RATE)
    return paths


def peer(place: Path, device: str, dtype: str):
    import torch
    import transformers

    return transformers.pipeline("audio-classification", model=str(place), device=device, dtype=getattr(torch, dtype))


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    import sensorium

    place, device = checkpoint(name, folder), arguments.device
    audios = clips(name, arguments.clips)
    peers = functools.cache(functools.partial(peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, sample = peers(setting["dtype"]), sampled(audios, arguments, setting["batch_size"])
        pipe(audios[:2])
        return lambda: pipe(list(sample), **of_call(setting)), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, defaults": sensorium.pipeline("audio-classification", place, device=device),
        "ours, float32, eager": sensorium.pipeline(
            "audio-classification", place, device=device, dtype="float32", compile=False
        ),
    }
    if arguments.compile:
        mine["ours, compiled"] = sensorium.pipeline("audio-classification", place, device=device, compile=True)
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers("float32")(list(audios)),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(list(audios), **of_call(best)),
        **{key: (lambda pipe=pipe: pipe(audios)) for key, pipe in mine.items()},
    }
    if arguments.files:
        files = as_files(audios, folder / f"clips-{name}")
        runs["ours, defaults, from FLAC files"] = lambda: mine["ours, defaults"](files)
    found = in_turn(runs, len(audios), arguments)
    print(f"\n{name}")
    stats = {key: pipe.stats() for key, pipe in mine.items()}
    figures = {**compared(found), **shares_of_bound(found, mine, list(audios), device)}
    return {**figures, "peer_settings_tried": tried, "stats": stats}


def drift(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    """How far bfloat16's probabilities are from float32's, and how often its best label is another."""
    import sensorium

    place, audios = checkpoint(name, folder), clips(name, arguments.clips)
    settings = {"device": arguments.device, "compile": False}
    with sensorium.pipeline("audio-classification", place, dtype="float32", **settings) as exact:
        a = exact(audios)
    with sensorium.pipeline("audio-classification", place, dtype="bfloat16", **settings) as fast:
        b = fast(audios)
    moved = [np.abs(x.scores[np.argsort(x.ids)] - y.scores[np.argsort(y.ids)]).max() for x, y in zip(a, b, strict=True)]
    other = sum(x.ids[0] != y.ids[0] for x, y in zip(a, b, strict=True))
    spread = float(np.std([x.scores[np.argsort(x.ids)] for x in a], axis=0).max())
    found = {"clips": len(audios), "probability_moves_by": float(max(moved)), "median_move": float(np.median(moved)),
             "other_best_label": int(other), "spread_between_sounds": spread}  # fmt: skip
    print(f"{name}: {found}")
    return found


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    found.count("--clips", 256, 1024)
    found.add_argument("--compile", action="store_true", help="also ours with compile=True; a graph for each length")
    found.add_argument("--files", action="store_true", help="also ours from FLAC files")
    found.add_argument("--drift", action="store_true", help="bfloat16 against float32, instead of speed")
    found.peer_settings(16)
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    work = drift if arguments.drift else run
    figures = {name: work(name, arguments, folder) for name in arguments.models}
    save("audio-classification-drift" if arguments.drift else "audio-classification", figures, arguments)


if __name__ == "__main__":
    main()
