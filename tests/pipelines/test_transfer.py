"""What goes to the device with a batch, and what stays."""

from __future__ import annotations

import torch

from sensorium.pipelines.transfer import Uploader
from tests.pipelines.made_up import WindowScoring


def units_of(task):
    return list(task.split({"series": list(range(24)), "question": 3}, task.options()))


def test_what_a_task_asks_for_stays_on_the_host():
    task, plain = WindowScoring(), WindowScoring()
    task.on_host = frozenset(["question"])
    units = units_of(task)
    assert len(units) > 1
    batch = Uploader(torch.device("meta"))(task, units)
    assert batch["window"].device.type == "meta"
    assert batch["question"].tolist() == [unit.inputs["question"].tolist() for unit in units]
    assert {tensor.device.type for tensor in Uploader(torch.device("meta"))(plain, units).values()} == {"meta"}


def test_what_stays_is_not_written_into_memory_that_is_used_again():
    task = WindowScoring()
    task.on_host = frozenset(["question"])
    made = []

    def empty(size, *, dtype):
        made.append(torch.empty(tuple(size), dtype=dtype))
        return made[-1]

    batch = task.collate(units_of(task), empty)
    assert any(batch["window"] is tensor for tensor in made)
    assert not any(batch["question"] is tensor for tensor in made)
