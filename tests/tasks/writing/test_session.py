"""Texts that are streamed: others have the device between two tokens, and the text is the same as without them."""

from __future__ import annotations

import threading

import pytest
import torch

import sensorium
from sensorium.errors import OptionError
from sensorium.tasks.writing.keeping import OwnTensors, seeded
from sensorium.tasks.writing.pieces import TextPieces
from tests import tiny_answering
from tests.media import make_image
from tests.tiny_answering import QUESTIONS

CPU = torch.device("cpu")
RAW = {"image": make_image(64, 48, 0), "question": QUESTIONS[0]}
OTHER = {"image": make_image(40, 40, 3), "question": QUESTIONS[1]}
LONG = {"max_new_tokens": 12, "min_new_tokens": 12}


def ours(kind):
    folder = getattr(tiny_answering, kind)()
    return sensorium.pipeline("visual-question-answering", folder, device="cpu", dtype="float32", compile=False)


class Meeting:
    """Starts a call on a thread of its own when a text has some tokens, and has it wait for the device then.

    Args:
        pipe: writes the text.
        call: what is to come between its tokens.
        after: the number of the model's run at which it comes.
    """

    def __init__(self, pipe, call, *, after=4):
        self.pipe, self.call, self.after = pipe, call, after
        self.runs: list[str] = []
        self.got = []
        self.thread = None
        self._writer = None

    def __enter__(self):
        model = self.pipe.model
        inner = getattr(model, "text_decoder", model)
        self._hook = inner.register_forward_pre_hook(self._meet)
        return self

    def __exit__(self, *_):
        self._hook.remove()
        if self.thread is not None:
            self.thread.join()

    def _meet(self, *_):
        name = threading.current_thread().name
        self.runs.append("text" if name == "sensorium-write" else "call")
        if len(self.runs) == self.after:
            self.thread = threading.Thread(target=lambda: self.got.append(self.call()))
            self.thread.start()
            turns, never = self.pipe._engine.runtime.turns, threading.Event()
            while turns.waiting < 1:
                never.wait(0.001)


@pytest.mark.parametrize("kind", ["blip", "llava"])
def test_a_batch_gets_on_the_device_between_two_tokens(kind):
    with ours(kind) as pipe:
        text, answers = pipe(RAW, **LONG).answers[0], pipe(OTHER, **LONG).to_dict()
        with Meeting(pipe, lambda: pipe(OTHER, **LONG).to_dict()) as met:
            streamed = "".join(pipe(RAW, stream=True, **LONG))
        assert met.runs == ["text"] * 4 + ["call"] * 12 + ["text"] * 8
        assert met.got == [answers]
        assert streamed == text


def test_two_texts_are_written_in_turn():
    with ours("llava") as pipe:
        texts = [pipe(raw, **LONG).answers[0] for raw in (RAW, OTHER)]
        with Meeting(pipe, lambda: "".join(pipe(OTHER, stream=True, **LONG))) as met:
            first = "".join(pipe(RAW, stream=True, **LONG))
        assert [first, *met.got] == texts
        counts = pipe.stats()["sessions"]
    assert (counts["opened"], counts["open"]) == (2, 0)
    assert counts["steps"] == 2 * (1 + 1 + 12), "one to begin with, one for the prompt, and one for each token"


def test_what_is_drawn_does_not_depend_on_who_comes_between():
    drawn = {"do_sample": True, "temperature": 3.0, **LONG}
    with ours("llava") as pipe:
        text, another = (pipe(RAW, seed=seed, **drawn).answers[0] for seed in (3, 4))
        assert text != another
        torch.manual_seed(11)
        answers, numbers = pipe(OTHER, **drawn).to_dict(), torch.rand(3).tolist()
        torch.manual_seed(11)
        with Meeting(pipe, lambda: pipe(OTHER, **drawn).to_dict()) as met:
            streamed = "".join(pipe(RAW, seed=3, stream=True, **drawn))
        assert "call" in met.runs
        assert streamed == text
        assert met.got == [answers], "without a seed it draws from what it would have drawn from alone"
        assert torch.rand(3).tolist() == numbers


