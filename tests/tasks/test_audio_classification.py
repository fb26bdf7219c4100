"""audio-classification against Transformers' pipeline, in float32 on the same tiny checkpoints."""

from __future__ import annotations

import io
import json
import warnings

import librosa
import numpy as np
import pytest
import soundfile
import torch
import transformers

import sensorium
from sensorium.errors import InputError, LimitError, OptionError, TaskMismatchError
from tests import tiny, tiny_audio
from tests.audio import RATE, encoded, make_audio, make_audios
from tests.contract import Contract
from tests.media import jpeg
from tests.versions import older

LOGITS = {"function_to_apply": "none", "top_k": None}
# Logits of the tiny models are up to 20 and differ between sounds by about 1; float32 gives them to 1e-5.
TOLERANCE = 5e-5


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("audio-classification", folder, **settings)


def theirs(folder):
    return transformers.pipeline("audio-classification", model=str(folder), device="cpu", dtype="float32")


def values(result):
    return np.array([row["score"] for row in sorted(result, key=lambda row: row["label"])])


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_audio.folder("wav2vec2"), **settings),
    inputs=lambda: [make_audio(seconds, seed) for seed, seconds in enumerate([0.25, 0.5, 0.245, 0.49, 0.5])],
    bad=["nowhere.wav", None, np.zeros(0, np.float32), b"no sound", {"array": make_audio(), "sampling_rate": 0}],
    options=[{"top_k": 2}, LOGITS, {"window_s": 0.25}, {"window_s": 0.25, "pool": "max"}, {"window_s": None}],
    tolerance=TOLERANCE,
)


@pytest.mark.parametrize("architecture", tiny_audio.ARCHITECTURES)
def test_equals_transformers_alone_and_in_a_batch(architecture):
    folder = tiny_audio.folder(architecture)
    reference = theirs(folder)
    expected = np.stack([values(reference(one, **{**LOGITS, "top_k": 7})) for one in make_audios()])
    assert expected.std(0).max() > 0.1, "the sounds have to tell the models apart"
    with ours(folder, batch_size=6) as pipe:
        together = [values(result) for result in pipe(make_audios(), **LOGITS)]
        alone = [values(pipe(one, **LOGITS)) for one in make_audios()]
        assert pipe.stats()["failures"] == 0
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE)
    np.testing.assert_allclose(together, expected, atol=TOLERANCE)


@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert", "ast"])
@pytest.mark.parametrize(
    "options", [{}, {"top_k": 2}, {"function_to_apply": "sigmoid"}, {"function_to_apply": "none"}, {"top_k": 99}]
)
def test_the_rows_are_transformers(architecture, options):
    folder = tiny_audio.folder(architecture)
    expected = theirs(folder)(make_audio(), **options)
    with ours(folder) as pipe:
        got = pipe(make_audio(), **options).to_dict()
    assert [row["label"] for row in got] == [row["label"] for row in expected]
    assert [row["score"] for row in got] == pytest.approx([row["score"] for row in expected], abs=TOLERANCE)
    assert set(got[0]) == set(expected[0])


@pytest.mark.skipif(older("transformers", "5.23"), reason="its pipeline does not look at the problem's type")
@pytest.mark.parametrize(
    ("problem_type", "num_labels"),
    [("multi_label_classification", 7), ("regression", 1), (None, 1), ("single_label_classification", 3)],
)
def test_the_config_chooses_the_function(problem_type, num_labels):
    folder = tiny_audio.folder("wav2vec2", num_labels=num_labels, problem_type=problem_type)
    expected = theirs(folder)(make_audio(), top_k=num_labels)
    with ours(folder) as pipe:
        assert values(pipe(make_audio(), top_k=None)) == pytest.approx(values(expected), abs=TOLERANCE)


