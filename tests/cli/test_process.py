"""The command line as a process: how soon it answers, what it loads, signals and pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from sensorium import __version__

from .conftest import rows

MAIN = "from sensorium.cli import main; main()"
HEAVY = ("torch", "torchvision", "transformers", "timm", "numpy", "PIL", "pydantic", "rich")


def start(*words, code=MAIN, **more):
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def finish(process, *, timeout_s=120):
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["run", "image-classification", "--help"], ["tasks", "--help"]]
)
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the processor time of one child")
def test_help_answers_in_half_a_second(words):
    """Processor time, so that a busy machine does not count; the best of three, for the first may read from disk."""
    spent = []
    for _ in range(3):
        command = [sys.executable, "-c", MAIN, *words]
        process = os.posix_spawn(sys.executable, command, os.environ, file_actions=[_to_nowhere(1), _to_nowhere(2)])
        _, status, used = os.wait4(process, 0)
        assert status == 0
        spent.append(used.ru_utime + used.ru_stime)
    assert min(spent) < 0.5


def _to_nowhere(stream):
    return (os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0)


@pytest.mark.parametrize(
    "words", [["--version"], ["run", "image-classification", "--help"], ["run", "image-clasification", "x.jpg"]]
)
def test_what_runs_no_model_loads_nothing_heavy(words):
    code = f"import sys\ntry:\n    {MAIN}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    _, _, err = finish(start(*words, code=code))
    assert not set(HEAVY) & set(err.splitlines()[-1].split())


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


def test_ctrl_c_leaves_whole_lines_and_130(vit, pictures, tmp_path):
    """More inputs than could be done in the time, one a batch; the signal comes once a few are written."""
    target, names = tmp_path / "results.jsonl", tmp_path / "names"
    names.write_text(f"{pictures / 'b.jpg'}\n" * 200_000)
    words = ["run", "image-classification", "-", "--model", vit, "--batch-size", 1, "--output", target]
    with names.open() as stdin:
        process = start(*words, stdin=stdin, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (target.exists() and target.stat().st_size > 1000) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
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
    assert process.wait(timeout=60) == 141
