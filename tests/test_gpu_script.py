"""scripts/gpu: what it starts, with a stand-in for Python; that this is there; and a part of it on the pretend card."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from tests.pretend_cuda import PretendCuda

ROOT = Path(__file__).parents[1]
PARTS = ["environment", "core", "eager", "races", "throughput", "compiled", "compiled-start"]
PARTS += ["peers-pictures", "peers-encoding", "peers-search", "peers-masks", "peers-speech"]

pytestmark = pytest.mark.skipif(shutil.which("timeout") is None, reason="needs bash and coreutils")

# Writes down how it is called, what is asked of the device, and where it finds Sensorium.
STAND_IN = """#!/bin/bash
echo "$*" >> "{log}"
echo "sanitizer ${{TORCH_CUDA_SANITIZER:-}} pretend ${{SENSORIUM_PRETEND_CUDA:-}}" >> "{log}"
found=("${{PYTHONPATH##*:}}"/sensorium-*.dist-info/METADATA)
if [ -e "${{found[0]}}" ]; then grep Version: "${{found[0]}}" >> "{log}"; fi
for word in "$@"; do case "$word" in */figures) echo 1 > "$word/some-card.json" ;; esac; done
case "$*" in *"${{FAILING:-nothing}}"*) echo "FAILED tests/test_gpu.py::test_x"; exit 3 ;; esac
echo "5 passed in 1 s"
"""


class Checkout:
    """A copy of the script beside a stand-in for Python."""

    def __init__(self, root: Path) -> None:
        self.root, self.out, self.log = root / "a checkout", root / "out", root / "log"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts/gpu", self.root / "scripts/gpu")
        (self.root / "pyproject.toml").write_text('[project]\nname = "sensorium"\nversion = "1.2.3"\n')
        self.python = root / "python"
        self.python.write_text(STAND_IN.format(log=self.log))
        self.python.chmod(0o755)

    def run(self, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        self.log.write_text("")
        done = subprocess.run(
            [self.root / "scripts/gpu", *words],
            cwd="/",
            env={"PATH": os.environ["PATH"], "SENSORIUM_PYTHON": str(self.python), "OUT": str(self.out), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, self.log.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def listed(*words: str) -> dict[str, tuple[int, list[str]]]:
    """The limit and the command of each part, from `scripts/gpu --list`."""
    command = [ROOT / "scripts/gpu", "--list", *words]
    environment = {**os.environ, "SENSORIUM_PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = [shlex.split(line) for line in done.stdout.splitlines()]
    return {name: (int(limit), rest) for name, limit, *rest in rows}


def test_all_parts_run_in_their_order_and_leave_eight_files_at_most(checkout):
    done, calls = checkout.run()
    assert done.returncode == 0, done.stderr
    started = [call for call in calls if call.startswith("-m")]
    assert len(started) == len(PARTS)
    assert started[0] == "-m sensorium doctor --json"
    assert ["-m pytest" in call for call in started[1:6]] == [True, True, True, False, True]
    assert all(" -n 12 " in call for call in started if "pytest" in call)
    assert all("--device cuda" in call for call in started if "benchmarks" in call)
    files = sorted(path.name for path in checkout.out.iterdir())
    assert files == ["compiled.log", "core.log", "eager.log", "figures.tar.gz", "peers.log", "races.log", "summary.txt",
                     "throughput.log"]  # fmt: skip
    with tarfile.open(checkout.out / "figures.tar.gz") as archive:
        assert "./some-card.json" in archive.getnames()
    summary = (checkout.out / "summary.txt").read_text()
    assert re.findall(r"^== (\S+): status 0 after \d+ s$", summary, re.M) == PARTS
    assert summary.count("5 passed") == len(PARTS), "the last words of each part stand below it"


def test_a_part_that_fails_stops_no_other_and_is_told(checkout):
    done, calls = checkout.run(FAILING="not equals_the_cpu")
    assert done.returncode == 1
    assert len([call for call in calls if call.startswith("-m")]) == len(PARTS)
    summary = (checkout.out / "summary.txt").read_text()
    assert "== core: status 3" in summary
    assert "FAILED tests/test_gpu.py::test_x" in summary
    assert summary.count(": status 0") == len(PARTS) - 1


def test_parts_can_be_named_and_others_are_refused(checkout):
    _, calls = checkout.run("throughput", "core")
    started = [call for call in calls if call.startswith("-m")]
    assert ["pytest" in call for call in started] == [True, False], "in the script's order"
    done, calls = checkout.run("core", "peer")
    assert done.returncode == 2
    assert "peers-masks" in done.stderr
    assert not calls


def test_torch_s_sanitizer_watches_one_part_and_never_the_pretend_card(checkout):
    _, calls = checkout.run()
    assert calls.count("sanitizer 1 pretend ") == 1
    _, calls = checkout.run("--pretend")
    assert calls.count("sanitizer  pretend 1") == len(PARTS)
    assert all("-m tests.on_pretend_cuda " in call or "pytest" in call for call in calls if call.startswith("-m"))


def test_what_lies_in_wheels_is_installed_and_sensorium_is_found_with_its_version(checkout, tmp_path):
    _, calls = checkout.run("core")
    assert "Version: 1.2.3" in calls
    assert not any("pip" in call for call in calls)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a.whl").write_text("")
    _, calls = checkout.run("core", WHEELS=str(tmp_path / "wheels"))
    assert calls[0].startswith("-m pip install --quiet --no-index --no-deps")
    assert calls[0].endswith("/wheels/a.whl")


def test_both_lists_have_the_same_parts_and_end_within_seven_minutes():
    real, pretend = listed(), listed("--pretend")
    assert list(real) == list(pretend) == PARTS
    assert sum(limit for limit, _ in real.values()) <= 7 * 60


@pytest.mark.parametrize("words", [(), ("--pretend",)], ids=["card", "pretend"])
def test_benchmarks_take_what_they_are_given(words):
    with PretendCuda():
        for _, command in listed(*words).values():
            names = [word for word in command if word.startswith("benchmarks.")]
            if names:
                arguments = (
                    importlib.import_module(names[0]).parser().parse_args(command[command.index(names[0]) + 1 :])
                )
                assert arguments.device == "cuda:0"
                assert arguments.results.name == "figures"


def test_each_gpu_test_is_in_one_part_and_nine_tasks_are_watched():
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    marked = [path.relative_to(ROOT).as_posix() for path in paths if "mark.gpu" in path.read_text(encoding="utf-8")]
    checks = {name: command for name, (_, command) in listed().items() if "pytest" in command}
    for command in checks.values():
        assert {word for word in command if word.endswith(".py")} == set(marked)
    collect = [sys.executable, "-m", "pytest", *marked, "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]
    told = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tests = sorted(line for line in told.splitlines() if "::" in line)
    assert len(tests) > 100
    chosen = {}
    for name, command in checks.items():
        expression = Expression.compile(command[command.index("-k") + 1])
        chosen[name] = [test for test in tests if expression.evaluate(lambda word, test=test: word in test.lower())]
    assert sorted(chosen["core"] + chosen["eager"] + chosen["compiled"]) == tests
    assert len([test for test in chosen["races"] if "every_task" in test]) == 9
    assert any("ring_of_pinned_buffers" in test for test in chosen["races"])


def test_a_part_runs_on_the_pretend_card(tmp_path):
    environment = {**os.environ, "SENSORIUM_PYTHON": sys.executable, "OUT": str(tmp_path)}
    done = subprocess.run(
        [ROOT / "scripts/gpu", "--pretend", "environment", "throughput"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (tmp_path / "throughput.log").read_text()
    summary = (tmp_path / "summary.txt").read_text()
    assert "Pretend" in summary
    assert "share of the lower bound" in (tmp_path / "throughput.log").read_text()
    with tarfile.open(tmp_path / "figures.tar.gz") as archive:
        assert "./throughput-pretend.json" in archive.getnames()


@pytest.mark.slow
def test_all_parts_run_on_the_pretend_card(tmp_path):
    environment = {**os.environ, "SENSORIUM_PYTHON": sys.executable, "OUT": str(tmp_path)}
    command = [ROOT / "scripts/gpu", "--pretend"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    with tarfile.open(tmp_path / "figures.tar.gz") as archive:
        assert len([name for name in archive.getnames() if name.endswith("-pretend.json")]) == 5
