"""The fusion head: built on a backbone, trained, saved and loaded, and served as visual-question-answering."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.nn.functional import binary_cross_entropy_with_logits

import sensorium
from sensorium.errors import CheckpointError, InputError, MissingWeightsError, OptionError, UnknownNameError
from sensorium.processors.multimodal import MultimodalProcessor
from sensorium.processors.text import TextProcessor
from tests import tiny, tiny_answering
from tests.media import make_image

LABELS = ["yes", "no", "two"]
SMALL = {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0}
PAIRS = [
    {"image": make_image(64, 48, seed), "question": question}
    for seed in range(2)
    for question in ("what is this red cat?", "how many owls did the keeper see near the bridge?")
]


def built(architecture="vit", **options):
    torch.manual_seed(0)
    backbone = sensorium.AutoBackbone.from_pretrained(tiny.folder(architecture, bare=True))
    options = {"text_encoder": tiny_answering.bert(), **SMALL, **options}
    return sensorium.build_head(backbone, LABELS, task="visual-question-answering", **options).eval()


def processor(architecture="vit"):
    image = sensorium.ImageProcessor.from_pretrained(tiny.folder(architecture, bare=True))
    return MultimodalProcessor(image, TextProcessor.from_pretrained(tiny_answering.bert()))


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("visual-question-answering", folder, **settings)


def scores_of(model, prepare, pair):
    """By hand: one pair, unpadded."""
    pixels = prepare.image([pair["image"]])["pixel_values"]
    text = {name: tensor[None] for name, tensor in prepare.text.encode(pair["question"]).tensors().items()}
    with torch.inference_mode():
        return model(pixels, **text).logits.sigmoid()[0]


@pytest.mark.parametrize("architecture", ["vit", "resnet", "swin"])
def test_a_saved_composite_answers_as_it_did(architecture, tmp_path):
    model, prepare = built(architecture), processor(architecture)
    model.save_pretrained(tmp_path, prepare)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["pipeline_tag"] == "visual-question-answering"
    assert {path.name for path in tmp_path.iterdir()} >= {"model.safetensors", "tokenizer.json", "config.json"}
    with ours(tmp_path, batch_size=4) as pipe:
        assert pipe.task.name == "visual-question-answering"
        results = pipe(PAIRS, top_k=None)
        alone = pipe(PAIRS[1], top_k=None)
    for result, pair in zip([*results, alone], [*PAIRS, PAIRS[1]], strict=True):
        want = scores_of(model, prepare, pair)
        got = {row["answer"]: row["score"] for row in result}
        assert got == pytest.approx(dict(zip(LABELS, want.tolist(), strict=True)), abs=1e-5)
    assert len({str(result.to_dict()) for result in results}) == 4


def test_it_learns_what_neither_the_picture_nor_the_question_tells_alone(tmp_path):
    """Exclusive or of picture and question: only a fusion of the two can answer."""
    model, prepare = built(width=32, depth=2), processor()
    pairs = [
        {"image": Image.new("RGB", (64, 48), colour), "question": question}
        for colour in ("white", "navy")
        for question in ("cat", "owl bridge keeper red")
    ]
    model.backbone.freeze()
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]])
    pixels = prepare.image([pair["image"] for pair in pairs])["pixel_values"]
    texts = [prepare.text.encode(pair["question"]).tensors() for pair in pairs]
    padding = prepare.text.padding
    text = {name: padding[name].stack([each[name] for each in texts]) for name in texts[0]}
    with torch.no_grad():
        features = model.head.extract(model.backbone, pixels)
    model.train()
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=5e-3)
    for _ in range(400):
        loss = binary_cross_entropy_with_logits(model.head(features, **text), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    assert loss < 0.05
    assert all(weight.grad is None for weight in model.backbone.parameters())
    assert any(weight.grad is not None for weight in model.head.text_encoder.parameters())
    model.eval().save_pretrained(tmp_path, prepare)
    with sensorium.pipeline(model=tmp_path, device="cpu", dtype="float32", compile=False) as pipe:
        answers = [result[0]["answer"] for result in pipe(pairs)]
    assert answers == ["yes", "no", "no", "yes"]


def test_a_picture_goes_through_the_backbone_once(tmp_path):
    built().save_pretrained(tmp_path, processor())
    with ours(tmp_path, batch_size=2) as pipe:
        seen = []
        pipe.model.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
        pipe([pair["image"] for pair in PAIRS[1:3]], ["what?", "how many?", "red?"])
    assert sum(seen) == 2


def test_a_question_longer_than_the_text_encoder_s_positions(tmp_path):
    built().save_pretrained(tmp_path, processor())
    with ours(tmp_path) as pipe:
        with pytest.raises(InputError, match="takes 64") as caught:
            pipe(make_image(), "owl " * 100)
        cut = pipe(make_image(), "owl " * 100, truncation=True)
        same = pipe(make_image(), "owl " * 62)
    assert caught.value.code == "question-too-long"
    np.testing.assert_allclose(cut.scores, same.scores, atol=1e-6)


def test_other_text_encoders(tmp_path):
    encoder = transformers.DistilBertModel(
        transformers.DistilBertConfig(vocab_size=300, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    )
    model = built(text_encoder=encoder)
    prepare = processor()
    prepare.text.input_names = ("input_ids", "attention_mask")
    model.save_pretrained(tmp_path, prepare)
    again = sensorium.Composite.from_pretrained(tmp_path)
    torch.testing.assert_close(scores_of(again, prepare, PAIRS[0]), scores_of(model, prepare, PAIRS[0]))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"text_encoder": None}, OptionError, "text_encoder"),
        ({"widht": 4}, UnknownNameError, "width"),
        ({"width": 0}, OptionError, "width"),
        ({"width": 18, "heads": 4}, OptionError, "multiple"),
        ({"depth": 1.5}, OptionError, "depth"),
        ({"dropout": 1}, OptionError, "dropout"),
        ({"text_encoder": torch.nn.Linear(2, 2)}, OptionError, "encodes text"),
    ],
)
def test_bad_options(options, error, match):
    with pytest.raises(error, match=match):
        built(**options)


def test_a_vision_checkpoint_is_no_text_encoder():
    with pytest.raises((OptionError, MissingWeightsError), match="text"):
        built(text_encoder=tiny.folder("vit", bare=True))


def test_a_composite_saved_without_its_tokenizer_says_so(tmp_path):
    built().save_pretrained(tmp_path, processor().image)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        ours(tmp_path)
