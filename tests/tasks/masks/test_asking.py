"""How many prompts are asked at a time."""

from __future__ import annotations

import pytest
import torch

import sensorium
from sensorium.models.sam.decoding import ImageState
from sensorium.tasks.base import Runtime
from sensorium.tasks.masks import object_search
from sensorium.tasks.masks.asking import CPU_PROMPTS, PROMPTS, ROOM, asked, at_once
from sensorium.tasks.masks.prompts import Prompts, read_prompts
from tests import tiny_sam
from tests.media import make_image

MEGABYTE = 2**20


def state_on(device, dtype=torch.float32):
    """A picture as SAM keeps it: 64 by 64 places of 256 channels, 4 MB in float32."""
    keys = torch.empty((4096, 256), dtype=dtype, device=device)
    return ImageState(keys, keys, keys, keys, keys, None, None, (64, 64))


def test_a_cpu_takes_few_whatever_is_allowed():
    state = state_on("cpu")
    assert at_once(None, state, 3, None) == CPU_PROMPTS
    assert at_once(64, state, 3, None) == CPU_PROMPTS
    assert at_once(2, state, 3, None) == 2


def test_a_device_takes_what_is_allowed_or_what_it_has_room_for():
    state = state_on("meta")
    assert at_once(64, state, 3, 10 * MEGABYTE) == 64, "the caller's word goes first"
    assert at_once(None, state, 3, None) == PROMPTS, "of a device that does not tell"
    assert at_once(None, state, 3, 0) == 1
    few, many = (at_once(None, state, 3, size * 1024 * MEGABYTE) for size in (2, 16))
    assert 1 < few < many < 1024
    assert many == pytest.approx(8 * few, abs=8)
    peak = 25 * MEGABYTE  # of a prompt, measured with both models' decoders at this size in float32
    assert many * peak < ROOM * 16 * 1024 * MEGABYTE
    assert at_once(None, state_on("meta", torch.bfloat16), 3, 1024 * MEGABYTE) > at_once(
        None, state, 3, 1024 * MEGABYTE
    )


def test_prompts_come_in_order_and_complete():
    prompts = read_prompts({"points": [[[i, i]] for i in range(7)]}, 20, 20)
    parts = list(asked(prompts, 3, torch.device("cpu")))
    assert [at for at, _ in parts] == [0, 3, 6]
    assert torch.cat([points for _, (points, _, _) in parts])[:, 0, 0].tolist() == list(range(7))
    assert all(boxes is None for _, (_, _, boxes) in parts)
    ((at, (points, labels, _)),) = asked(prompts, 7, torch.device("cpu"))
    assert (at, len(points), len(labels)) == (0, 7, 7)
    assert list(asked(Prompts(None, None, None), 64, torch.device("cpu"))) == []


def test_free_memory_is_asked_for_only_where_it_bounds(monkeypatch):
    questions, told = [], []
    monkeypatch.setattr(Runtime, "free_bytes", lambda runtime: questions.append(1) or 123)
    real = object_search.at_once
    monkeypatch.setattr(object_search, "at_once", lambda *args: told.append(args[-1]) or real(*args))
    settings = {"device": "cpu", "dtype": "float32", "compile": False}
    with sensorium.pipeline("mask-generation", tiny_sam.folder("sam"), **settings) as pipe:
        for wanted in (4, None):
            pipe({"image": make_image(64, 48), "points": [[20, 30]]}, points_per_batch=wanted)
    assert (len(questions), told) == (1, [None, 123])
