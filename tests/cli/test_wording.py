"""Errors name the options of the command line, not the arguments of Python that they set."""

from __future__ import annotations

import re

import pytest

from sensorium.cli.task_options import flags_of, options_of, pipeline_cards
from sensorium.cli.wording import in_options
from sensorium.tasks.catalogue import known_tasks, task_card

FLAGS = {"batch_size": "batch-size", "device": "device", "stream": "stream", "top_k": "top-k", "task": "option-task"}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('batch_size is "auto" or a whole number from 1', '--batch-size is "auto" or a whole number from 1'),
        ("device 'cuda:9' was asked for", "--device 'cuda:9' was asked for"),
        ("pass batch_size=8, or top_k=…", "pass --batch-size 8, or --top-k …"),
        ("call it without stream=True", "call it without --stream"),
        ("or stream=False; a device is there", "or --no-stream; a device is there"),
        ("task='translate' needs it", "--option-task translate needs it"),
        ("give top_k, too", "give --top-k, too"),
        ("/data/top_k/x.png: 'top_k' is a key", "/data/top_k/x.png: 'top_k' is a key"),
        ("raise MediaLimits.max_pixels", "raise --max-pixels"),
    ],
)
def test_arguments_become_options(message, told):
    assert in_options(message, FLAGS) == told


@pytest.mark.parametrize("task", known_tasks())
def test_every_wrong_value_names_its_option(sensorium, task):
    card = task_card(task)
    needs = ["--index", "idx"] if card.searches == "always" else ["--model", "starter/image-classification"]
    further = [word for name in card.inputs[1:] for word in (f"--{name.replace('_', '-')}", "a text")]
    refused = 0
    own, general = options_of(card), pipeline_cards(card)
    flags = {**flags_of(own, general), **flags_of(general, ())}
    for option in (*own, *general):
        if option.name == "device" or not re.search("int|float", str(option.hint)):
            continue
        flag = f"--{flags[option.name]}"
        got = sensorium("run", task, "a.jpg", *needs, *further, flag, "-7")
        if got.exit_code == 2:
            refused += 1
            assert flag in got.stderr, got.stderr
            assert "_" not in option.name or not re.search(rf"(?<![-'\"\w]){option.name}\b", got.stderr), got.stderr
    assert refused >= 2
