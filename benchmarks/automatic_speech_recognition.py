"""An hour of sound in files of 5 s to 20 min through Whisper-base (random weights), against Transformers' pipeline.

    python -m benchmarks.automatic_speech_recognition --minutes 60 --tokens 64
    python -m benchmarks.automatic_speech_recognition --device cuda --size large-v3
    python -m benchmarks.automatic_speech_recognition --drift --memory

Both sides read the same FLAC files and hear windows of 30 s (`chunk_length_s=30`) with a fixed number of new tokens, so
that random weights do not decide how much is written. The peer's defaults are float32, one window at a time, 5 beams;
its best setting is the fastest of dtype × batch size with one beam. Ours runs at its defaults with the same number of
beams; on a card with one beam without CUDA graphs, too. Prints seconds of sound per second, and ratios. `--drift`
compares what is written in bfloat16 with float32, by words; `--memory` what an hour in one file costs above the model,
in the memory of the process.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, save
from benchmarks.speech_models import RATE, SIZES, files, noise, one_file, wav2vec2, whisper

NAME = "automatic-speech-recognition"


def peer(place: Path, device: str, dtype: str):
    import torch
    import transformers

    return transformers.pipeline(NAME, model=str(place), device=device, dtype=getattr(torch, dtype))


def heard_by_peer(pipe, audios: list[np.ndarray], **options):
    """The peer reads files only with an ffmpeg binary; it is given what soundfile reads, at no cost of its own."""
    return pipe([{"raw": audio, "sampling_rate": RATE} for audio in audios], **options)


def run(arguments: argparse.Namespace, folder: Path) -> dict:
    import soundfile

    import sensorium

    place, device = whisper(folder, arguments.size), arguments.device
    paths, seconds = files(folder / "speech", arguments.minutes)
    fixed = {"max_new_tokens": arguments.tokens, "min_new_tokens": arguments.tokens, "language": "en"}
    peers = functools.cache(functools.partial(peer, place, device))

    def audios() -> list[np.ndarray]:
        return [soundfile.read(path, dtype="float32")[0] for path in paths]

    def theirs(dtype: str, heard: list[np.ndarray], beams: int | None, **options: int) -> Any:
        told = fixed if beams is None else {**fixed, "num_beams": beams}
        return heard_by_peer(peers(dtype), heard, chunk_length_s=30, generate_kwargs=told, **options)

    sample = [audios()[-1][: RATE * arguments.sample]]

    def ready(setting: Setting) -> tuple[Any, int]:
        peers(setting["dtype"])
        return lambda: theirs(setting["dtype"], sample, 1, **of_call(setting)), len(sample[0]) // RATE

    best, tried = fastest(ready, arguments)
    mine = sensorium.pipeline(NAME, place, device=device)
    exact = sensorium.pipeline(NAME, place, device=device, dtype="float32", compile=False)
    options = {"chunk_length_s": 30, **fixed}
    runs = {
        "peer, defaults (float32, one by one, 5 beams)": lambda: theirs("float32", audios(), None),
        f"peer, best ({label(best)}, 1 beam)": lambda: theirs(best["dtype"], audios(), 1, **of_call(best)),
        "ours, defaults (5 beams)": lambda: mine(paths, **options),
        "ours, float32, 5 beams": lambda: exact(paths, **options),
        "ours, 1 beam": lambda: mine(paths, num_beams=1, **options),
    }
    if str(device).startswith("cuda"):  # what recording the decoder's steps is worth
        plain = sensorium.pipeline(NAME, place, device=device, compile=False)
        runs["ours, 1 beam, without CUDA graphs"] = lambda: plain(paths, num_beams=1, **options)
    found = in_turn(runs, round(seconds), arguments)
    counted = range(round(soundfile.info(paths[0]).duration))
    rows = {5: {"ours, defaults (5 beams)": mine, "ours, float32, 5 beams": exact}, 1: {"ours, 1 beam": mine}}
    shares = {
        f"beams: {beams}": shares_of_bound(
            found, pipes, counted, device, run=lambda pipe, _, beams=beams: pipe(paths[0], num_beams=beams, **options)
        )
        for beams, pipes in rows.items()
    }
    return {
        "size": arguments.size,
        "shares": shares,
        "seconds_of_sound": seconds,
        "tokens": arguments.tokens,
        **compared(found),
        "peer_settings_tried": tried,
        "stats": {"ours": mine.stats(), "float32": exact.stats()},
    }


def drift(arguments: argparse.Namespace, folder: Path) -> dict:
    """The share of words that bfloat16 writes as float32 does, at the same place and at all."""
    import sensorium

    place = arguments.checkpoint or whisper(folder, arguments.size)
    paths, _ = files(folder / "speech", arguments.minutes)
    options = {"chunk_length_s": 30, "max_new_tokens": arguments.tokens, "num_beams": 1}
    texts = {}
    for dtype in ("float32", "bfloat16"):
        with sensorium.pipeline(NAME, place, device=arguments.device, dtype=dtype, compile=False) as pipe:
            texts[dtype] = [result.text.split() for result in pipe(paths, **options)]
    words = sum(len(text) for text in texts["float32"])
    wrong = sum(_distance(a, b) for a, b in zip(texts["float32"], texts["bfloat16"], strict=True))
    print(f"  bfloat16 against float32: {wrong} of {words} words differ ({wrong / max(1, words):.1%})")
    return {"words": words, "differ": wrong}


def _distance(a: list[str], b: list[str]) -> int:
    """Words to insert, delete or replace."""
    row = np.arange(len(b) + 1)
    for i, word in enumerate(a, 1):
        before, row = row, np.empty(len(b) + 1, dtype=np.int64)
        row[0] = i
        for j, other in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return int(row[-1])


def memory(arguments: argparse.Namespace, folder: Path) -> dict:
    """What an hour in one file costs above the model: the peak of the process less what it held before, MB."""
    import psutil

    import sensorium

    path = one_file(folder, arguments.minutes)
    process, found = psutil.Process(), {}
    fixed = {"max_new_tokens": arguments.tokens, "min_new_tokens": arguments.tokens, "language": "en"}
    models = {"Whisper": whisper(folder, arguments.size), "wav2vec2": wav2vec2(folder)}
    ways = {
        f"Whisper-{arguments.size}, windows": ("Whisper", {"chunk_length_s": 30, **fixed}),
        f"Whisper-{arguments.size}, walked through": ("Whisper", fixed),
        "wav2vec2-base, windows": ("wav2vec2", {"chunk_length_s": 30}),
    }
    for name, (model, options) in ways.items():
        with sensorium.pipeline(
            NAME, models[model], device=arguments.device, dtype=arguments.dtype, compile=False
        ) as pipe:
            pipe(noise(2, 0), **options)
            before = process.memory_info().rss
            with Peak(process) as peak:
                pipe(path, **options)
        found[name] = round((peak.most - before) / 1e6)
        print(f"  {arguments.minutes:g} minutes in one file, {name}: {found[name]} MB above the model", flush=True)
    return {"minutes": arguments.minutes, "dtype": arguments.dtype, "mb_above_the_model": found}


class Peak:
    """The most resident memory of a process while it is entered, looked at every 5 ms."""

    def __init__(self, process) -> None:
        self.most, self._process, self._over = 0, process, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._watch.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, self._process.memory_info().rss)


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--size", choices=SIZES, default="base")
    found.add_argument("--minutes", type=float, default=60)
    found.add_argument("--tokens", type=int, default=64)
    found.peer_settings(240)  # --sample: seconds of sound
    found.add_argument("--checkpoint", help="of trained weights, for --drift")
    found.add_argument("--drift", action="store_true")
    found.add_argument("--memory", action="store_true")
    found.add_argument("--dtype", default="auto", help="ours, for --memory")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    folder.mkdir(exist_ok=True)
    figures = {}
    if arguments.memory:
        figures["memory_mb"] = memory(arguments, folder)
    if arguments.drift:
        figures["drift"] = drift(arguments, folder)
    if not figures:
        figures = run(arguments, folder)
    print(json.dumps(figures.get("ratios", figures), indent=2))
    kinds = [name for name in ("drift", "memory") if getattr(arguments, name)]
    save("-".join([NAME, *kinds]), figures, arguments)


if __name__ == "__main__":
    main()