def test_padding_would_matter_if_it_were_not_left_out():
    """What the exactness above is worth: the same model on padded sound, as Transformers batches it."""
    folder = tiny_audio.folder("wav2vec2")
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    pair = [make_audio(0.3), make_audio(1.5, 1)]
    with torch.inference_mode():
        alone = model(**extractor(pair[0], sampling_rate=RATE, return_tensors="pt")).logits[0].numpy()
        padded = model(**extractor(pair, sampling_rate=RATE, return_tensors="pt", padding=True)).logits[0].numpy()
    assert np.abs(padded - alone).max() > 0.05
    with ours(folder, batch_size=2) as pipe:
        pipe.task.padded = {"samples": type(pipe.task.padded["samples"])(0.0, max_length=None)}
        batch = pipe.task.collate([unit for one in pair for unit in pipe.task.split(one, pipe.task.options())])
        assert batch["samples"].shape[0] == 2
        with torch.inference_mode():
            logits = pipe.task.forward(batch, pipe.task.options(), lambda function, *args: function(*args))["logits"]
    np.testing.assert_allclose(logits[0].numpy(), alone, atol=TOLERANCE)


def test_sounds_of_like_length_share_a_batch():
    with ours(tiny_audio.folder("wav2vec2"), batch_size=4) as pipe:
        pipe([make_audio(seconds) for seconds in (0.99, 1.0, 1.01, 1.02)])
        assert pipe.stats()["batches"] == 1


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 192_000])
@pytest.mark.parametrize("architecture", ["wav2vec2", "ast"])
def test_another_rate_is_resampled_as_in_transformers(architecture, rate):
    folder = tiny_audio.folder(architecture)
    arrays = [
        {"array": make_audio(seconds, seed, rate), "sampling_rate": rate}
        for seed, seconds in enumerate([0.5, 0.52, 1.3])
    ]
    reference = theirs(folder)
    expected = [values(reference(dict(one), **{**LOGITS, "top_k": 7})) for one in arrays]
    with ours(folder, batch_size=3) as pipe:
        got = [values(result) for result in pipe(arrays, **LOGITS)]
    np.testing.assert_allclose(got, expected, atol=1e-3)  # torchaudio's kernel is computed in float32, ours in float64


def test_every_form_of_a_sound_gives_the_same(tmp_path):
    array = (make_audio(0.8) * 32768).round().astype(np.int16)
    data = encoded(array)
    (tmp_path / "x.wav").write_bytes(data)
    floats = array.astype(np.float32) / 32768
    forms = [
        tmp_path / "x.wav",
        str(tmp_path / "x.wav"),
        data,
        encoded(array, form="FLAC"),
        floats,
        floats.astype(np.float64),
        array,
        torch.from_numpy(floats),
        {"array": floats, "sampling_rate": RATE},
        {"raw": torch.from_numpy(floats), "sampling_rate": RATE, "path": "somewhere.wav"},
        {"bytes": data, "path": None},
        np.stack([floats, floats]),
        encoded(np.stack([array] * 8, axis=1)),
    ]
    with ours(tiny_audio.folder("wav2vec2")) as pipe:
        results = [*pipe(forms, **LOGITS), pipe(io.BytesIO(data), **LOGITS)]
    for result in results:
        np.testing.assert_allclose(values(result), values(results[0]), atol=TOLERANCE)


@pytest.mark.parametrize("form", ["OGG", "MP3"])
def test_compressed_files_are_what_their_decoder_gives(form):
    data = encoded(make_audio(1.2), form=form)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    with ours(tiny_audio.folder("ast")) as pipe:
        a, b = pipe([data, {"array": samples, "sampling_rate": rate}], **LOGITS)
    np.testing.assert_allclose(values(a), values(b), atol=TOLERANCE)


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_long_sound_is_cut_into_windows_and_pooled(pool, rate):
    """1.25 s in windows of 0.5 s: two, and the last 0.25 s in one that reaches back."""
    folder = tiny_audio.folder("wav2vec2")
    whole = make_audio(1.25, 3, rate)
    reference = theirs(folder)
    at_16k = (
        sensorium.processors.audio_reading.open_audio({"array": whole, "sampling_rate": rate}).at(RATE).read(0, 20_000)
    )
    cuts = [at_16k[start : start + 8000].numpy() for start in (0, 8000, 12_000)]
    scores = np.stack([values(reference(cut, top_k=7)) for cut in cuts])
    expected = scores.max(0) if pool == "max" else scores.T @ [0.4, 0.4, 0.2]
    with ours(folder, batch_size=2) as pipe:
        got = pipe({"array": whole, "sampling_rate": rate}, top_k=None, window_s=0.5, pool=pool)
        assert pipe.stats()["stages"]["forward"]["items"] == 3
    np.testing.assert_allclose(values(got), expected, atol=TOLERANCE)
    assert (np.diff(got.scores) <= 0).all()


