"""automatic-speech-recognition against Transformers' pipeline on the same checkpoint in float32: equal texts, times."""

from __future__ import annotations

import functools
import logging

import librosa
import numpy as np
import pytest
import soundfile
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError, UnknownNameError
from sensorium.tasks.speech.whisper import WhisperRecognizer
from tests import tiny, tiny_speech
from tests.audio import encoded
from tests.contract import Contract
from tests.tiny_speech import RATE, make_audio, make_audios

NAME = "automatic-speech-recognition"


@pytest.fixture(autouse=True)
def quiet():
    """Transformers tells about `chunk_length_s` and missing ends of segments at each call."""
    logger = logging.getLogger("transformers")
    level, logger.level = logger.level, logging.ERROR
    yield
    logger.level = level


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline(NAME, folder, **settings)


@functools.cache
def theirs(folder):
    return transformers.pipeline(NAME, model=str(folder), device="cpu")


def assert_same(folder, inputs, options, *, batch_size=3, reference=None):
    """One list gives what Transformers gives for each input alone; and so does each input alone."""
    with ours(folder, batch_size=batch_size) as pipe:
        results = pipe(inputs, **options)
        alone = pipe(inputs[0], **options)
    for given, result in zip(inputs, results, strict=True):
        assert result.to_dict() == theirs(folder)(given, **(options if reference is None else reference))
    assert alone.to_dict() == results[0].to_dict()
    return results


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_speech.whisper(), **settings),
    inputs=make_audios,
    bad=["nowhere.wav", None, np.zeros(0, np.float32), b"no sound", np.full(RATE, np.nan, np.float32)],
    options=[{"num_beams": 1, "return_timestamps": True}, {"num_beams": 1, "chunk_length_s": 0.6}],
)


@pytest.mark.parametrize("kind", sorted(tiny_speech.CTC))
@pytest.mark.parametrize(
    "options",
    [
        {"return_timestamps": "word"},
        {"return_timestamps": "char", "chunk_length_s": 0.5, "stride_length_s": (0.1, 0.05)},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_letters_of_frames_equal_transformers(kind, options):
    """Models with and without an attention mask, in batches of sounds of different lengths."""
    assert len({r.text for r in assert_same(tiny_speech.ctc(kind), make_audios(), options)}) == 4


@pytest.mark.parametrize("seed", [9, 13])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 1},
        {"num_beams": 3, "length_penalty": 0.2},
        {"num_beams": 2, "generate_kwargs": {"early_stopping": True}},
        {"num_beams": 2, "generate_kwargs": {"early_stopping": "never"}},
        {"num_beams": 1, "max_new_tokens": 9, "min_new_tokens": 9},
        {"return_timestamps": True},
        {"return_timestamps": True, "num_beams": 1},
        {"chunk_length_s": 0.7, "num_beams": 1},
        {"chunk_length_s": 1.0, "stride_length_s": 0.2, "return_timestamps": True},
    ],
    ids=str,
)
def test_what_whisper_writes_equals_transformers(seed, options):
    folder = tiny_speech.whisper(seed)
    results = assert_same(folder, make_audios(), options)
    assert len({r.text for r in results}) > 2


@pytest.mark.parametrize(("seed", "beams"), [(9, 4), (10, 1), (13, 4)])
def test_sounds_longer_than_a_window_are_walked_through(seed, beams):
    """Transformers needs timestamps for that, also where they are not asked for."""
    inputs = [make_audio(3.5, 1), make_audio(7.3, 2), make_audio(2.01, 3), make_audio(5, 4)]
    folder, options = tiny_speech.whisper(seed), {"num_beams": beams, "return_timestamps": True}
    timed = assert_same(folder, inputs, options)
    with ours(folder, batch_size=2) as pipe:
        plain = pipe([*inputs, make_audios()[0]], num_beams=beams)
    assert [r.to_dict() for r in plain[:4]] == [{"text": r.text} for r in timed]
    assert plain[4].to_dict() == theirs(folder)(make_audios()[0], num_beams=beams)


