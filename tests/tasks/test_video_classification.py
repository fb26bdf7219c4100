"""video-classification against Transformers' pipeline, in float32 on the same tiny checkpoints and films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata, load_video

import sensorium
from sensorium import frames
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from sensorium.processors.video import VideoProcessor
from sensorium.processors.video_reading import open_video
from tests import tiny, tiny_video
from tests.contract import Contract, ignored
from tests.films import decoded, film, make_films, only_sound
from tests.media import jpeg, make_image

ALL = {"top_k": 7, "function_to_apply": "none"}
# Logits of the tiny models are about 1 and differ between films by 0.1; float32 gives them to 1e-6.
TOLERANCE = 2e-5
SHAPES = [(48, 64, 48, "mp4"), (30, 48, 64, "mov"), (20, 40, 40, "avi"), (60, 96, 32, "mp4")]


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("video-classification", folder, **settings)


@pytest.fixture
def theirs(monkeypatch):
    """Makes Transformers' pipeline, with its own reader by PyAV; by default it reads with torchcodec."""

    def fetched(self, films, sample_indices_fn=None):
        return tuple(zip(*[load_video(one, backend="pyav", sample_indices_fn=sample_indices_fn) for one in films],
                         strict=True))  # fmt: skip

    monkeypatch.setattr(BaseVideoProcessor, "fetch_videos", fetched)
    return lambda folder: transformers.pipeline(
        "video-classification", model=str(folder), video_processor=str(folder), device="cpu", dtype="float32"
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Four films of several shapes, lengths and containers."""
    place = tmp_path_factory.mktemp("films")
    made = []
    for seed, (count, width, height, form) in enumerate(SHAPES):
        made.append(place / f"{seed}.{form}")
        made[-1].write_bytes(film(count, width, height, form=form, seed=seed, **({} if form == "avi" else {"g": 12})))
    return [str(path) for path in made]


def values(rows):
    return np.array([row["score"] for row in sorted(rows, key=lambda row: row["label"])])


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_video.folder("videomae"), **settings),
    inputs=make_films,
    bad=["nowhere.mp4", None, b"no film", jpeg(), only_sound(), film(3), [], film(48)[:900], [b"no picture"] * 9],
    options=[{"top_k": 2}, ALL, {"frame_sampling_rate": 2}, {"window_s": 0.3}, {"window_s": 0.5, "pool": "max"}],
    tolerance=TOLERANCE,
)


@pytest.mark.parametrize("architecture", sorted(set(tiny_video.ARCHITECTURES) - {"videoprism_vision_model"}))
def test_equals_transformers_alone_and_in_a_batch(architecture, theirs, paths):
    folder = tiny_video.folder(architecture)
    reference = theirs(folder)
    told = {} if hasattr(reference.model.config, "num_frames") else {"num_frames": 8}
    expected = np.stack([values(reference(path, **ALL, **told)) for path in paths])
    assert expected.std(0).max() > 0.02, "the films have to tell the models apart"
    with ours(folder, batch_size=4) as pipe:
        together = [values(result) for result in pipe(paths, **ALL)]
        assert pipe.stats()["batches"] == 1
        alone = [values(pipe(path, **ALL)) for path in paths]
        assert pipe.processor.recipe is not None
    np.testing.assert_allclose(together, expected, atol=TOLERANCE)
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE)


def test_videoprism_equals_its_model(paths):
    """Transformers' pipeline cannot take its logits, which have an axis of one more."""
    folder = tiny_video.folder("videoprism_vision_model")
    model = transformers.AutoModelForVideoClassification.from_pretrained(folder).eval()
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    with ours(folder) as pipe:
        for path in paths:
            rows = [pixels for _, pixels in decoded(Path(path).read_bytes())]
            chosen = np.stack([rows[number * len(rows) // 6] for number in range(6)])
            with torch.no_grad():
                logits = model(**processor(chosen, return_tensors="pt")).logits[0, 0]
            scores = sorted(zip((f"deed {i}" for i in range(7)), logits.tolist(), strict=True))
            np.testing.assert_allclose(values(pipe(path, **ALL)), [score for _, score in scores], atol=TOLERANCE)


def test_the_rows_are_transformers(theirs, paths):
    folder = tiny_video.folder("vjepa2")
    reference = theirs(folder)
    with ours(folder) as pipe:
        for options in ({}, {"top_k": 2}, {"function_to_apply": "sigmoid"}, {"function_to_apply": "none"},
                        {"top_k": 99}, {"num_frames": 2}, {"num_frames": 11}):  # fmt: skip
            told = {"num_frames": 8, **options}
            expected, got = reference(paths[0], **told), pipe(paths[0], **told).to_dict()
            assert [row["label"] for row in got] == [row["label"] for row in expected]
            assert [row["score"] for row in got] == pytest.approx([row["score"] for row in expected], abs=TOLERANCE)
            assert set(got[0]) == set(expected[0])


@pytest.mark.parametrize(
    ("problem_type", "num_labels"),
    [("multi_label_classification", 7), ("regression", 1), (None, 1), ("single_label_classification", 3)],
)
def test_the_config_chooses_the_function(problem_type, num_labels, theirs, paths):
    folder = tiny_video.folder("videomae", num_labels=num_labels, problem_type=problem_type)
    # before Transformers 5.18 its pipeline took softmax whatever the config said
    told = {"regression": "none", "multi_label_classification": "sigmoid"}.get(problem_type, "softmax")
    expected = theirs(folder)(paths[0], top_k=num_labels, function_to_apply=told)
    with ours(folder) as pipe:
        assert values(pipe(paths[0], top_k=None)) == pytest.approx(values(expected), abs=TOLERANCE)


@pytest.mark.parametrize("rate", [1, 2, 5])
def test_a_sampling_rate_takes_the_frames_of_transformers_image_processors(rate, paths):
    """With an image processor its pipeline reads from the start; those frames, prepared by the video processor."""
    folder = tiny_video.folder("vjepa2")
    model = transformers.AutoModelForVideoClassification.from_pretrained(folder).eval()
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)

    def prepared(rows, **told):
        return processor(np.stack(rows), **told)

    reference = transformers.VideoClassificationPipeline(model=model, image_processor=prepared, device="cpu")
    with ours(folder) as pipe:
        for path in (path for path, shape in zip(paths, SHAPES, strict=True) if shape[0] >= 8 * rate):
            expected = reference(path, num_frames=8, frame_sampling_rate=rate, **ALL)
            got = pipe(path, num_frames=8, frame_sampling_rate=rate, **ALL)
            np.testing.assert_allclose(values(got), values(expected), atol=TOLERANCE)


def chosen(source, pipe, **options):
    """The numbers of the frames that a model is shown of a film, window by window."""
    seen = []
    with open_video(source) as reader:
        task, parsed = pipe.task, pipe.task.options.parse(options)
        from sensorium.tasks.video_classification import _windows

        for window in _windows(reader, parsed.window_s):
            seen.append((task._indices(window, parsed, reader), window.fresh))
    return seen


def test_frames_are_those_that_transformers_chooses():
    image = make_image(8, 8)
    processor = transformers.VideoMAEVideoProcessor()
    with ours(tiny_video.folder("vjepa2")) as pipe:
        for length in (4, 5, 17, 100, 999):
            for count in (1, 2, 3, 4):
                expected = processor.sample_frames(VideoMetadata(total_num_frames=length), num_frames=count)
                assert chosen([image] * length, pipe, num_frames=count) == [(expected.tolist(), length)]


def test_windows_cover_a_film_and_count_each_frame_once():
    data = film(75)  # two and a half seconds
    with ours(tiny_video.folder("timesformer")) as pipe:
        assert chosen(data, pipe, window_s=3) == chosen(data, pipe) == [([0, 18, 37, 56], 75)]
        assert chosen(data, pipe, window_s=1) == [
            ([0, 7, 15, 22], 30),
            ([30, 37, 45, 52], 30),
            ([45, 52, 60, 67], 15),  # reaches back
        ]
        assert chosen(data, pipe, window_s=1.25, frame_sampling_rate=2) == [([0, 2, 4, 7], 38), ([38, 40, 42, 45], 37)]
        whole = pipe(data, window_s=3, **ALL)
        assert whole.to_dict() == pipe(data, **ALL).to_dict()


def test_scores_of_windows_are_averaged_by_what_they_cover():
    data = film(75)
    rows = [pixels for _, pixels in decoded(data)]
    with ours(tiny_video.folder("timesformer")) as pipe:
        parts = [values(pipe(rows[start:stop], top_k=7)) for start, stop in ((0, 30), (30, 60), (45, 75))]
        mean, largest = (values(pipe(data, window_s=1, pool=pool, top_k=7)) for pool in ("mean", "max"))
    np.testing.assert_allclose(mean, np.average(parts, axis=0, weights=[30, 30, 15]), atol=TOLERANCE)
    np.testing.assert_allclose(largest, np.max(parts, axis=0), atol=TOLERANCE)


def test_every_form_of_a_film_gives_the_same(tmp_path):
    data = film(30)
    (tmp_path / "x.mp4").write_bytes(data)
    rows = [pixels for _, pixels in decoded(data)]
    with ours(tiny_video.folder("videomae")) as pipe:
        expected = pipe(data).to_dict()
        forms = [tmp_path / "x.mp4", rows, np.stack(rows), torch.from_numpy(np.stack(rows)), list(frames(data))]
        assert all(pipe(form).to_dict() == expected for form in forms)
        assert pipe({"bytes": data, "path": None}).to_dict() == expected
        several = [np.stack([rows, rows]), [rows, data, {"video": data}], [tmp_path / "x.mp4", data]]
        for results in (*map(pipe, several), list(pipe.stream(iter([data, rows])))):
            assert len(results) >= 2
            for result in results:
                np.testing.assert_allclose(values(result), values(expected), atol=TOLERANCE)
        assert pipe(list(frames(data)), window_s=0.5).to_dict() == pipe(data, window_s=0.5).to_dict()


def test_a_folder_is_its_films_or_a_film(tmp_path):
    (tmp_path / "films").mkdir()
    for seed in range(3):
        (tmp_path / "films" / f"{seed}.mp4").write_bytes(film(12, seed=seed))
    (tmp_path / "films" / "notes.txt").write_text("no film")
    (tmp_path / "frames").mkdir()
    for index in range(10):
        make_image(seed=index).save(tmp_path / "frames" / f"{index}.png")
    (tmp_path / "nothing").mkdir()
    with ours(tiny_video.folder("videomae")) as pipe:
        with pytest.warns(UserWarning, match="skipped notes.txt"):
            results = pipe(str(tmp_path / "films"))
        assert [result.source[-5:] for result in results] == ["0.mp4", "1.mp4", "2.mp4"]
        assert pipe(tmp_path / "frames").to_dict() == pipe([make_image(seed=index) for index in range(10)]).to_dict()
        with pytest.raises(InputError, match="video"):
            pipe(tmp_path / "nothing")


def test_a_film_that_is_too_short_says_what_it_takes():
    for options, needed in (({}, 8), ({"frame_sampling_rate": 3}, 24), ({"window_s": 0.2}, 8)):
        with (
            ours(tiny_video.folder("videomae")) as pipe,
            pytest.raises(InputError, match=f"at least {needed}") as caught,
        ):
            pipe(film(20 if options else 7), **options)
        assert caught.value.code == "too-short"


def test_a_camera_has_no_end():
    with ours(tiny_video.folder("videomae")) as pipe, pytest.raises(InputError) as caught:
        pipe(73)
    assert caught.value.code == "missing-file"


def test_options_are_checked():
    with ours(tiny_video.folder("videomae")) as pipe:
        for options in ({"num_frames": 4}, {"num_frames": 0}, {"window_s": 0}, {"pool": "median"}, {"top_k": 0}):
            with pytest.raises(OptionError):
                pipe("nowhere.mp4", **options)
        with pytest.raises(InputError):
            pipe("nowhere.mp4", num_frames=8)
    with ours(tiny_video.folder("vjepa2")) as pipe:
        assert len(pipe(film(20), num_frames=16)) == 5


def test_loaded_models_and_processors_are_taken(paths):
    folder = tiny_video.folder("videomae")
    model = transformers.AutoModelForVideoClassification.from_pretrained(folder)
    loaded = transformers.AutoVideoProcessor.from_pretrained(folder)
    with ours(folder) as pipe:
        expected = values(pipe(paths[0], **ALL))
    for processor in (loaded, str(folder), VideoProcessor.from_transformers(loaded)):
        with ours(model, processor=processor) as pipe:
            np.testing.assert_allclose(values(pipe(paths[0], **ALL)), expected, atol=TOLERANCE)
    with pytest.raises(CheckpointError, match="video processor"):
        ours(model)
    with pytest.raises(CheckpointError, match="video processor"):
        ours(model, processor=transformers.AutoTokenizer)
    with pytest.raises(TaskMismatchError):
        ours(tiny.folder("vit"))


def test_an_image_processor_of_an_older_checkpoint_runs_itself(paths):
    folder = tiny_video.folder("videomae")
    model = transformers.AutoModelForVideoClassification.from_pretrained(folder)
    older = transformers.VideoMAEImageProcessor(**tiny_video.ARCHITECTURES["videomae"][2])
    with ours(folder) as pipe:
        expected = values(pipe(paths[0], **ALL))
    with ignored("Sensorium does not read the recipe"), ours(model, processor=older) as pipe:
        assert pipe.processor.recipe is None
        np.testing.assert_allclose(values(pipe(paths[0], **ALL)), expected, atol=1e-4)


def test_what_was_saved_is_the_same(tmp_path, paths):
    folder = tiny_video.folder("vivit")
    with ours(folder) as pipe:
        expected = pipe(paths[0]).to_dict()
        pipe.save_pretrained(tmp_path / "whole")
        pipe.processor.save_pretrained(tmp_path / "processor")
        written = VideoProcessor.from_pretrained(tmp_path / "processor")
        assert written.to_dict() == pipe.processor.to_dict()
        assert written.recipe == pipe.processor.recipe
    with ours(tmp_path / "whole") as pipe:
        assert pipe(paths[0]).to_dict() == expected


def test_a_processor_that_chooses_frames_itself_is_refused():
    with pytest.raises(CheckpointError, match="chooses"):
        VideoProcessor.from_transformers(transformers.Qwen2VLVideoProcessor())
