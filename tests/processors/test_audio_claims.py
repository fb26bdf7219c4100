"""Headers that lie about the length of a sound, in both directions."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from sensorium.errors import InputError, LimitError
from sensorium.processors.audio_ogg_length import packet_length
from sensorium.processors.audio_reading import load_audio
from sensorium.processors.audio_sections import Section
from sensorium.processors.limits import MediaLimits
from tests.audio import encoded, make_audio
from tests.hostile.ogg import granule, pages, with_granule

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


SIZES = {  # what stands before the size of the samples, where it is from there, and how it is written
    "WAV": (b"data", 4, "<I"),
    "AIFF": (b"SSND", 4, ">I"),
    "RF64": (b"ds64", 16, "<Q"),
    "W64": (b"data", 16, "<Q"),
    "AU": (b".snd", 8, ">I"),
    "CAF": (b"data", 4, ">q"),
}


def telling(data, form, size):
    """A file of plain samples whose header tells of so many bytes of them."""
    mark, skip, order = SIZES[form]
    at = data.index(mark) + skip
    return data[:at] + struct.pack(order, size) + data[at + struct.calcsize(order) :]


TAG = b"TAG" + b"x" * 125

# what a header's size counts besides the samples
BESIDES = {"WAV": 0, "AIFF": 8, "RF64": 0, "W64": 24, "AU": 0, "CAF": 4}
UNKNOWN = {"WAV": (0, 2**32 - 1, 0x7FFFFFFF), "AIFF": (0, 2**32 - 1), "RF64": (0, 2**64 - 1), "W64": (0,), "CAF": (-1,),
           "AU": (2**32 - 1,)}  # fmt: skip
ALL = MediaLimits(sound_formats=(*BESIDES, "MP3", "OGG", "FLAC"))


@pytest.mark.parametrize("form", BESIDES)
@pytest.mark.parametrize("told", [1, 100, 3 * RATE // 2, 3 * RATE - 1000])
def test_plain_samples_behind_those_that_a_header_tells_of(form, told):
    data = encoded(make_audio(3.0, rate=RATE), rate=RATE, form=form)
    for tail in (b"", TAG):
        with pytest.raises(InputError) as caught:
            load_audio(telling(data, form, 2 * told + BESIDES[form]) + tail, limits=ALL)
        assert caught.value.code == "corrupt"
        assert "stand behind what its header tells of" in caught.value.message


CHUNKS = b"LIST" + struct.pack("<I", 4_001) + b"INFO" + b"x" * 3_997  # of an odd size
BEHIND = {
    "a chunk": CHUNKS + b"\0",
    "chunks": (CHUNKS + b"\0") * 3,
    "chunks without their padding": CHUNKS * 3,
    "zeros": bytes(50_000),
    "tags": (b"ID3\4\0\0\0\0\x0f\x00" + b"x" * 1_920) * 2 + TAG,
    "a few bytes": b"\xff" * 1_000,
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND.keys())
def test_what_is_no_sound_may_stand_behind_a_wav(behind):
    samples = make_audio(1.0, rate=RATE)
    for data in (encoded(samples, RATE), encoded(samples[:-1], RATE, subtype="PCM_U8") + b"\0"):
        assert len(load_audio(data + behind)[0]) in (RATE, RATE - 1)


@pytest.mark.parametrize("further", [b"data" + struct.pack("<I", 32_000) + b"\1" * 32_000, None])
def test_further_samples_behind_a_wav_are_not_passed_over(further):
    data = encoded(make_audio(1.0, rate=RATE), RATE)
    with pytest.raises(InputError) as caught:
        load_audio(data + (further or data))
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize(("form", "size"), [(form, size) for form, sizes in UNKNOWN.items() for size in sizes])
def test_a_size_that_is_not_known_is_the_files(form, size, monkeypatch):
    data = telling(encoded(make_audio(3.0, rate=RATE), rate=RATE, form=form), form, size)
    assert len(load_audio(data, limits=ALL)[0]) == 3 * RATE
    import soundfile

    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(LimitError) as caught:
        load_audio(data, limits=MediaLimits(max_seconds=2, sound_formats=ALL.sound_formats))
    assert caught.value.code == "too-long"


@pytest.fixture(scope="module", params=["VORBIS", "OPUS"])
def parts(request):
    return pages(encoded(make_audio(3.0, rate=RATE), rate=RATE, form="OGG", subtype=request.param))


@pytest.mark.parametrize("told", [0, 100, -1, "the page before's", 2**62, 2**63 - 1, -(2**63)])
def test_an_ogg_whose_last_page_tells_of_less(parts, told, monkeypatch):
    number = granule(parts[-2]) - 1 if isinstance(told, str) else told
    data = b"".join(parts[:-1]) + with_granule(parts[-1], number)
    with pytest.raises(InputError) as caught:
        load_audio(data)
    assert caught.value.code in ("corrupt", "truncated", "too-long")
    if told in (0, 100):
        import soundfile

        monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
        with pytest.raises(LimitError) as caught:
            load_audio(data, limits=MediaLimits(max_seconds=2))
        assert caught.value.code == "too-long"


@pytest.mark.parametrize("number", [0, 7, 10**6, -1, 2**62])
def test_an_ogg_none_of_whose_pages_tells_the_truth(parts, number):
    with pytest.raises(InputError) as caught:
        load_audio(b"".join([*parts[:2], *(with_granule(part, number) for part in parts[2:])]))
    assert caught.value.code in ("corrupt", "truncated", "too-long")


def test_an_ogg_that_tells_of_more_than_there_is(parts):
    for seconds, code in ((30, "truncated"), (5 * 3600, "too-long")):
        with pytest.raises(InputError) as caught:
            load_audio(b"".join(parts[:-1]) + with_granule(parts[-1], seconds * 48_000))
        assert caught.value.code == code


def test_an_ogg_that_joins_a_broadcast_is_read_whole(parts):
    """Its pages count from when that began."""
    moved = [with_granule(part, granule(part) + 10**7) if granule(part) > 0 else part for part in parts]
    assert len(load_audio(b"".join(moved))[0]) == 3 * RATE


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.1, 3])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_length_of_an_ogg_is_that_of_its_packets(seconds, rate, subtype):
    """The numbers in the last page and those of its packets, which are as long as they are, differ by one of these."""
    if subtype == "OPUS" and rate == 44_100:
        rate = 24_000
    for channels in (1, 2):
        samples = np.stack([make_audio(seconds, rate=rate)] * channels, axis=1)
        data = encoded(samples, rate, form="OGG", subtype=subtype)
        found = packet_length(Section(io.BytesIO(data), [range(len(data))]), most_seconds=100)
        assert 0 <= found.samples - len(samples) * found.rate // rate <= found.longest
        assert len(load_audio(data)[0]) == len(samples)


def test_packets_are_not_counted_further_than_they_may_be(parts):
    data = b"".join(parts)
    found = packet_length(Section(io.BytesIO(data), [range(len(data))]), most_seconds=1)
    assert found.rate < found.samples < 1.2 * found.rate


@pytest.mark.parametrize("flac", [b"fLaC", b"\x7fFLAC", b"Speex   "])
def test_other_codecs_in_ogg_are_left_to_their_decoders(parts, flac):
    data = bytearray(b"".join(parts))
    data[28 : 28 + len(flac)] = flac
    assert packet_length(Section(io.BytesIO(bytes(data)), [range(len(data))]), most_seconds=100) is None


@pytest.mark.parametrize("count", [0, 1, 20, 2**31, 2**32 - 1])
def test_an_mp3_whose_header_counts_other_frames(count):
    data = encoded(make_audio(3.0, rate=RATE), rate=RATE, form="MP3")
    at = next(at for mark in (b"Xing", b"Info") if (at := data.find(mark)) > 0) + 8
    told = data[:at] + struct.pack(">I", count) + data[at + 4 :]
    if count > 20:
        with pytest.raises(InputError) as caught:
            load_audio(told)
        assert caught.value.code == "truncated"
        return
    assert 3 * RATE <= len(load_audio(told)[0]) < 3 * RATE + 4 * 576
    with pytest.raises(LimitError) as caught:
        load_audio(told, limits=MediaLimits(max_seconds=2))
    assert caught.value.code == "too-long"
