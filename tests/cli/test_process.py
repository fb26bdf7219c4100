"""The command line as a process: what it loads, signals and pipes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from sensorium import __version__

from .conftest import rows

MAIN = "from sensorium.cli import main; main()"
SUFFIXES = ("parquet", "csv", "html")
HEAVY = ("torch", "torchvision", "transformers", "timm", "numpy", "PIL", "pydantic", "rich")


def start(*words, code=MAIN, **more):
    """Starts a command that Ctrl-C ends, even where the tests run in a shell's background, which ignores it."""
    command = [sys.executable, "-c", code, *map(str, words)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process inherits that a signal is ignored
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process):
    """Waits for as long as the test may take; a test that is ended meanwhile leaves no process behind."""
    try:
        out, err = process.communicate()
    finally:
        process.kill()
    return process.returncode, out, err


def wait_until(process, there):
    """Waits, for as long as the test may take, until something is there; the process that makes it has to live."""
    try:
        while not there():
            assert process.poll() is None, process.communicate()
            threading.Event().wait(0.005)
    except BaseException:
        process.kill()
        raise


def loaded(*words):
    """The modules that a command line has imported by its end."""
    code = f"import sys\ntry:\n    {MAIN}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    _, _, err = finish(start(*words, code=code))
    return set(err.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["tasks", "--help"],
        ["run", "--help"],
        ["run", "image-classification", "--help"],
        ["run", "image-clasification", "x.jpg"],
        ["index", "--help"],
        ["index", "build", "--help"],
    ],
)
def test_what_runs_no_model_loads_nothing_heavy(words):
    """This is what help's half a second is made of: imports. How long it takes is for a benchmark to say."""
    modules = loaded(*words)
    assert not set(HEAVY) & modules
    light = ("sensorium.tasks.options", "sensorium.tasks.catalogue")  # without a framework
    ours = {m for m in modules if not m.startswith(light)}
    assert not {m for m in ours if m.startswith(("sensorium.pipelines", "sensorium.tasks.", "sensorium.results"))}
    assert len(modules) < 300  # about 220, more than half of them typer's and Python's own; torch alone has 900


def test_help_reads_no_options_of_commands_that_it_does_not_show():
    assert not {"sensorium.cli.commands", "sensorium.cli.indexes.commands"} & loaded("--help")
    assert "sensorium.cli.indexes.commands" not in loaded("run", "image-classification", "--help")


def test_listing_tasks_imports_none():
    code = f"import sys\ntry:\n    {MAIN}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    status, out, err = finish(start("tasks", code=code))
    assert status == 0
    assert "image-classification\t" in out
    assert "torch" not in err.split()


def test_version():
    assert finish(start("--version")) == (0, f"sensorium {__version__}\n", "")


@pytest.mark.parametrize(
    "words", [["nothing"], ["run", "image-clasification", "x.jpg"], ["run", "--model", "x"], ["--x"]]
)
def test_usage_errors_exit_with_2(words):
    status, out, err = finish(start(*words))
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: ")
    assert "image-clas" not in words or "Did you mean 'image-classification'?" in err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow)],
)
def test_signals_leave_whole_lines_and_their_code(vit, images, tmp_path, number, code):
    """More inputs than could be done in the time, one a batch; the signal comes once a few are written."""
    target, names = tmp_path / "results.jsonl", tmp_path / "names"
    names.write_text(f"{images / 'b.jpg'}\n" * 200_000)
    words = ["run", "image-classification", "-", "--model", vit, "--batch-size", 1, "--output", target]
    with names.open() as stdin:
        process = start(*words, stdin=stdin, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_until(process, lambda: target.exists() and target.stat().st_size > 1000)
    process.send_signal(number)
    status, out, err = finish(process)
    assert (status, out) == (code, "")
    done = rows(target.read_text())
    assert [row["index"] for row in done] == list(range(len(done)))
    counted = [f"interrupted after {n} inputs; what was done is kept" for n in (len(done) - 1, len(done))]
    assert err.splitlines()[-1] in counted  # the signal may fall between a line and its count


def in_a_shell(command, *words):
    """Runs a command with its streams as a shell gives them: the exit code, what was printed and what was said."""
    script = f'exec "$0" "$@" {command}'
    done = subprocess.run(["sh", "-c", script, sys.executable, "-c", MAIN, *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", [["tasks"], ["--version"], ["run", "--help"]])
@pytest.mark.parametrize(("command", "error"), [(">&-", errno.EBADF), (">/dev/full", errno.ENOSPC)])
def test_output_that_cannot_be_written_is_an_error(words, command, error):
    assert in_a_shell(command, *words) == (1, "", f"error: standard output cannot be written: {os.strerror(error)}\n")


def test_closed_streams_that_are_not_needed_do_no_harm():
    listed = finish(start("tasks"))[1]
    assert in_a_shell("<&-", "tasks") == (0, listed, "")
    assert in_a_shell("2>&-", "tasks") == (0, listed, "")
    assert in_a_shell(">&- 2>&-", "tasks") == (1, "", "")


def test_a_closed_input_is_an_error_where_it_is_read(vit):
    code, out, err = in_a_shell("<&-", "run", "image-classification", "-", "--model", str(vit))
    assert (code, out) == (1, "")
    assert err == "error: [Errno 9] Bad file descriptor: 'standard input'\n"


def test_a_file_in_the_place_of_a_closed_stream_is_not_written_over(vit, images, tmp_path):
    """The first file that a process opens takes the number of the stream that was closed."""
    target = tmp_path / "x.jsonl"
    words = ["run", "image-classification", str(images / "b.jpg"), "--model", str(vit), "--output", str(target)]
    assert in_a_shell("<&- >&- 2>&-", *words) == (0, "", "")
    assert len(rows(target.read_text())) == 1


@pytest.mark.parametrize("suffix", ["jsonl", *(pytest.param(s, marks=pytest.mark.slow) for s in SUFFIXES)])
def test_a_full_disk_is_told_with_the_file_and_leaves_whole_lines(vit, images, tmp_path, suffix):
    """A limit on the size of files stands for it: such a write fails half-way, too."""
    target, option = tmp_path / f"x.{suffix}", "--html" if suffix == "html" else "--output"
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)); {MAIN}"
    words = ["run", "image-classification", *[images / "b.jpg"] * 20, "--model", vit, option, target]
    process = start(*words, code=code, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})  # which would be cut short
    status, _, err = finish(process)
    assert status == 1
    assert err.splitlines()[-1].startswith("error: [Errno ")
    assert err.endswith(f"'{target}'\n")
    if suffix == "jsonl":
        assert 0 < len(rows(target.read_text())) < 20
    else:
        assert not target.exists()
        assert not [*tmp_path.glob("x.*")]


def test_a_reader_that_leaves_ends_the_run_without_a_word():
    code = (
        "import sys, typer\n"
        "from sensorium.cli.telling import told\n"
        "try:\n"
        "    with told(debug=False):\n"
        "        while True: print('x' * 1000, flush=True)\n"
        "except typer.Exit as end: sys.exit(end.exit_code)\n"
    )
    process = start(code=code)
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait() == 141
