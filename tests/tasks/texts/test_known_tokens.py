"""Tokens, segments and positions past a model's tables: refused on the CPU, as a GPU's look-up would end all work."""

from __future__ import annotations

import functools

import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError
from sensorium.processors.text import TextProcessor
from sensorium.retrieval.encoding.encoder import Encoder
from sensorium.tasks.texts.lengths import checked_processor
from tests import tiny_answering, tiny_embedding, tiny_ranking, tiny_reading, tiny_speech, tiny_text
from tests.media import make_image

NEW = "hooting"  # a word that was added to the tokenizer, and to no model
SETTINGS = {"device": "cpu", "dtype": "float32", "compile": False}


def grown(folder, auto=transformers.AutoTokenizer):
    """The folder's tokenizer, or its processor, with a word more than the model knows."""
    processor = auto.from_pretrained(folder)
    tokenizer = getattr(processor, "tokenizer", processor)
    assert tokenizer.add_tokens([NEW]) == 1
    return processor


def asked(text):
    return {"question": "where is it?", "context": text}


def read(text):
    return {"question": "where is it?", "passages": [text]}


def ranked(text):
    return {"query": "where is it?", "text": text}


def seen(text):
    return {"image": make_image(), "question": text}


TEXTS = [
    ("feature-extraction", functools.partial(tiny_embedding.encoder, "bert"), str, {}),
    ("feature-extraction", functools.partial(tiny_embedding.dpr, "ctx_encoder"), str, {"pool": "own"}),
    ("question-answering", functools.partial(tiny_text.reader, "bert"), asked, {}),
    ("text-ranking", functools.partial(tiny_ranking.ranker, "roberta"), ranked, {}),
    ("retrieval-qa", tiny_reading.dpr, read, {}),
    ("retrieval-qa", tiny_reading.causal, read, {"max_new_tokens": 3}),
    ("retrieval-qa", functools.partial(tiny_reading.seq2seq, "t5"), read, {"max_new_tokens": 3}),
]
PICTURES = [tiny_answering.vilt, tiny_answering.blip, tiny_answering.llava]


def assert_refuses(pipe, raw_of, options):
    known, unknown = pipe([raw_of("the owl by the mill"), raw_of(f"the {NEW} owl")], on_error="return", **options)
    assert not isinstance(known, InputError), "a neighbour is answered as ever"
    assert unknown.code == "token-out-of-range"
    rows = pipe.task.model.get_input_embeddings() if hasattr(pipe.task.model, "get_input_embeddings") else None
    if isinstance(rows, torch.nn.Embedding):
        assert f"{rows.num_embeddings} rows" in str(unknown)
    assert NEW in str(unknown)
    assert "more than the model knows" in str(unknown)


@pytest.mark.parametrize(("name", "folder", "raw_of", "options"), TEXTS)
def test_a_token_that_was_added_to_the_tokenizer_alone(name, folder, raw_of, options):
    with sensorium.pipeline(name, folder(), processor=grown(folder()), **SETTINGS) as pipe:
        assert_refuses(pipe, raw_of, options)


@pytest.mark.parametrize("folder", PICTURES, ids=lambda folder: folder.__name__)
def test_a_question_about_a_picture_with_such_a_token(folder):
    processor = grown(folder(), transformers.AutoProcessor)
    with sensorium.pipeline("visual-question-answering", folder(), processor=processor, **SETTINGS) as pipe:
        assert_refuses(pipe, seen, {"max_new_tokens": 3} if pipe.task.answering.writes else {})


def test_a_label_with_such_a_token():
    folder = tiny_text.matcher("clip")
    processor = grown(folder, transformers.AutoProcessor)
    with sensorium.pipeline("zero-shot-image-classification", folder, processor=processor, **SETTINGS) as pipe:
        pipe(make_image(), candidate_labels=["an owl"])
        with pytest.raises(OptionError, match="more than the model knows"):
            pipe(make_image(), candidate_labels=["an owl", NEW])


