"""Makes a few films as files of several kinds, and says what they show.

    python examples/name_films.py [FOLDER] [--model NAME] [--top-k K] [--window-s SECONDS]

Without FOLDER a pan, a zoom and a flicker over a picture are written as MP4, AVI and GIF into `films`. The model is a
name of the Hub (VideoMAE with the 400 actions of Kinetics unless given), or a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
from PIL import Image

from sensorium import pipeline

PICTURES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what the films in a folder show.")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--model", default=None)
    parser.add_argument("--top-k", type=int, default=3)
    parser.add_argument("--window-s", type=float, default=None)
    options = parser.parse_args()

    folder = options.folder or make_films(Path("films"))
    with pipeline("video-classification", model=options.model) as classify:
        for result in classify(str(folder), top_k=options.top_k, window_s=options.window_s, on_error="skip"):
            found = ", ".join(f"{row['label']} {row['score']:.2f}" for row in result)
            print(f"{Path(result.source).name}: {found}")


def make_films(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    picture = Image.open(PICTURES / "castle.jpg").convert("RGB").resize((480, 320))
    for name, codec, pixels in (("pan.mp4", "libx264", "yuv420p"), ("zoom.avi", "mpeg4", "yuv420p"),
                                ("flicker.gif", "gif", "rgb8")):  # fmt: skip
        with av.open(str(folder / name), "w") as film:
            stream = film.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 240, 160, pixels
            for step in range(30):
                film.mux(stream.encode(av.VideoFrame.from_image(view(picture, name.partition(".")[0], step))))
            film.mux(stream.encode(None))
    return folder


def view(picture: Image.Image, kind: str, step: int) -> Image.Image:
    if kind == "pan":
        return picture.crop((8 * step, 80, 8 * step + 240, 240))
    if kind == "zoom":
        return picture.resize((240, 160), box=(6 * step, 4 * step, 480 - 6 * step, 320 - 4 * step))
    return picture.resize((240, 160)).point(lambda value: value if step % 2 else 255 - value)


if __name__ == "__main__":
    main()
