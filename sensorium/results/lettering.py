"""Text in drawings: each letter in a font that has it, and escaped where this machine has none."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Colour = tuple[int, int, int]

_PREFERRED = (  # what is in the names of fonts that have many letters and are easy to read
    "notosanscjk", "notosans-regular", "dejavusans.ttf", "sourcehansans", "arialuni", "msyh", "pingfang", "hiragino",
    "wqy", "droidsansfallback", "yugoth", "malgun", "applesdgothic", "arial.ttf", "liberationsans-regular", "freesans.",
    "notosans",
)  # fmt: skip
_MAX_FONTS = 400
_LAST_RESORT = "lastresort"  # in the name of fonts that show each letter as a box with the name of its script
_ABSENT = "\U0010ffff"  # no letter, of which no font has a picture
_JOINERS = "\u200b\u200c\u200d\ufeff"  # invisible


def clean(text: str, *, max_length: int = 60) -> str:
    """An untrusted text as one line: line ends become spaces, what cannot be shown is escaped, and the rest cut."""
    line = " ".join(text[: 2 * max_length].split()).translate(dict.fromkeys(map(ord, _JOINERS)))
    shown = "".join(letter if letter.isprintable() and _font_of(letter) >= 0 else _escaped(letter) for letter in line)
    return shown if len(shown) <= max_length else shown[: max_length - 1] + "…"


def width_of(text: str, size_px: int) -> float:
    """How wide a text that `clean` gave is, px."""
    return sum(_sized(number, size_px).getlength(run) for number, run in _runs(text))


def fitting(text: str, size_px: int, room: float) -> str:
    """As much of a text as fits into so many px, with "…" where it was cut; nothing where not one letter fits."""
    if width_of(text, size_px) <= room:
        return text
    # more letters are never narrower
    fits = bisect_right(range(len(text)), room, key=lambda letters: width_of(text[:letters].rstrip() + "…", size_px))
    return text[: fits - 1].rstrip() + "…" if fits > 1 else ""


def write(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, fill: Colour, size_px: int, *, anchor: str = "lm"
) -> None:
    """Writes a text that `clean` gave.

    Args:
        draw: of the picture.
        xy: a point in the middle of the line's height, px.
        text: one line.
        fill: its colour.
        size_px: of the letters.
        anchor: "lm" where the point is at the left end, "rm" where it is at the right one.
    """
    x = xy[0] - (width_of(text, size_px) if anchor[0] == "r" else 0.0)
    baseline = xy[1] + 0.36 * size_px  # half the height of capital letters
    for number, run in _runs(text):
        face = _sized(number, size_px)
        draw.text((x, baseline), run, fill=fill, font=face, anchor="ls")
        x += face.getlength(run)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _runs(text: str) -> Iterator[tuple[int, str]]:
    """Stretches of a text in one font, by its number; what no font has is shown by the first."""
    for number, letters in itertools.groupby(text, lambda letter: max(0, _font_of(letter))):
        yield number, "".join(letters)


@lru_cache(maxsize=2**14)
def _font_of(letter: str) -> int:
    """The number of the first font that has a letter; 0 is Pillow's own, -1 is none."""
    if letter.isspace() or letter < "\x7f":
        return 0
    letter = unicodedata.normalize("NFC", letter)
    return next((number for number in range(len(_files()) + 1) if _has(number, letter)), -1)


def _has(number: int, letter: str) -> bool:
    try:
        face = _sized(number, 20)
        mask = face.getmask(letter)
        return bool(mask.size[0]) and (mask.size, bytes(mask)) != _absent(number)
    except (OSError, ValueError):  # a font of pictures, or a damaged one
        return False


@lru_cache(maxsize=_MAX_FONTS + 1)
def _absent(number: int) -> tuple[tuple[int, int], bytes]:
    """What a font shows for a letter that it does not have."""
    mask = _sized(number, 20).getmask(_ABSENT)
    return mask.size, bytes(mask)


@lru_cache(maxsize=256)
def _sized(number: int, size_px: int) -> Font:
    from PIL import ImageFont

    return ImageFont.load_default(size_px) if number == 0 else ImageFont.truetype(_files()[number - 1], size_px)


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """The machine's fonts, those with many letters first."""
    found = sorted(
        path
        for folder in _folders()
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.suffix.lower() in (".ttf", ".otf", ".ttc") and _LAST_RESORT not in path.name.lower()
    )

    def rank(path: Path) -> tuple[int, bool]:
        name = path.name.lower()
        at = next((at for at, part in enumerate(_PREFERRED) if part in name), len(_PREFERRED))
        return at, any(style in name for style in ("bold", "italic", "oblique", "serif", "mono", "black", "thin"))

    return tuple(str(path) for path in sorted(found, key=rank)[:_MAX_FONTS])


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        folders = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home))
        folders = [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", Path(local) / "Microsoft/Windows/Fonts"]
    else:
        folders = [
            Path("/usr/share/fonts"),
            Path("/usr/local/share/fonts"),
            home / ".fonts",
            home / ".local/share/fonts",
        ]
    spec = importlib.util.find_spec("matplotlib")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folders.append(Path(place) / "mpl-data" / "fonts" / "ttf")
    return folders
