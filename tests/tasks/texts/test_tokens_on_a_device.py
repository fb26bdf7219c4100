"""Tokens past a model's tables on a pretend CUDA device: they never get there, where a look-up would end all work."""

from __future__ import annotations

import pytest
import transformers

import sensorium
from sensorium.errors import SensoriumError
from sensorium.processors.text import TextProcessor
from sensorium.tasks.answering.chat import ChatAnswering
from sensorium.tasks.speech import plan
from sensorium.tasks.texts import lengths
from tests import tiny_answering, tiny_embedding, tiny_ranking, tiny_reading, tiny_speech, tiny_text
from tests.pretend_cuda import PretendCuda
from tests.pretend_cuda.mutants import mutated
from tests.tasks.texts.test_known_tokens import NEW, asked, grown, ranked, seen

OWL = "the owl by the mill"


def new_word():
    """A model of texts whose tokenizer has learnt a word since."""
    folder = tiny_embedding.encoder("bert")
    return "feature-extraction", folder, grown(folder), OWL, f"the {NEW} owl", {}


def new_word_about_a_picture():
    """The same with a chat model, whose own processor makes the tokens."""
    folder = tiny_answering.llava()
    processor = grown(folder, transformers.AutoProcessor)
    return "visual-question-answering", folder, processor, seen(OWL), seen(f"the {NEW}?"), {"max_new_tokens": 3}


def new_word_in_a_prompt():
    folder = tiny_reading.causal()
    prompt = {"question": "where is it?", "passages": [OWL]}
    wrong = {**prompt, "passages": [f"the {NEW} owl"]}
    return "retrieval-qa", folder, grown(folder), prompt, wrong, {"max_new_tokens": 3}


def new_segment():
    """A pair of texts for a model that knows one segment."""
    folder = tiny_ranking.ranker("bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, type_vocab_size=1, ignore_mismatched_sizes=True
    )
    return "text-ranking", model, folder, None, ranked(OWL), {}


def few_positions(head, **settings):
    """A model that looks its positions up, as BERT does not: 42 of them, past that of its padding."""
    tokenizer = tiny_text.wordpiece()
    tokenizer.model_max_length = 10**30  # it does not say
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=43 + tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id, **settings,
    )  # fmt: skip
    return getattr(transformers, f"RobertaFor{head}")(config).eval(), tokenizer


def text_past_the_positions():
    model, tokenizer = few_positions("SequenceClassification", num_labels=1)
    return "text-ranking", model, tokenizer, ranked(OWL), ranked(" ".join(["owl"] * 60)), {}


def window_past_the_positions():
    model, tokenizer = few_positions("QuestionAnswering")
    long = asked(" ".join(["owl"] * 60))
    return "question-answering", model, tokenizer, None, long, {"max_seq_len": 60}


def whisper(**settings):
    model = transformers.WhisperForConditionalGeneration.from_pretrained(tiny_speech.whisper())
    rows = model.get_input_embeddings().num_embeddings
    for name, value in settings.items():
        setattr(model.generation_config, name, value(rows))
    return model, transformers.AutoProcessor.from_pretrained(tiny_speech.whisper())


def whisper_that_begins_with_no_token():
    model, processor = whisper(decoder_start_token_id=lambda rows: rows)
    sound = tiny_speech.make_audio(0.5)
    return "automatic-speech-recognition", model, processor, None, sound, {"max_new_tokens": 4}


def whisper_that_forbids_what_is_not_there():
    model, processor = whisper(suppress_tokens=lambda rows: [1, rows + 7])
    sound = tiny_speech.make_audio(0.5)
    return "automatic-speech-recognition", model, processor, sound, None, {"max_new_tokens": 4, "num_beams": 1}


PUT_BACK = {
    new_word: (TextProcessor.encode, "self.check_ids(encoded.ids)", "pass"),
    new_word_in_a_prompt: (TextProcessor.encode, "self.check_ids(encoded.ids)", "pass"),
    new_word_about_a_picture: (
        ChatAnswering.read,
        'self.text.check_ids(tensors["input_ids"].tolist(), besides=self._places)',
        "pass",
    ),
    new_segment: (TextProcessor.encode, "max(types) >= self.segments", "False"),
    text_past_the_positions: (lengths.most_positions, 'rpartition(".")[2] in _POSITIONS', 'startswith("no such name")'),
    window_past_the_positions: (lengths.WindowSize.check, "length > self.positions", "False"),
    whisper_that_begins_with_no_token: (plan.make_plan, "_check_known([*prompt, *(languages or ())], rows)", "pass"),
    whisper_that_forbids_what_is_not_there: (plan.make_plan, "0 <= token < rows", "True"),
}
"""For each such input, the check that keeps it from the device, and what the code was without it."""


def run(case):
    """What came of the known input and of the wrong one, and what has ended the device."""
    task, model, processor, known, wrong, options = case()
    outcomes = []
    with PretendCuda() as cuda:
        settings = {"processor": processor, "device": "cuda", "dtype": "float32", "compile": False}
        with sensorium.pipeline(task, model, **settings) as pipe:
            for raw in (known, wrong, known):
                try:
                    outcomes.append(None if raw is None else pipe(raw, on_error="return", **options))
                except SensoriumError as error:
                    outcomes.append(error)
    return outcomes, cuda.dead


@pytest.mark.parametrize("case", PUT_BACK, ids=lambda case: case.__name__)
def test_it_is_refused_before_the_device_sees_it(case):
    (before, wrong, after), dead = run(case)
    assert dead is None
    assert wrong is None or isinstance(wrong, SensoriumError)
    assert not isinstance(before, SensoriumError)
    assert not isinstance(after, SensoriumError), "the next one is answered as ever"


@pytest.mark.parametrize("case", PUT_BACK, ids=lambda case: case.__name__)
def test_without_its_check_the_device_dies_of_it(case, monkeypatch):
    function, old, new = PUT_BACK[case]
    monkeypatch.setattr(function, "__code__", mutated(function, old, new).__code__)
    _, dead = run(case)
    assert dead == "device-side assert triggered"
