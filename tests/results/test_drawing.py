"""Drawings: on the picture as pipelines see it, readable at any size, with letters and colours enough."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.errors import InputError
from sensorium.processors.media import load_pil
from sensorium.results import (
    AlphaMatte,
    Answers,
    DepthMap,
    Detections,
    Embedding,
    FrameMasks,
    Keypoints,
    Labels,
    Masks,
    Matches,
    NormalMap,
    OutputImage,
    Poses,
    Segments,
    lettering,
    rle,
)
from sensorium.results.drawing import contour
from sensorium.results.lettering import clean, fitting, width_of, write
from sensorium.results.palette import FIRST, colour
from sensorium.results.tags import Tags, line_width, text_size
from tests.media import make_image

WIDE, HIGH = 60, 40
UPRIGHT = make_image(WIDE, HIGH)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def from_a_phone():
    """The bytes of a picture that lies on its side, and says so; upright it is 60 px wide."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(UPRIGHT.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def results():
    mask = np.zeros((HIGH, WIDE), bool)
    mask[5:20, 30:50] = True
    return {
        "depth": DepthMap(mask + np.linspace(0, 1, WIDE)),
        "detections": Detections([[30, 5, 50, 20]], [0.9], ["cat"]),
        "masks": Masks(mask[None], [0.9]),
        "frame masks": FrameMasks([rle.runs(mask)], mask.shape, ["cat"], [0.9], [0.9], frame=3),
        "segments": Segments(mask.astype(int), [1], ["cat"], [0.9]),
        "poses": Poses([[[30, 5], [50, 20]]], [[0.5, 0.9]], [[20, 2, 60, 30]], ["nose", "eye"], [[0, 1]]),
        "keypoints": Keypoints([[30, 5], [50, 20]], [0.5, 0.9], ["nose", "eye"]),
        "matches": Matches([[30, 5]], [[50, 20]], [0.9]),
        "matte": AlphaMatte(mask * np.linspace(0, 1, WIDE)),
        "normals": NormalMap(np.where(mask[..., None], [0.6, 0, 0.8], [0, 0, 1])),
        "output image": OutputImage(np.repeat(mask.repeat(2, 0).repeat(2, 1)[..., None], 3, 2).astype(np.uint8) * 255),
        "labels": Labels(["cat", "dog"], [0.9, 0.1]),
        "answers": Answers(["a cat"], [0.9]),
        "embedding": Embedding(np.ones((3, 4, 6), np.float32)),
    }


@pytest.mark.parametrize("name", results())
def test_a_picture_is_drawn_on_as_the_pipeline_sees_it(name, tmp_path):
    result, pixels = results()[name], np.array(UPRIGHT)
    expected = np.asarray(result.plot(UPRIGHT))
    beside = ("labels", "answers", "depth", "embedding", "matte", "normals")
    assert not np.array_equal(expected[:HIGH, :WIDE], pixels) or name in beside
    (tmp_path / "phone.png").write_bytes(from_a_phone())
    wide = pixels.astype(np.uint16) * 257
    sources = {
        "path": tmp_path / "phone.png",
        "str": str(tmp_path / "phone.png"),
        "bytes": from_a_phone(),
        "file": io.BytesIO(from_a_phone()),
        "PIL, on its side": Image.open(io.BytesIO(from_a_phone())),
        "HWC": pixels,
        "CHW": pixels.transpose(2, 0, 1),
        "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
        "floating point": pixels / 255,
        "16 bit": wide,
        "RGBA": UPRIGHT.convert("RGBA"),
    }
    for form, source in sources.items():
        assert np.array_equal(np.asarray(result.plot(source)), expected), form
    assert np.array_equal(pixels, np.asarray(UPRIGHT))  # the source stays as it was


def test_grey_and_palettes_are_drawn_on():
    result = results()["detections"]
    for image in (UPRIGHT.convert("L"), UPRIGHT.convert("P"), np.asarray(UPRIGHT.convert("L"))):
        assert np.array_equal(np.asarray(result.plot(image)), np.asarray(result.plot(load_pil(image))))


