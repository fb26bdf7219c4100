"""Sound in every form, whole and in pieces; damaged, oversized and mislabelled files."""

from __future__ import annotations

import base64
import http.server
import io
import struct
import threading

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError, OptionError
from sensorium.processors.audio_reading import is_audio_batch, load_audio, open_audio, read_all
from sensorium.processors.limits import MediaLimits
from tests.audio import RATE, encoded, make_audio
from tests.media import jpeg

FORMS = ["WAV", "FLAC", "OGG", "MP3", "AIFF"]


def code_of(source, **settings):
    with pytest.raises(InputError) as caught:
        load_audio(source, **settings)
    assert caught.value.source
    return caught.value.code


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 2])
def test_files_are_what_soundfile_reads_mixed_down(form, channels):
    data = encoded(np.stack([make_audio(0.5, seed) for seed in range(channels)], axis=1), form=form)
    samples, rate = load_audio(data)
    expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].mean(1)
    assert rate == RATE
    assert samples.dtype == torch.float32
    np.testing.assert_allclose(samples.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_kind_of_samples(subtype):
    samples, _ = load_audio(encoded(make_audio(), subtype=subtype))
    np.testing.assert_allclose(samples.numpy(), make_audio(), atol=0.02)


@pytest.mark.parametrize(("channels", "rate"), [(8, 48_000), (1, 192_000), (6, 192_000)])
def test_many_channels_and_high_rates_are_fine(channels, rate):
    samples, found = load_audio(encoded(np.stack([make_audio(0.2, rate=rate)] * channels, axis=1), rate, "FLAC"))
    assert found == rate
    np.testing.assert_allclose(samples.numpy(), make_audio(0.2, rate=rate), atol=1e-4)


def test_sources(tmp_path, monkeypatch):
    data = encoded(make_audio(0.3))
    path = tmp_path / "no suffix"
    path.write_bytes(data)
    uri = "data:audio/wav;base64," + base64.b64encode(data).decode()
    with path.open("rb") as file:
        for source in (path, str(path), data, bytearray(data), memoryview(data), file, uri, io.BytesIO(data)):
            np.testing.assert_array_equal(load_audio(source)[0].numpy(), load_audio(data)[0].numpy())


def test_urls():
    data = encoded(make_audio(0.2), form="OGG")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.headers["Accept"].startswith("audio/*")
            self.send_response(200 if self.path == "/x.ogg" else 404)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

    local = MediaLimits(allow_private_addresses=True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/x.ogg"
        samples, _ = load_audio(url, limits=local)
        assert code_of(url) == "url-not-allowed"
        assert code_of(url.replace("x.ogg", "y.ogg"), limits=local) == "dead-url"
        server.shutdown()
    np.testing.assert_array_equal(samples.numpy(), load_audio(data)[0].numpy())


@pytest.mark.parametrize(
    "array",
    [
        make_audio(),
        make_audio().astype(np.float64),
        make_audio()[::-1],
        make_audio().astype(">f4"),
        np.broadcast_to(make_audio()[:, None], (RATE, 3)),
        np.broadcast_to(make_audio(), (2, RATE)),
        torch.from_numpy(make_audio()),
        torch.from_numpy(make_audio()).to(torch.bfloat16),
    ],
    ids=lambda array: f"{tuple(array.shape)} {array.dtype}",
)
def test_arrays_come_as_they_are(array):
    samples, rate = load_audio({"array": array, "sampling_rate": 8000})
    assert rate == 8000
    expected = make_audio()[::-1] if getattr(array, "strides", (1,))[0] < 0 else make_audio()
    np.testing.assert_allclose(samples.numpy(), expected, atol=1e-3 if array.dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize(("dtype", "one"), [("int16", 2**15), ("int32", 2**31), ("uint8", 2**7)])
def test_integers_are_pcm(dtype, one):
    values = np.array([0, one // 2, one // 4], np.int64) + (128 if dtype == "uint8" else 0)
    samples, _ = load_audio(values.astype(dtype), rate=RATE)
    np.testing.assert_allclose(samples.numpy(), [0, 0.5, 0.25], atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_pieces_make_up_the_whole(form):
    data = encoded(make_audio(2.0), form=form)
    whole = load_audio(data)[0]
    with open_audio(data) as reader:
        pieces = [reader.read(start, 4801) for start in range(0, len(whole), 4801)]
        assert torch.equal(torch.cat(pieces), whole)
        assert not len(reader.read(len(whole), 100))
        torch.testing.assert_close(reader.read(7000, 100), whole[7000:7100], atol=1e-6, rtol=0)  # back again
        assert reader.frames == len(whole) == 32_000
        assert reader.seconds == 2.0


@given(data=st.data())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("form", ["FLAC", "MP3"])
def test_any_piece_is_that_of_the_whole(form, data):
    encoding = encoded(make_audio(0.5), form=form)
    whole = load_audio(encoding)[0]
    with open_audio(encoding) as reader:
        for _ in range(4):
            start, count = data.draw(st.integers(0, 9000)), data.draw(st.integers(1, 4000))
            np.testing.assert_allclose(reader.read(start, count), whole[start : start + count], atol=1e-6)


def test_a_file_without_a_length_is_read_to_its_end():
    flac = bytearray(encoded(make_audio(1.0), form="FLAC"))
    flac[21] &= 0xF0  # the 36 bits of STREAMINFO that tell how many samples there are
    flac[22:26] = bytes(4)
    wav = bytearray(encoded(make_audio(1.0)))
    wav[40:44] = struct.pack("<I", 0xFFFFFFFF)  # what a program writes that cannot go back
    with open_audio(bytes(flac)) as reader:
        assert reader.frames is None
        assert reader.at(8000).frames is None
        np.testing.assert_allclose(read_all(reader).numpy(), make_audio(1.0), atol=1e-4)
        assert reader.frames == RATE
    np.testing.assert_allclose(load_audio(bytes(wav))[0].numpy(), make_audio(1.0), atol=1e-4)
    assert code_of(bytes(flac), limits=MediaLimits(max_seconds=0.5)) == "too-long"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.8])
def test_a_file_that_ends_early(form, share):
    data = encoded(np.random.default_rng(0).normal(0, 0.1, 3 * RATE), form=form)
    assert code_of(data[: int(len(data) * share)]) == "truncated"


def test_a_large_file_that_ends_early_is_found_out_where_it_ends(tmp_path):
    data = encoded(np.random.default_rng(0).normal(0, 0.1, (1_000_000, 6)), 48_000, "FLAC")
    assert len(data) > 2 * 8 * 2**20 * 0.6
    (tmp_path / "cut.flac").write_bytes(data[: int(len(data) * 0.9)])
    with open_audio(tmp_path / "cut.flac") as reader:
        assert len(reader.read(0, 100_000)) == 100_000
        with pytest.raises(InputError, match="ends too early"):
            reader.read(100_000, 900_000)


def test_what_is_no_sound(tmp_path):
    (tmp_path / "photo.wav").write_bytes(jpeg())
    (tmp_path / "empty.wav").touch()
    nan = make_audio()
    nan[5] = np.nan
    bad = {
        "missing-file": [tmp_path / "nowhere.wav", "no text either"],
        "is-a-directory": [tmp_path],
        "empty-file": [tmp_path / "empty.wav", b""],
        "not-a-sound": [tmp_path / "photo.wav", b"<html>404</html>", b"RIFF\0\0\0\0AVI LIST"],
        "corrupt": [encoded(make_audio())[:12] + bytes(4000)],
        "zero-sized": [
            encoded(np.zeros(0)),
            encoded(np.zeros(0), form="OGG"),
            {"raw": np.zeros(0), "sampling_rate": 1},
        ],
        "not-finite": [encoded(nan, subtype="FLOAT"), {"array": nan, "sampling_rate": RATE}],
        "missing-rate": [make_audio(), {"array": make_audio()}],
        "bad-rate": [{"array": make_audio(), "sampling_rate": rate} for rate in (0, -1, 1.5, "fast", True, 2_000_000)],
        "bad-shape": [{"array": np.zeros((2, 2, 2)), "sampling_rate": RATE}],
        "bad-dtype": [{"array": a, "sampling_rate": RATE} for a in (np.zeros(4, bool), np.zeros(4, complex))],
        "unsupported-type": [None, 3, {}, {"array": "x", "sampling_rate": 1}, object()],
        "bad-data-uri": ["data:audio/wav;base64,&&&&"],
    }
    for code, sources in bad.items():
        for source in sources:
            assert code_of(source) == code, source


@pytest.mark.parametrize(
    "source",
    [
        (RATE, make_audio()),
        (make_audio(), RATE),
        (np.int64(RATE), torch.from_numpy(make_audio())),
        (float(RATE), make_audio()[:, None]),  # as scipy and soundfile have it
        {"waveform": torch.from_numpy(make_audio())[None], "sample_rate": RATE},
        {"waveform": make_audio(), "sampling_rate": RATE, "uri": "x"},
        {"array": make_audio(), "sampling_rate": RATE, "path": None},
    ],
)
def test_forms_of_other_libraries(source):
    samples, rate = load_audio(source, rate=8000)
    assert rate == RATE
    np.testing.assert_array_equal(samples, make_audio())
    assert not is_audio_batch(source)


def test_integers_with_their_rate_are_pcm():  # what Gradio gives
    samples, rate = load_audio((RATE, (make_audio() * 2**15).astype(np.int16)))
    assert rate == RATE
    np.testing.assert_allclose(samples, make_audio(), atol=1e-4)


def test_a_decoder_of_datasets():
    class Samples:
        data = torch.from_numpy(np.stack([make_audio(), make_audio(seed=1)]))
        sample_rate = 22_050

    class AudioDecoder:
        def __init__(self, samples):
            self.samples = samples

        def get_all_samples(self):
            if self.samples is None:
                raise RuntimeError("no frame")
            return self.samples

        def __getitem__(self, key):
            raise KeyError(key)

    samples, rate = load_audio(AudioDecoder(Samples), rate=8000)
    assert rate == 22_050
    torch.testing.assert_close(samples, Samples.data.mean(0))
    assert code_of(AudioDecoder(None)) == "corrupt"
    assert code_of(AudioDecoder(3)) == "unsupported-type"


def test_two_arrays_are_two_sounds_and_a_number_is_none():
    assert is_audio_batch((make_audio(), make_audio()))
    assert is_audio_batch([RATE, make_audio()])
    assert code_of((True, make_audio())) == "unsupported-type"
    assert code_of((RATE + 0.5, make_audio())) == "bad-rate"


@pytest.mark.parametrize("wrong", ["sample_rate", "sr", "sampling_Rate", "samplng_rate", None])
@pytest.mark.parametrize("key", ["array", "raw"])
def test_the_rate_of_a_dict_is_never_guessed(key, wrong):
    source = {key: make_audio(), **({wrong: 44_100} if wrong else {"sampling_rate": None})}
    with pytest.raises(InputError, match="'sampling_rate'") as caught:
        load_audio(source, rate=RATE)
    assert caught.value.code == "missing-rate"
    assert (repr(wrong) in str(caught.value)) == (wrong is not None)


def test_limits_hold_before_a_sample_is_decoded(monkeypatch):
    from sensorium.processors import audio_files

    bomb = encoded(np.zeros(5 * 3600 * 100, np.int16), 100, "FLAC")  # five hours at 100 Hz
    assert len(bomb) < 100_000
    monkeypatch.setattr(audio_files.AudioDecoder, "read", lambda self, count: pytest.fail("decoded"))
    assert code_of(bomb) == "too-long"
    assert code_of(encoded(np.zeros((100, 8))), limits=MediaLimits(max_channels=7)) == "too-many-channels"
    assert code_of(encoded(make_audio()), limits=MediaLimits(sound_formats=("flac",))) == "format-not-allowed"
    assert code_of(encoded(make_audio(), form="AU")) == "format-not-allowed"
    assert code_of(encoded(make_audio()), limits=MediaLimits(max_bytes=1000)) == "too-many-bytes"


def test_a_file_on_disk_may_be_larger_than_max_bytes(tmp_path):
    (tmp_path / "x.wav").write_bytes(encoded(make_audio()))
    assert len(load_audio(tmp_path / "x.wav", limits=MediaLimits(max_bytes=1000))[0]) == RATE


@pytest.mark.parametrize("settings", [{"max_seconds": 0}, {"sound_formats": "WAV"}, {"sound_formats": ("RAW",)}])
def test_impossible_limits(settings):
    with pytest.raises(OptionError, match=next(iter(settings))):
        MediaLimits(**settings)


def test_what_fails_to_read_is_told(tmp_path):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError("the disk is gone")

    assert code_of(Failing(encoded(make_audio()))) == "unreadable-file"


def test_threads_do_not_disturb_each_other():
    data = [encoded(make_audio(0.5, seed), form=form) for seed, form in enumerate(FORMS)]
    want = [load_audio(one)[0] for one in data]
    got = {}

    def work(n):
        got[n] = [load_audio(one)[0] for one in data]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for samples in got.values():
        for a, b in zip(samples, want, strict=True):
            assert torch.equal(a, b)
