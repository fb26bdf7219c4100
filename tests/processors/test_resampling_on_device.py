"""Resampling on the pretend device against what the CPU gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.processors.image_resampling import resample
from tests.pretend_cuda import PretendCuda

SIDES = st.integers(1, 90)


def picture(height, width, seed):
    """Edges and noise in bytes, all levels among them."""
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    pixels[:, : height // 2, : width // 2] = 255
    pixels[:, height // 2 :, : width // 3] = 0
    return pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as load_image gives it


@settings(deadline=None, max_examples=80)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["bilinear", "bicubic"]), st.booleans(), st.integers(0, 2**16))
def test_bytes_are_the_cpu_s_to_two_levels(height, width, down, across, mode, pillow, seed):
    image = picture(height, width, seed)
    want = resample(image, (down, across), mode=mode, pillow=pillow)
    with PretendCuda() as cuda:
        got = resample(image.to("cuda"), (down, across), mode=mode, pillow=pillow)
        on_device, got = got.device.type == "cuda", got.cpu()
    cuda.check()
    reach = max(height / down, width / across, 1)
    assert on_device == (mode == "bilinear" and reach <= 64 and min(height, width, down, across) >= 16)
    assert got.dtype == torch.uint8 and got.shape == want.shape
    assert int((got.int() - want.int()).abs().max()) <= 2


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_floats_are_the_cpu_s(mode, antialias):
    image = picture(40, 70, 0).float()
    want = resample(image, (17, 90), mode=mode, pillow=False, antialias=antialias)
    with PretendCuda():
        got = resample(image.to("cuda"), (17, 90), mode=mode, pillow=False, antialias=antialias).cpu()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, atol=1e-3, rtol=0)


@pytest.mark.parametrize("mode", ["nearest", "box", "hamming", "lanczos"])
def test_other_kernels_are_the_cpu_s(mode):
    image = picture(40, 70, 0)
    want = resample(image, (17, 30), mode=mode, pillow=mode != "nearest")
    with PretendCuda():
        got = resample(image.to("cuda"), (17, 30), mode=mode, pillow=mode != "nearest")
        assert got.device.type == "cpu"
    assert torch.equal(got, want)
