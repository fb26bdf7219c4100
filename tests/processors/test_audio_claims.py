"""Headers that lie about the length of a sound, in both directions."""

from __future__ import annotations

import pytest

from sensorium.errors import InputError, LimitError
from sensorium.processors.audio_reading import load_audio
from sensorium.processors.limits import MediaLimits
from tests.audio import encoded, make_audio

RATE = 16_000


def claiming(data, samples):
    """A FLAC whose header tells of so many samples."""
    told = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + told.to_bytes(8, "big") + data[26:]


@pytest.fixture(scope="module", params=["PCM_16", "PCM_24"])
def flac(request):
    return encoded(make_audio(3.0, rate=RATE), rate=RATE, form="FLAC", subtype=request.param)


def test_a_true_header_is_believed(flac):
    assert len(load_audio(flac)[0]) == 3 * RATE
    assert len(load_audio(claiming(flac, 0))[0]) == 3 * RATE  # as a stream's says that it does not know


@pytest.mark.parametrize("claimed", [1, 100, 3 * RATE - 1])
@pytest.mark.parametrize("behind", [b"", b"\0", b"TAG" + bytes(125)])
def test_a_sound_that_is_longer_than_it_says_is_refused(flac, claimed, behind):
    with pytest.raises(InputError) as caught:
        load_audio(claiming(flac, claimed) + behind)
    assert caught.value.code == "corrupt"
    assert f"{claimed:,} samples, and it has {3 * RATE:,}" in caught.value.message


@pytest.mark.parametrize("claimed", [0, 100])
def test_its_true_length_keeps_the_limit_before_a_sample_is_decoded(flac, claimed, monkeypatch):
    import soundfile

    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(LimitError) as caught:
        load_audio(claiming(flac, claimed), limits=MediaLimits(max_seconds=2))
    assert caught.value.code == "too-long"


def test_a_sound_that_is_shorter_than_it_says_is_cut_off(flac):
    with pytest.raises(InputError) as caught:
        load_audio(claiming(flac, 30 * RATE))
    assert caught.value.code in ("truncated", "corrupt")
    with pytest.raises(LimitError):
        load_audio(claiming(flac, 5 * 3600 * RATE))


def test_what_is_cut_off_is_still_told_as_that(flac):
    with pytest.raises(InputError) as caught:
        load_audio(flac[: len(flac) * 2 // 3])
    assert caught.value.code == "truncated"
