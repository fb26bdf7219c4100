"""Arrays and tensors as pictures: layouts, dtypes and ranges, against Transformers' own handling of them."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import ViTImageProcessor
from transformers.image_processing_backends import TorchvisionBackend

from sensorium.errors import InputError, LimitError
from sensorium.processors.media import MediaLimits, load_image, load_pil

REFERENCE = TorchvisionBackend.__new__(TorchvisionBackend)


def reference(source) -> torch.Tensor:
    return TorchvisionBackend.process_image(REFERENCE, source, do_convert_rgb=True)


def fault(source, **limits) -> InputError:
    with pytest.raises(InputError) as caught:
        load_image(source, limits=MediaLimits(**limits))
    return caught.value


@st.composite
def shapes(draw) -> tuple[int, ...]:
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 4]))
    return draw(st.sampled_from([(height, width), (height, width, channels), (channels, height, width)]))


@pytest.mark.skipif(
    "input_data_format" not in inspect.signature(TorchvisionBackend.convert_to_rgb).parameters,
    reason="before Transformers 5.21 grey arrays stay grey, and arrays with alpha are refused",
)
@settings(max_examples=200, deadline=None)
@given(shape=shapes(), kind=st.sampled_from(["uint8", "float32"]), tensor=st.booleans(), seed=st.integers(0, 999))
def test_every_layout_is_read_as_transformers_reads_it(shape, kind, tensor, seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, shape, dtype=np.uint8) if kind == "uint8" else rng.random(shape, dtype=np.float32)
    source = torch.from_numpy(array) if tensor else array
    if len(shape) == 3 and {shape[0], shape[2]} <= {1, 3, 4}:  # where the reference guesses
        assert fault(source).code == "ambiguous-layout"
        return
    expected = reference(source)
    pixels = load_image(source)
    assert pixels.shape[0] == 3
    if kind == "uint8":
        assert torch.equal(pixels, expected)
    else:
        assert pixels.dtype == torch.float32
        torch.testing.assert_close(pixels, expected * 255, rtol=1e-6, atol=1e-4)  # 1e-4 of a grey level: rounding


@pytest.mark.parametrize("shape", [(3, 640, 3), (1, 1, 3), (4, 4, 3), (3, 5, 4), (1, 9, 4)])
def test_a_shape_that_can_be_read_both_ways_is_not_guessed(shape):
    """A strip of three lines, height first, would be read as a picture three px wide."""
    strip = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for source in (strip, torch.from_numpy(strip), strip / 255):
        error = fault(source)
        assert error.code == "ambiguous-layout"
        assert "Image.fromarray" in str(error)
    if shape[2] == 3:
        assert np.array_equal(load_image(Image.fromarray(strip)).numpy(), strip.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_every_floating_dtype_is_scaled_and_not_rounded(dtype):
    source = torch.linspace(0, 1, 105).reshape(5, 7, 3).to(getattr(torch, dtype))
    expected = source.to(torch.float32).permute(2, 0, 1) * 255
    assert torch.equal(load_image(source), expected)
    if dtype != "bfloat16":
        assert torch.equal(load_image(source.numpy()), expected)


def test_uint16_keeps_its_high_byte_and_bool_is_black_and_white():
    wide = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    for source in (wide, wide.astype(">u2"), torch.from_numpy(wide)):
        assert load_image(source)[1, 0].tolist() == [0, 0, 1, 255]
    for source in (np.array([[True, False]]), torch.tensor([[True, False]])):
        assert load_image(source)[2, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[::-1, ::-1],
        lambda a: a[:, :, ::-1],
        lambda a: np.repeat(a, 2, 0)[::3, 1:],
        np.asfortranarray,
        lambda a: np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape),
        lambda a: a.astype(">f4") / 255,
    ],
    ids=["flipped", "bgr", "strided", "fortran", "read-only", "big-endian"],
)
def test_views_of_any_kind_are_read(change):
    array = change(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8))
    expected = np.ascontiguousarray(array).transpose(2, 0, 1)
    pixels = load_image(array).numpy()
    if array.dtype.kind == "f":
        np.testing.assert_allclose(pixels, expected.astype(np.float32) * 255, atol=1e-4)
    else:
        assert np.array_equal(pixels, expected)


def test_a_tensor_with_a_gradient_is_read_without_it():
    source = torch.rand(3, 5, 6, requires_grad=True)
    pixels = load_image(source)
    assert not pixels.requires_grad
    assert torch.equal(pixels, source.detach() * 255)


def test_load_pil_rounds_floats():
    assert np.asarray(load_pil(np.full((2, 3), 0.5))).tolist() == [[[128] * 3] * 3] * 2
    array = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(load_pil(array)), array)
    assert np.array_equal(np.asarray(load_pil(torch.from_numpy(array))), array)


def test_pixels_come_out_as_the_processor_would_see_them():
    processor = ViTImageProcessor(size={"height": 6, "width": 8}, do_resize=False, do_normalize=False)
    array = np.random.default_rng(0).random((6, 8, 3), dtype=np.float32)
    expected = processor(array, do_rescale=False, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(load_image(array) / 255, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), "zero-sized", "0"),
        (np.zeros((5, 0), np.float32), "zero-sized", "0"),
        (np.zeros((5, 0, 7), np.uint8), "zero-sized", "0"),
        (torch.zeros(3, 0, 0), "zero-sized", "0x0"),
        (np.full((5, 4, 3), np.nan), "not-finite", "NaN"),
        (np.array([[0, np.inf]]), "not-finite", "infinity"),
        (torch.full((3, 4, 5), -float("inf")), "not-finite", "infinity"),
        (np.full((4, 4), 200.0), "bad-range", "200.*[Dd]ivide by 255.*uint8"),
        (torch.tensor([[-1.5, 1.0]]), "bad-range", "-1.5.*normalised"),
        (np.zeros((5, 5, 2), np.uint8), "bad-channels", r"1, 3 or 4.*\(5, 5, 2\)"),
        (np.zeros((5, 6, 7), np.uint8), "bad-channels", "1, 3 or 4"),
        (np.zeros(5, np.uint8), "bad-shape", r"\(5,\)"),
        (np.uint8(3) * np.ones((), np.uint8).reshape(()), "unsupported-type", "uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), "bad-shape", "4-D batch"),
        (torch.zeros(1, 2, 3, 4, 5), "bad-shape", "5"),
        (np.zeros((4, 4), np.int64), "bad-dtype", "int64.*astype"),
        (torch.zeros((4, 4), dtype=torch.int32), "bad-dtype", "int32"),
        (np.zeros((4, 4), complex), "bad-dtype", "complex128"),
        (np.array([["a", "b"]]), "bad-dtype", "U1"),
        (np.array([[None, {}]]), "bad-dtype", "object"),
        (np.zeros((4, 4), np.longdouble), "bad-dtype", "float128|longdouble"),
        (torch.zeros(4, 4).to_sparse(), "unsupported-type", "dense"),
        (torch.zeros((3, 4, 4), device="meta"), "unsupported-type", "meta"),
    ],
)
def test_an_array_that_is_no_picture_says_why(source, code, words):
    error = fault(source)
    assert error.code == code
    assert re.search(words, error.message)
    assert "expected" in error.message
    assert "got" in error.message


def test_rounding_beyond_one_is_forgiven_and_more_is_not():
    assert load_image(np.full((2, 2), 1 + 1e-7)).max() == pytest.approx(255)
    assert fault(np.full((2, 2), 1.001)).code == "bad-range"


def test_an_array_above_the_pixel_limit_is_refused():
    error = fault(np.zeros((100, 101, 3), np.uint8), max_pixels=10_000)
    assert isinstance(error, LimitError)
    assert error.code == "too-many-pixels"