def test_a_passage_of_an_index_with_such_a_token(tmp_path):
    folder = tiny_embedding.encoder("bert")
    model = transformers.AutoModel.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    grown(folder).save_pretrained(tmp_path)
    with Encoder.from_pretrained(tmp_path, pool="mean", device="cpu", dtype="float32") as encoder:
        vectors, errors = encoder.encode(["the owl", f"{NEW} owl"], on_error="return")
        assert [(error.index, error.code) for error in errors] == [(1, "token-out-of-range")]
        assert torch.from_numpy(vectors).isfinite().all(1).tolist() == [True, False]


def test_what_the_model_does_not_look_up_may_have_any_id():
    processor = TextProcessor(tiny_text.wordpiece()).checked(10, None)
    processor.check_ids([1, 9])
    processor.check_ids([1, 700], besides={700})
    with pytest.raises(InputError, match="id 701"):
        processor.check_ids([1, 700, 701], besides={700})
    assert TextProcessor(tiny_text.wordpiece()).rows is None


def test_a_tokenizer_that_two_models_share_is_checked_for_each():
    tokenizer = TextProcessor(tiny_text.wordpiece())
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    few, many = (
        checked_processor(tokenizer, transformers.BertModel(transformers.BertConfig(vocab_size=rows, **small)))
        for rows in (8, len(tokenizer.tokenizer))
    )
    assert many.encode("the owl").ids == tokenizer.encode("the owl").ids
    with pytest.raises(InputError, match="8 rows"):
        few.encode("the owl")


def test_a_segment_that_the_model_does_not_tell_apart():
    folder = tiny_ranking.ranker("bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, type_vocab_size=1,
                                                                            ignore_mismatched_sizes=True)  # fmt: skip
    with sensorium.pipeline("text-ranking", model, processor=folder, **SETTINGS) as pipe:
        outcome = pipe(ranked("the owl"), on_error="return")
    assert outcome.code == "token-out-of-range"
    assert "the segment 1, and the model has 1" in str(outcome)


@pytest.mark.parametrize("name", ["question-answering", "text-ranking", "retrieval-qa", "feature-extraction"])
def test_padding_stays_within_the_positions_of_a_model(name):
    tokenizer = tiny_text.wordpiece()
    tokenizer.model_max_length = 10**30  # it does not say
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=42, num_labels=1 if name == "text-ranking" else 2,
    )  # fmt: skip
    kinds = {"text-ranking": "ForSequenceClassification", "feature-extraction": "Model"}
    model = getattr(transformers, f"Bert{kinds.get(name, 'ForQuestionAnswering')}")(config).eval()
    raw_of = {"question-answering": asked, "text-ranking": ranked, "retrieval-qa": read}.get(name, str)
    options = {"truncation": True} if name in ("text-ranking", "feature-extraction") else {}
    with sensorium.pipeline(name, model, processor=tokenizer, **SETTINGS) as pipe:
        for count in range(33, 45):  # 41 tokens were padded to 44
            pipe(raw_of(" ".join(["owl"] * count)), **options)


def test_what_whisper_begins_with_is_known_to_it():
    model = transformers.WhisperForConditionalGeneration.from_pretrained(tiny_speech.whisper())
    processor = transformers.AutoProcessor.from_pretrained(tiny_speech.whisper())
    rows = model.get_input_embeddings().num_embeddings
    settings = model.generation_config
    sound = tiny_speech.make_audio(1.0)
    with sensorium.pipeline("automatic-speech-recognition", model, processor=processor, **SETTINGS) as pipe:
        want = pipe(sound, max_new_tokens=4)
        settings.suppress_tokens = [*(settings.suppress_tokens or []), rows + 7]
        assert pipe(sound, max_new_tokens=4).text == want.text, "one that there is not need not be forbidden"
        settings.decoder_start_token_id = rows
        with pytest.raises(CheckpointError, match=f"{rows} rows"):
            pipe(sound, max_new_tokens=4)
