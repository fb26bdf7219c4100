"""The nouns, the emoji that show them, and the emoji that only stand around them.

Each emoji is one code point of Noto Color Emoji and is rendered once, at the font's own bitmap size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE_PX = 109  # the only strike that the font holds

LABELS: dict[str, str] = {
    "airplane": "✈🛩", "apple": "🍎", "backpack": "🎒", "balloon": "🎈", "banana": "🍌", "bicycle": "🚲",
    "book": "📕📖", "boot": "👢", "broccoli": "🥦", "bus": "🚌🚍", "butterfly": "🦋", "cactus": "🌵",
    "cake": "🎂🍰", "camera": "📷", "car": "🚗🚙", "carrot": "🥕", "castle": "🏰", "cat": "🐈🐱😺",
    "chair": "🪑", "clock": "🕐🕖⏰", "corn": "🌽", "cow": "🐄🐮", "crab": "🦀", "crown": "👑",
    "dog": "🐕🐶", "doughnut": "🍩", "drum": "🥁", "elephant": "🐘", "frog": "🐸", "giraffe": "🦒",
    "guitar": "🎸", "hamburger": "🍔", "hammer": "🔨", "helicopter": "🚁", "horse": "🐎🐴", "house": "🏠",
    "key": "🔑🗝", "ladybug": "🐞", "laptop": "💻", "lightbulb": "💡", "motorcycle": "🏍🛵", "mushroom": "🍄",
    "octopus": "🐙", "owl": "🦉", "penguin": "🐧", "piano": "🎹", "pig": "🐖🐷", "pineapple": "🍍",
    "pizza": "🍕", "rocket": "🚀", "sailboat": "⛵", "scissors": "✂", "snake": "🐍", "strawberry": "🍓",
    "sunflower": "🌻", "telephone": "☎📞", "tractor": "🚜", "train": "🚂🚆", "tree": "🌳🌲", "trumpet": "🎺",
    "turtle": "🐢", "umbrella": "☂☔", "violin": "🎻", "watermelon": "🍉",
}  # fmt: skip
"""64 nouns, each with the emoji that show it in training."""

HELD_OUT: dict[str, str] = {
    "apple": "🍏", "book": "📗📘", "bus": "🚎", "camera": "📸", "car": "🚕🚓", "cat": "😸😻", "clock": "🕓🕘",
    "dog": "🦮", "house": "🏡", "train": "🚅🚇",
}  # fmt: skip
"""Other emoji of the same nouns, which no training picture holds."""

DISTRACTORS = (
    "😀😂😍😎😡😴🥶🤠👻💀👽🤖💩👍👎👋👏🙏💪👀👄👂👃🦶🧠🦷❤💙💚💛💜🖤💔💯💢💥💦💨💬⭐🌟⚡🔥🌈🌙🪐🌍⛄🌊"
    "🐭🐹🐰🦊🐻🐼🐨🐵🐔🐤🦇🐺🐝🐌🦂🦑🦐🐬🐳🦈🐊🦜🦔🐿🐾🌷🌹🌺🍀🍁🌾🍇🍈🍊🍋🍑🍒🥝🍅🥥🥑🍆🥔🌶🥒🥜🍞🥐🥨"
    "🧀🍖🍗🥓🍟🌭🌮🌯🍳🍿🍙🍜🍣🍤🍦🍪🍫🍬🍭🍯🥛☕🍷🍺🍽🥄⚓🛑🚦⛲🎡🗿🌋⛺🛏🛁🚪🪞🧸🎁🎀🎃🏆🥇⚽🏀🏈⚾🎾"
    "🎱🏓🥊🎯🎲🧩🎨🧵🧶👓👔👕👖🧣🧤🧦👗👙👛👠🎩🧢💄💍💎📢🔔🎵🎤🎧📺🔋💾🔍🧲🧪🔬🔭📡💉💊🧻🧼🪣🧽🛒"
    "📦📫📎📌📐✏🖌📁📅📊🔒🔧🔩⚙🏹🛡💣🔪🏺🧭🕯💰💳✉🚩🏁♻☢☯✅❌❓❗➕🔴🔵🟢🟨🟪🔶🔷🔺"  # noqa: RUF001
)
"""Emoji that stand around the main object and are never a label."""


@dataclass(frozen=True)
class GlyphSet:
    """Rendered emoji: per label its pictures, and the pictures of the distractors, all RGBA and cropped."""

    labels: list[str]
    by_label: list[list[Image.Image]]
    distractors: list[Image.Image]


def load_glyphs(font: Path = FONT, *, held_out: bool = False) -> GlyphSet:
    """Render every emoji once.

    Args:
        font: Noto Color Emoji with bitmaps (CBDT), as Debian's fonts-noto-color-emoji installs it.
        held_out: take the held-out emoji of the nouns that have some instead of the training ones; the
            other nouns are empty.

    Raises:
        FileNotFoundError: the font is not installed.
    """
    if not font.exists():
        raise FileNotFoundError(
            f"expected the font at {font}: run `apt install fonts-noto-color-emoji` or give its path with --font"
        )
    face = ImageFont.truetype(str(font), FONT_SIZE_PX)
    chosen = [HELD_OUT.get(label, "") if held_out else emoji for label, emoji in LABELS.items()]
    return GlyphSet(
        labels=list(LABELS),
        by_label=[[_render(face, emoji) for emoji in group] for group in chosen],
        distractors=[_render(face, emoji) for emoji in DISTRACTORS],
    )


def _render(face: ImageFont.FreeTypeFont, emoji: str) -> Image.Image:
    canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((12, 12), emoji, font=face, embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    if box is None or not _is_coloured_or_wide(canvas, box):
        raise ValueError(f"expected a picture of {emoji!r} (U+{ord(emoji):X}) in the font, got an empty glyph")
    return canvas.crop(box)


def _is_coloured_or_wide(canvas: Image.Image, box: tuple[int, int, int, int]) -> bool:
    """Tell an emoji from the font's empty box: 40 px in one direction at least, and not all transparent."""
    tall_enough = max(box[2] - box[0], box[3] - box[1]) >= 40
    return tall_enough and bool(np.asarray(canvas)[..., 3].any())