def test_the_picture_itself_is_not_drawn_into():
    before = np.asarray(UPRIGHT).copy()
    for result in results().values():
        result.plot(UPRIGHT)
    assert np.array_equal(np.asarray(UPRIGHT), before)


def test_what_is_no_picture_says_so():
    for bad, code in ((None, "unsupported-type"), ("nowhere.jpg", "missing-file"), (b"text", "not-a-picture")):
        with pytest.raises(InputError) as caught:
            results()["detections"].plot(bad)
        assert caught.value.code == code


def flat(width, height):
    return Image.new("RGB", (width, height), (90, 90, 90))


def boxes(width, height, count, label="person"):
    left = np.linspace(0.1, 0.5, count) * width
    top = np.linspace(0.3, 0.6, count) * height
    return Detections(
        np.stack([left, top, left + 0.3 * width, top + 0.3 * height], 1), np.linspace(0.3, 0.9, count), [label] * count
    )


@pytest.mark.parametrize(
    ("width", "height", "smallest", "largest"),
    [(64, 64, 8, 9), (500, 400, 11, 13), (1920, 1080, 20, 40), (4000, 3000, 50, 100), (4000, 64, 8, 9)],
)
def test_text_and_lines_grow_with_the_picture(width, height, smallest, largest):
    assert smallest <= text_size(flat(width, height)) <= largest
    assert 1 <= line_width(flat(width, height)) <= max(2, width / 200)
    assert line_width(flat(4000, 3000)) >= 10


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (16, 16), (500, 400)])
def test_tags_leave_most_of_a_picture_to_be_seen(size, count):
    canvas = flat(*size)
    tags = Tags(canvas)
    for number in range(count):
        tags.add((number % size[0], 10, 60, 60), "a long name of something", 0.5, (230, 57, 70))
    tags.draw()
    changed = (np.asarray(canvas) != 90).any(-1).mean()
    assert changed <= 0.3
    assert changed > 0 or min(size) < 32


@pytest.mark.parametrize("size", [(1280, 720), (300, 200), (4000, 3000)])
def test_no_tag_lies_on_another_or_beyond_the_picture(size):
    rng = np.random.default_rng(0)
    corners = rng.uniform(-0.1, 1, (80, 2)) * size
    tags = Tags(flat(*size))
    for number, (corner, sides) in enumerate(zip(corners, rng.uniform(0, 0.4, (80, 2)) * size, strict=True)):
        box = (*corner, *(corner + sides)) if number % 2 else (*corner, *corner)
        tags.add(box, f"class {number}", 0.5, (0, 0, 0))
    placed = [tag.box for tag in tags._placed]
    assert len(placed) >= 5
    assert all(0 <= left < right <= size[0] and 0 <= top < bottom <= size[1] for left, top, right, bottom in placed)
    for i, a in enumerate(placed):
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in placed[:i])


def test_a_box_whose_corner_is_taken_has_its_tag_elsewhere():
    tags = Tags(flat(1000, 800))
    for _ in range(6):
        tags.add((100, 100, 500, 500), "cat", 0.5, (0, 0, 0))
    assert len(tags._placed) == 6
    assert tags._placed[0].box[3] == 100  # above its upper left corner
    assert all(tag.box[0] >= 90 and tag.box[2] <= 501 for tag in tags._placed)


def test_a_segment_s_label_is_in_the_middle_of_its_widest_part(monkeypatch):
    placed = []
    monkeypatch.setattr(Tags, "draw", lambda tags: placed.extend(tags._placed))
    values = np.zeros((300, 400), np.uint8)
    values[100:200, 200:400] = 1
    Segments(values, [1], ["sky"]).plot(flat(400, 300))
    left, top, right, bottom = placed[0].box
    assert (left + right) / 2 == pytest.approx(300, abs=1)
    assert 100 < (top + bottom) / 2 < 200


