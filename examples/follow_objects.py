"""Follows objects through a film, and writes the film again with their masks drawn on it.

    python examples/follow_objects.py --model NAME [--film FILM] [--box NAME=X0,Y0,X1,Y1 …] [--output FILM_OR_FOLDER]

Without --film a cut-out that flies over a picture, and a disc that falls, are made and followed. The model is a name of
the Hub, such as facebook/sam2.1-hiera-tiny, or a folder. A box names an object on the film's first frame. An output
that is no .mp4 is a folder, which gets a PNG a frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageDraw

from sensorium import frames, pipeline

PICTURES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Follow objects through a film.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--film", default=None)
    parser.add_argument("--box", nargs="+", default=["owl=10,60,74,124", "disc=200,10,240,50"])
    parser.add_argument("--output", type=Path, default=Path("followed.mp4"))
    options = parser.parse_args()

    film = options.film or make_film(Path("flight.mp4"))
    with pipeline("video-mask-generation", model=options.model) as follow, follow.video(film) as opened:
        for named in options.box:
            name, _, numbers = named.partition("=")
            opened.add(name, box=[float(number) for number in numbers.split(",")], frame=0)
        write(drawn(opened, film), options.output)
    print(f"{options.output}: {', '.join(named.partition('=')[0] for named in options.box)}")


def drawn(opened: Any, film: str | Path) -> Iterator[Image.Image]:
    """Each frame with its masks; both are read one by one."""
    for masks, frame in zip(opened.stream(), frames(film), strict=False):
        yield masks.plot(frame)


def write(pictures: Iterator[Image.Image], output: Path) -> None:
    if output.suffix != ".mp4":
        output.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            picture.save(output / f"{number:05d}.png")
        return
    with av.open(str(output), "w") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            size = picture.width // 2 * 2, picture.height // 2 * 2  # as the code needs it
            if not stream.codec_context.is_open:
                stream.width, stream.height = size
            film.mux(stream.encode(av.VideoFrame.from_image(picture.crop((0, 0, *size)))))
        film.mux(stream.encode(None))


def make_film(path: Path) -> Path:
    castle = Image.open(PICTURES / "castle.jpg").convert("RGB").resize((320, 240))
    owl = Image.open(PICTURES / "owl.jpg").convert("RGB").resize((64, 64))
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for step in range(20):
            view = castle.copy()
            view.paste(owl, (10 + 8 * step, 60))
            ImageDraw.Draw(view).ellipse((200, 10 + 8 * step, 240, 50 + 8 * step), fill="orange")
            film.mux(stream.encode(av.VideoFrame.from_image(view)))
        film.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
