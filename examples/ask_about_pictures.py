"""Asks questions about the example pictures.

    python examples/ask_about_pictures.py "What animal is this?" "Is it outdoors?"

The default model comes from the Hub; `--model` takes another name, or a folder on this machine, and then nothing is
fetched. Models that choose among answers give a score with each, models that write give text.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask questions about the example pictures.")
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--model", default="dandelin/vilt-b32-finetuned-vqa@d0a1f6a")
    options = parser.parse_args()

    paths = sorted(IMAGES.glob("*.jpg"))
    with pipeline("visual-question-answering", options.model) as ask:
        results = ask(paths, options.questions)  # each picture is read once, whatever is asked of it

    for i, result in enumerate(results):
        if i % len(paths) == 0:
            print(options.questions[i // len(paths)])
        best = result[0]
        score = f"  {best['score']:.3f}" if "score" in best else ""
        print(f"  {paths[i % len(paths)].name:<16} {best['answer']}{score}")


if __name__ == "__main__":
    main()
