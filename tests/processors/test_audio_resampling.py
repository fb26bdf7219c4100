"""Resampling against torchaudio's: whole, in pieces and padded."""

from __future__ import annotations

import pytest
import torch
import torchaudio.functional
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.processors.audio_reading import open_audio
from sensorium.processors.audio_resampling import resample, resampled_length, resampled_piece

RATES = [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 1_000]


def noise(length, seed=0):
    return 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate", [*RATES, 44_056])
@pytest.mark.parametrize("double", [False, True])
def test_equals_torchaudio(rate, double):
    samples = noise(rate // 5 + 3)
    kind = torch.float64 if double else torch.float32
    expected = torchaudio.functional.resample(samples.to(kind), rate, 16_000)
    got = resample(samples, rate, 16_000)
    assert got.shape == expected.shape
    # torchaudio computes its kernel in the samples' precision, and float32 leaves it 3e-5 from what it means
    torch.testing.assert_close(got, expected.to(torch.float32), atol=2e-7 if double else 3e-5, rtol=0)


def test_rates_without_a_common_divisor_cost_no_gigabytes():
    """torchaudio's kernel would have 16,000 by 44,133 weights; where it is small enough, both ways agree."""
    from sensorium.processors import audio_resampling

    assert resample(noise(4_410), 44_101, 16_000).shape == (1_600,)
    dense = resample(noise(5_000), 44_100, 16_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio_resampling, "_DENSE", 0)
        torch.testing.assert_close(resample(noise(5_000), 44_100, 16_000), dense, atol=1e-7, rtol=0)


@given(
    rate=st.sampled_from([*RATES, 44_101, 7_919]),
    length=st.integers(1, 3_000),
    start=st.integers(0, 1_500),
    count=st.integers(1, 2_000),
)
@settings(max_examples=80, deadline=None)
def test_pieces_equal_the_whole(rate, length, start, count):
    samples = noise(length)
    whole = resample(samples, rate, 16_000)
    piece = resampled_piece(lambda at, n: samples[at : at + n], rate, 16_000, start, count)
    torch.testing.assert_close(piece, whole[start : start + count], atol=1e-7, rtol=0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 44_101])
def test_padding_changes_nothing(rate):
    lengths = [500, 1_333, 2_000]
    alone = [resample(noise(n, n), rate, 16_000) for n in lengths]
    batch = torch.stack([torch.nn.functional.pad(noise(n, n), (0, 2_048 - n)) for n in lengths])
    together = resample(batch, rate, 16_000)
    for row, one, length in zip(together, alone, lengths, strict=True):
        assert len(one) == resampled_length(length, rate, 16_000)
        torch.testing.assert_close(row[: len(one)], one, atol=1e-7, rtol=0)


def test_a_reader_at_another_rate():
    array = noise(44_100).numpy()
    expected = resample(torch.from_numpy(array), 44_100, 16_000)
    with open_audio({"array": array, "sampling_rate": 44_100}) as reader:
        other = reader.at(16_000)
        assert (other.rate, other.frames, other.seconds) == (16_000, 16_000, 1.0)
        assert reader.at(44_100) is reader
        pieces = [other.read(start, 3_333) for start in range(0, 16_000, 3_333)]
    torch.testing.assert_close(torch.cat(pieces), expected, atol=1e-7, rtol=0)
