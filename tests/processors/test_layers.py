"""Pictures with all that they hold: grey, alpha and 16 bit; the same from bytes, from PIL and out of a helper."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.errors import InputError
from sensorium.processors.layers import load_layers
from sensorium.processors.media import MediaLimits
from sensorium.processors.video_frame import VideoFrame
from sensorium.results.png import png

DRAWN = np.random.default_rng(0)
APART = MediaLimits.untrusted()


def bytes8(*shape):
    return DRAWN.integers(0, 256, shape, np.uint8)


def bytes16(*shape):
    return DRAWN.integers(0, 65536, shape, np.uint16)


def encode(image, kind="PNG", **settings):
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


GREY, COLOURS, DEEP = bytes8(5, 7), bytes8(5, 7, 3), bytes16(5, 7)
GREY_ALPHA, COLOURS_ALPHA = bytes8(5, 7, 2), bytes8(5, 7, 4)
KEPT = {
    "grey": (encode(Image.fromarray(GREY)), GREY[..., None]),
    "grey and alpha": (encode(Image.fromarray(GREY_ALPHA, "LA")), GREY_ALPHA),
    "colours": (encode(Image.fromarray(COLOURS)), COLOURS),
    "colours, TIFF": (encode(Image.fromarray(COLOURS), "TIFF"), COLOURS),
    "colours and alpha": (encode(Image.fromarray(COLOURS_ALPHA)), COLOURS_ALPHA),
    "colours and alpha, WebP": (
        encode(Image.fromarray(COLOURS_ALPHA), "WEBP", lossless=True, exact=True),
        COLOURS_ALPHA,
    ),
    "black and white": (encode(Image.fromarray(GREY > 99)), ((GREY > 99) * np.uint8(255))[..., None]),
    "16 bit": (encode(Image.fromarray(DEEP)), DEEP[..., None]),
    "16 bit, TIFF": (encode(Image.fromarray(DEEP), "TIFF"), DEEP[..., None]),
    "16 bit, PGM": (b"P5 2 1 65535\n\x01\x02\xff\xfe", np.array([[[258], [65534]]], np.uint16)),
    "floats, TIFF": (encode(Image.fromarray(np.float32([[0, 0.5, 1]])), "TIFF"), np.uint16([[[0], [32768], [65535]]])),
    "a grey that is clear": (
        encode(Image.fromarray(GREY), transparency=int(GREY[0, 0])),
        np.stack([GREY, np.where(GREY[0, 0] == GREY, 0, 255).astype(np.uint8)], 2),
    ),
    "a 16-bit grey that is clear": (
        encode(Image.fromarray(DEEP), transparency=int(DEEP[0, 0])),
        np.stack([DEEP, np.where(DEEP[0, 0] == DEEP, 0, 65535).astype(np.uint16)], 2),
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_file_gives_what_was_written(name):
    data, expected = KEPT[name]
    for source, limits in ((data, MediaLimits()), (data, APART), (Image.open(io.BytesIO(data)), MediaLimits())):
        found = load_layers(source, limits=limits)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def test_jpegs_and_palettes():
    image = Image.fromarray(COLOURS)
    assert load_layers(encode(Image.fromarray(GREY), "JPEG")).shape == (5, 7, 1)
    for limits in (MediaLimits(), APART):
        assert np.array_equal(
            load_layers(encode(image, "JPEG"), limits=limits), Image.open(io.BytesIO(encode(image, "JPEG")))
        )
    few = image.quantize(8)
    assert np.array_equal(load_layers(encode(few)), few.convert("RGB"))
    clear = load_layers(encode(few, transparency=1))
    assert np.array_equal(clear[..., 3] == 0, np.asarray(few) == 1)
    assert load_layers(encode(Image.fromarray(COLOURS_ALPHA, "CMYK"), "JPEG")).shape == (5, 7, 3)


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "RGBX", "YCbCr", "HSV", "I;16B"])
def test_every_mode_of_pil_is_one_of_the_four(mode):
    base = {"La": GREY_ALPHA, "RGBa": COLOURS_ALPHA}.get(mode)
    if base is not None:
        image = Image.fromarray(base, mode.upper()).convert(mode)
    elif mode == "I;16B":
        image = Image.fromarray(DEEP.astype(">u2"))
    else:
        image = (
            Image.fromarray(COLOURS_ALPHA).quantize(8).convert(mode)
            if mode == "PA"
            else Image.fromarray(COLOURS).convert(mode)
        )
    found = load_layers(image)
    assert found.shape == (5, 7, {"La": 2, "RGBa": 4, "PA": 4, "I;16B": 1}.get(mode, 3))
    if mode == "I;16B":
        assert np.array_equal(found[..., 0], DEEP)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_colours_of_a_png_are_kept_or_refused(channels):
    levels = bytes16(5, 7, channels)
    assert np.array_equal(load_layers(png(levels)), levels)
    for source, limits in ((png(levels), APART), (Image.open(io.BytesIO(png(levels))), MediaLimits())):
        with pytest.raises(InputError, match="16-bit colours") as caught:
            load_layers(source, limits=limits)
        assert caught.value.code == "unsupported-depth"


def test_16_bit_colours_of_other_formats_are_refused():
    tiff = io.BytesIO(encode(Image.fromarray(COLOURS), "TIFF")).getvalue()
    deep = tiff.replace(b"\x08\x00\x08\x00\x08\x00", b"\x10\x00\x10\x00\x10\x00")  # of its BitsPerSample
    assert deep != tiff
    for data in (deep, b"P6 2 1 65535\n" + bytes(12)):
        with pytest.raises(InputError) as caught:
            load_layers(data)
        assert caught.value.code == "unsupported-depth"


def test_pictures_come_out_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in (Image.fromarray(DEEP), Image.fromarray(COLOURS_ALPHA)):
        found = load_layers(encode(image, exif=exif))
        assert np.array_equal(found.squeeze(), np.rot90(np.asarray(image), -1))


def test_arrays_stay_as_they_are():
    for array in (GREY, COLOURS, COLOURS_ALPHA, DEEP, bytes16(5, 7, 3)):
        for source in (array, torch.from_numpy(array)):
            found = load_layers(source)
            assert found.dtype == array.dtype
            assert np.array_equal(found.squeeze(), array)
    unit = DRAWN.random((3, 5, 7))
    assert np.allclose(load_layers(unit), unit.transpose(1, 2, 0), atol=1e-6)
    assert load_layers(unit).dtype == np.float32
    assert load_layers(GREY > 99).max() == 255


@pytest.mark.parametrize(
    "source", [None, b"no picture", np.zeros((2, 2, 5)), np.full((4, 4), 2.0), png(bytes16(5, 7, 3))[:60]]
)
def test_what_is_none_is_refused(source):
    with pytest.raises(InputError) as caught:
        load_layers(source)
    assert caught.value.code in {
        "unsupported-type",
        "not-a-picture",
        "bad-channels",
        "bad-range",
        "truncated",
        "corrupt",
    }


class Layered:
    """What says of itself what it is as an array."""

    def __array__(self, dtype=None, copy=None):
        return DEEP


def test_frames_and_what_has_an_array_are_pictures_too():
    pixels = torch.from_numpy(COLOURS).permute(2, 0, 1)
    for frame in (pixels, pixels.float()):
        found = load_layers(VideoFrame(frame, 0, 0.5, "x.mp4"))
        np.testing.assert_allclose(found, COLOURS if found.dtype == np.uint8 else COLOURS / 255, rtol=1e-6)
    assert np.array_equal(load_layers(Layered()), DEEP[..., None])
