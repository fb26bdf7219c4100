"""Scenes: one main object on a background, the rest of the world around it.

What makes a scene's label well defined: the main object is the largest by far (nothing else is wider than 55 %
of it, other labels' emoji not wider than 40 %), its centre lies near the picture's centre, so that it stays in
the centre crop, and no more than about a quarter of it is covered.
All lengths are shares of the picture's shortest edge: a scene looks alike at every size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from training.backgrounds import paint_background
from training.glyphs import GlyphSet

ASPECTS = (1.0, 1.0, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3)


@dataclass(frozen=True)
class SceneRules:
    """How far scenes are varied; lengths are shares of the shortest edge."""

    main: tuple[float, float] = (0.42, 0.85)  # the main object's longest side
    off_centre: float = 0.11
    turn_deg: float = 18.0  # standard deviation
    clutter: float = 0.5  # share of the scenes that hold other emoji
    clutter_count: tuple[int, int] = (3, 14)
    other_size: float = 0.55  # of the main object, at most
    other_label_size: float = 0.40
    occlusion: float = 0.3  # share of the cluttered scenes with something before the main object
    blur: float = 0.012  # standard deviation of the blur, at most
    noise: float = 14.0  # grey levels
    degrade: bool = True  # blur, noise and JPEG artefacts


RULES = SceneRules()


@dataclass(frozen=True)
class Canvas:
    """A scene under way, and what each of its pixels shows."""

    picture: Image.Image
    labels: Image.Image


def draw_size(rng: np.random.Generator, shortest: tuple[int, int]) -> tuple[int, int]:
    """Draw a picture's `(height, width)` in px, with the shortest edge in the given range."""
    edge, aspect = int(rng.integers(shortest[0], shortest[1] + 1)), ASPECTS[rng.integers(len(ASPECTS))]
    return (edge, round(edge * aspect)) if aspect >= 1 else (round(edge / aspect), edge)


def compose(
    rng: np.random.Generator, label: int, glyphs: GlyphSet, *, size: tuple[int, int], rules: SceneRules = RULES
) -> Image.Image:
    """Compose one scene.

    Args:
        rng: decides everything; the same state gives the same picture.
        label: index into `glyphs.labels`.
        glyphs: what to draw with; `glyphs.by_label[label]` must not be empty.
        size: `(height, width)` in px.
        rules: how far to vary.

    Returns:
        An RGB picture.
    """
    return compose_labelled(rng, label, glyphs, size=size, rules=rules)[0]


def compose_labelled(
    rng: np.random.Generator, label: int, glyphs: GlyphSet, *, size: tuple[int, int], rules: SceneRules = RULES
) -> tuple[Image.Image, Image.Image]:
    """Compose one scene, and say what each of its pixels shows.

    Args:
        rng: as for `compose`, which gives the same picture.
        label: as for `compose`.
        glyphs: as for `compose`.
        size: as for `compose`.
        rules: as for `compose`.

    Returns:
        An RGB picture, and one of mode L: 0 for the background and what is no label, else 1 + the label's index.
    """
    height, width = size
    edge = min(size)
    scene = Canvas(paint_background(rng, height, width), Image.new("L", (width, height)))
    main_px = edge * rng.uniform(*rules.main)
    centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * rules.off_centre * edge
    cluttered = rng.random() < rules.clutter
    if cluttered:
        for _ in range(rng.integers(*rules.clutter_count, endpoint=True)):
            other, other_px, value = _draw_other(rng, label, glyphs, main_px, rules)
            where = rng.uniform((0, 0), (width, height))
            _stick(scene, other, value, rng, centre=where, longest_px=other_px, turn_deg=rng.normal(0, 30))
    group = glyphs.by_label[label]
    glyph = recolour(group[rng.integers(len(group))], rng)
    turn = rng.normal(0, rules.turn_deg)
    _stick(scene, glyph, label + 1, rng, centre=centre, longest_px=main_px, turn_deg=turn, squeeze=0.15)
    if cluttered and rng.random() < rules.occlusion:  # one thing over the rim of the main object
        other, other_px, value = _draw_other(rng, label, glyphs, main_px, rules)
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.6) * main_px
        where = centre + reach * np.array([np.cos(angle), np.sin(angle)])
        _stick(scene, other, value, rng, centre=where, longest_px=other_px, turn_deg=0.0)
    return _photograph(scene.image, rng, rules) if rules.degrade else scene.image, scene.labels


