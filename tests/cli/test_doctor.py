"""`sensorium tasks` and `sensorium doctor`."""

from __future__ import annotations

import importlib.metadata
import json
import sys

import torch
from huggingface_hub import constants

from sensorium import cli
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.settings import Settings
from sensorium.pipelines.workers import automatic_workers
from sensorium.tasks.base import all_tasks
from tests.pipelines.made_up import WindowScoring


def test_tasks_are_listed_with_their_defaults(sensorium):
    listed = json.loads(sensorium("tasks", "--json").stdout)
    assert {row["name"]: (row["summary"], row["default"]) for row in listed} == {
        name: (task.summary, task.default) for name, task in all_tasks().items()
    }
    lines = [line.split("\t") for line in sensorium("tasks").stdout.splitlines()]
    assert lines == [[row["name"], row["summary"], row["default"] or "-"] for row in listed]


def test_tasks_on_a_terminal_are_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    cli._print_table([{"name": "a-task", "summary": "what [it] does", "default": None}])
    assert "a-task" in (shown := capsys.readouterr().out)
    assert "what [it] does" in shown


def test_doctor_tells_what_is_there(sensorium):
    got = sensorium("doctor", "--json")
    assert got.exit_code == 0
    facts = json.loads(got.stdout)
    assert facts["problems"] == []
    assert facts["versions"]["torch"] == importlib.metadata.version("torch")
    assert facts["versions"]["timm"] == importlib.metadata.version("timm")
    assert facts["machine"]["python"] == sys.executable
    assert len(facts["cuda"]["cards"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert facts["hub"]["endpoint"] == constants.ENDPOINT
    assert "reachable" not in facts["hub"]


def test_doctor_foretells_what_a_pipeline_takes(sensorium, vit):
    from sensorium import pipeline

    auto = json.loads(sensorium("doctor", "--json").stdout)["auto"]
    placement = pipeline("image-classification", model=vit).placement
    assert auto["device"] == str(placement.device)
    assert auto["dtype"] == str(placement.dtype).removeprefix("torch.")
    assert auto["num_workers"] == automatic_workers() == Engine(WindowScoring(), Settings()).workers


def test_doctor_in_lines(sensorium):
    lines = sensorium("doctor").stdout.splitlines()
    assert f"  {'torch':<16} {importlib.metadata.version('torch')}" in lines
    assert [line for line in lines if not line.startswith(" ")] == ["versions", "machine", "cuda", "auto", "hub"]


def test_doctor_asks_the_hub_only_if_told_to(sensorium, monkeypatch):
    assert json.loads(sensorium("doctor", "--json", "--online").stdout)["hub"]["reachable"] is True
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    got = sensorium("doctor", "--online")
    assert got.exit_code == 1
    assert "problem: the Hub at http://127.0.0.1:9 cannot be reached" in got.stdout


def test_doctor_finds_builds_that_do_not_match(sensorium, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # importing it raises ImportError
    got = sensorium("doctor")
    assert got.exit_code == 1
    assert "problem: torch and torchvision do not load" in got.stdout
    assert "auto" not in got.stdout.split()
