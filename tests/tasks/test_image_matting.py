"""image-matting against Transformers' models and processors, on one checkpoint, in float32."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.results import AlphaMatte
from tests import tiny_matting
from tests.contract import Contract
from tests.media import make_image, make_images
from tests.tiny_matting import make_trimap

TOLERANCE = 1e-5  # float32's rounding of numbers in [0, 1] after some layers


def ours(name="vitmatte", **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("image-matting", tiny_matting.folder(name), **settings)


def loaded(name):
    folder = tiny_matting.folder(name)
    model = transformers.AutoModelForImageMatting.from_pretrained(folder).eval()
    return model, transformers.AutoImageProcessor.from_pretrained(folder)


def theirs(image, trimap):
    """ViTMatte's alpha, whose padding is cut off."""
    model, processor = loaded("vitmatte")
    with torch.no_grad():
        alphas = model(**processor(images=image, trimaps=trimap, return_tensors="pt")).alphas
    return alphas[0, 0, : image.height, : image.width].numpy()


def guided(image):
    return {"image": image, "trimap": make_trimap(*image.size)}


IMAGE, TRIMAP = make_image(), make_trimap()
FLAGS = np.asarray(TRIMAP) == 255
CONTRACT = Contract(
    build=ours,
    inputs=lambda: [guided(image) for image in make_images()[:4]],
    bad=[
        IMAGE,
        "nowhere.jpg",
        None,
        {"trimap": TRIMAP},
        {"image": IMAGE, "trimap": "nowhere.png"},
        {"image": IMAGE, "trimap": make_trimap(48, 64)},
        {"image": IMAGE, "trimap": TRIMAP, "mask": FLAGS},
        {"image": IMAGE, "trimap": TRIMAP, "matte": TRIMAP},
    ],
    tolerance=TOLERANCE,
)


def test_same_answers_as_transformers():
    images = make_images()
    trimaps = [make_trimap(*image.size) for image in images]
    with ours(batch_size=4) as pipe:
        together, alone = pipe(images, trimaps), pipe(image=images[3], trimap=trimaps[3])
    for image, trimap, result in zip(images, trimaps, together, strict=True):
        assert isinstance(result, AlphaMatte)
        assert result.size == image.size[::-1]
        assert result.foreground is None
        expected = theirs(image, trimap)
        assert expected.std() > 0.1, "the model has to see something"
        np.testing.assert_allclose(result.alpha, expected, atol=TOLERANCE)
    np.testing.assert_allclose(alone.alpha, together[3].alpha, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 1), (20, 3000)])
def test_narrow_and_long_pictures(size):
    image = make_image(*size)
    with ours() as pipe:
        result = pipe(guided(image))
    np.testing.assert_allclose(result.alpha, theirs(image, make_trimap(*size)), atol=TOLERANCE)


def test_sapiens_needs_no_trimap_and_tells_the_foreground():
    images = make_images()
    model, processor = loaded("sapiens2")
    with ours("sapiens2", batch_size=4) as pipe:
        results = pipe(images)
        for guide in ("trimap", "mask"):
            with pytest.raises(InputError, match=f"Sapiens2ForImageMatting takes no {guide}") as caught:
                pipe({"image": IMAGE, guide: TRIMAP})
            assert caught.value.code == f"bad-{guide}"
        with pytest.raises(OptionError, match="unknown_px has no effect on Sapiens2"):
            pipe(IMAGE, unknown_px=3)
    for image, result in zip(images, results, strict=True):
        with torch.no_grad():
            outputs = model(**processor(images=image, return_tensors="pt"))
        (expected,) = processor.post_process_image_matting(outputs, [image.size[::-1]])
        assert expected["alpha"].std() > 0.1
        np.testing.assert_allclose(result.alpha, expected["alpha"][0], atol=TOLERANCE)
        np.testing.assert_allclose(result.foreground, expected["foreground"].permute(1, 2, 0), atol=TOLERANCE)


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


LEVELS = np.asarray(TRIMAP)
FORMS = {
    "array": LEVELS,
    "tensor": torch.from_numpy(LEVELS.copy()),
    "bytes": png(TRIMAP),
    "three equal channels": TRIMAP.convert("RGB"),
    "palette": TRIMAP.convert("P"),
    "opaque": TRIMAP.convert("LA"),
    "shares": LEVELS / np.float32(255),
    "16 bit": LEVELS.astype(np.uint16) * 257,
}


def test_trimaps_of_all_forms_are_the_same():
    with ours() as pipe:
        results = pipe(image=IMAGE, trimap=list(FORMS.values()))
    for form, result in zip(FORMS, results, strict=True):
        np.testing.assert_allclose(result.alpha, theirs(IMAGE, TRIMAP), atol=TOLERANCE, err_msg=form)


