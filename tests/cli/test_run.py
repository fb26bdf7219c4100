"""`sensorium run`: results, failures, exit codes and what goes to which stream."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from sensorium import pipeline
from sensorium.cli import running, sinks, telling
from sensorium.errors import InputError
from sensorium.pipelines.engine import Engine
from sensorium.results import Embedding, Labels
from sensorium.tasks.catalogue import task_card
from tests.pipelines.made_up import expected

from .conftest import LABELS, rows


@pytest.fixture(scope="module")
def pipe(vit):
    return pipeline("image-classification", model=vit, dtype="float32")


def sources(folder, *names):
    return [str(folder / name) for name in names]


def test_json_is_what_the_pipeline_gives(classify, images, pipe):
    got = classify(images, "--json", "--top-k", 2)
    assert got.exit_code == 0
    assert got.stderr == "skipped notes.txt\n"
    paths = sources(images, "a.PNG", "b.jpg", "more/c.webp")
    for i, (row, path, result) in enumerate(zip(rows(got.stdout), paths, pipe(paths, top_k=2), strict=True)):
        assert (row["index"], row["source"]) == (i, path)
        assert [r["label"] for r in row["result"]] == result.labels.tolist()
        assert [r["score"] for r in row["result"]] == pytest.approx(result.scores.tolist(), abs=1e-6)


def test_options_reach_the_task(classify, images, pipe):
    words = ["--json", "--top-k", "none", "--function-to-apply", "none"]
    [row] = rows(classify(images / "b.jpg", *words).stdout)
    result = pipe(str(images / "b.jpg"), top_k=None, function_to_apply="none")
    assert len(row["result"]) == len(LABELS)
    assert [r["score"] for r in row["result"]] == pytest.approx(result.scores.tolist(), abs=1e-5)


def test_plain_output_is_a_line_an_input(classify, broken):
    got = classify(broken)
    lines = [line.split("\t") for line in got.stdout.splitlines()]
    assert [line[0] for line in lines] == sources(broken, "a.PNG", "b.jpg", "more/c.webp")
    assert all(len(line) == 1 + len(LABELS) for line in lines)
    assert sum(float(part.rpartition(" ")[2]) for part in lines[0][1:]) == pytest.approx(1, abs=1e-3)
    assert "\x1b" not in got.stdout + got.stderr


def test_failed_inputs_are_rows_and_an_exit_code(classify, broken, tmp_path):
    target = tmp_path / "results.jsonl"
    got = classify(broken, "missing.jpg", "--output", target)
    assert got.exit_code == 1
    assert got.stdout == ""
    found = rows(target.read_text())
    assert [row["index"] for row in found] == list(range(6))
    assert [row["error"] is not None for row in found] == [False, True, False, True, False, True]
    assert [row["error"]["code"] for row in found if row["error"]] == ["not-a-picture", "empty-file", "missing-file"]
    assert [row["source"] for row in found] == [
        *sources(broken, "a.PNG", "a2.jpg", "b.jpg", "c2.jpg", "more/c.webp"),
        "missing.jpg",
    ]
    told = got.stderr.splitlines()
    assert [line.startswith("failed: ") for line in told[:3]] == [True] * 3
    assert told[-2].startswith(f"wrote {target}: 6 inputs in ")
    assert told[-1] == "3 of 6 inputs failed (not-a-picture 1, empty-file 1, missing-file 1)"


def test_skipped_failures_have_no_row_but_count(classify, broken):
    got = classify(broken, "--json", "--on-error", "skip")
    assert got.exit_code == 1
    assert [row["index"] for row in rows(got.stdout)] == [0, 2, 4]
    assert "2 of 5 inputs failed" in got.stderr


def test_a_run_ends_at_the_first_failure_if_asked_to(classify, broken):
    got = classify(broken, "--json", "--on-error", "raise")
    assert got.exit_code == 1
    assert [row["result"] is None for row in rows(got.stdout)] == [False, True]
    assert "1 of 2 inputs failed" in got.stderr


def test_what_folders_hold_besides_is_told(classify, images):
    for name in (
        "1.JXL",
        "2.jxl",
        "raw.cr2",
        "notes.docx",
        "more/x.txt",
        "more/LICENSE",
        "out/no.jpg",
        "b.small.jpg",
    ):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).touch()
    got = classify(images, "--json", "--exclude", "out", "--exclude", "*.small.jpg", "--exclude", "./more/c.webp")
    assert (got.exit_code, [row["source"] for row in rows(got.stdout)]) == (0, sources(images, "a.PNG", "b.jpg"))
    assert got.stderr.startswith("skipped 2 .jxl, 2 .txt, ")
    assert sorted(got.stderr.strip().removeprefix("skipped ").split(", ")) == [
        "1 .cr2", "2 .jxl", "2 .txt", "LICENSE", "notes.docx",
    ]  # fmt: skip
    assert classify(images / "b.jpg").stderr == ""
    assert classify(images, "--exclude", "/").exit_code == 2


def test_a_picture_named_twice_is_computed_once_if_asked(classify, images, monkeypatch):
    runs = []
    real = Engine.run
    monkeypatch.setattr(Engine, "run", lambda self, *a, **k: runs.append(k["dedupe"]) or real(self, *a, **k))
    picture = images / "b.jpg"
    once, twice = classify(picture, picture, "--json", "--dedupe"), classify(picture, picture, "--json")
    assert [row["source"] for row in rows(once.stdout)] == [row["source"] for row in rows(twice.stdout)]
    assert len(rows(once.stdout)) == 2 and runs == [True, False]


def test_many_failures_are_told_once(classify, monkeypatch):
    monkeypatch.setattr(telling, "FAILURES_TOLD", 2)
    got = classify(*[f"missing{i}.jpg" for i in range(9)])
    assert got.stderr.count("expected a picture file") == 2
    assert got.stderr.splitlines()[-1] == "9 of 9 inputs failed (missing-file 9)"


def test_inputs_come_from_standard_input(classify, images):
    got = classify("-", "--json", stdin=f"{images / 'b.jpg'}\n\n{images / 'more'}\n")
    assert [row["source"] for row in rows(got.stdout)] == sources(images, "b.jpg", "more/c.webp")


def test_no_inputs_give_an_empty_file(classify, tmp_path):
    target = tmp_path / "results.jsonl"
    target.write_text("of another run\n")
    assert classify("-", "--output", target, "--overwrite", stdin="").exit_code == 0
    assert target.read_text() == ""


def test_an_empty_file_is_nothing_that_could_be_lost(classify, images, tmp_path):
    """A run that is killed before its first line leaves one, and the same command works."""
    target = tmp_path / "results.jsonl"
    target.touch()
    assert classify(images / "b.jpg", "--output", target).exit_code == 0
    assert len(rows(target.read_text())) == 1


def test_a_run_that_cannot_begin_leaves_the_file_of_the_last_one(sensorium, images, tmp_path):
    target = tmp_path / "results.jsonl"
    target.write_text("of another run\n")
    words = ["run", "image-classification", images, "--model", "./nowhere"]
    got = sensorium(*words, "--output", target, "--overwrite")
    assert got.exit_code == 1
    assert got.stderr.startswith("error: expected a local folder, but './nowhere' does not exist")
    assert len(got.stderr.splitlines()) == 1
    assert target.read_text() == "of another run\n"
    assert sensorium(*words, "--output", tmp_path / "new.jsonl").exit_code == 1
    assert not (tmp_path / "new.jsonl").exists(), "or the next try would be refused"


def test_files_are_replaced_only_if_that_is_asked_for(classify, images, tmp_path):
    for option, name in (
        ("--output", "x.jsonl"), ("--output", "x.csv"), ("--output", "x.parquet"), ("--output", "x.npz"),
        ("--html", "x.html"),
    ):  # fmt: skip
        target = tmp_path / name
        target.write_text("of another run\n")
        got = classify(images / "b.jpg", option, target)
        assert (got.exit_code, got.stdout) == (2, "")
        assert f"{option} {target}: a file of this name is there; pass --overwrite" in got.stderr
        assert target.read_text() == "of another run\n"
        if name != "x.npz":
            assert classify(images / "b.jpg", option, target, "--overwrite").exit_code == 0
            assert target.read_bytes() != b"of another run\n"


def test_an_interruption_keeps_what_was_done(classify, images, tmp_path, monkeypatch):
    """Ctrl-C comes while the fortieth input is asked for; the batches before it are done."""

    def interrupted(words, kind, **_):
        for i in range(100):
            if i == 40:
                raise KeyboardInterrupt
            yield str(images / "b.jpg")

    monkeypatch.setattr(running, "read_inputs", interrupted)
    monkeypatch.setattr(running, "count_inputs", lambda words, kind, **_: 100)
    target, page = tmp_path / "results.jsonl", tmp_path / "report.html"
    got = classify("ignored", "--output", target, "--html", page, "--batch-size", 2, "--num-workers", 1)
    assert got.exit_code == 130
    done = rows(target.read_text())
    assert [row["index"] for row in done] == list(range(len(done)))
    assert 0 < len(done) <= 40
    assert f"interrupted after {len(done)} of 100 inputs" in got.stderr
    assert page.read_text().count("<article ") == len(done)


@pytest.mark.parametrize(("inputs", "seconds", "words"), [
    (2, 1e9, ["--progress"]), (9, 0.0, ["--progress"]), (9, 1e9, ["--progress"]),
    (2, 0.0, ["--no-progress"]), (2, 0.0, []),
])  # fmt: skip
def test_a_long_run_says_once_that_a_job_goes_on(classify, images, vit, monkeypatch, inputs, seconds, words):
    monkeypatch.setattr(running, "LONG", inputs)
    monkeypatch.setattr(running, "LONG_S", seconds)
    got = classify(images, "--top-k", "2", "--max-pixels", "9999", "--json", "--exclude", "a b", *words)
    wanted = words == ["--progress"] and (inputs == 2 or seconds == 0.0)
    command = f"sensorium job run image-classification {images} --model {vit} --dtype float32 --exclude 'a b' --top-k 2"
    command += " --max-pixels 9999 --out runs/image-classification"
    assert got.stderr.count(command) == wanted and got.stderr.count("job run") == wanted
    assert len(rows(got.stdout)) == 3


def test_the_job_of_a_long_run_has_the_flags_of_jobs():
    from sensorium.cli.jobs.suggesting import job_command

    card = task_card("visual-question-answering")
    given = {
        "inputs": list("abcdef"),
        "question": "What?",
        "timeout_s": "3",
        "local_files_only": True,
        "output": "x.csv",
    }
    told = job_command(card, {}, given)
    assert told == (
        "sensorium job run visual-question-answering INPUT... --question 'What?' --local-files-only "
        "--media-timeout-s 3 --out runs/visual-question-answering"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--top-k", "0"], "--top-k is a whole number from 1"),
        (["--top-k", "many"], "--top-k takes INT, got 'many'"),
        (["--topk", "3"], "--top-k"),
        (["--dtype", "float23"], "float23"),
        (["--device", "tpu"], "tpu"),
        (["--batch-size", "0"], "--batch-size is"),
        (["--max-pixels", "0"], "--max-pixels has to be above 0"),
        (["--on-error", "ignore"], "--on-error takes return|skip|raise"),
        (["--json", "--output", "x.jsonl"], "pass one of them"),
        (["--output", "results.tsv"], "ending in .jsonl, .csv, .parquet, .npz or .coco.json"),
        (["--output", "no/such/folder/results.jsonl"], "in a folder that exists"),
        (["--html", "/"], "in a folder that exists"),
    ],
)
def test_wrong_options_are_usage_errors(classify, images, words, says):
    got = classify(images, *words)
    assert got.exit_code == 2
    assert says in got.stderr
    assert got.stdout == ""
    assert "Traceback" not in got.stderr


def test_a_wrong_option_is_told_before_anything_is_loaded(sensorium, images, monkeypatch):
    monkeypatch.setattr("sensorium.pipelines.factory.pipeline", lambda *_, **__: pytest.fail("a model was loaded"))
    assert (
        sensorium("run", "image-classification", images, "--function-to-apply", "none", "--top-k", "0").exit_code == 2
    )


def test_debug_lets_the_error_pass(classify, images):
    got = classify(images, "--top-k", "0", "--debug")
    assert "top_k is a whole number from 1" in str(got.exception)


def test_the_default_model_is_named(sensorium, images, hub):
    """An empty Hub does not have it, which is told too."""
    got = sensorium("run", "image-classification", images)
    assert got.exit_code == 1
    first, second = got.stderr.splitlines()
    assert first.startswith("model: google/vit-base-patch16-224")
    assert second.startswith("error: ")


def test_a_page_shows_every_input(classify, broken, tmp_path):
    page = tmp_path / "report.html"
    got = classify(broken, "--html", page)
    html = page.read_text()
    assert got.exit_code == 1
    assert html.count('<article data-state="result">') == 3
    assert html.count('<article class="failed"') == 2
    assert html.count("data:image/jpeg;base64,") == 3
    assert "tabby, tabby cat" in html
    assert len(got.stdout.splitlines()) == 3, "the page comes beside the lines"


def test_embeddings_as_an_archive(sensorium, broken, vit, tmp_path):
    target = tmp_path / "vectors.npz"
    words = ["--model", vit, "--dtype", "float32", "--pool", "mean", "--normalize", "--feature-maps", "-1"]
    got = sensorium("run", "image-feature-extraction", broken, *words, "--output", target)
    assert got.exit_code == 1
    names = sources(broken, "a.PNG", "b.jpg", "more/c.webp")
    embed = pipeline("image-feature-extraction", model=vit, dtype="float32")
    wanted = embed(names, pool="mean", normalize=True, feature_maps=(-1,))
    with np.load(target) as archive:
        assert archive["index"].tolist() == [0, 2, 4]
        assert archive["sources"].tolist() == names
        np.testing.assert_allclose(archive["vectors"], np.stack([e.vector for e in wanted]), atol=1e-5)
        [stage] = wanted[0].out_features
        np.testing.assert_allclose(archive[stage], np.stack([e.feature_maps[0] for e in wanted]), atol=1e-5)
    assert not list(tmp_path.glob("*.part"))


def test_an_archive_is_for_embeddings(classify, images, tmp_path):
    got = classify(images, "--output", tmp_path / "x.npz")
    assert got.exit_code == 2
    assert "write this task's results to x.jsonl" in got.stderr
    assert not (tmp_path / "x.npz").exists()


def test_an_archive_takes_one_shape_and_keeps_what_came_before(tmp_path):
    sink = sinks.Archive(str(tmp_path / "x.npz"))
    sink.add("a", Embedding(np.ones((2, 3)), index=0))
    with pytest.raises(ValueError, match=r"arrays of one shape, got \[\(3, 3\)\] for 'b' after \[\(2, 3\)\]"):
        sink.add("b", Embedding(np.ones((3, 3)), index=1))
    sink.finish()
    assert np.load(tmp_path / "x.npz")["vectors"].shape == (1, 2, 3)


def test_a_task_of_two_inputs_needs_no_code_of_the_command_line(sensorium, windows):
    """Its own options and its second input are options; the first is what INPUT says, as text."""
    series = [[1, 2, 3, 4, 5], [0.5]]
    words = ["--question", "3", "--scale", "2.5", "--model", windows, "--json"]
    got = sensorium("run", "text-windows", *map(json.dumps, series), "no series", *words)
    assert got.exit_code == 1
    first, second, third = rows(got.stdout)
    for row, values in ((first, series[0]), (second, series[1])):
        wanted = expected({"series": values, "question": 3}, scale=2.5)
        assert row["result"]["value"] == pytest.approx(wanted, rel=1e-2)  # the machine may choose bfloat16
    assert third["error"]["code"] == "not-json"


def test_a_picture_beside_the_first_is_a_path(sensorium, tmp_path):
    from tests.media import make_image
    from tests.tiny_matting import folder, make_trimap

    make_image().save(tmp_path / "x.png")
    make_trimap().save(tmp_path / "t.png")
    words = ["run", "image-matting", str(tmp_path / "x.png"), "--model", str(folder("vitmatte")), "--json"]
    [row] = rows(sensorium(*words, "--trimap", str(tmp_path / "t.png")).stdout)
    assert np.asarray(row["result"]["alpha"]).shape == (48, 64)
    [row] = rows(sensorium(*words, "--mask", str(tmp_path / "t.png"), "--unknown-px", "3").stdout)
    assert row["error"] is None


def test_further_inputs_from_a_file_and_as_json(sensorium, windows, tmp_path):
    (tmp_path / "question.txt").write_text("3")
    words = ["--question", f"@{tmp_path / 'question.txt'}", "--model", windows, "--json", "--dtype", "float32"]
    [row] = rows(sensorium("run", "text-windows", "[1, 2, 3, 4, 5]", *words, "--start", "2").stdout)
    assert row["result"]["value"] == pytest.approx(expected({"series": [3, 4, 5], "question": 3}), rel=1e-5)
    refused = sensorium("run", "text-windows", "[1]", "--question", "@nowhere.txt", "--model", windows)
    assert refused.exit_code == 2
    assert "a text file in UTF-8" in " ".join(refused.stderr.replace("│", " ").split())
    assert "--start takes JSON" in " ".join(
        sensorium("run", "text-windows", "[1]", *words, "--start", "{").stderr.replace("│", " ").split()
    )


class TestRows:
    def test_a_row_is_one_line_of_utf8(self):
        line = sinks.encode_row(3, "é\n.jpg", Labels(["a\u2028b"], [0.5]))
        wanted = '{"index": 3, "source": "é\\n.jpg", "result": [{"label": "a\u2028b", "score": 0.5}], "error": null}\n'
        assert line == wanted.encode()

    def test_a_name_that_is_not_utf8_comes_through(self):
        assert json.loads(sinks.encode_row(0, "x\udcff", Labels([], [])))["source"] == "x\udcff"

    def test_nan_is_an_error_and_not_json(self):
        row = json.loads(sinks.encode_row(0, "x", Labels(["a"], [float("nan")])))
        assert row["error"]["code"] == "not-finite"

    def test_an_error_is_its_row(self):
        error = InputError("no", code="some-code", index=7, source="told otherwise")
        row = json.loads(sinks.encode_row(7, "x.jpg", error))
        assert row == {**error.to_dict(), "source": "x.jpg", "result": None}

    def test_a_disk_that_takes_half_a_line_gets_none(self, tmp_path):
        class Full(io.FileIO):
            def write(self, data):
                return super().write(data[: len(data) // 2])

        target = tmp_path / "x.jsonl"
        sink = sinks.JsonLines(str(target))
        sink.begin()
        sink.add("a", Labels(["cat"], [1.0], index=0))
        sink.close()
        sink._file = Full(target, "ab")
        with pytest.raises(OSError, match="no room for the line of input 1"):
            sink.add("b", Labels(["cat"], [1.0], index=1))
        sink.close()
        assert [row["source"] for row in rows(target.read_text())] == ["a"]


class TestTerminal:
    def test_labels_are_neither_markup_nor_escapes(self, capsys):
        sinks.Tables().add("\x1b[2Jx.jpg", Labels(["[red]pizza[/red]", "a\x1b[31mb"], [0.75, 0.25]))
        assert capsys.readouterr().out.splitlines() == [
            "\\x1b[2Jx.jpg",
            "  [red]pizza[/red]  0.7500  ███████████████████",
            "  a\\x1b[31mb        0.2500  ██████             ",
        ]

    def test_lines_stay_lines(self, capsys):
        sinks.Lines().add("a\nb\t.jpg", Labels(["x\ny"], [1.0]))
        assert capsys.readouterr().out == "a\\nb\\t.jpg\tx\\ny 1.0000\n"
