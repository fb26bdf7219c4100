"""image-to-image against Transformers' model and processor, on the same checkpoint, in float32."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import sensorium
from sensorium.errors import CheckpointError, InputError, LimitError, OptionError
from sensorium.processors.media import MediaLimits
from sensorium.results import OutputImage
from tests import tiny_restoring
from tests.contract import Contract
from tests.media import make_image


def ours(name="classical", **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("image-to-image", tiny_restoring.folder(name), **settings)


def theirs(name, image):
    """What Transformers 4.57's pipeline makes of a picture: with the border, `(H, W, C)` float32 in [0, 1]."""
    from transformers import Swin2SRForImageSuperResolution, Swin2SRImageProcessor

    folder = tiny_restoring.folder(name)
    model = Swin2SRForImageSuperResolution.from_pretrained(folder).eval()
    pixels = Swin2SRImageProcessor.from_pretrained(folder)(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        made = model(pixels[:, : model.config.num_channels]).reconstruction
    return made[0].clamp(0, 1).permute(1, 2, 0).numpy()


def read(result):
    """The array of a `to_dict()`."""
    with Image.open(io.BytesIO(_decoded(result["image"]))) as image:
        return np.asarray(image).astype(int)


def _decoded(uri):
    import base64

    return base64.b64decode(uri.partition(",")[2])


def close(a, b, tolerance):
    """Two `to_dict()`, to a level: rounding may fall to the other side."""
    if isinstance(a, list):
        for one, other in zip(a, b, strict=True):
            close(one, other, tolerance)
        return
    assert (a["mode"], a["bits"]) == (b["mode"], b["bits"])
    assert np.abs(read(a) - read(b)).max() <= 1


def small_images():
    """Four pictures of two sizes: each further one would be compiled by itself."""
    return [make_image(40, 32, 0), make_image(24, 40, 1), make_image(40, 32, 2), make_image(24, 40, 3)]


CONTRACT = Contract(
    build=ours,
    inputs=small_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    options=[{"tile_px": 16, "overlap_px": 8}],
    close=close,
)


@pytest.mark.parametrize("name", tiny_restoring.ARCHITECTURES)
def test_same_answers_as_transformers(name):
    images = [make_image(*size, seed) for seed, size in enumerate([(40, 32), (33, 50), (64, 64), (17, 90), (40, 32)])]
    if name == "grey":
        images = [image.convert("L") for image in images]
    with ours(name, batch_size=4) as pipe:
        results, scale = pipe(images), pipe.task.model.config.upscale
    for image, result in zip(images, results, strict=True):
        assert isinstance(result, OutputImage)
        assert result.image.size == (image.width * scale, image.height * scale)
        assert result.image.mode == image.mode == result.mode
        expected = theirs(name, image.convert("RGB"))[: result.size[0], : result.size[1]]
        assert expected.std() > 0.1, "the model has to see something"
        # to a level where a half is rounded to the other side: a rounding error is 1e-6 of 1/255
        off = np.abs(np.asarray(result.image, int).reshape(expected.shape) - np.rint(expected * 255))
        assert off.max() <= 1
        assert off.mean() < 1e-3


def test_a_picture_of_64_px_becomes_one_of_128():
    with ours() as pipe:
        assert pipe(make_image(64, 64)).array.shape == (128, 128, 3)


def test_one_tile_is_one_pass_and_many_are_near_to_it():
    image = make_image(150, 117)
    with ours() as pipe:
        once, same = pipe(image), pipe(image, tile_px=150, overlap_px=64)
        pipe.reset_stats()
        tiled = pipe(image, tile_px=64, overlap_px=16)
        assert pipe.stats()["stages"]["forward"]["items"] == 9
    assert np.array_equal(once.array, same.array)
    assert tiled.array.shape == (234, 300, 3)
    off = np.abs(tiled.array.astype(int) - once.array)
    assert 0 < off.mean() < 0.5, "what lies beyond a tile has little effect on it, but some"
    assert off.max() < 20


def test_tiles_of_several_pictures_share_batches():
    with ours(batch_size=18) as pipe:
        pipe([make_image(150, 117, seed) for seed in range(2)], tile_px=64, overlap_px=16)
        stats = pipe.stats()
    assert (stats["stages"]["forward"]["items"], stats["batches"]) == (18, 1)


def test_grey_and_alpha_are_kept():
    image = make_image(40, 32)
    alpha = Image.fromarray(np.tile(np.arange(40, dtype=np.uint8) * 6, (32, 1)))
    with ours() as pipe:
        grey, rgb = pipe(image.convert("L")), pipe(image)
        for base, plain in ((image, rgb), (image.convert("L"), grey)):
            with_alpha = base.copy()
            with_alpha.putalpha(alpha)
            stream = io.BytesIO()
            with_alpha.save(stream, "PNG")
            for source in (with_alpha, stream.getvalue()):
                result = pipe(source)
                assert result.mode == with_alpha.mode
                assert np.array_equal(result.array[..., :-1].squeeze(), plain.array)
                shade = np.asarray(alpha.resize((80, 64), Image.Resampling.BICUBIC), int)
                assert np.abs(result.array[..., -1] - shade).max() <= 2  # Pillow's cubic is another one
    assert grey.array.shape == (64, 80)
    expected = theirs("classical", image.convert("L").convert("RGB"))[:64, :80] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey.array - expected * 255).max() < 0.51


