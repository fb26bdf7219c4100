"""The command line as a process: what it loads, signals and pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from sensorium import __version__

from .conftest import rows

MAIN = "from sensorium.cli import main; main()"
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


def test_ctrl_c_leaves_whole_lines_and_130(vit, images, tmp_path):
    """More inputs than could be done in the time, one a batch; the signal comes once a few are written."""
    target, names = tmp_path / "results.jsonl", tmp_path / "names"
    names.write_text(f"{images / 'b.jpg'}\n" * 200_000)
    words = ["run", "image-classification", "-", "--model", vit, "--batch-size", 1, "--output", target]
    with names.open() as stdin:
        process = start(*words, stdin=stdin, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_until(process, lambda: target.exists() and target.stat().st_size > 1000)
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert (status, out) == (130, "")
    done = rows(target.read_text())
    assert [row["index"] for row in done] == list(range(len(done)))
    counted = [f"interrupted after {n} inputs; what was done is kept" for n in (len(done) - 1, len(done))]
    assert err.splitlines()[-1] in counted  # the signal may fall between a line and its count


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
