"""Whisper's steps as CUDA graphs, on the pretend device: the CPU's answers, steady memory, and what may fail."""

from __future__ import annotations

import functools

import pytest
import torch

import sensorium
from sensorium.models.whisper.decoder import WhisperDecoder
from sensorium.models.whisper.desk import Desk
from sensorium.pipelines.graphs import GraphPool
from sensorium.pipelines.recording import GraphRecorder
from tests import tiny_speech
from tests.pretend_cuda import PretendCuda
from tests.pretend_cuda.mutants import mutated

TASK = "automatic-speech-recognition"
SOUNDS = [tiny_speech.make_audio(s, seed) for seed, s in enumerate([0.9, 1.7, 3.1])]
GREEDY = {"num_beams": 1, "max_new_tokens": 10}
ALL = len(SOUNDS)


def opened(device, seed=13, **settings):
    settings = {"dtype": "float32", "batch_size": 2, "num_workers": 1, **settings}
    return sensorium.pipeline(TASK, tiny_speech.whisper(seed), device=device, **settings)


@functools.cache
def expected(options=(), sounds=ALL):
    with opened("cpu", compile=False) as pipe:
        return [result.to_dict() for result in pipe(SOUNDS[:sounds], **dict(options))]


def heard(pipe, options=GREEDY, sounds=ALL):
    return [result.to_dict() for result in pipe(SOUNDS[:sounds], **options)]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("further", [{"return_timestamps": True}, {"return_language": True}, {"language": "de"}])
def test_recorded_steps_write_what_the_cpu_writes(beams, further):
    options = {**GREEDY, "num_beams": beams, **further}
    with PretendCuda(devices=2) as cuda, opened("cuda:1") as pipe:
        for _ in range(3):
            assert heard(pipe, options) == expected(tuple(options.items()))
        assert cuda.graphs_captured in (1, 2), "for each size of batch one"
        assert cuda.graphs_replayed > 10 * cuda.graphs_captured
    cuda.check()


@pytest.mark.slow
def test_searches_of_several_kinds_share_the_memory():
    with PretendCuda() as cuda, opened("cuda") as pipe:
        for count in (1, 3):
            for options in ({**GREEDY, "num_beams": 3}, GREEDY, {"num_beams": 2, "max_new_tokens": 20}):
                assert heard(pipe, options, count) == expected(tuple(options.items()), count)
        assert cuda.graphs_replayed
    cuda.check()


def test_a_text_longer_than_a_recording_looks_goes_on_with_the_next_one(monkeypatch):
    monkeypatch.setattr("sensorium.models.whisper.desk.STRIDE", 8)
    options = {**GREEDY, "min_new_tokens": 15, "max_new_tokens": 24}
    with PretendCuda() as cuda, opened("cuda") as pipe:
        for _ in range(2):
            assert heard(pipe, options, 1) == expected(tuple(options.items()), 1)
        assert cuda.graphs_captured > 2
    cuda.check()


def test_without_compiling_nothing_is_recorded():
    with PretendCuda() as cuda, opened("cuda", compile=False) as pipe:
        assert heard(pipe) == expected(tuple(GREEDY.items()))
    assert cuda.graphs_captured == 0
    cuda.check()


@pytest.mark.slow
def test_memory_stays_as_it_is_over_many_batches():
    with PretendCuda() as cuda, opened("cuda") as pipe:
        alive = []
        for _ in range(9):
            heard(pipe)
            alive.append(cuda.bytes_alive())
        assert pipe.stats()["batches"] > 10
        assert alive[1:] == alive[1:2] * 8
    cuda.check()


def test_texts_of_a_broken_batch_do_not_reach_the_next():
    """Not a number in what was written before is masked, and would come through all the same."""
    with PretendCuda() as cuda, opened("cuda") as pipe:
        heard(pipe)
        for memory in pipe.task.runtime.recorder.kept.values():
            if memory.is_floating_point():
                memory.fill_(torch.nan)
        assert heard(pipe) == expected(tuple(GREEDY.items()))
    cuda.check()