@pytest.mark.parametrize("name", ["masks", "frame masks", "segments"])
def test_the_label_of_an_object_narrower_than_itself_does_not_hide_it(name):
    mask = np.zeros((300, 400), bool)
    mask[100:200, 190:210] = True
    drawn = {
        "masks": Masks(mask[None], [0.9], labels=["traffic light"]),
        "frame masks": FrameMasks([rle.runs(mask)], mask.shape, ["traffic light"], [0.9], [0.9], frame=0),
        "segments": Segments(mask.astype(int), [1], ["traffic light"], [0.9]),
    }[name].plot(flat(400, 300))
    within = np.asarray(drawn)[105:195, 195:205].reshape(-1, 3)
    assert len(np.unique(within, axis=0)) == 1, "its colour alone"
    assert (np.asarray(drawn) != 90).any(-1).sum() > mask.sum() + 500, "the label lies beside"


LONG = [(20_000, 20), (20, 20_000)]


@pytest.mark.parametrize("size", LONG)
def test_points_on_a_long_picture_do_not_fill_it(size):
    middle = [size[0] / 2, size[1] / 2]
    for drawn in (Keypoints([middle], [0.5]).plot(flat(*size)), Matches([middle], [middle], [0.5]).plot(flat(*size))):
        assert (np.asarray(drawn) != 90).any(-1).sum() < 100
    pair = Matches([middle], [[5, 5]], [0.5]).plot(flat(*size), flat(40, 40))
    assert (np.asarray(pair)[:, : size[0]] != (90, 90, 90)).any(-1)[: size[1]].mean() < 0.5


def test_points_on_a_large_picture_have_a_rim_that_is_seen():
    drawn = np.asarray(Keypoints([[2000, 1500]], [0.5]).plot(flat(4000, 3000)))
    white = (drawn[1500] == 255).all(-1).sum()
    assert white >= 6, "3 px on either side"


@pytest.mark.parametrize("size", LONG)
def test_what_stands_beside_or_under_a_long_picture_is_not_larger_than_it_needs_to_be(size):
    ramp = np.linspace(0, 1, size[0] * size[1]).reshape(size[::-1])
    narrow = min(size)
    for drawn in (DepthMap(ramp).plot(flat(*size)), AlphaMatte(ramp).plot(flat(*size))):
        assert drawn.height <= (2 * narrow + 30 if size[0] > size[1] else size[1] + 30)
        assert drawn.width <= max(size[0], 240, 2 * narrow + 10)
    assert Labels(["cat"], [0.9]).plot(flat(*size)).height <= size[1] + 30


def test_a_small_picture_with_two_objects_is_still_seen():
    drawn = np.asarray(boxes(64, 64, 2).plot(flat(64, 64)))
    assert drawn.shape == (64, 64, 3)
    assert (drawn == 90).all(-1).mean() > 0.6


def test_a_long_label_is_cut_before_its_score(monkeypatch):
    written = []
    monkeypatch.setattr("sensorium.results.tags.write", lambda draw, xy, text, *rest, **names: written.append(text))
    for size in ((64, 64), (200, 200), (500, 400), (4000, 3000)):
        boxes(*size, 1, label="an extraordinarily long name " * 20).plot(flat(*size))
    assert len(written) == 4
    assert all(text.endswith(" 0.30") or text == "0.30" for text in written)
    assert all("…" in text for text in written)
    for text, size in zip(written, ((64, 64), (200, 200), (500, 400), (4000, 3000)), strict=True):
        assert width_of(text, text_size(flat(*size))) <= 0.6 * size[0] + 1


def test_bars_cut_a_long_label_before_its_score(monkeypatch):
    written = []
    monkeypatch.setattr("sensorium.results.drawing.write", lambda draw, xy, text, *rest, **names: written.append(text))
    Labels(["an extraordinarily long name " * 20, "short"], [0.9, 0.1]).plot(flat(64, 64))
    assert written[0].endswith("…  0.900")
    assert written[1] == "short  0.100"


def test_every_class_has_a_colour_of_its_own():
    colours = [colour(number) for number in range(1024)]
    assert len(set(colours)) == 1024
    assert tuple(colours[: len(FIRST)]) == FIRST
    some = np.array(colours[:150], float)
    apart = np.abs(some[:, None] - some[None]).sum(-1) + 999 * np.eye(150)
    assert apart.min() >= 24  # of 765
    boxed = Detections([[5, 5, 30, 30]] * 150, [0.5] * 150, list(map(str, range(150))), range(150))
    outlines = {boxed[np.array([i])].plot(flat(40, 40)).getpixel((30, 30)) for i in range(150)}
    assert len(outlines) == 150


