"""Whisper's search: how often it makes the host wait; what it writes is tested with the task."""

from __future__ import annotations

import functools

import pytest
import torch
import transformers

from sensorium.models.on_device import kept
from sensorium.models.whisper import search
from sensorium.models.whisper.decoder import WhisperDecoder
from sensorium.models.whisper.search import Beams, Rules, write_greedily, write_with_beams
from tests import tiny_speech
from tests.host_waits import Calls

STEPS = 20


@functools.cache
def loaded():
    return transformers.WhisperForConditionalGeneration.from_pretrained(tiny_speech.whisper()).eval()


@pytest.fixture
def write():
    """Writes for two windows of noise, without an end, by rules with forbidden tokens."""
    model = loaded()
    decoder = WhisperDecoder(model)
    torch.manual_seed(0)
    encoded = torch.randn(2, model.config.max_source_positions, model.config.d_model)
    heard = decoder.room(2, encoded)
    cpu = torch.device("cpu")
    end = model.generation_config.eos_token_id
    rules = Rules(end, suppressed=kept((5, 9, end), cpu), suppressed_at_first=kept((7,), cpu))

    def run(writing, **settings):
        with torch.no_grad():
            decoder.listen(encoded, heard)
            return writing(decoder, heard, torch.zeros((2, 1), dtype=torch.int64), rules, max_tokens=STEPS, **settings)

    return run


WRITING = [(write_greedily, {}), (write_with_beams, {"beams": Beams(3)})]


@pytest.mark.parametrize(("writing", "settings"), WRITING)
def test_no_number_is_copied_to_the_device_in_a_step(write, writing, settings):
    with Calls() as calls:
        tokens = write(writing, **settings)
    assert not {5, 9}.intersection(*tokens)
    assert tokens[0][0] != 7
    assert calls.counts["index_fill_"] == STEPS + 1
    assert not calls.counts["index_put_"], "assigning a number by an index copies it to the device, and waits"


@pytest.mark.parametrize(("writing", "settings"), WRITING)
def test_the_host_waits_once_in_some_steps_where_that_takes_time(write, writing, settings, monkeypatch):
    monkeypatch.setattr(search, "_looks_every", lambda device: search.LOOK_EVERY)
    with Calls() as calls:
        seldom = write(writing, **settings)
    assert calls.counts["_local_scalar_dense"] == STEPS // search.LOOK_EVERY
    monkeypatch.undo()
    with Calls() as calls:
        assert write(writing, **settings) == seldom
    assert calls.counts["_local_scalar_dense"] in (STEPS - 1, STEPS)