@pytest.mark.parametrize("version", [(2, 11), (2, 13)])
def test_steps_whose_capture_is_refused_run_as_they_are(version, monkeypatch):
    read = WhisperDecoder._read

    def waits(self, desk, reach):
        read(self, desk, reach)
        desk.scores.sum().item()

    monkeypatch.setattr(WhisperDecoder, "_read", waits)
    with PretendCuda(torch_version=version) as cuda, opened("cuda") as pipe:
        stream, alive = torch.cuda.current_stream(), []
        for _ in range(4):
            assert heard(pipe) == expected(tuple(GREEDY.items()))
            alive.append(cuda.bytes_alive())
        assert torch.cuda.current_stream() is stream
        assert cuda.allocator.pools_open == 0
        assert cuda.counts["refused captures"] in (1, 2)
        assert alive[1:] == alive[1:2] * 3
    assert cuda.graphs_captured == 0
    cuda.check()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["allocation", "copy", "operation"])
def test_memory_may_run_out_anywhere(stage):
    """In the memory that is kept, in the encoder, in a capture, in a step: some of their steps fail once."""
    want = expected(tuple(GREEDY.items()), 2)
    nth, failed, some = 1, 1, 0
    while failed:
        with PretendCuda() as cuda, opened("cuda") as pipe:
            cuda.fail_at(nth, stage)
            for _ in range(2):
                assert heard(pipe, GREEDY, 2) == want, f"{stage} {nth}"
            failed = cuda.ran_out
            assert pipe.stats()["failures"] == 0
        cuda.check()
        some += failed
        nth += max(1, nth)  # each of the first, and fewer of the many later ones
    assert some > (1 if stage == "copy" else 5)


def test_what_is_kept_is_given_back_when_memory_is_short():
    with PretendCuda() as cuda, opened("cuda") as pipe:
        alive = cuda.bytes_alive()
        heard(pipe)
        assert cuda.bytes_alive() > alive
        pipe.task.runtime.release()
        assert cuda.bytes_alive() <= alive + 64 * 512, "a few constants stay"
        assert heard(pipe) == expected(tuple(GREEDY.items()))
    cuda.check()


LEFT_OUT = {
    "the position stands still": (Desk.step, "self.position.fill_(used)", "pass"),
    "tokens are not handed over": (Desk.step, "self.tokens[: len(tokens)].copy_(tokens)", "pass"),
    "what comes later is looked at": (WhisperDecoder._read, "[:reach] <= desk.position", "[:reach] >= 0"),
    "the memory is not emptied": (Desk.lay, "self.written.zero_()", "self.written.fill_(torch.nan)"),
    "graphs outlive their memory": (GraphRecorder.forget, "self._graphs = GraphPool(self._device)", "pass"),
    "steps of all sizes are one": (Desk.step, "(self._windows, self.beams, reach)", '"step"'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_noticed(name, monkeypatch):
    function, old, new = LEFT_OUT[name]
    monkeypatch.setattr(function, "__code__", mutated(function, old, new).__code__)
    noticed = False
    with PretendCuda() as cuda, opened("cuda") as pipe:
        for options in (GREEDY, {**GREEDY, "num_beams": 3}, GREEDY):
            try:
                noticed |= heard(pipe, options) != expected(tuple(options.items()))
            except (RuntimeError, ValueError):
                noticed = True
    assert noticed or cuda.faults


def test_a_recording_that_is_lost_is_made_again():
    with PretendCuda() as cuda, torch.inference_mode():
        recorder, device = GraphRecorder(torch.device("cuda", 0)), torch.device("cuda", 0)
        x = torch.zeros(3, device=device)
        for value in (1, 2):
            recorder.run("key", lambda: x.fill_(5))
            assert x.tolist() == [5] * 3
            x.fill_(value)
        assert (cuda.graphs_captured, cuda.graphs_replayed) == (1, 1)
        recorder.forget()
        recorder.run("key", lambda: x.fill_(6))
        assert x.tolist() == [6] * 3
        assert cuda.graphs_captured == 2
        assert isinstance(recorder._graphs, GraphPool)
    cuda.check()
