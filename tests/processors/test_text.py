"""TextProcessor against the tokenizer of Transformers that it runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sensorium.checkpoints import LoadOptions
from sensorium.errors import CheckpointError, CheckpointNotFoundError, InputError
from sensorium.processors.text import TextProcessor

TEXTS = ["The owl sat on a rock.", "", "Ünïcode, 漢字 and 🦉!", "one two three " * 40]


@pytest.fixture(scope="module", params=["right", "left"])
def tokenizer(request):
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    backend.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, padding_side=request.param,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("pair", [None, "a second text"])
@pytest.mark.parametrize("special", [True, False])
def test_equals_the_tokenizer(tokenizer, text, pair, special):
    got = TextProcessor.from_transformers(tokenizer).encode(text, pair, special_tokens=special)
    want = tokenizer(text, pair, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    assert got.ids == want["input_ids"]
    assert got.type_ids == want["token_type_ids"]
    assert got.offsets == want["offset_mapping"]
    assert got.sequence_ids == want.sequence_ids()
    tensors = got.tensors()
    assert list(tensors) == ["input_ids", "token_type_ids", "attention_mask"]
    assert all(t.dtype == torch.int64 and len(t) == len(got) for t in tensors.values())


def test_padding_equals_the_tokenizer_s(tokenizer):
    processor = TextProcessor.from_transformers(tokenizer)
    encoded = [processor.encode(text).tensors() for text in TEXTS[:3]]
    want = tokenizer(TEXTS[:3], padding=True, pad_to_multiple_of=16, return_tensors="pt")
    for name, padding in processor.padding.items():
        assert padding.max_length == 64
        got = padding.stack([one[name] for one in encoded])
        length = got.shape[1]
        expected = want[name][:, -length:] if tokenizer.padding_side == "left" else want[name][:, :length]
        assert torch.equal(got, expected)


def test_threads_share_it_while_the_tokenizer_truncates(tokenizer):
    processor = TextProcessor.from_transformers(tokenizer)
    want = [processor.encode(text).ids for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(processor.encode, text) for text in TEXTS * 25]
        for _ in range(20):  # changes the state of the tokenizer that it was made from
            tokenizer(TEXTS, truncation=True, max_length=5, padding=True)
        assert [f.result().ids for f in futures] == want * 25


def test_round_trip_through_a_folder(tokenizer, tmp_path):
    TextProcessor(tokenizer).save_pretrained(tmp_path)
    again = TextProcessor.from_pretrained(tmp_path)
    assert again.max_length == 64
    assert again.encode(TEXTS[0]).ids == TextProcessor(tokenizer).encode(TEXTS[0]).ids
    assert again.decode(again.encode("the owl sat").ids) == "the owl sat"


def test_no_text_is_told(tokenizer):
    processor = TextProcessor(tokenizer)
    for bad in (None, 3, b"bytes", ["a"]):
        with pytest.raises(InputError, match=r"a text \(str\)") as caught:
            processor.encode(bad)
        assert caught.value.code == "not-text"
    with pytest.raises(InputError):
        processor.encode("good", 3)


def test_a_checkpoint_without_a_tokenizer_is_told(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        TextProcessor.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    with pytest.raises(CheckpointError, match="no tokenizer"):
        TextProcessor.from_pretrained(tmp_path, options=LoadOptions())
    (tmp_path / "config.json").write_text('{"model_type": "clip", "architectures": ["CLIPModel"]}')
    with pytest.raises(CheckpointError, match="knows no word"):  # Transformers makes one of two tokens
        TextProcessor.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected a tokenizer"):
        TextProcessor.from_transformers(object())
