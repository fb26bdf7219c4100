"""visual-question-answering against the formulas of Transformers 4.57, on the same checkpoint, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError, UnknownNameError
from tests import reference_vqa, tiny, tiny_answering, tiny_text
from tests.contract import Contract, Opened
from tests.media import jpeg, make_image
from tests.tiny_answering import QUESTIONS
from tests.versions import older

PARITY = 1e-5  # float32 rounding, and the order in which patches are summed, on probabilities
SHORT = {"max_new_tokens": 6}
MADE = "ignore:Sensorium does not read the recipe of Idefics3ImageProcessor:UserWarning"

pytestmark = pytest.mark.filterwarnings(MADE)


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("visual-question-answering", folder, **settings)


def assert_same(mine, reference, tolerance=PARITY):
    assert [set(row) for row in mine] == [set(row) for row in reference]
    assert [row["answer"] for row in mine] == [row["answer"] for row in reference]
    for a, b in zip(mine, reference, strict=True):
        if "score" in b:
            assert type(a["score"]) is float
            assert a["score"] == pytest.approx(b["score"], abs=tolerance)


def shapes():
    """Pictures of five sizes, two of them alike."""
    sizes = [(64, 48), (48, 64), (40, 40), (60, 97), (64, 48), (90, 50)]
    return [make_image(width, height, seed) for seed, (width, height) in enumerate(sizes)]


def asked():
    """Every picture with a question of its own, of several lengths."""
    return [{"image": image, "question": QUESTIONS[i % len(QUESTIONS)]} for i, image in enumerate(shapes())]


# ---- the same answers


@pytest.mark.parametrize("kind", ["vilt", "blip", "llava", "idefics"])
def test_same_answers_as_transformers_alone_and_in_batches(kind):
    folder = getattr(tiny_answering, kind)()
    options = {"top_k": 9} if kind == "vilt" else SHORT
    inputs = asked()
    expected = [reference_vqa.answer(folder, **row, **options) for row in inputs]
    with ours(folder, batch_size=4) as pipe:
        together = pipe(inputs, **options)
        alone = [pipe(row, **options) for row in inputs[:2]]
    for result, want in zip([*together, *alone], [*expected, *expected[:2]], strict=True):
        assert_same(result.to_dict(), want)
    assert len({str(want) for want in expected}) >= 3, "random models that tell inputs apart"


@pytest.mark.parametrize("kind", ["vilt", "blip", "llava", "idefics"])
def test_all_questions_about_all_pictures_come_question_by_question(kind):
    folder = getattr(tiny_answering, kind)()
    options = {} if kind == "vilt" else SHORT
    images = [make_image(), make_image(48, 64, 1), make_image(64, 48, 2)]
    expected = [reference_vqa.answer(folder, image, q, **options) for q in QUESTIONS for image in images]
    with ours(folder, batch_size=5) as pipe:
        results = pipe(image=images, question=QUESTIONS, **options)
        for result, want in zip(results, expected, strict=True):
            assert_same(result.to_dict(), want)
        assert [result.index for result in results] == list(range(12))


def test_vilt_s_options():
    folder, image, question = tiny_answering.vilt(), make_image(), QUESTIONS[1]
    with ours(folder) as pipe:
        for top_k in (1, 3, 5, 100):
            assert_same(
                pipe(image, question, top_k=top_k).to_dict(), reference_vqa.answer(folder, image, question, top_k=top_k)
            )
        everything = pipe(image, question, top_k=None)
        long = "owl " * 50
        cut = pipe(image, long, truncation=True)
    assert len(everything) == tiny_answering.ANSWERS
    assert (np.diff(everything.scores) <= 0).all()
    assert_same(cut.to_dict(), reference_vqa.answer(folder, image, long, truncation=True))


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"min_new_tokens": 4},
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 1},
        {"generate_kwargs": {"num_beams": 2, "length_penalty": 2.0}},
        {"generate_kwargs": {"suppress_tokens": [60, 61, 62]}},
    ],
)
@pytest.mark.parametrize("kind", ["blip", "llava", "idefics"])
def test_options_of_writing(kind, options):
    folder, inputs = getattr(tiny_answering, kind)(), asked()[:3]
    told = {**SHORT, **options, **options.get("generate_kwargs", {})}
    told.pop("generate_kwargs", None)
    expected = [reference_vqa.answer(folder, **row, **told) for row in inputs]
    with ours(folder, batch_size=3) as pipe:
        results = pipe(inputs, **SHORT, **options)
    assert [result.to_dict() for result in results] == expected


def test_blip_writes_as_much_as_the_pipeline_did():
    folder = tiny_answering.blip()
    with ours(folder) as pipe:
        told = []
        pipe.model.text_decoder.generate = lambda **given: told.append(given) or torch.zeros(1, 2, dtype=torch.long)
        pipe(make_image(), QUESTIONS[0])
    assert told[0]["generation_config"].max_new_tokens == 256


def test_blip_s_long_questions_are_cut_as_its_tokenizer_cuts_them():
    folder, long = tiny_answering.blip(), "owl bridge " * 40
    with ours(folder) as pipe:
        cut = pipe(make_image(), long, truncation=True, **SHORT)
    assert cut.to_dict() == reference_vqa.answer(folder, make_image(), long, truncation=True, **SHORT)


def test_sampling_is_repeatable_with_a_seed():
    with ours(tiny_answering.llava()) as pipe:
        asks = {
            "image": make_image(),
            "question": QUESTIONS[0],
            "do_sample": True,
            "max_new_tokens": 12,
            "temperature": 3.0,
        }
        a, b, c = pipe(**asks, seed=1), pipe(**asks, seed=1), pipe(**asks, seed=2)
    assert a == b
    assert a != c


def test_stop_strings_end_an_answer():
    with ours(tiny_answering.llava()) as pipe:
        whole = pipe(make_image(), QUESTIONS[1], max_new_tokens=12).answers[0]
        stop = whole.split(" ")[1]
        cut = pipe(make_image(), QUESTIONS[1], max_new_tokens=12, generate_kwargs={"stop_strings": [stop]}).answers[0]
    assert whole.startswith(cut)
    assert cut.endswith(stop)
    assert len(cut) < len(whole)


def test_vilt_with_few_image_positions_gives_the_same_answer_each_time():
    """Transformers draws patches at random; with the same ones it gives the same answer."""
    folder, image, question = tiny_answering.vilt(max_image_length=5), make_image(), QUESTIONS[0]
    with ours(folder) as pipe:
        results = [pipe(image, question) for _ in range(3)]
        neighbours = pipe([{"image": image, "question": q} for q in QUESTIONS])
    model, processor, _ = reference_vqa.loaded(folder)
    inputs = processor(image, question, return_tensors="pt")
    patches = inputs["pixel_values"].shape[2] // 16 * (inputs["pixel_values"].shape[3] // 16)
    assert patches > 5
    chosen = torch.linspace(0, patches - 1, 5).round().long()
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(torch, "multinomial", lambda *_, **__: chosen)
        expected = model(**inputs).logits.sigmoid()[0].sort(descending=True).values[:5]
    for result in [*results, neighbours[0]]:
        np.testing.assert_allclose(result.scores, expected, atol=PARITY)


# ---- how it is called


@pytest.mark.parametrize("kind", ["vilt", "blip"])
def test_every_form_of_a_call(kind, tmp_path):
    folder = getattr(tiny_answering, kind)()
    options = {} if kind == "vilt" else SHORT
    (tmp_path / "x.jpg").write_bytes(jpeg())
    path, question = str(tmp_path / "x.jpg"), QUESTIONS[0]
    with ours(folder) as pipe:
        want = pipe({"image": path, "question": question}, **options)
        one = [
            pipe(path, question, **options),
            pipe(image=path, question=question, **options),
            pipe(path, question=question, **options),
            pipe((tmp_path / "x.jpg").read_bytes(), question, **options),
            *pipe([{"image": path, "question": question}], **options),
            *pipe([path], question, **options),
            *pipe(path, [question], **options),
            *pipe(({"image": path, "question": question},), **options),
            *pipe(row for row in [{"image": path, "question": question}]),
        ]
        assert pipe([], **options) == []
        assert pipe([], QUESTIONS, **options) == []
        assert pipe(path, [], **options) == []
    for result in one[:-1]:
        assert result == want
    assert len(one) == 9


def test_a_product_decodes_and_encodes_each_picture_once(monkeypatch, tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg())
    images = [str(tmp_path / "x.jpg"), make_image(48, 64, 1), np.asarray(make_image(40, 40, 2))]
    with ours(tiny_answering.blip(), batch_size=2) as pipe:
        decoded, encoded = [], []
        real = pipe.task._fit
        monkeypatch.setattr(pipe.task, "_fit", lambda image: decoded.append(image) or real(image))
        pipe.model.vision_model.register_forward_pre_hook(
            lambda _, __, given: encoded.append(len(given["pixel_values"])), with_kwargs=True
        )
        pipe(images, QUESTIONS, **SHORT)
        assert len(decoded) == 3
        assert sum(encoded) == 3
        pipe(images[0], "another question?", **SHORT)  # and a later call finds it encoded
        assert len(decoded) == 4
        assert sum(encoded) == 3
        pipe([{"image": images[0], "question": q} for q in QUESTIONS], **SHORT)
        assert len(decoded) == 5


@pytest.mark.skipif(older("transformers", "5.18"), reason="its chat models take no pictures that are encoded already")
@pytest.mark.parametrize("kind", ["llava", "idefics"])
def test_chat_models_encode_a_picture_once(kind, monkeypatch):
    with ours(getattr(tiny_answering, kind)(), batch_size=4) as pipe:
        seen = []
        real = pipe.model.get_image_features
        monkeypatch.setattr(pipe.model, "get_image_features", lambda **given: seen.append(1) or real(**given))
        results = pipe(make_image(), [*QUESTIONS, "and now?"], **SHORT)
        again = pipe(make_image(), QUESTIONS[0], num_beams=2, **SHORT)
    assert len(seen) == 1
    assert len({str(result.to_dict()) for result in results}) == 5
    assert len(again) == 1


def test_weights_that_change_are_seen_anew():
    with ours(tiny_answering.blip()) as pipe:
        before = pipe(asked(), **SHORT)
        with torch.no_grad():
            for layer in pipe.model.vision_model.encoder.layers:
                layer.mlp.fc2.weight.mul_(-5)
        after = pipe(asked(), **SHORT)
        processor = transformers.AutoProcessor.from_pretrained(tiny_answering.blip())
        with sensorium.pipeline(
            "visual-question-answering", pipe.model, processor=processor, device="cpu", compile=False
        ) as fresh:
            expected = fresh(asked(), **SHORT)
    assert after != before
    assert after == expected


# ---- text that is read while it is written


@pytest.mark.parametrize("kind", ["blip", "llava", "idefics"])
def test_pieces_joined_are_the_answer(kind):
    with ours(getattr(tiny_answering, kind)()) as pipe:
        for question in QUESTIONS:
            whole = pipe(make_image(), question, max_new_tokens=14)
            pieces = list(pipe(make_image(), question, stream=True, max_new_tokens=14))
            assert "".join(pieces) == whole.answers[0]
            assert len(pieces) > 1 or len(whole.answers[0].split(" ")) <= 3
            assert all(pieces)


def test_a_reader_that_leaves_ends_the_writing():
    with ours(tiny_answering.llava()) as pipe:
        steps = []
        pipe.model.register_forward_pre_hook(lambda *_: steps.append(1))
        with pipe(make_image(), QUESTIONS[1], stream=True, max_new_tokens=400) as pieces:
            assert next(pieces)
        count = len(steps)
        assert count < 400
        assert pipe(make_image(), QUESTIONS[1], **SHORT)  # the device is free again


def test_faults_of_streams():
    with ours(tiny_answering.blip()) as pipe:
        with pytest.raises(InputError, match="empty"):
            pipe(make_image(), " ", stream=True)
        with pytest.raises(OptionError, match="one input"):
            pipe(make_image(), QUESTIONS, stream=True)
        with pytest.raises(OptionError, match="one input"):
            pipe.stream([], stream=True)
        with pytest.raises(OptionError, match="beams"):
            pipe(make_image(), QUESTIONS[0], stream=True, num_beams=2)
        broken = pipe(make_image(), QUESTIONS[0], stream=True)
        assert "".join(broken)

        def fail(*_, **__):
            raise RuntimeError("no ink")

        pipe.model.text_encoder.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="no ink"):
            list(pipe(make_image(), QUESTIONS[0], stream=True))
        with pytest.raises(InputError, match="question"), pipe.image(make_image()):
            pass
    with ours(tiny_answering.vilt()) as pipe:
        with pytest.raises(OptionError, match="stream is for models that write"):
            pipe(make_image(), QUESTIONS[0], stream=True)
        with (
            pytest.raises(OptionError, match="keeps nothing of an input"),
            pipe.image({"image": make_image(), "question": "?"}),
        ):
            pass


# ---- what is wrong


def test_bad_inputs_among_good_ones():
    good = {"image": make_image(), "question": QUESTIONS[0]}
    bad = {
        "no-question": {"image": make_image()},
        "no-image": {"question": "what?"},
        "empty-text": {"image": make_image(), "question": " \n"},
        "not-text": {"image": make_image(), "question": 5},
        "missing-file": {"image": "nowhere.jpg", "question": "what?"},
        "zero-sized": {"image": np.zeros((0, 4, 3), np.uint8), "question": "what?"},
        "question-too-long": {"image": make_image(), "question": "owl " * 50},
        "too-narrow": {"image": make_image(1, 300), "question": "what?"},
    }
    inputs = [x for fault in bad.values() for x in (good, fault)] + [make_image()]
    with ours(tiny_answering.vilt(), batch_size=4) as pipe:
        want = pipe(good)
        returned = pipe(inputs, on_error="return")
        lazy = list(pipe.stream(iter(inputs), on_error="return"))
    assert [r.code for r in returned[1::2]] == list(bad)
    assert [r.code for r in lazy[1::2]] == list(bad)
    assert returned[-1].code == "no-question"
    for result in returned[:-1:2]:
        np.testing.assert_allclose(result.scores, want.scores, atol=PARITY)


def test_missing_inputs_fail_before_any_work():
    with ours(tiny_answering.vilt()) as pipe:
        with pytest.raises(OptionError, match="question missing"):
            pipe(image=make_image())
        with pytest.raises(OptionError, match="image missing"):
            pipe(question="what?")
        with pytest.raises(InputError, match="no question"):
            pipe(make_image())
        with pytest.raises(InputError, match="no question"):
            pipe("x.jpg")
        with pytest.raises(OptionError, match="both by position and by name"):
            pipe(make_image(), "what?", question="what?")


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("vilt", {"top_k": 0}, "top_k"),
        ("vilt", {"top_k": True}, "top_k"),
        ("vilt", {"truncation": "yes"}, "truncation"),
        ("vilt", {"max_new_tokens": 5}, "max_new_tokens is for models that write"),
        ("blip", {"max_new_tokens": 0}, "max_new_tokens"),
        ("blip", {"max_new_tokens": 300}, "less than 300"),
        ("blip", {"temperature": 0.5}, "do_sample"),
        ("blip", {"generate_kwargs": {"top_p": 3}}, "top_p"),
        ("llava", {"truncation": True}, "template"),
    ],
)
def test_bad_options_fail_before_any_work(kind, options, match):
    with ours(getattr(tiny_answering, kind)()) as pipe:
        with pytest.raises(OptionError, match=match):
            pipe("nowhere.jpg", "what?", **options)
        with pytest.raises(UnknownNameError, match="max_new_tokens"):
            pipe("nowhere.jpg", "what?", max_new_token=5)
        assert pipe.stats()["inputs"] == 0


def test_chat_models_refuse_what_would_break_their_prompt():
    with ours(tiny_answering.llava()) as pipe:
        results = pipe(make_image(), ["an <image> of what?", "owl " * 500], on_error="return", **SHORT)
    assert [result.code for result in results] == ["control-token", "question-too-long"]


def test_checkpoints_of_other_tasks_are_refused(tmp_path):
    with pytest.raises(TaskMismatchError, match=r"It fits: .*image-classification"):
        ours(tiny.folder("vit"))
    with pytest.raises(TaskMismatchError, match="It fits: question-answering"):
        ours(tiny_text.reader("bert"))
    model, processor, _ = reference_vqa.loaded(tiny_answering.llava())
    processor = transformers.LlavaProcessor(processor.image_processor, processor.tokenizer, patch_size=8)
    with pytest.raises(CheckpointError, match="chat template"):
        sensorium.pipeline("visual-question-answering", model, processor=processor)
    with pytest.raises(CheckpointError, match="processor="):
        sensorium.pipeline("visual-question-answering", model)


@pytest.mark.parametrize("kind", ["vilt", "blip", "llava"])
def test_a_loaded_model_with_its_processor(kind):
    folder = getattr(tiny_answering, kind)()
    model, processor, _ = reference_vqa.loaded(folder)
    options = {} if kind == "vilt" else SHORT
    with sensorium.pipeline(
        "visual-question-answering", model, processor=processor, device="cpu", compile=False
    ) as pipe:
        result = pipe(make_image(), QUESTIONS[0], **options)
    assert_same(result.to_dict(), reference_vqa.answer(folder, make_image(), QUESTIONS[0], **options))


def test_a_checkpoint_says_itself_that_it_answers_questions():
    for kind in ("vilt", "blip"):
        with sensorium.pipeline(model=getattr(tiny_answering, kind)(), device="cpu", compile=False) as pipe:
            assert pipe.task.name == "visual-question-answering"


@pytest.mark.parametrize("kind", ["vilt", "blip"])
def test_bfloat16_runs(kind):
    folder, inputs = getattr(tiny_answering, kind)(), asked()
    options = {"top_k": None} if kind == "vilt" else SHORT
    with ours(folder) as exact, ours(folder, dtype="bfloat16") as fast:
        a, b = exact(inputs, **options), fast(inputs, **options)
    for x, y in zip(a, b, strict=True):
        assert len(x) == len(y)
        if kind == "vilt":  # large random weights: trained ones drift less
            assert np.abs(np.sort(x.scores) - np.sort(y.scores)).max() < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_compiled_answers_are_the_same():
    inputs = asked()
    with ours(tiny_answering.vilt()) as eager, ours(tiny_answering.vilt(), compile=True, batch_size=2) as compiled:
        for a, b in zip(eager(inputs[:2]), compiled(inputs[:2]), strict=True):
            assert_same(b.to_dict(), a.to_dict(), 1e-4)


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_answering.vilt(), **settings),
    inputs=asked,
    bad=[
        {"image": "nowhere.jpg", "question": "what?"},
        {"image": make_image()},
        {"image": make_image(), "question": ""},
        {"image": make_image(), "question": "owl " * 50},
        make_image(),
        None,
    ],
    options=[{"top_k": 2}, {"top_k": None, "truncation": True}],
    opened=Opened(
        build=lambda **settings: ours(tiny_answering.blip(), **settings),
        raw=lambda: asked()[0],
        ask=lambda session, pipe: "".join(session.pieces(pipe.task.options(**SHORT))),
        call=lambda pipe: pipe(asked()[0], **SHORT).to_dict()[0]["answer"],
    ),
)