def recolour(glyph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shift the hue (far for one in six), the saturation and the brightness of an RGBA picture."""
    alpha = glyph.getchannel("A")
    hsv = np.asarray(glyph.convert("RGB").convert("HSV")).astype(np.int16)
    shift = rng.uniform(-128, 128) if rng.random() < 1 / 6 else rng.normal(0, 8)
    hsv[..., 0] = (hsv[..., 0] + round(shift)) % 256
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.35, 1.25), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.7, 1.15), 0, 255)
    coloured = Image.frombytes("HSV", glyph.size, hsv.astype(np.uint8).tobytes()).convert("RGB")
    coloured.putalpha(alpha)
    return coloured


def _draw_other(
    rng: np.random.Generator, label: int, glyphs: GlyphSet, main_px: float, rules: SceneRules
) -> tuple[Image.Image, float, int]:
    """Draw an emoji that is not the label's, its size in px, and its value in a label map.

    One in five is another label's, and smaller.
    """
    other = int(rng.integers(len(glyphs.by_label)))
    if rng.random() < 0.2 and other != label and glyphs.by_label[other]:
        group, limit, value = glyphs.by_label[other], rules.other_label_size, other + 1
    else:
        group, limit, value = glyphs.distractors, rules.other_size, 0
    return group[rng.integers(len(group))], main_px * rng.uniform(0.2, limit), value


def _stick(
    scene: Canvas,
    glyph: Image.Image,
    value: int,
    rng: np.random.Generator,
    *,
    centre: np.ndarray,
    longest_px: float,
    turn_deg: float,
    squeeze: float = 0.0,
) -> None:
    """Scale, mirror, squeeze and turn an emoji and paste it in place, now and then with its shadow."""
    scale = longest_px / max(glyph.size)
    stretch = np.exp(rng.uniform(-squeeze, squeeze))
    wide = max(2, round(glyph.width * scale * min(1.0, stretch)))
    high = max(2, round(glyph.height * scale / max(1.0, stretch)))
    glyph = glyph.resize((wide, high), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if abs(turn_deg) > 2:
        glyph = glyph.rotate(turn_deg, Image.Resampling.BILINEAR, expand=True)
    x, y = (round(float(c)) for c in centre - np.array(glyph.size) / 2)
    if rng.random() < 0.3:
        drop = round(longest_px * rng.uniform(0.02, 0.08))
        mask = glyph.getchannel("A").point(lambda a: a * 0.45).filter(ImageFilter.BoxBlur(longest_px * 0.02))
        scene.image.paste((0, 0, 0), (x + drop, y + drop), mask)
    scene.image.paste(glyph, (x, y), glyph)
    scene.labels.paste(value, (x, y), glyph.getchannel("A").point(lambda a: 255 if a > 127 else 0))


def _photograph(scene: Image.Image, rng: np.random.Generator, rules: SceneRules) -> Image.Image:
    """Degrade a scene as a cheap camera would: light, blur, noise, JPEG."""
    scene = ImageEnhance.Brightness(scene).enhance(rng.uniform(0.65, 1.3))
    scene = ImageEnhance.Contrast(scene).enhance(rng.uniform(0.65, 1.3))
    if rng.random() < 0.35:
        scene = scene.filter(ImageFilter.GaussianBlur(min(scene.size) * rng.uniform(0, rules.blur)))
    if rng.random() < 0.4:
        grain = rng.integers(-128, 128, (scene.height, scene.width, 3), dtype=np.int8)
        amount = rng.uniform(0, rules.noise) / 74  # 74: the standard deviation of the grain before
        noisy = np.asarray(scene) + grain * np.float32(amount)
        scene = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        encoded = io.BytesIO()
        scene.save(encoded, "JPEG", quality=int(rng.integers(35, 95)))
        scene = Image.open(encoded).convert("RGB")
    return scene
