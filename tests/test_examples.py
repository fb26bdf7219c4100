"""Every file in examples/ runs as its first lines say, offline, and gives what it promises."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.stem for path in (EXAMPLES / "pictures").glob("*.jpg"))
LABELLED = r"(\w+)\.jpg: (\w+) 0\.\d\d"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs an example in this process as its command would, in a folder of its own, and gives what it prints."""
    from huggingface_hub import constants

    def run(name, *words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), *words])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return said.getvalue()

    return run


@pytest.fixture
def run_apart(tmp_path):
    """Runs an example in a process of its own, warnings of its imports as errors, too; one a family of imports."""

    def run_apart(name, *words, warnings="error"):
        paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join(paths),
            "PYTHONWARNINGS": warnings,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = ["bash"] if name.endswith(".sh") else [sys.executable]
        done = subprocess.run(
            [*command, str(EXAMPLES / name), *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_apart


def test_every_example_is_tested_here():
    text = Path(__file__).read_text(encoding="utf-8")
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")]:
        assert re.search(rf'\brun(_apart)?\("{path.name}"', text), path.name


def test_classify_folder(run_apart):
    found = re.findall(LABELLED, run_apart("classify_folder.py"))
    assert [file for file, _ in found] == NAMES
    assert all(file == label for file, label in found)


def test_job_over_pictures(run):
    said = run("job_over_pictures.py").splitlines()
    assert said[0] == f"{len(NAMES)} of {len(NAMES)} inputs have a result"
    assert said[1:] == [f"{name}.jpg: {name}" for name in NAMES]
    assert run("job_over_pictures.py").splitlines() == said  # nothing is left to do


@pytest.mark.parametrize("name", ["ray_data", "daft_pictures"])
def test_a_bad_picture_loses_nothing_in_another_dataflow(name, run_apart, tmp_path, monkeypatch):
    if importlib.util.find_spec(name.partition("_")[0]) is None:
        pytest.skip(f"needs {name.partition('_')[0]}, which is not installed")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "600000")  # of Ray's own start, where the machine is busy
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    whole = [str(EXAMPLES / "pictures" / f"{name}.jpg") for name in ("cat", "owl")]
    words = (*whole, "bad.jpg")
    if name == "ray_data":
        said = run_apart("ray_data.py", *words, warnings="ignore")  # Ray Data sets options that it warns of itself
    else:
        said = run_apart("daft_pictures.py", *words)
    assert sorted(said.splitlines()) == ["bad.jpg: not-a-picture", "cat.jpg: cat", "owl.jpg: owl"]


def test_stream_with_errors(run, tmp_path):
    said = run("stream_with_errors.py", "--output", "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["index"] for row in rows] == list(range(len(NAMES) + 5))
    assert [row["result"][0]["label"] for row in rows if row["result"]] == NAMES
    codes = [row["error"]["code"] for row in rows if row["error"]]
    assert codes == ["empty-file", "not-a-picture", "truncated", "missing-file", "is-a-directory"]
    assert f"{len(rows)} inputs, 5 failures" in said


def test_similar_pictures(run):
    lines = run("similar_pictures.py").splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert lines[0].endswith("cat.jpg")
    assert scores == sorted(scores, reverse=True)


def test_your_own_head(run_apart, tmp_path):
    said = run_apart("your_own_head.py", "--folder", "mine")
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", said)]
    assert losses[-1] < losses[0] / 4
    assert re.search(r"[0-4] of 4 pictures that were held out are right", said)
    config = json.loads((tmp_path / "mine" / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].values()) == ["animal", "vehicle", "something else"]


def test_answer_questions(run, tmp_path):
    from tests import tiny_text

    (tmp_path / "long.txt").write_text(tiny_text.words(600), encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    folder = str(tiny_text.reader("bert"))
    said = run("answer_questions.py", "Where is the boat?", "long.txt", "empty.txt", "--model", folder)
    lines = said.splitlines()
    assert (lines[0], lines[4]) == ("long.txt", "empty.txt")
    assert all(re.fullmatch(r"  \d\.\d{3}  ….*\[.+\].*…", line) for line in lines[1:4])
    assert "the context is empty" in lines[5]
    assert run("answer_questions.py", "Where?", "--model", folder).startswith("the river\n")


def test_sort_by_labels(run):
    from tests import tiny_text

    said = run("sort_by_labels.py", "an owl", "a boat", "--model", str(tiny_text.matcher("clip")))
    assert [line.partition(":")[0] for line in said.splitlines()] == ["an owl", "a boat"]
    assert sorted(re.findall(r"(\w+)\.jpg \d\.\d\d", said)) == NAMES


def test_command_line(run_apart, tmp_path):
    said = run_apart("command_line.sh")
    assert re.findall(r"(\w+)\.jpg\t(\w+) 0\.\d{4}\t", said) == [(name, name) for name in NAMES]
    assert "<html" in (tmp_path / "labels.html").read_text(encoding="utf-8")
    archive = np.load(tmp_path / "vectors.npz")
    assert [Path(name).stem for name in archive["sources"]] == [name for name in NAMES if name.startswith("c")]
    assert archive["vectors"].shape == (len(archive["sources"]), 1280)
    assert np.isfinite(archive["vectors"]).all()


def test_find_objects(run, tmp_path):
    from tests import tiny_detection

    said = run("find_objects.py", "--model", str(tiny_detection.folder("rt_detr")), "--threshold", "0.3")
    counts = dict(re.findall(r"(\w+)\.jpg: (\d+) objects", said))
    names = [name for name in NAMES if name.startswith("c")]
    assert list(counts) == names
    rows = (tmp_path / "found" / "objects.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == sum(map(int, counts.values())) > 0
    assert sorted(path.stem for path in (tmp_path / "found").glob("*.png")) == names


def test_export_results(run, tmp_path):
    from tests import tiny_detection

    model = str(tiny_detection.folder("rt_detr"))
    said = run("export_results.py", "--model", model, "--threshold", "0.3", "--slice-px", "300")
    counts = {name: int(count) for name, count in re.findall(r"(\w+)\.jpg: (\d+) objects", said)}
    file = json.loads((tmp_path / "exported" / "found.coco.json").read_text(encoding="utf-8"))
    assert {Path(image["file_name"]).stem for image in file["images"]} == counts.keys()
    assert len(file["annotations"]) == sum(counts.values()) > 0
    names = (tmp_path / "exported" / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert [row["name"] for row in file["categories"]] == names
    for path in (tmp_path / "exported" / "labels").iterdir():
        assert len(path.read_text().splitlines()) <= counts[path.stem]  # those beyond the picture are left out
    tasks = json.loads((tmp_path / "exported" / "tasks.json").read_text(encoding="utf-8"))
    assert len(tasks) == len(counts)


def test_name_sounds(run_apart):
    from tests import tiny_audio

    lines = run_apart("name_sounds.py", "--model", str(tiny_audio.folder("ast")), "--top-k", "2").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["noise.flac", "siren.ogg", "tone.wav"]
    assert all(re.fullmatch(r"[a-z.]+: noise \d [01]\.\d\d, noise \d 0\.\d\d", line) for line in lines)
    assert len({line.partition(":")[2] for line in lines}) == 3, "the sounds are told apart"


def test_name_films(run):
    from tests import tiny_video

    lines = run("name_films.py", "--model", str(tiny_video.folder("videomae")), "--top-k", "2").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["flicker.gif", "pan.mp4", "zoom.avi"]
    assert all(re.fullmatch(r"[a-z0-9.]+: deed \d 0\.\d\d, deed \d 0\.\d\d", line) for line in lines)
    assert len({line.partition(":")[2] for line in lines}) > 1, "the films are told apart"
    windows = run("name_films.py", "films", "--model", str(tiny_video.folder("videomae")), "--window-s", "1")
    assert len(windows.splitlines()) == 3


def test_follow_objects(run, tmp_path):
    from tests import tiny_tracking

    model = str(tiny_tracking.folder("sam2_video"))
    assert run("follow_objects.py", "--model", model, "--output", "drawn").strip() == "drawn: owl, disc"
    drawn = sorted((tmp_path / "drawn").glob("*.png"))
    assert len(drawn) == 20
    with Image.open(drawn[0]) as first:
        assert first.size == (320, 240)
    run("follow_objects.py", "--model", model, "--film", "flight.mp4", "--box", "it=10,60,74,124")
    assert (tmp_path / "followed.mp4").stat().st_size > 1000


def test_keypoints_of_your_own(run, tmp_path):
    said = run("keypoints_of_your_own.py", "--pictures", "32", "--steps", "51")
    before, after = (float(px) for px in re.findall(r": ([\d.]+) px off", said))
    assert after < before / 3
    assert re.findall(r"^(\w+): \(\d+, \d+\)", said, re.MULTILINE) == ["tip", "tail"]
    assert (tmp_path / "arrow.png").is_file()


def test_match_pictures(run, tmp_path):
    from tests import tiny_keypoints

    said = run("match_pictures.py", "--model", str(tiny_keypoints.lightglue()))
    assert re.fullmatch(r"\d+ matches, \d+ within 5 px of where the turn puts them\n", said)
    assert (tmp_path / "matches.png").is_file()


def test_cut_out(run, tmp_path):
    from PIL import Image

    from tests import tiny_sam

    said = run("cut_out.py", "--model", str(tiny_sam.folder("sam")), "--output", "cut.png")
    areas = [int(area) for area in re.findall(r"^\d points: (\d+) px, score -?[\d.]+, box \[", said, re.MULTILINE)]
    assert len(areas) == 3
    with Image.open(tmp_path / "cut.png") as cut, Image.open(tmp_path / "cut_overlay.png") as overlay:
        assert np.count_nonzero(np.asarray(cut)[..., 3]) == areas[-1]
        assert overlay.size == cut.size


def test_cut_out_softly(run, tmp_path):
    from PIL import Image

    from tests import tiny_matting, tiny_sam

    given = ["--segmenter", str(tiny_sam.folder("sam")), "--model", str(tiny_matting.folder("vitmatte"))]
    said = run("cut_out_softly.py", *given, "--output", "cut.png")
    assert re.fullmatch(r"owl\.jpg: \d+\.\d% in front, \d+\.\d% between\n", said)
    with Image.open(tmp_path / "cut.png") as cut, Image.open(tmp_path / "cut_drawn.png") as drawn:
        assert cut.mode == "RGBA"
        assert len(np.unique(np.asarray(cut)[..., 3])) > 50
        assert drawn.width > 2 * cut.width


def test_segment_folder(run, tmp_path):
    from tests import tiny_segmentation

    said = run("segment_folder.py", "--model", str(tiny_segmentation.folder("segformer")))
    names = sorted(path.name for path in (ROOT / "examples" / "pictures").glob("c*.jpg"))
    assert [line.partition(":")[0] for line in said.splitlines()] == names
    for line in said.splitlines():
        shares = [int(share) for share in re.findall(r"thing \d (\d+)%", line)]
        assert shares
        assert 50 < sum(shares) < 105
    assert len(list((tmp_path / "segments").glob("*.png"))) == len(list((tmp_path / "segments").glob("*.json"))) > 1


def test_find_by_words(run, tmp_path):
    from tests import tiny_grounding

    said = run("find_by_words.py", "an owl", "a boat", "--model", str(tiny_grounding.folder("owlvit")))
    names = [name for name in NAMES if name.startswith("c")]
    assert re.findall(r"^(\w+)\.jpg: \d+ objects; best: (?:an owl|a boat) 0\.\d{4} at", said, re.MULTILINE) == names
    assert sorted(path.stem for path in (tmp_path / "found").glob("*.png")) == names
    like = str(ROOT / "examples" / "pictures" / "owl.jpg")
    said = run("find_by_words.py", "--like", like, "--model", str(tiny_grounding.folder("owlvit")))
    assert re.findall(r"^(\w+)\.jpg: \d+ objects; best: query 0 1\.0000 at", said, re.MULTILINE) == names


def test_count_by_words(run, tmp_path):
    from tests import tiny_sam

    said = run("count_by_words.py", "an owl", "a boat", "--model", str(tiny_sam.folder("sam3")), "--threshold", "0")
    names = [name for name in NAMES if name.startswith("c")]
    assert re.findall(r"^(\w+)\.jpg: 12 × an owl, 12 × a boat$", said, re.MULTILINE) == names
    assert sorted(path.stem for path in (tmp_path / "counted").glob("*.png")) == names


def test_measure_depth(run, tmp_path):
    from tests import tiny_depth

    said = run("measure_depth.py", "--model", str(tiny_depth.folder("depth_anything-metric")))
    names = sorted(path.name for path in (ROOT / "examples" / "pictures").glob("c*.jpg"))
    assert [line.partition(":")[0] for line in said.splitlines()] == names
    for line, name in zip(said.splitlines(), names, strict=True):
        low, high = map(float, re.search(r": ([\d.e-]+) to ([\d.]+) m; nearest at \d+, \d+", line).groups())
        with Image.open(tmp_path / "depths" / name.replace("jpg", "png")) as image:
            levels = np.asarray(image)
        assert levels.dtype == np.uint16
        told = pytest.approx((max(low, 0.0), high), rel=6e-3, abs=6e-4)  # three digits; levels are millimetres from 0
        assert (levels.min() / 1000, levels.max() / 1000) == told
        assert (tmp_path / "depths" / name.replace(".jpg", "-drawn.png")).is_file()


def test_draw_normals(run, tmp_path):
    from tests import tiny_normals

    said = run("draw_normals.py", "--model", str(tiny_normals.folder("tipsv2_dpt")))
    names = sorted(path.stem for path in (ROOT / "examples" / "pictures").glob("c*.jpg"))
    assert re.findall(r"^(\w+)\.jpg: mean \(-?\d\.\d\d, -?\d\.\d\d, -?\d\.\d\d\)$", said, re.MULTILINE) == names
    drawn = {path.name for path in (tmp_path / "normals").glob("*.png")}
    assert drawn == {f"{name}{end}.png" for name in names for end in ("", "-drawn")}


def test_draw_poses(run, tmp_path):
    from tests import tiny_detection, tiny_pose

    given = ["--model", str(tiny_pose.folder("vitpose")), "--detector", str(tiny_detection.folder("detr"))]
    said = run("draw_poses.py", *given, "--label", "thing 3")
    names = sorted(path.stem for path in (ROOT / "examples" / "pictures").glob("c*.jpg"))
    assert re.findall(r"^(\w+)\.jpg: \d+ people$", said, re.MULTILINE) == names
    assert sorted(path.stem for path in (tmp_path / "poses").glob("*.png")) == names


def test_label_what_is_found(run):
    from tests import tiny_detection

    said = run("label_what_is_found.py", "--detector", str(tiny_detection.folder("detr")), "--threshold", "0")
    names = sorted(path.name for path in (ROOT / "examples" / "pictures").glob("c*.jpg"))
    assert re.findall(r"^(\w+\.jpg): 5 objects$", said, re.MULTILINE) == names
    assert len(re.findall(r"^    thing \d at \(\d+, \d+, \d+, \d+\): \w+ [01]\.\d\d$", said, re.MULTILINE)) == 5 * len(
        names
    )


def test_enlarge_pictures(run, tmp_path):
    from tests import tiny_restoring

    said = run("enlarge_pictures.py", "--model", str(tiny_restoring.folder("classical")))
    paths = sorted((ROOT / "examples" / "pictures").glob("ca*.jpg"))
    for line, path in zip(said.splitlines(), paths, strict=True):
        with Image.open(path) as before, Image.open(tmp_path / "larger" / f"{path.stem}.png") as after:
            assert after.size == (2 * before.width, 2 * before.height)
            assert line == f"{path.name}: {after.width}x{after.height} px RGB"
        assert (tmp_path / "larger" / f"{path.stem}-drawn.png").is_file()


def test_transcribe(run, tmp_path):
    from tests import tiny_speech

    (tmp_path / "bad.wav").write_text("no sound")
    audio = tmp_path / "talk.wav"
    soundfile.write(audio, tiny_speech.make_audio(5, 3), tiny_speech.RATE)
    model = ("--model", str(tiny_speech.whisper()))
    said = run("transcribe.py", *model, "--window", "2", "--language", "de", "talk.wav", "bad.wav").splitlines()
    assert said[-1].startswith("bad.wav: ")
    chunks = len(said) - 2
    assert re.fullmatch(rf"talk.wav: \d+ characters in {chunks} chunks", said[0])
    assert chunks > 2
    assert (tmp_path / "talk.srt").read_text(encoding="utf-8").startswith("1\n00:00:0")
    assert run("transcribe.py", *model, "--window", "2").startswith("tones.wav: ")


def test_ask_about_pictures(run):
    from tests import tiny_answering

    said = run("ask_about_pictures.py", "--model", str(tiny_answering.vilt()), "What is this?", "How many are there?")
    assert re.findall(r"^(\S+\?|\S.*\?)$", said, re.MULTILINE) == ["What is this?", "How many are there?"]
    rows = re.findall(r"^  (\w+)\.jpg +(answer \d)  0\.\d{3}$", said, re.MULTILINE)
    assert [name for name, _ in rows] == NAMES * 2
    written = run("ask_about_pictures.py", "--model", str(tiny_answering.blip()), "What is this?")
    assert len(re.findall(r"^  \w+\.jpg +\S", written, re.MULTILINE)) == len(NAMES)


def test_answer_from_documents(run, run_apart, tmp_path):
    from tests import tiny_reading

    folder = tmp_path / "folder"
    folder.mkdir()
    for page in ("documents", "scale", "errors"):
        shutil.copy(ROOT / "docs" / f"{page}.md", folder)
    docs = ("--folder", str(folder), "--index", "pages")
    questions = ("What happens with an unreadable PDF?", "Where does a server such as Qdrant take over?")
    first = run_apart("answer_from_documents.py", *questions, *docs)
    said, _, rest = first.partition("\n")
    assert re.fullmatch(r"indexed [\d,]+ passages", said)
    assert (tmp_path / "pages" / "index.json").is_file()
    lines = rest.splitlines()
    assert (lines[0], lines[4], len(lines)) == (*questions, 8)
    for line in (*lines[1:4], *lines[5:]):
        source, start, end = re.match(r"  (\S+\.md) \[(\d+):(\d+)\] .+: .+…$", line).groups()
        assert 0 <= int(start) < int(end) <= len(Path(source).read_text(encoding="utf-8"))
    assert "documents.md" in lines[1]
    assert "scale.md" in lines[5]
    again = run("answer_from_documents.py", questions[0], *docs, "--reader", str(tiny_reading.dpr()))
    assert again.splitlines()[:4] == lines[:4], "what was kept is opened, and finds the same"
    assert re.fullmatch(rf"{re.escape(questions[0])} \S.*", again.splitlines()[4])
