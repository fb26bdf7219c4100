"""Long pictures and odd films: a clear error or the right result, and no neighbour lost."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import InputError, LimitError
from sensorium.results import Result
from tests.contract import assert_close
from tests.films import film, only_sound
from tests.media import make_image, make_images
from tests.test_contract import contract_of

LONG = 20_000


def _whole(image):
    return {"image": image, "boxes": [[0, 0, *image.size]]}


def _trimap(image):
    return {"image": image, "trimap": np.full((image.height, image.width), 128, np.uint8)}


def _point(image):
    return {"image": image, "points": [[0, 0]]}


def _pair(image):
    return {"image0": image, "image1": make_image()}


GIVEN = {"pose-estimation": _whole, "image-matting": _trimap, "mask-generation": _point, "keypoint-matching": _pair}
"""How a task takes a picture, where not alone."""

TOO_LONG = {"depth-estimation", "object-detection", "mask-generation"}
"""Tasks whose tiny model keeps the aspect, so that a side of such a picture would vanish."""

PICTURES = [
    "depth-estimation", "zero-shot-object-detection", "zero-shot-image-classification", "object-detection",
    "image-segmentation", "pose-estimation", "mask-generation", "image-to-image", "image-matting", "surface-normals",
    "keypoint-detection", "keypoint-matching", "image-classification", "image-feature-extraction",
]  # fmt: skip


def between_good_ones(name, odd):
    """What odd inputs give between two good ones, which have to come as they do alone."""
    contract = contract_of(name)
    good = [_point(image) for image in make_images()[:2]] if name == "mask-generation" else contract.inputs()[:2]
    with contract.build(batch_size=3, compile=False) as pipe:
        expected = [pipe(each).to_dict() for each in good]
        first, *found, last = pipe([good[0], *odd, good[1]], on_error="return")
    for had, want in zip((first, last), expected, strict=True):
        (contract.close or assert_close)(had.to_dict(), want, contract.tolerance)
    assert [result.index for result in found] == list(range(1, len(found) + 1))
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_one_px_width_and_long_ones(name):
    longest = LONG // 20 if name == "image-to-image" else LONG  # it works on each px
    given = GIVEN.get(name, lambda image: image)
    images = [make_image(1, longest), make_image(longest, 1), make_image(3, 2)]
    *long, small = between_good_ones(name, [given(image) for image in images])
    assert isinstance(small, Result)
    for result, image in zip(long, images[:2], strict=True):
        if name in TOO_LONG:
            assert isinstance(result, InputError)
            assert f"{image.width}x{image.height} px" in str(result)
            assert "Crop it" in str(result)
        else:
            assert isinstance(result, Result)
            size = getattr(result, "size", None)
            assert size in (None, image.size[::-1], (2 * image.height, 2 * image.width))


def claiming(frames):
    """A film whose header claims so many frames."""
    data = bytearray(film(10))
    at = data.index(b"stts") + 12
    data[at : at + 4] = frames.to_bytes(4, "big")
    return bytes(data)


def changing():
    """A stream whose frames grow."""
    return film(8, 64, 48, form="mpegts") + film(8, 96, 64, form="mpegts")


FILMS = {  # what it is, and what its error says; "" for a result
    "no frame": (lambda: film(0), "at least one frame, got none"),
    "cut in the middle": (lambda: film(10)[: len(film(10)) // 2], "ends too early"),
    "10^9 claimed frames": (lambda: claiming(10**9), "at most 1,000,000 frames"),
    "sound": (only_sound, "sound, and no pictures"),
    "WAV": (lambda: only_sound("wav", "pcm_s16le"), "got a sound"),
    "rotated": (lambda: film(10, rotation=90), ""),
    "changing size": (changing, ""),
    "GIF": (lambda: film(10, form="gif"), ""),
}


@pytest.mark.parametrize("name", ["video-classification", "video-mask-generation"])
def test_odd_films(name):
    asked = (lambda data: {"video": data, "points": [[5, 5]]}) if "mask" in name else lambda data: data
    results = between_good_ones(name, [asked(make()) for make, _ in FILMS.values()])
    for (kind, (_, message)), result in zip(FILMS.items(), results, strict=True):
        if message:
            assert isinstance(result, InputError), kind
            assert message in str(result), kind
        else:
            assert isinstance(result, Result), f"{kind}: {result!r}"
    assert isinstance(results[2], LimitError)
    if "mask" in name:
        rotated, grown = results[5], results[6]
        assert (len(rotated), rotated.frames[0].size) == (10, (64, 48)), "upright"
        assert [one.size for one in grown.frames] == [(48, 64)] * 8 + [(64, 96)] * 8, "each as its own frame"


def test_a_film_of_one_frame():
    (few,) = between_good_ones("video-classification", [film(1)])
    assert isinstance(few, InputError)
    assert "at least 8 frames, got 1" in str(few)
    (one,) = between_good_ones("video-mask-generation", [{"video": film(1), "points": [[5, 5]]}])
    assert [masks.frame for masks in one.frames] == [0]