def test_a_sound_of_a_window_and_some_samples_is_not_long():
    """It gives as many frames as the window: Transformers wants no timestamps of it."""
    assert_same(tiny_speech.whisper(), [make_audio(2 + 100 / RATE, 5), make_audio(2, 5)], {"num_beams": 1})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"language": "de", "return_timestamps": True, "chunk_length_s": 0.8}, "german"),
        ({"generate_kwargs": {"language": "French", "task": "translate"}}, "french"),
        ({"task": "translate", "return_timestamps": True}, None),
        ({"chunk_length_s": 0.8}, None),
    ],
    ids=str,
)
def test_languages(options, named):
    results = assert_same(tiny_speech.whisper(13), make_audios(), {**options, "num_beams": 1, "return_language": True})
    assert all(chunk["language"] == named or named is None for r in results for chunk in r)
    assert any(chunk["language"] for r in results for chunk in r)


def test_a_checkpoint_of_english_only():
    folder = tiny_speech.whisper(9, multilingual=False)
    assert_same(folder, make_audios(), {"num_beams": 1})
    with ours(folder) as pipe, pytest.raises(OptionError, match="only English"):
        pipe(make_audios()[0], language="de")


def test_words_times():
    folder = tiny_speech.whisper(10, alignment=True)
    inputs = [make_audios()[0], make_audio(2.6, 6)]
    results = assert_same(folder, inputs, {"return_timestamps": "word", "num_beams": 1, "max_new_tokens": 12})
    assert all(len(r) > 1 for r in results)
    with ours(folder) as pipe:
        before = pipe.task.model.config._attn_implementation
        pipe(make_audios()[0], return_timestamps="word", num_beams=2, return_language=True, chunk_length_s=0.5)
        assert pipe.task.model.config._attn_implementation == before


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.7, "num_beams": 1},
        {"no_repeat_ngram_size": 2},
        {"generate_kwargs": {"compression_ratio_threshold": 1.2, "temperature": (0.0,), "num_beams": 1}},
    ],
    ids=str,
)
def test_settings_that_generate_itself_follows(options):
    with ours(tiny_speech.whisper(), batch_size=3) as pipe:
        plain = pipe(make_audios(), num_beams=options.get("num_beams"))
    assert [r.text for r in assert_same(tiny_speech.whisper(), make_audios(), options)] != [r.text for r in plain]


def test_what_is_drawn_at_random_repeats_with_a_seed_whatever_the_neighbours():
    options = {"temperature": 1.5, "num_beams": 1}
    with ours(tiny_speech.whisper(), batch_size=4) as pipe:
        drawn = pipe(make_audios(), seed=3, **options)
        alone = [pipe(s, seed=3, **options) for s in make_audios()]
        other = pipe(make_audios(), seed=4, **options)
    assert [r.text for r in drawn] == [r.text for r in alone] != [r.text for r in other]


def test_a_length_that_the_pipeline_sets():
    """Without a limit of its own, and with a decoder too short for the pipeline's 256, the call has to say it."""
    folder = tiny_speech.whisper(10, max_length=None)
    with ours(folder) as pipe, pytest.raises(OptionError, match="max_new_tokens=45 or less"):
        pipe(make_audios()[0])
    assert_same(folder, make_audios(), {"max_new_tokens": 45, "num_beams": 1})


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_files_of_all_kinds(kind, tmp_path):
    """What is in the file is heard, whichever way it is given: stereo and another rate, too."""
    folder = tiny_speech.whisper() if kind == "whisper" else tiny_speech.ctc(kind)
    samples = make_audio(1.5, 8, rate=44_100)
    path = tmp_path / "x.flac"
    path.write_bytes(encoded(samples, 44_100, "flac"))
    with ours(folder) as pipe:
        want = theirs(folder)({"raw": samples, "sampling_rate": 44_100})["text"]
        with path.open("rb") as file:
            forms = pipe(
                [path, str(path), path.read_bytes(), file, {"array": np.stack([samples] * 2), "sampling_rate": 44_100}]
            )
    assert [r.text for r in forms] == [want] * 5


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2", "hubert-layer"])
@pytest.mark.parametrize("options", [{}, {"chunk_length_s": 0.5}], ids=str)
def test_neighbours_do_not_change_a_result(kind, options):
    folder = tiny_speech.whisper(9) if kind == "whisper" else tiny_speech.ctc(kind)
    inputs = [make_audio(s, i) for i, s in enumerate([1.6, 0.3, 1.61, 0.05, 1.2, 2.4, 0.9])]
    options = {**options, **({"num_beams": 2} if kind == "whisper" else {})}
    with ours(folder, batch_size=5) as pipe:
        alone = [pipe(s, **options).to_dict() for s in inputs]
        assert [r.to_dict() for r in pipe(inputs, **options)] == alone
        assert [r.to_dict() for r in pipe(inputs[::-1], **options)][::-1] == alone