def test_windows_are_no_longer_than_what_the_model_hears():
    """The tiny AST hears 1.015 s. Up to `window_s` it is given the sound whole, and cuts it as Transformers does."""
    folder, long = tiny_audio.folder("ast"), make_audio(3.0)
    with ours(folder) as pipe:
        heard = round(pipe.task.processor.seconds * RATE)
        assert heard == 16_240
        np.testing.assert_allclose(values(pipe(long, **LOGITS)), values(pipe(long[:heard], **LOGITS)), atol=TOLERANCE)
        pooled = pipe(long, **LOGITS, window_s=2)
        cuts = [values(pipe(long[start : start + heard], **LOGITS)) for start in (0, heard, 48_000 - heard)]
    weights = np.array([heard, heard, 48_000 - 2 * heard]) / 48_000
    np.testing.assert_allclose(values(pooled), weights @ np.stack(cuts), atol=TOLERANCE)


def test_a_long_file_is_never_in_memory_as_a_whole(monkeypatch, tmp_path):
    from sensorium.processors import audio_files

    soundfile.write(tmp_path / "long.flac", np.tile(make_audio(1.0), 60), RATE)
    longest = []
    read = audio_files.AudioDecoder.read

    def noted(self, count):
        samples = read(self, count)
        longest.append(len(samples))
        return samples

    monkeypatch.setattr(audio_files.AudioDecoder, "read", noted)
    with ours(tiny_audio.folder("wav2vec2")) as pipe:
        pipe(tmp_path / "long.flac", window_s=2)
    assert max(longest) == 2 * RATE
    assert sum(longest) == 60 * RATE


@pytest.mark.parametrize(
    "options",
    [{"top_k": 0}, {"function_to_apply": "relu"}, {"window_s": 0}, {"window_s": "all"}, {"pool": "sum"}],
)
def test_bad_options_fail_before_any_work(options):
    with ours(tiny_audio.folder("wav2vec2")) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe("nowhere.wav", **options)
        assert pipe.stats()["inputs"] == 0


def test_windows_shorter_than_the_model_needs_are_refused():
    with (
        ours(tiny_audio.folder("ast")) as pipe,
        pytest.raises(OptionError, match=r"window_s has to be at least 0\.025"),
    ):
        pipe(make_audio(), window_s=0.02)