def test_other_levels_count_as_they_are_as_in_transformers():
    """A trimap of all levels, and those in which everything is known: its levels come out of the model, not through."""
    noisy = Image.fromarray((LEVELS // 2 + np.arange(64, dtype=np.uint8)).astype(np.uint8))
    trimaps = [noisy, *(Image.new("L", (64, 48), level) for level in (0, 128, 255))]
    with ours() as pipe:
        results = pipe(image=IMAGE, trimap=trimaps)
    for trimap, result in zip(trimaps, results, strict=True):
        np.testing.assert_allclose(result.alpha, theirs(IMAGE, trimap), atol=TOLERANCE)


def test_a_mask_becomes_a_trimap():
    levels = np.full((48, 64), 0, np.uint8)
    flags = np.zeros((48, 64), bool)
    flags[20:40, 0:30] = True  # at the left border, which is no outline
    levels[17:43, 0:33] = 128
    levels[23:37, 0:27] = 255
    forms = [flags, torch.from_numpy(flags), Image.fromarray(flags), flags.astype(np.uint8) * 255, AlphaMatte(flags)]
    with ours() as pipe:
        results = pipe(image=IMAGE, mask=forms, unknown_px=3)
        exact = pipe(image=IMAGE, mask=flags, unknown_px=0)
        unknown = pipe(image=IMAGE, mask=flags, unknown_px=10**30)
    np.testing.assert_allclose(unknown.alpha, theirs(IMAGE, Image.new("L", (64, 48), 128)), atol=TOLERANCE)
    for result in results:
        np.testing.assert_allclose(result.alpha, theirs(IMAGE, Image.fromarray(levels)), atol=TOLERANCE)
    np.testing.assert_allclose(exact.alpha, theirs(IMAGE, Image.fromarray(flags).convert("L")), atol=TOLERANCE)


COLOURED, CLEAR = TRIMAP.convert("RGB"), TRIMAP.convert("LA")
COLOURED.putpixel((3, 3), (255, 0, 0))
CLEAR.putpixel((3, 3), (255, 0))


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({}, "no-trimap", "told what is in front: trimap="),
        ({"trimap": TRIMAP, "mask": FLAGS}, "bad-trimap", "got both"),
        ({"trimap": make_trimap(48, 64)}, "bad-trimap", "64x48 px, got one of 48x64"),
        ({"mask": FLAGS[:, :9]}, "bad-mask", "64x48 px, got one of 9x48"),
        ({"trimap": COLOURED}, "bad-trimap", "colours or alpha"),
        ({"trimap": CLEAR}, "bad-trimap", "colours or alpha"),
        ({"mask": FLAGS.astype(np.uint8)}, "bad-mask", "levels up to 1"),
        ({"mask": LEVELS.astype(np.float32)}, "bad-range", ""),
        ({"trimap": np.full((48, 64), np.nan)}, "not-finite", ""),
        ({"trimap": 7}, "unsupported-type", ""),
    ],
)
def test_a_bad_guide_costs_its_picture_alone(given, code, said):
    good = guided(IMAGE)
    with ours() as pipe:
        first, refused, last = pipe([good, {"image": IMAGE, **given}, good], on_error="return")
    assert isinstance(refused, InputError)
    assert refused.code == code
    assert said in str(refused)
    assert first == last


def test_a_width_for_a_trimap_is_refused():
    with ours() as pipe:
        with pytest.raises(InputError, match="has no effect on a trimap"):
            pipe(IMAGE, TRIMAP, unknown_px=3)
        with pytest.raises(OptionError, match="unknown_px"):
            pipe(IMAGE, mask=FLAGS, unknown_px=-1)


def test_a_trimap_is_as_large_as_a_picture_may_be():
    from sensorium.processors.media import MediaLimits

    with ours(limits=MediaLimits(max_pixels=4000)) as pipe:
        pipe(IMAGE, TRIMAP)
        with pytest.raises(InputError) as caught:
            pipe(IMAGE, make_trimap(90, 90))
    assert caught.value.code == "too-many-pixels"


@pytest.mark.parametrize("name", tiny_matting.ARCHITECTURES)
def test_a_processor_after_which_pixels_lie_elsewhere_is_refused(name):
    given = {"size": {"height": 64, "width": 48}, "do_pad": True}
    processor = transformers.Sapiens2ImageProcessor(**given)
    with pytest.raises(CheckpointError, match="keeps the size" if name == "vitmatte" else "pads nothing"):
        ours(name, processor=processor)


def test_bfloat16_drifts_little():
    inputs = [guided(image) for image in make_images()]
    with ours() as exact, ours(dtype="bfloat16") as fast:
        moved = [np.abs(a.alpha - b.alpha).mean() for a, b in zip(exact(inputs), fast(inputs), strict=True)]
    assert 0 < max(moved) < 0.02