def test_bad_inputs_among_good_ones(tmp_path):
    good = make_audios()[0]
    (tmp_path / "picture.wav").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    mp3 = encoded(make_audio(3, 1), RATE, "mp3")
    (tmp_path / "cut.mp3").write_bytes(mp3[: len(mp3) // 2])
    bad = {
        "missing-file": tmp_path / "nowhere.wav",
        "not-a-sound": tmp_path / "picture.wav",
        "zero-sized": np.zeros(0, np.float32),
        "not-finite": np.full(RATE, np.nan, np.float32),
        "too-short": np.zeros(9, np.float32),
        "unsupported-type": None,
    }
    with ours(tiny_speech.ctc("wav2vec2"), batch_size=3) as pipe:
        want = pipe(good)
        returned = pipe([x for fault in bad.values() for x in (good, fault)], on_error="return")
        cut = pipe([tmp_path / "cut.mp3"], on_error="return")[0]
    assert [r.code for r in returned[1::2]] == list(bad)
    assert all(r.to_dict() == want.to_dict() for r in returned[::2])  # words, and times on the grid of the frames
    assert isinstance(cut, (InputError, sensorium.Transcript))
    assert cut.code == "truncated" if isinstance(cut, InputError) else len(cut.text) > 0


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("whisper", {"return_timestamps": "char"}, "word"),
        ("whisper", {"return_timestamps": "word"}, "alignment_heads"),
        ("whisper", {"return_timestamps": "sentence"}, "return_timestamps"),
        ("whisper", {"chunk_length_s": 3.0}, "hears 2 s"),
        ("whisper", {"chunk_length_s": -1}, "chunk_length_s"),
        ("whisper", {"chunk_length_s": 1.0, "stride_length_s": 0.5}, "longer than what it shares"),
        ("whisper", {"chunk_length_s": 1.0, "stride_length_s": (0.8, 0.4)}, "longer than what it shares"),
        ("whisper", {"stride_length_s": 0.5}, "give chunk_length_s"),
        ("whisper", {"stride_length_s": (1, 2, 3), "chunk_length_s": 1.0}, "stride_length_s"),
        ("whisper", {"max_new_tokens": 0}, "max_new_tokens"),
        ("whisper", {"max_new_tokens": 400}, "or less"),
        ("whisper", {"task": "summarize"}, "transcribe"),
        ("whisper", {"top_p": 0.5}, "temperature"),
        ("whisper", {"do_sample": True}, "temperature"),
        ("whisper", {"seed": 1}, "temperature"),
        ("whisper", {"generate_kwargs": {"output_scores": True}}, "output_scores"),
        ("wav2vec2", {"return_timestamps": True}, "char"),
        ("wav2vec2", {"num_beams": 2}, "num_beams would have no effect"),
        ("wav2vec2", {"return_language": True}, "return_language"),
        ("wav2vec2", {"chunk_length_s": 0.03, "stride_length_s": 0.0145}, "steps of"),
    ],
    ids=str,
)
def test_options_that_cannot_be_had_fail_before_any_work(kind, options, says):
    folder = tiny_speech.whisper() if kind == "whisper" else tiny_speech.ctc(kind)
    with ours(folder) as pipe:
        with pytest.raises(OptionError, match=says):
            pipe("nowhere.wav", **options)
        assert pipe.stats()["inputs"] == 0


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"generate_kwargs": {"num_beam": 2}}, "num_beams"),
        ({"generate_kwargs": {"languages": "de"}}, "language"),
        ({"language": "germn"}, "german"),
        ({"chunk_length": 3}, "chunk_length_s"),
    ],
    ids=str,
)
def test_unknown_names_tell_the_nearest(options, near):
    with ours(tiny_speech.whisper()) as pipe, pytest.raises(UnknownNameError, match=f"Did you mean '{near}'"):
        pipe("nowhere.wav", **options)