def test_bad_inputs_among_good_ones(tmp_path):
    good = tmp_path / "good.wav"
    good.write_bytes(encoded(make_audio()))
    (tmp_path / "picture.wav").write_bytes(jpeg())
    mp3 = encoded(make_audio(3.0), form="MP3")
    broken = make_audio()
    broken[700] = np.nan
    bad = {
        "missing-file": tmp_path / "nowhere.wav",
        "is-a-directory": tmp_path,
        "not-a-sound": tmp_path / "picture.wav",
        "truncated": mp3[: len(mp3) // 2],
        "zero-sized": encoded(np.zeros(0, np.float32)),
        "not-finite": broken,
        "bad-rate": {"array": make_audio(), "sampling_rate": -1},
        "bad-shape": np.zeros((2, 2, 2), np.float32),
        "too-short": make_audio(0.001),
        "unsupported-type": 3,
        "too-long": {"array": make_audio(), "sampling_rate": 1},
        "too-many-channels": np.zeros((40, 400), np.float32),
    }
    inputs = [x for fault in bad.values() for x in (good, fault)] + [good]
    with ours(tiny_audio.folder("wav2vec2"), batch_size=4) as pipe:
        want = pipe(good)
        returned = pipe(inputs, on_error="return")
    assert [r.code for r in returned[1::2]] == list(bad)
    assert all(isinstance(r, InputError) and r.source for r in returned[1::2])
    assert [isinstance(r, LimitError) for r in returned[1::2]] == [
        code.startswith("too-") and code != "too-short" for code in bad
    ]
    for result in returned[::2]:
        np.testing.assert_allclose(result.scores, want.scores, atol=TOLERANCE)


def test_bfloat16_drifts_less_than_promised():
    folder = tiny_audio.folder("wav2vec2")
    with ours(folder) as exact, ours(folder, dtype="bfloat16") as fast:
        a, b = exact(make_audios(), **LOGITS), fast(make_audios(), **LOGITS)
    spread = np.std([values(x) for x in a], axis=0).max()
    for x, y in zip(a, b, strict=True):
        assert np.abs(values(x) - values(y)).max() < 0.5 * spread


def test_a_loaded_model_is_left_as_it_was():
    folder = tiny_audio.folder("wav2vec2")
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(make_audio(), sampling_rate=RATE, return_tensors="pt")
    names = list(model.state_dict())
    with torch.inference_mode():
        before = model(**inputs).logits.numpy()
    with sensorium.pipeline(model=model, processor=extractor, device="cpu", compile=False) as pipe:
        assert pipe.task.name == "audio-classification"
        np.testing.assert_allclose(values(pipe(make_audio(), **LOGITS)), before[0], atol=TOLERANCE)
    with torch.inference_mode():
        np.testing.assert_allclose(model(**inputs).logits.numpy(), before, atol=1e-6)
    assert list(model.state_dict()) == names


def test_an_extractor_that_is_not_known_runs_itself():
    folder = tiny_audio.folder("whisper")
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder, dither=1e-9)
    expected = values(theirs(folder)(make_audio(), **{**LOGITS, "top_k": 7}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe = ours(folder, processor=extractor)
    assert any("WhisperFeatureExtractor" in str(w.message) and "slower" in str(w.message) for w in caught)
    with pipe:
        assert values(pipe({"array": make_audio(), "sampling_rate": RATE}, **LOGITS)) == pytest.approx(
            expected, abs=1e-3
        )


def test_checkpoints_of_other_tasks_are_refused():
    with pytest.raises(TaskMismatchError, match="image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match="audio-classification"):
        sensorium.pipeline("image-classification", tiny_audio.folder("ast"))


def test_on_the_command_line_a_folder_is_its_sounds(tmp_path):
    from typer.testing import CliRunner

    from sensorium.cli import app

    for name in ("a.wav", "b.FLAC"):
        (tmp_path / name).write_bytes(encoded(make_audio(0.6), form=name[2:].upper()))
    (tmp_path / "notes.txt").write_text("no sound")
    words = ["run", "audio-classification", str(tmp_path), "--model", str(tiny_audio.folder("wav2vec2")), "--json"]
    done = CliRunner().invoke(app, [*words, "--top-k", "2", "--window-s", "0.3", "--pool", "max", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["source"] for row in rows] == [str(tmp_path / "a.wav"), str(tmp_path / "b.FLAC")]
    assert [len(row["result"]) for row in rows] == [2, 2]


@pytest.mark.parametrize("options", [{}, {"window_s": 0.25}, {"window_s": None}])
def test_silence_at_the_ends_is_left_out_where_asked_for(options):
    quiet = np.zeros(RATE // 2, np.float32)
    sound = np.concatenate([quiet, make_audio(0.7), quiet])
    trimmed, _ = librosa.effects.trim(sound, top_db=40)
    with ours(tiny_audio.folder("wav2vec2")) as pipe:
        asked, kept = pipe(sound, trim_db=40, **LOGITS, **options), pipe(sound, **LOGITS, **options)
        np.testing.assert_allclose(values(asked), values(pipe(trimmed, **LOGITS, **options)), atol=TOLERANCE)
        assert np.abs(values(asked) - values(kept)).max() > 10 * TOLERANCE
        with pytest.raises(OptionError, match="trim_db is a number of decibels above 0"):
            pipe(sound, trim_db=0)
