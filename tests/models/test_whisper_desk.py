"""The memory on which Whisper's steps are recorded: steps on it give what steps on growing memory give."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from sensorium.models.whisper.decoder import WhisperDecoder
from sensorium.models.whisper.desk import Desk, filled, reached, whole
from tests import tiny_speech


class Unrecorded:
    """A recorder that does each step as it is, and counts what it is told."""

    def __init__(self):
        self.kept, self.keys, self.forgotten = {}, [], 0

    def run(self, key, step):
        self.keys.append(key)
        step()

    def forget(self):
        self.forgotten += 1


@pytest.mark.parametrize("windows", [1, 3, 5])
@pytest.mark.parametrize("beams", [1, 2])
def test_steps_equal_those_on_growing_memory(windows, beams):
    model = transformers.WhisperForConditionalGeneration.from_pretrained(tiny_speech.whisper()).eval()
    decoder, recorder = WhisperDecoder(model), Unrecorded()
    torch.manual_seed(0)
    encoded = torch.randn(windows, model.config.max_source_positions, model.config.d_model)
    tokens = torch.randint(0, 40, (20, windows * beams, 1))
    with torch.inference_mode():
        scores = []
        for desk in (None, Desk(recorder, beams)):
            memory = decoder.remember(heard_by(decoder, encoded, desk), 24, desk)
            scores.append([decoder.step(torch.full((windows, 3), 7), memory).repeat_interleave(beams, 0)])
            memory.spread(beams)
            for t, one in enumerate(tokens):
                scores[-1].append(decoder.step(one, memory).clone())
                memory.reorder(torch.arange(windows * beams).roll(t))
    for grown, kept in zip(*scores, strict=True):
        torch.testing.assert_close(kept, grown, rtol=1e-4, atol=1e-4)
    assert set(recorder.keys) == {(filled(windows), beams, 64)}


def test_in_bfloat16_kept_memory_is_as_near_to_exact_as_growing_memory():
    """The two round differently, and either may write another word where two are about as likely."""
    torch.manual_seed(0)
    shape = {
        "d_model": 128,
        "decoder_layers": 4,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 512,
        "vocab_size": 500,
    }
    encoder = {"encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "max_source_positions": 100}
    config = transformers.WhisperConfig(**shape, **encoder, init_std=0.08, max_target_positions=128, pad_token_id=0)
    model = transformers.WhisperForConditionalGeneration(config).eval().bfloat16()
    encoded, tokens = torch.randn(2, 100, 128).bfloat16(), torch.randint(0, 500, (80, 2, 1))

    def scores_of(model, encoded, desk):
        decoder = WhisperDecoder(model)
        memory = decoder.remember(heard_by(decoder, encoded, desk), 96, desk)
        decoder.step(torch.full((2, 3), 7), memory)
        return torch.stack([decoder.step(one, memory).clone() for one in tokens])

    with torch.inference_mode():
        grown, kept = scores_of(model, encoded, None), scores_of(model, encoded, Desk(Unrecorded(), 1))
        exact = scores_of(model.float(), encoded.float(), None)
    of_grown, of_kept = ((scores - exact).abs().mean() for scores in (grown, kept))
    assert 0 < of_kept < 1.2 * of_grown


def heard_by(decoder, encoded, desk):
    heard = decoder.room(len(encoded), encoded, desk)
    decoder.listen(encoded, heard)
    return heard


def test_memory_grows_where_it_is_too_small_and_recordings_are_dropped_then():
    recorder = Unrecorded()
    like = torch.zeros(0)

    def laid(windows, beams, length):
        desk = Desk(recorder, beams)
        heard = desk.room(windows, (2, 2, 1, 2, 10, 4), like)
        return heard, desk.lay(length, 30)

    heard, written = laid(3, 1, 65)
    assert heard.shape == (2, 2, 3, 2, 10, 4)
    assert written.shape == (2, 2, 4, 2, 128, 4)
    places, dropped = {name: kept.data_ptr() for name, kept in recorder.kept.items()}, recorder.forgotten
    laid(2, 2, 64)
    laid(1, 1, 1)
    assert {name: kept.data_ptr() for name, kept in recorder.kept.items()} == places
    assert recorder.forgotten == dropped, "what is smaller lies in the same place"
    laid(2, 4, 64)
    assert recorder.kept["written"].shape == (2, 2, 8, 2, 128, 4)
    assert recorder.kept["heard"].data_ptr() == places["heard"]
    assert recorder.forgotten > dropped


@given(st.integers(1, 5000))
def test_sizes_are_few_and_close(windows):
    assert windows <= filled(windows) < windows * (1.5 if windows > 8 else 2)
    assert whole(windows) <= windows
    assert filled(whole(windows)) == whole(windows)
    assert windows <= reached(windows) < windows + 64
