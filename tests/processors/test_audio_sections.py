"""Files put together from several, and headers that do not tell the truth: no sound is lost without a word."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError
from sensorium.processors.audio_ogg import ogg_sections
from sensorium.processors.audio_reading import load_audio, open_audio, read_all
from sensorium.processors.audio_sections import Section
from sensorium.processors.limits import MediaLimits
from tests.audio import RATE, encoded, make_audio

CHAINS = [("OGG", None), ("OGG", "OPUS"), ("FLAC", None), ("MP3", None)]
TAG_AT_END = b"TAG" + bytes(125)


def id3(size):
    return b"ID3\x04\0\0" + bytes([0, 0, size >> 7, size & 127]) + b"A" * size


def without_its_header(mp3):
    """An MP3 as a radio sends it: the frame that tells how many there are is missing."""
    return mp3[mp3.index(mp3[:2], 100) :]


def code_of(source, **options):
    with pytest.raises(InputError) as caught:
        load_audio(source, **options)
    return caught.value.code


def mp3(seconds=3.0, seed=0, rate=RATE, **options):
    return encoded(make_audio(seconds, seed, rate), rate, "MP3", **options)


@pytest.mark.parametrize(("form", "subtype"), CHAINS)
def test_files_put_together_are_heard_in_full(form, subtype):
    first, second = (encoded(make_audio(3.0, seed), form=form, subtype=subtype) for seed in (0, 1))
    alone = torch.cat([load_audio(first)[0], load_audio(second)[0]])
    both, rate = load_audio(first + second)
    assert (len(both), rate) == (6 * RATE, RATE)
    assert torch.equal(both, alone)
    with open_audio(first + second + first) as reader:
        assert reader.seconds == 9.0
        pieces = [reader.read(start, 7001) for start in range(0, 9 * RATE, 7001)]
        torch.testing.assert_close(torch.cat(pieces)[: 6 * RATE], alone, atol=2e-3, rtol=0)  # Opus runs in after a jump
        torch.testing.assert_close(reader.read(3 * RATE - 100, 200), alone[3 * RATE - 100 :][:200], atol=2e-3, rtol=0)
        assert not len(reader.read(9 * RATE, 10))


def test_parts_at_other_rates_are_resampled_and_other_channels_mixed_down():
    for form in ("OGG", "FLAC", "MP3"):
        first = encoded(make_audio(1.0), form=form)
        other = encoded(make_audio(1.0, rate=8000), 8000, form=form)
        stereo = encoded(np.stack([make_audio(1.0)] * 2, axis=1), form=form)
        samples, rate = load_audio(first + other + stereo)
        assert (len(samples), rate) == (3 * RATE, RATE)
        with open_audio(other) as reader:
            resampled = read_all(reader.at(RATE))
        torch.testing.assert_close(samples[RATE : 2 * RATE], resampled, atol=1e-6, rtol=0)
        torch.testing.assert_close(samples[2 * RATE :], load_audio(stereo)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_jump_to_anywhere_gives_what_is_there(subtype):
    data = encoded(make_audio(4.0), form="OGG", subtype=subtype)
    whole = load_audio(data)[0]
    for start in (63_900, 100, 60_000, 63_000, 40_000, 61_000, 0):
        with open_audio(data) as reader:
            reader.read(20_000, 10)
            torch.testing.assert_close(reader.read(start, 100), whole[start : start + 100], atol=2e-3, rtol=0)


def test_one_codec_after_another():
    opus, vorbis = encoded(make_audio(1.0), form="OGG", subtype="OPUS"), encoded(make_audio(1.0), form="OGG")
    assert len(load_audio(opus + vorbis)[0]) == 2 * RATE


def test_a_chain_keeps_the_limits_and_says_what_is_cut_off():
    whole = encoded(make_audio(3.0), form="OGG")
    assert code_of(whole + whole, limits=MediaLimits(max_seconds=5)) == "too-long"
    assert len(load_audio(whole, limits=MediaLimits(max_seconds=5))[0]) == 3 * RATE
    assert code_of(whole[:-3000] + whole) == "truncated"
    assert code_of(mp3()[:-3000] + mp3()) == "truncated"
    assert code_of(whole + whole[:10]) == "truncated"


def test_parts_of_a_flac_that_do_not_say_how_long_they_are():
    flac = bytearray(encoded(make_audio(1.0), form="FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    with open_audio(bytes(flac) * 2) as reader:
        assert reader.frames is None
        assert len(read_all(reader)) == 2 * RATE == reader.frames


@pytest.mark.parametrize("subtype", [None, "OPUS"])
@pytest.mark.parametrize("missing", [1, 30, 1000])
def test_an_ogg_that_is_cut_within_its_last_page(subtype, missing):
    assert code_of(encoded(make_audio(3.0), form="OGG", subtype=subtype)[:-missing]) == "truncated"


def test_an_ogg_with_a_damaged_page_has_lost_some():
    data = bytearray(encoded(make_audio(3.0), form="OGG"))
    data[len(data) // 2] ^= 255
    assert code_of(bytes(data)) == "truncated"


@pytest.mark.parametrize("junk", [TAG_AT_END, b"\0" * 500, id3(300)])
@pytest.mark.parametrize("form", ["OGG", "FLAC", "MP3", "WAV"])
def test_tags_before_and_after_are_no_sound(form, junk):
    data = encoded(make_audio(1.0), form=form)
    np.testing.assert_array_equal(load_audio(data + junk)[0], load_audio(data)[0])
    if junk != TAG_AT_END:
        np.testing.assert_array_equal(load_audio(junk + data)[0], load_audio(data)[0])
        np.testing.assert_array_equal(load_audio(junk + id3(40) + data)[0], load_audio(data)[0])


def test_tags_between_and_what_is_no_frame_are_passed_over():
    data = mp3()
    whole = load_audio(data)[0]
    for between in (id3(400), TAG_AT_END, b"<html>404</html>" * 40, TAG_AT_END + bytes(100) + id3(20)):
        np.testing.assert_array_equal(load_audio(data + between + data)[0], torch.cat([whole, whole]))
    middle = len(data) // 2
    assert len(load_audio(data[:middle] + bytes([1, 2, 255, 3]) * 300 + data[middle:])[0]) == 3 * RATE


def test_an_mp3_without_a_header_is_as_long_as_its_frames():
    for options in ({"bitrate_mode": "CONSTANT", "compression_level": 0.5}, {"bitrate_mode": "VARIABLE"}):
        whole = encoded(np.tile(make_audio(2.0), 6), form="MP3", **options)
        bare = without_its_header(whole)
        samples, expected = load_audio(bare)[0].numpy(), load_audio(whole)[0].numpy()
        assert 0 < len(samples) - len(expected) < 4 * 576  # what the encoder puts before and after is not told
        before = int(np.argmax(np.correlate(samples[:4000], expected[:2000], "valid")))
        np.testing.assert_allclose(samples[before:][: len(expected)], expected, atol=1e-4)
        assert len(load_audio(bare + bare)[0]) > 2 * len(expected)
        assert len(load_audio(whole + bare)[0]) == len(expected) + len(samples)
        for front in (id3(300) + id3(1000), bytes(3000), id3(10) + bytes(2000)):
            np.testing.assert_array_equal(load_audio(front + bare)[0].numpy(), samples)


@pytest.mark.parametrize("first", ["header", "none"])
def test_the_decoder_of_mp3_writes_nothing_into_the_terminal(capfd, first):
    data = mp3() if first == "header" else without_its_header(mp3())
    for damaged in (
        data + data,
        id3(300) + data,
        data[: len(data) // 2],
        data[:3000] + b"no frame" * 200 + data[3000:],
    ):
        try:
            load_audio(damaged)
        except InputError as error:
            assert error.code == "truncated"
    assert capfd.readouterr() == ("", "")


def test_an_mp3_in_a_wav():
    data = mp3()
    form = struct.pack("<HHIIHHH", 0x55, 1, RATE, 4000, 1, 0, 0)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    np.testing.assert_array_equal(load_audio(b"RIFF" + struct.pack("<I", len(body)) + body)[0], load_audio(data)[0])


def with_size(data, form, size):
    """The file with another size of its samples in the header."""
    mark, width, order = {"WAV": (b"data", 4, "<I"), "AIFF": (b"SSND", 4, ">I"), "W64": (b"data", 8, "<Q")}[form]
    at = data.index(mark) + (16 if form == "W64" else 4)
    return data[:at] + struct.pack(order, size) + data[at + width :]


READ_ALL = MediaLimits(sound_formats=("WAV", "RF64", "W64", "AIFF", "AU", "CAF"))


@pytest.mark.parametrize("form", ["WAV", "W64", "AIFF"])
@pytest.mark.parametrize("size", [0, 8, 36, 44, "endless"])
def test_a_size_that_does_not_tell_the_truth(form, size):
    data = encoded(make_audio(1.0), form=form)
    endless = 2**64 - 1 if form == "W64" else 2**32 - 1
    claimed = endless if size == "endless" else 0 if size == 0 else 2 * RATE + size + 24 * (form == "W64")
    samples, _ = load_audio(with_size(data, form, claimed), limits=READ_ALL)
    np.testing.assert_array_equal(samples, load_audio(data, limits=READ_ALL)[0])


def test_a_wav_that_is_empty_is_not_filled_with_what_follows():
    empty = encoded(np.zeros(0))
    assert code_of(
        empty + b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    ) == ("zero-sized")
    assert code_of(empty) == "zero-sized"


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2 * RATE + 44])
def test_the_size_that_rf64_keeps_apart(size):
    data = encoded(make_audio(1.0), form="RF64")
    at = data.index(b"ds64") + 16
    samples, _ = load_audio(data[:at] + struct.pack("<Q", size) + data[at + 8 :])
    np.testing.assert_array_equal(samples, load_audio(data)[0])


def test_what_is_made_to_be_searched_for_long_is_given_up(monkeypatch):
    monkeypatch.setattr("sensorium.processors.audio_mp3_frames._MAX_MISSES", 1000)
    monkeypatch.setattr("sensorium.processors.audio_ogg._MAX_PAGES", 3)
    monkeypatch.setattr("sensorium.processors.audio_faults.MAX_SECTIONS", 2)
    assert code_of(mp3() + b"\xff" * 5000) == "corrupt"
    assert code_of(encoded(make_audio(4.0), form="OGG")) == "corrupt"
    assert code_of(encoded(make_audio(0.1), form="FLAC") * 3) == "corrupt"


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def test_a_page_that_lies_near_is_found_by_reading_little():
    page = b"OggS\0\6" + bytes(21)
    file = Counted((page + b"x") * 5_000)
    (section,) = ogg_sections(file, 0, len(file.getvalue()), "x")
    assert section.size == len(file.getvalue())
    assert file.count < 50 * section.size, "it was up to 128 KiB for each page"


@pytest.mark.parametrize("form", ["MP3", "OGG", "FLAC"])
def test_sounds_in_one_file_are_counted_while_they_are_found(form, monkeypatch):
    monkeypatch.setattr("sensorium.processors.audio_faults.MAX_SECTIONS", 2)
    sound = encoded(make_audio(0.2), form=form)
    load_audio(sound * 2)
    monkeypatch.setattr("sensorium.processors.audio_sections.Section.__init__", None)
    assert code_of(sound * 3) == "corrupt"


@pytest.mark.parametrize("form", ["WAV", "RF64", "W64", "AIFF", "AU"])
def test_a_file_of_plain_samples_that_ends_early(form):
    data = encoded(make_audio(1.0), form=form)
    for missing in (100, 1000, 20_000):
        assert code_of(data[:-missing], limits=READ_ALL) == "truncated"


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16"])
def test_codecs_that_know_no_jumps_are_read_in_windows(subtype):
    data = encoded(make_audio(40, rate=8000), 8000, subtype=subtype)
    whole = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    with open_audio(data) as reader:
        for start in (0, 200_000, 100_000, 0, 300_000):
            np.testing.assert_array_equal(reader.read(start, 5000), whole[start : start + 5000])


def test_an_opus_file_begins_where_its_header_says():
    """The header tells how many samples an encoder put before the sound; libopus in ffmpeg: 312."""
    data = encoded(make_audio(3.0, rate=48_000), 48_000, "OGG", subtype="OPUS")
    at = data.index(b"OpusHead") + 10
    for skipped in (312, 1000):
        page = bytearray(data)
        page[at : at + 2] = struct.pack("<H", skipped)
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", ogg_checksum(bytes(page[: 28 + page[27]])))
        samples = load_audio(bytes(page))[0].numpy()
        expected = soundfile.read(io.BytesIO(bytes(page)), dtype="float32")[0]
        np.testing.assert_array_equal(samples, expected[: len(samples)])
        assert len(samples) == len(expected)


def ogg_checksum(page):
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


FOREIGN = [
    (b"\0\0\0\x1cftypM4A \0\0\2\0", "M4A"),
    (b"\x1aE\xdf\xa3\x9fB\x86\x81", "WebM"),
    (b"\xff\xf1P@ \xdf\xfc\xde", "AAC"),
]


@pytest.mark.parametrize(("head", "named"), FOREIGN)
def test_formats_that_are_not_read_are_named(head, named):
    with pytest.raises(InputError, match=named) as caught:
        load_audio(head + bytes(100))
    assert caught.value.code == "unsupported-format"


@given(
    parts=st.lists(st.one_of(st.binary(max_size=9), st.tuples(st.integers(0, 50), st.integers(0, 50))), max_size=6),
    moves=st.lists(st.tuples(st.integers(-5, 60), st.integers(0, 2), st.integers(-1, 40)), max_size=8),
)
@settings(deadline=None)
def test_a_section_is_a_file(parts, moves):
    whole = bytes(range(50))
    as_ranges = [part if isinstance(part, bytes) else range(min(part), max(part)) for part in parts]
    joined = b"".join(part if isinstance(part, bytes) else whole[part.start : part.stop] for part in as_ranges)
    section, file = Section(io.BytesIO(whole), as_ranges), io.BytesIO(joined)
    for offset, whence, count in moves:
        target = offset + (0, file.tell(), len(joined))[whence]
        assert section.seek(offset, whence) == file.seek(max(0, target))
        assert section.read(count) == file.read(count)
        assert section.tell() == file.tell()
    assert section.size == len(joined)