@pytest.mark.parametrize("text", ["cat", "кошка", "γάτα", "café", "naïve Zoë"])
def test_letters_that_a_font_has_are_drawn(text):
    if any(lettering._font_of(letter) < 0 for letter in text):
        pytest.skip("this machine has no font for them")
    assert clean(text) == text
    assert_drawn(text)


def assert_drawn(text):
    """Each letter is drawn, and not as what a font shows for a letter that it does not have."""
    from PIL import ImageDraw

    for letter in set(clean(text)) - {" "}:
        canvas, missing = flat(60, 60), flat(60, 60)
        write(ImageDraw.Draw(canvas), (5, 30), letter, (255, 255, 255), 30)
        number = max(0, lettering._font_of(letter))
        face = lettering._sized(number, 30)
        ImageDraw.Draw(missing).text((5, 30 + 0.36 * 30), "\U0010ffff", fill=(255, 255, 255), font=face, anchor="ls")
        assert canvas.getbbox() is not None
        assert not np.array_equal(np.asarray(canvas), np.asarray(missing)), letter


def test_letters_that_no_font_has_are_escaped_and_never_boxes(monkeypatch):
    monkeypatch.setattr(lettering, "_files", lambda: ())
    lettering._font_of.cache_clear()
    try:
        assert clean("猫 cat") == r"\u732b cat"
        assert clean("кот") == r"\u043a\u043e\u0442"
        assert_drawn("猫 cat кот")
    finally:
        lettering._font_of.cache_clear()


def test_a_font_of_last_resort_is_not_taken_for_one_that_has_a_letter(monkeypatch, tmp_path):
    """matplotlib and macOS bring one: it shows every letter as a box with the name of its script."""
    for name in ("LastResortHE-Regular.ttf", "LastResort.otf", "Other.ttf"):
        (tmp_path / name).touch()
    monkeypatch.setattr(lettering, "_folders", lambda: [tmp_path])
    assert lettering._files.__wrapped__() == (str(tmp_path / "Other.ttf"),)


def test_a_font_that_is_found_draws_what_others_lack(monkeypatch):
    """The fonts of the machine are tried in turn; damaged ones are passed over."""
    found = next((path for path in lettering._files() if "DejaVuSans.ttf" in path), None)
    if found is None:
        pytest.skip("this machine has no DejaVu")
    monkeypatch.setattr(lettering, "_files", lambda: (__file__, found))
    for cached in (lettering._font_of, lettering._sized, lettering._absent):
        cached.cache_clear()
    try:
        assert lettering._font_of("ж") == 2
        assert lettering._font_of("猫") == -1
        assert clean("ж猫") == r"ж\u732b"
    finally:
        for cached in (lettering._font_of, lettering._sized, lettering._absent):
            cached.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\tc", "a b c"), ("\x1b[31mred", r"\x1b[31mred"), ("\u202eevil", r"\u202eevil"), ("x" * 99, "x" * 59 + "…")],
)
def test_untrusted_labels_are_one_line(text, shown):
    assert clean(text) == shown


def test_what_fits_is_as_much_as_there_is_room_for():
    for text in ("a long name of something", "кошка и собака"):
        for room in range(0, 260, 7):
            cut = fitting(text, 12, room)
            assert width_of(cut, 12) <= room or not cut
            assert cut == text or not cut or cut.endswith("…")
        assert fitting(text, 12, 1000) == text


def test_a_contour_is_as_wide_as_it_is_asked_for_and_none_along_the_picture_s_edge():
    mask = np.zeros((40, 50), bool)
    mask[10:30, :30] = True
    for width in (1, 3):
        edge = contour(mask, width)
        assert edge[10 : 10 + width, :30].all()
        assert edge[10:30, 30 - width : 30].all()
        assert not edge[10 + width : 30 - width, : 30 - width].any()
        assert not edge[~mask].any()
    assert not contour(np.zeros((4, 4), bool), 2).any()
    assert not contour(np.ones((4, 4), bool), 2).any()
