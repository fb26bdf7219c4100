"""Write subtitles for recordings: an .srt file beside each, and a line for each chunk on the screen.

    python examples/transcribe.py --model openai/whisper-base talk.mp3 interview.flac
    python examples/transcribe.py --model path/to/checkpoint

Without files it makes one, 40 s of tones, to show that long sounds are heard in windows: what a model writes down for
tones means nothing. There is no trained speech model in the package, so one has to be named: a Hub id or a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from sensorium import InputError, pipeline


def tones(path: Path, seconds: int = 40, rate: int = 16_000) -> Path:
    time = np.arange(seconds * rate) / rate
    loudness = np.clip(np.sin(2 * np.pi * 0.5 * time), 0, 1)
    soundfile.write(path, 0.2 * loudness * np.sin(2 * np.pi * (200 + 5 * time) * time), rate)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", required=True, help="a Whisper checkpoint: a Hub id or a folder")
    parser.add_argument("--window", type=float, default=30, help="seconds that are heard at once")
    parser.add_argument("--language", help="such as de or german; found out by itself unless given")
    arguments = parser.parse_args()
    files = arguments.files or [tones(Path("tones.wav"))]
    options = {} if arguments.language is None else {"language": arguments.language}
    with pipeline("automatic-speech-recognition", model=arguments.model) as listen:
        results = listen.stream(
            files, chunk_length_s=arguments.window, return_timestamps=True, num_beams=1, on_error="return", **options
        )
        for file, result in zip(files, results, strict=True):
            if isinstance(result, InputError):
                print(f"{file.name}: {result.message}")
                continue
            print(f"{file.name}: {len(result.text)} characters in {len(result)} chunks")
            for chunk in result:
                print(f"  {chunk['timestamp']} {chunk['text'].strip()}")
            if len(result):
                result.save(file.with_suffix(".srt"))


if __name__ == "__main__":
    main()
