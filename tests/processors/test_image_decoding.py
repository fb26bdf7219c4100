"""Encoded pictures and PIL images: parity with Transformers' load_image, the fast path and damage."""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.image_utils import load_image as reference_load_image

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors import image_decoding, image_jpeg
from sensorium.processors.media import MediaLimits, load_image, load_pil

RNG = np.random.default_rng(0)


def scene(width: int = 67, height: int = 41) -> Image.Image:
    coarse = Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + RNG.integers(-9, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reference(source) -> torch.Tensor:
    image = source if isinstance(source, Image.Image) else Image.open(io.BytesIO(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about palettes with transparency
        return torch.from_numpy(np.array(reference_load_image(image))).permute(2, 0, 1)


def with_alpha() -> Image.Image:
    image = scene().convert("RGBA")
    image.putalpha(scene().convert("L"))
    return image


def see_through_palette(transparency: int | bytes) -> Image.Image:
    image = scene().convert("P", palette=Image.Palette.ADAPTIVE)
    image.info["transparency"] = transparency
    return image


MODES = {
    "RGB": scene(),
    "L": scene().convert("L"),
    "1": scene().convert("1"),
    "P": scene().convert("P"),
    "P transparent index": see_through_palette(3),
    "P transparent table": see_through_palette(bytes(range(256))),
    "LA": with_alpha().convert("LA"),
    "PA": see_through_palette(2).convert("PA"),
    "RGBA": with_alpha(),
    "RGBa": with_alpha().convert("RGBa"),
    "CMYK": scene().convert("CMYK"),
    "YCbCr": scene().convert("YCbCr"),
    "HSV": scene().convert("HSV"),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_of_any_mode_converts_as_in_transformers(mode):
    before = dict(MODES[mode].info)
    assert torch.equal(load_image(MODES[mode]), reference(MODES[mode].copy()))
    assert MODES[mode].info == before


FILES = {
    "JPEG": encode(scene(), "JPEG"),
    "JPEG progressive": encode(scene(), "JPEG", progressive=True),
    "JPEG grey": encode(MODES["L"], "JPEG"),
    "JPEG CMYK": encode(MODES["CMYK"], "JPEG"),
    "JPEG stored as RGB": encode(scene(), "JPEG", keep_rgb=True),
    "MPO": encode(scene(), "MPO", save_all=True, append_images=[scene()]),
    "PNG": encode(scene(), "PNG"),
    "PNG 1": encode(MODES["1"], "PNG"),
    "PNG L with transparency": encode(MODES["L"], "PNG", transparency=7),
    "PNG RGB with transparency": encode(scene(), "PNG", transparency=(1, 2, 3)),
    "PNG P": encode(MODES["P"], "PNG"),
    "PNG P with transparency": encode(MODES["P"], "PNG", transparency=bytes(range(256))),
    "PNG LA": encode(MODES["LA"], "PNG"),
    "PNG RGBA": encode(MODES["RGBA"], "PNG"),
    "APNG": encode(scene(), "PNG", save_all=True, append_images=[scene(), scene()]),
    "GIF": encode(scene(), "GIF"),
    "GIF with transparency": encode(MODES["P"], "GIF", transparency=3),
    "GIF animation": encode(scene(), "GIF", save_all=True, append_images=[scene(), scene()]),
    "WEBP": encode(scene(), "WEBP"),
    "WEBP lossless RGBA": encode(MODES["RGBA"], "WEBP", lossless=True),
    "WEBP animation": encode(scene(), "WEBP", save_all=True, append_images=[scene(), scene()]),
    "BMP": encode(scene(), "BMP"),
    "BMP P": encode(MODES["P"], "BMP"),
    "TIFF": encode(scene(), "TIFF"),
    "TIFF LZW": encode(scene(), "TIFF", compression="tiff_lzw"),
    "TIFF CMYK": encode(MODES["CMYK"], "TIFF"),
    "TIFF pages": encode(scene(), "TIFF", save_all=True, append_images=[scene(9, 9)]),
    "PPM": encode(scene(), "PPM"),
    "AVIF": encode(scene(), "AVIF"),
    "AVIF RGBA": encode(MODES["RGBA"], "AVIF"),
    "AVIF animation": encode(scene(), "AVIF", save_all=True, append_images=[scene(), scene()]),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_any_format_decodes_as_in_transformers(kind, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(FILES[kind])
    expected = reference(FILES[kind])
    pixels = load_image(path)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, expected)
    assert torch.equal(torch.from_numpy(np.array(load_pil(path))).permute(2, 0, 1), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_orientation_is_applied_as_in_transformers(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(scene(), kind, exif=exif)
    assert torch.equal(load_image(data), reference(data))
    assert torch.equal(load_image(Image.open(io.BytesIO(data))), reference(data))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on it is left to the user
def test_orientation_out_of_range_or_in_damaged_exif_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 77
    for payload in (exif.tobytes(), b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        data = encode(MODES["RGB"], "JPEG", exif=payload)
        assert torch.equal(load_image(data), load_image(encode(MODES["RGB"], "JPEG")))


def test_sixteen_bit_grey_keeps_its_high_byte_where_pillow_would_clip():
    values = (np.arange(65536, dtype=np.uint16)).reshape(256, 256)
    expected = torch.from_numpy((values >> 8).astype(np.uint8)).expand(3, -1, -1)
    image = Image.fromarray(values)
    for source in (encode(image, "PNG"), encode(image, "TIFF"), encode(image, "PPM"), image):
        assert torch.equal(load_image(source), expected)


def test_modes_i_and_f_are_scaled_by_what_they_hold():
    def grey(values) -> np.ndarray:
        return load_image(Image.fromarray(np.array([values])))[0, 0].numpy()

    assert grey(np.array([0, 9, 255], np.int32)).tolist() == [0, 9, 255]
    assert grey(np.array([0, 256, 65535], np.int32)).tolist() == [0, 1, 255]
    assert grey(np.array([0, 0.5, 1], np.float32)).tolist() == [0, 128, 255]
    assert grey(np.array([0, 100.4, 255], np.float32)).tolist() == [0, 100, 255]
    for values, code in (([0, 70000], "bad-range"), ([-1, 5], "bad-range")):
        with pytest.raises(InputError) as caught:
            grey(np.array(values, np.int32))
        assert caught.value.code == code
    with pytest.raises(InputError) as caught:
        grey(np.array([0, np.nan], np.float32))
    assert caught.value.code == "not-finite"


# The fast path


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grey=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(1, 100),
            "subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_blocks": st.sampled_from([0, 1, 5]),
            "comment": st.sampled_from(["", "a comment"]),
        }
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_fast_decoder_equals_pillow(size, grey, options, seed):
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), dtype=np.uint8)).resize(size)
    data = encode(noise.convert("L") if grey else noise, "JPEG", **options)
    fast = image_decoding._decode_jpeg(io.BytesIO(data), orientation=1)
    assert fast is not None
    assert torch.equal(fast, reference(data))
    plain = image_jpeg.plain_jpeg(data)
    assert (plain.width, plain.height) == size
    assert plain.one_scan != options["progressive"]


def test_jpegs_take_the_fast_path(monkeypatch, tmp_path):
    monkeypatch.setattr(image_decoding, "_to_rgb", lambda *_, **__: pytest.fail("went through Pillow"))
    exif = Image.Exif()
    exif[0x0112] = 6
    large = encode(scene(), "JPEG") + bytes(9 * 2**20)  # beyond what is read at once
    for data in (
        FILES["JPEG"],
        FILES["JPEG progressive"],
        FILES["JPEG grey"],
        encode(scene(), "JPEG", exif=exif),
        large,
    ):
        (tmp_path / "a.jpg").write_bytes(data)
        pixels = load_image(tmp_path / "a.jpg")
        assert pixels.permute(1, 2, 0).is_contiguous()
        assert torch.equal(pixels, reference(data))


@pytest.mark.parametrize("fault", ["too large", "cut off", "cut off in its header", "no picture"])
def test_an_error_does_not_hold_the_file_that_it_is_about(fault):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(scene(), "JPEG", exif=exif)
    data = {"too large": FILES["JPEG"], "cut off": FILES["JPEG"][:-500], "cut off in its header": whole[:40]}
    stream = io.BytesIO(data.get(fault, b"\xff\xd8\xff no picture"))
    with pytest.raises(InputError) as caught:
        image_decoding.decode(
            stream, name="a", limits=MediaLimits(max_pixels=10) if fault == "too large" else MediaLimits()
        )
    stream.truncate(0)  # BufferError while something has it in view
    assert caught.value.__traceback__ is not None


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_a_damaged_jpeg_gets_pillows_verdict_on_the_fast_path_too(data):
    encoded = bytearray(FILES[data.draw(st.sampled_from(["JPEG", "JPEG progressive", "JPEG grey"]))])
    for _ in range(data.draw(st.integers(0, 4))):
        encoded[data.draw(st.integers(2, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    encoded = bytes(encoded[: data.draw(st.one_of(st.none(), st.integers(2, len(encoded))))])
    try:
        ours = load_image(encoded, limits=MediaLimits(max_pixels=10**6))
    except InputError as error:
        ours = error
    if isinstance(ours, LimitError):
        return
    try:
        expected = reference(encoded)
    except Exception:  # noqa: BLE001 - any verdict of the reference counts
        expected = None
    if expected is None:
        assert isinstance(ours, InputError)
    else:
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_of_any_format_is_an_error(kind):
    data = FILES[kind]
    keep = 0.5
    if "animation" in kind or kind in ("APNG", "MPO", "TIFF pages"):
        keep = 0.2  # the first frame, all that is used, lies in the first third
    with pytest.raises(InputError) as caught:
        load_image(data[: int(len(data) * keep)])
    assert caught.value.code in ("truncated", "corrupt")
    if kind not in ("AVIF", "AVIF RGBA", "AVIF animation", "TIFF LZW"):  # their libraries do not tell
        assert caught.value.code == "truncated"


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_damage_escapes_as_another_exception(data):
    encoded = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(1, 6))):
        near = data.draw(st.sampled_from([40, 200, len(encoded)]))
        encoded[data.draw(st.integers(0, min(near, len(encoded)) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = load_image(bytes(encoded), limits=MediaLimits(max_pixels=10**6))
    except InputError as error:
        assert error.code
        assert len(str(error)) < 2000
    else:
        assert pixels.dtype == torch.uint8
        assert pixels.shape[0] == 3


# Limits and threads


def test_formats_off_the_list_are_refused_by_name_and_can_be_allowed():
    tiled = encode(scene(), "JPEG2000", irreversible=False)
    with pytest.raises(LimitError, match="JPEG2000") as caught:
        load_image(tiled)
    assert caught.value.code == "format-not-allowed"
    assert torch.equal(load_image(tiled, limits=MediaLimits(formats=("JPEG2000",))), reference(tiled))
    with pytest.raises(LimitError, match="JPEG") as caught:
        load_image(FILES["JPEG"], limits=MediaLimits(formats=("png",)))
    assert caught.value.code == "format-not-allowed"
    with pytest.raises(OptionError, match="JPGE"):
        load_image(FILES["PNG"], limits=MediaLimits(formats=("JPGE",)))


@pytest.mark.parametrize("options", [{"max_pixels": 0}, {"timeout_s": -1}, {"formats": ()}, {"formats": "PNG"}])
def test_impossible_limits_are_an_option_error(options):
    with pytest.raises(OptionError):
        MediaLimits(**options)


def test_one_lazy_pil_image_serves_many_threads():
    for data in (encode(scene(400, 300), "JPEG"), encode(scene(400, 300), "PNG")):
        expected = reference(data)
        shared = Image.open(io.BytesIO(data))
        results: list[object] = []

        def work(shared=shared, results=results) -> None:
            try:
                results.append(load_image(shared))
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                results.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        assert all(isinstance(result, torch.Tensor) and torch.equal(result, expected) for result in results)