def test_a_checkpoint_of_another_task_is_told_what_it_fits():
    with pytest.raises(TaskMismatchError, match=r"It fits: .*image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match=NAME):
        sensorium.pipeline("image-classification", tiny_speech.ctc("wav2vec2"), device="cpu")


@pytest.mark.parametrize("kind", ["whisper", "hubert"])
def test_a_loaded_model_with_its_processor(kind):
    folder = tiny_speech.whisper() if kind == "whisper" else tiny_speech.ctc(kind)
    auto = transformers.AutoModelForSpeechSeq2Seq if kind == "whisper" else transformers.AutoModelForCTC
    model = auto.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    both = transformers.WhisperProcessor if kind == "whisper" else transformers.Wav2Vec2Processor
    expected = theirs(folder)(make_audios()[0])
    with sensorium.pipeline(model=model, processor=both(extractor, tokenizer), device="cpu", compile=False) as pipe:
        assert pipe.task.name == NAME
        assert pipe(make_audios()[0]).to_dict() == expected
    with pytest.raises(CheckpointError, match="tokenizer"):
        sensorium.pipeline(NAME, model, processor=extractor, device="cpu")


def test_windows_of_a_long_file_are_read_as_they_are_needed(tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(encoded(make_audio(9, 2), RATE, "wav"))
    heard, _ = soundfile.read(path, dtype="float32")
    with ours(tiny_speech.whisper(), batch_size=2) as pipe:
        units = iter(pipe.task.split(path, pipe.task.options(chunk_length_s=1.0)))
        assert next(units).inputs["length"] == RATE
        units.close()
        result = pipe(path, chunk_length_s=1.0, num_beams=1)
        assert pipe.stats()["batches"] == 7
    assert result.to_dict() == theirs(tiny_speech.whisper())(heard, chunk_length_s=1.0, num_beams=1)


def test_samples_go_up_where_the_device_is_not_a_cpu(monkeypatch):
    """There the spectra of a batch are computed at once; here it is only made to do so."""
    with ours(tiny_speech.whisper(), batch_size=3) as pipe:
        want = [r.to_dict() for r in pipe(make_audios(), num_beams=1)]
        monkeypatch.setattr(WhisperRecognizer, "_window", lambda self, samples: self.audio.fit(samples, RATE))
        assert [r.to_dict() for r in pipe(make_audios(), num_beams=1)] == want


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_bfloat16_runs(kind):
    folder = tiny_speech.whisper() if kind == "whisper" else tiny_speech.ctc(kind)
    with ours(folder, dtype="bfloat16") as pipe:
        assert pipe.task.dtype == torch.bfloat16
        assert any(r.text for r in pipe([*make_audios(), make_audio(3, 1)]))


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        (lambda: tiny_speech.ctc(sorted(tiny_speech.CTC)[0]), {"return_timestamps": "char"}),
        (lambda: tiny_speech.ctc(sorted(tiny_speech.CTC)[0]), {"return_timestamps": "char", "chunk_length_s": 0.6}),
        (tiny_speech.whisper, {"return_timestamps": True, "num_beams": 1}),
        (tiny_speech.whisper, {"return_timestamps": True, "num_beams": 1, "chunk_length_s": 0.6}),
    ],
    ids=["ctc", "ctc in windows", "whisper", "whisper in windows"],
)
def test_times_are_those_of_the_whole_sound_where_its_silence_is_left_out(folder, options):
    said = make_audio(1.2, seed=3)
    sound = np.concatenate([np.zeros(RATE // 2, np.float32), said, np.zeros(RATE, np.float32)])
    with ours(folder()) as pipe:
        results, untouched = pipe([sound, said], trim_db=40, **options), pipe(sound)
        for given, result in zip([sound, said], results, strict=True):
            trimmed, (first, _) = librosa.effects.trim(given, top_db=40)
            alone = pipe(trimmed, **options)
            assert len(alone) > 0
            assert result.text == alone.text
            np.testing.assert_allclose(result.starts, alone.starts + first / RATE)
            np.testing.assert_allclose(result.ends, alone.ends + first / RATE)
            assert (first > 0) == (given is sound)
    assert untouched.text != results[0].text, "nothing is left out unless asked for"