def test_alpha_of_a_picture_in_tiles():
    image = make_image(90, 40)
    image.putalpha(make_image(90, 40, 1).convert("L"))
    with ours() as pipe:
        once, tiled = pipe(image), pipe(image, tile_px=32, overlap_px=8)
    assert np.array_equal(once.array[..., 3], tiled.array[..., 3])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_greys_are_kept(kind):
    levels = np.asarray(make_image(40, 32).convert("L")).astype(np.uint16) * 200 + np.arange(40, dtype=np.uint16)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, kind)
    with ours() as pipe:
        result, of_array = pipe(stream.getvalue()), pipe(levels)
    assert (result.image.mode, result.bits) == ("I;16", 16)
    assert np.array_equal(result.array, of_array.array)
    from transformers import Swin2SRImageProcessor

    folder = tiny_restoring.folder("classical")
    processor = Swin2SRImageProcessor.from_pretrained(folder, do_rescale=False)
    rgb = torch.from_numpy(levels.astype(np.float32) / 65535).expand(3, -1, -1)
    pixels = processor(rgb, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    with ours() as pipe, torch.no_grad():
        made = pipe.model(pixels).reconstruction[0, :, :64, :80].clamp(0, 1)
    expected = (0.299 * made[0] + 0.587 * made[1] + 0.114 * made[2]).numpy() * 65535
    assert np.abs(result.array - expected).max() < 2, "float32 rounding of a level is 1e-6 of 65535"
    assert len(np.unique(result.array)) > 2000, "more than 8 bit hold"


def test_16_bit_colours():
    levels = (np.asarray(make_image(40, 32)).astype(np.uint16) * 257) ^ np.uint16(3)
    with ours() as pipe:
        result = pipe(levels)
        assert (result.mode, result.bits, result.array.shape) == ("RGB", 16, (64, 80, 3))
        again = pipe(_decoded(OutputImage(levels).to_dict()["image"]))
        assert np.array_equal(again.array, result.array)
        assert pipe(levels.astype(np.float32) / np.float32(65535)).bits == 16
        with pytest.raises(InputError, match="16-bit colours") as caught:
            pipe(Image.open(io.BytesIO(_decoded(OutputImage(levels).to_dict()["image"]))))
    assert caught.value.code == "unsupported-depth"


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (2000, 1), (1, 2000)])
def test_any_shape_comes_out_enlarged(size):
    width, height = size
    with ours() as pipe:
        result = pipe(make_image(width, height), tile_px=512)
    assert result.size == (2 * height, 2 * width)


def test_what_would_be_too_large_is_refused_and_costs_no_neighbour():
    images = [make_image(40, 32), make_image(120, 90), make_image(40, 32)]
    with ours(limits=MediaLimits(max_pixels=40_000)) as pipe:
        first, refused, last = pipe(images, on_error="return")
    assert isinstance(refused, LimitError)
    assert (refused.code, refused.index) == ("too-many-pixels", 1)
    assert "made 2 times as large" in str(refused)
    assert np.array_equal(first.array, last.array)


def test_isolated_pictures_are_the_same():
    image = make_image(40, 32)
    image.putalpha(make_image(40, 32, 1).convert("L"))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    with ours() as here, ours(limits=MediaLimits.untrusted()) as apart:
        assert here(stream.getvalue()) == apart(stream.getvalue())


def test_options_are_checked():
    with ours() as pipe:
        with pytest.raises(OptionError, match="half of tile_px"):
            pipe(make_image(), tile_px=64, overlap_px=33)
        with pytest.raises(OptionError, match="tile_px"):
            pipe(make_image(), tile_px=15)
        with pytest.raises(OptionError, match="overlap_px"):
            pipe(make_image(), overlap_px=-1)


def test_colours_for_a_model_of_greys_are_refused():
    with ours("grey") as pipe, pytest.raises(InputError, match="convert") as caught:
        pipe(make_image())
    assert caught.value.code == "not-grey"


def test_a_processor_that_changes_the_size_is_refused():
    from transformers import ViTImageProcessor

    with pytest.raises(CheckpointError, match="keeps the size"):
        ours(processor=ViTImageProcessor())
