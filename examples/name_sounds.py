"""Makes a few sounds as files of several kinds, and says what they are.

    python examples/name_sounds.py [FOLDER] [--model NAME] [--top-k K]

Without FOLDER a tone, noise and a siren are written as WAV, FLAC and Ogg, at three sampling rates, into `sounds`. The
model is a name of the Hub (AST with the 527 labels of AudioSet unless given), or a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from sensorium import pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what the sounds in a folder are.")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--model", default=None)
    parser.add_argument("--top-k", type=int, default=3)
    options = parser.parse_args()

    folder = options.folder or make_audios(Path("sounds"))
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    with pipeline("audio-classification", model=options.model) as classify:
        for result in classify.stream(files, top_k=options.top_k, on_error="skip"):
            found = ", ".join(f"{row['label']} {row['score']:.2f}" for row in result)
            print(f"{files[result.index].name}: {found}")


def make_audios(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0)
    for name, rate, seconds in (("tone.wav", 16_000, 2.0), ("noise.flac", 44_100, 1.5), ("siren.ogg", 48_000, 3.0)):
        time = np.arange(round(seconds * rate)) / rate
        waves = {
            "tone": np.sin(2 * np.pi * 440 * time),
            "noise": noise.standard_normal(len(time)) / 3,
            "siren": np.sin(2 * np.pi * 900 * time + 150 * np.sin(2 * np.pi * 0.5 * time)),
        }
        soundfile.write(folder / name, 0.3 * waves[name.partition(".")[0]], rate)
    return folder


if __name__ == "__main__":
    main()