def test_what_a_model_keeps_of_a_text_is_there_again_after_others():
    with ours("llava") as pipe:
        pipe.model.prompt_ids, seen = None, {"text": set(), "call": set()}

        def keep(module, args, named):
            ids = named["input_ids"]
            if ids.shape[1] > 1:
                module.prompt_ids = ids
            name = threading.current_thread().name
            seen["text" if name == "sensorium-write" else "call"].add(tuple(module.prompt_ids[0].tolist()))

        pipe.model.register_forward_pre_hook(keep, with_kwargs=True)
        with Meeting(pipe, lambda: pipe(OTHER, **LONG)) as met:
            list(pipe(RAW, stream=True, **LONG))
        assert "call" in met.runs
    assert {name: len(prompts) for name, prompts in seen.items()} == {"text": 1, "call": 1}
    assert seen["text"] != seen["call"]


def test_closing_the_session_ends_the_text_and_the_reader_is_told():
    with ours("llava") as pipe:
        session = pipe._engine.sessions.open(RAW)
        with Meeting(pipe, session.close):
            # the call that comes between closes instead of waiting: let it do so before the next token
            turns = pipe._engine.runtime.turns
            type(turns).waiting, waiting = property(lambda _: int(session.closed)), type(turns).waiting
            try:
                pieces = session.pieces(pipe.task.options.parse({"max_new_tokens": 400}))
                with pytest.raises(OptionError, match="was closed"):
                    list(pieces)
            finally:
                type(turns).waiting = waiting
        assert pipe.stats()["sessions"]["open"] == 0
        assert pipe.stats()["sessions"]["steps"] == 1 + 1 + 3
        with pytest.raises(OptionError, match="was closed"):
            list(session.pieces(pipe.task.options()))
        assert pipe(RAW, **LONG).answers[0]


def test_a_session_can_write_again_and_is_open_until_it_is_closed():
    with ours("llava") as pipe:
        texts = [pipe(RAW, max_new_tokens=n).answers[0] for n in (5, 9)]
        with pipe._engine.sessions.open(RAW) as session:
            for n, text in zip((5, 9), texts, strict=True):
                assert "".join(session.pieces(pipe.task.options(max_new_tokens=n))) == text
            assert pipe.stats()["sessions"]["open"] == 1
        assert pipe.stats()["sessions"]["open"] == 0


def test_a_reader_that_leaves_closes_the_session():
    with ours("llava") as pipe, pipe(RAW, stream=True, max_new_tokens=400) as pieces:
        assert next(pieces)
        assert pipe.stats()["sessions"]["open"] == 1
        pieces.close()
        assert pipe.stats()["sessions"]["open"] == 0


def test_what_comes_at_the_end_comes_before_the_reader_hears_of_it():
    said = []
    pieces = TextPieces(lambda _: said.append("written"), lambda _: "", then=lambda: said.append("then"))
    assert list(pieces) == []
    assert said == ["written", "then"]

    def fail(_):
        raise RuntimeError("no ink")

    failing = TextPieces(fail, lambda _: "", then=lambda: said.append("then"))
    with pytest.raises(RuntimeError, match="no ink"):
        next(failing)
    assert said == ["written", "then", "then"]


@pytest.mark.parametrize("seed", [None, 7])
def test_a_seed_is_laid_aside_for_others(seed):
    torch.manual_seed(1)
    outer = [torch.rand(1).item() for _ in range(4)]
    torch.manual_seed(7)
    inner = [torch.rand(1).item() for _ in range(2)]
    torch.manual_seed(1)
    with seeded(seed, CPU) as draws:
        found = [torch.rand(1).item()]
        with draws.aside():
            others = [torch.rand(1).item()]
        found.append(torch.rand(1).item())
    others.append(torch.rand(1).item())
    if seed is None:
        assert [found[0], others[0], found[1], others[1]] == outer
    else:
        assert (found, others) == (inner, outer[:2])


def test_own_tensors_are_those_that_are_no_weights():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model[0].rope_deltas, model[0].count = torch.ones(1), 3
    own, weight = OwnTensors(model), model[0].weight
    with own.aside():
        model[0].rope_deltas, model[0].count = None, 4
        model[0].weight = torch.nn.Parameter(torch.zeros(2, 2))
    assert model[0].rope_deltas.tolist() == [1.0]
    assert model[0].count == 4
    assert model[0].weight is not weight
