"""image-classification against Transformers' pipeline, on the same checkpoint, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import transformers

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError
from tests import tiny
from tests.contract import Contract, assert_close
from tests.media import jpeg, make_image, make_images
from tests.versions import older

PARITY = 1e-5  # float32 rounding of sums of a few thousand products, on probabilities

WRONG_REGRESSION = pytest.mark.skipif(
    older("transformers", "5.23"), reason="its pipeline takes a regression's number for the logit of a class"
)


def ours(folder, **settings):
    return sensorium.pipeline(
        "image-classification", folder, **{"device": "cpu", "dtype": "float32", "compile": False, **settings}
    )


def theirs(folder):
    return transformers.pipeline("image-classification", model=str(folder), device="cpu")


def assert_same(mine, reference, tolerance=PARITY):
    assert isinstance(mine, list)
    assert [set(row) for row in mine] == [{"label", "score"}] * len(reference)
    assert [row["label"] for row in mine] == [row["label"] for row in reference]
    for a, b in zip(mine, reference, strict=True):
        assert type(a["score"]) is float
        assert a["score"] == pytest.approx(b["score"], abs=tolerance)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:.*recipe:UserWarning")
def test_same_answers_as_transformers(architecture):
    folder = tiny.folder(architecture)
    inputs = make_images()
    reference = theirs(folder)(inputs, top_k=7)
    with ours(folder, batch_size=4) as pipe:
        assert pipe.task.name == "image-classification"
        together = pipe(inputs, top_k=7)
        alone = pipe(inputs[2], top_k=7)
    for result, expected in zip(together, reference, strict=True):
        assert_same(result.to_dict(), expected)
    assert_same(alone.to_dict(), reference[2])


TIMM = [
    "resnet10t",
    "mobilenetv3_small_050",
    "convnext_atto",
    "levit_128s",
    "regnetx_002",
    "ghostnet_050",
    "efficientvit_b0",
    "lcnet_050",
]


@pytest.mark.parametrize("architecture", TIMM)
def test_same_answers_as_timm(architecture, tmp_path):
    from PIL import Image

    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False, num_classes=11).eval()
    config = {"num_classes": 11, "label_names": [f"kind {i}" for i in range(11)]}
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=model.pretrained_cfg))
    timm.models.save_for_hf(model, tmp_path, model_config=config, safe_serialization=True)
    inputs = make_images()
    with torch.no_grad():
        logits = torch.cat([model(transform(image)[None]) for image in inputs])
    with ours(tmp_path) as pipe:
        results = pipe(inputs, top_k=None, function_to_apply="none")
        loaded = sensorium.pipeline("image-classification", model, device="cpu", compile=False)(inputs[0], top_k=None)
    assert isinstance(inputs[0], Image.Image)
    for result, expected in zip(results, logits, strict=True):
        got = torch.empty(11)
        got[torch.from_numpy(result.ids)] = torch.from_numpy(result.scores)
        torch.testing.assert_close(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)
    assert len(loaded) == 11
    assert set(results[0].labels) == {f"kind {i}" for i in range(11)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": 500},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none"},
        {"function_to_apply": "softmax", "top_k": 2},
        {"function_to_apply": "SOFTMAX"},
    ],
)
@pytest.mark.parametrize("call", ["one", "list", "path", "bytes"])
def test_drop_in(options, call, tmp_path):
    """The same call gives the same labels, scores and schema."""
    folder = tiny.folder("vit")
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg())
    given = {"one": make_image(), "list": make_images(), "path": str(path), "bytes": str(path)}[call]
    expected = theirs(folder)(given, **options)
    with ours(folder) as pipe:
        got = pipe(path.read_bytes() if call == "bytes" else given, **options)
    if call == "list":
        for mine, reference in zip(got, expected, strict=True):
            assert_same(mine.to_dict(), reference)
            assert list(mine) == mine.to_dict()
    else:
        assert_same(got.to_dict(), expected)
        assert got[0]["label"] == expected[0]["label"]


@pytest.mark.parametrize(
    ("problem_type", "num_labels"),
    [
        ("multi_label_classification", 7),
        pytest.param("regression", 1, marks=WRONG_REGRESSION),
        (None, 1),
        ("single_label_classification", 7),
    ],
)
def test_the_config_chooses_the_function(problem_type, num_labels):
    folder = tiny.folder("vit", num_labels=num_labels, problem_type=problem_type)
    expected = theirs(folder)(make_image())
    with ours(folder) as pipe:
        assert_same(pipe(make_image()).to_dict(), expected)


def test_top_k_none_gives_every_label():
    with ours(tiny.folder("vit")) as pipe:
        result = pipe(make_image(), top_k=None)
    assert len(result) == 7
    assert result.scores.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(result.scores) <= 0).all()


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 2.5}, {"function_to_apply": "relu"}])
def test_bad_options_fail_before_any_work(options):
    with ours(tiny.folder("vit")) as pipe:
        with pytest.raises(OptionError, match=next(iter(options))):
            pipe("nowhere.jpg", **options)
        assert pipe.stats()["inputs"] == 0


def test_every_form_of_a_picture_gives_the_same(tmp_path):
    image = make_image()
    array = np.asarray(image)
    image.save(tmp_path / "x.png")
    forms = [
        image,
        array,
        array.transpose(2, 0, 1).copy(),
        torch.from_numpy(array.copy()),
        tmp_path / "x.png",
        str(tmp_path / "x.png"),
        (tmp_path / "x.png").read_bytes(),
        array.astype(np.float32) / 255,
    ]
    with ours(tiny.folder("vit")) as pipe:
        results = pipe(forms)
        batch = pipe(np.stack([array, array]))
        with (tmp_path / "x.png").open("rb") as file:
            results.append(pipe(file))
    for result in [*results, *batch]:
        # a float array is resized without rounding to bytes between
        np.testing.assert_allclose(result.scores, results[0].scores, atol=2e-3)
        assert result.labels.tolist() == results[0].labels.tolist()


def test_neighbours_do_not_change_a_result():
    inputs = make_images()
    with ours(tiny.folder("convnext"), batch_size=3) as pipe:
        alone = [pipe(image) for image in inputs]
        together = pipe(inputs)
        backwards = pipe(inputs[::-1])[::-1]
    for a, b, c in zip(alone, together, backwards, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
        np.testing.assert_allclose(a.scores, c.scores, atol=1e-6)


@pytest.mark.parametrize("architecture", ["vit", "resnet", "convnext", "swin"])
def test_bfloat16_drifts_less_than_promised(architecture):
    folder, inputs = tiny.folder(architecture), make_images()
    with ours(folder) as exact, ours(folder, dtype="bfloat16") as fast:
        a, b = exact(inputs, top_k=None), fast(inputs, top_k=None)
    for x, y in zip(a, b, strict=True):
        want, got = np.zeros(7), np.zeros(7)
        want[x.ids], got[y.ids] = x.scores, y.scores
        np.testing.assert_allclose(got, want, atol=2e-2)


def test_a_loaded_model_with_its_processor():
    folder = tiny.folder("swin")
    model = transformers.AutoModelForImageClassification.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    expected = theirs(folder)(make_image())
    with sensorium.pipeline(model=model, processor=processor, device="cpu", compile=False) as pipe:
        assert pipe.task.name == "image-classification"
        assert pipe.placement.dtype == torch.float32
        assert_same(pipe(make_image()).to_dict(), expected)
    with pytest.raises(CheckpointError, match="processor="):
        sensorium.pipeline("image-classification", model)
    with pytest.raises(OptionError, match="revision"):
        sensorium.pipeline("image-classification", model, processor=processor, revision="main")


def test_a_checkpoint_without_a_classifier_is_refused_and_told_what_it_fits():
    with pytest.raises(TaskMismatchError, match="It fits: image-feature-extraction") as caught:
        ours(tiny.folder("vit", bare=True))
    assert caught.value.fits == ["image-feature-extraction"]


def test_bad_inputs_among_good_ones(tmp_path):
    good = tmp_path / "good.jpg"
    good.write_bytes(jpeg())
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "cut.jpg").write_bytes(jpeg()[:700])
    bad = {
        "missing-file": tmp_path / "nowhere.jpg",
        "is-a-directory": tmp_path,
        "empty-file": tmp_path / "empty.jpg",
        "not-a-picture": tmp_path / "text.jpg",
        "truncated": tmp_path / "cut.jpg",
        "zero-sized": np.zeros((0, 4, 3), np.uint8),
        "not-finite": np.full((8, 8, 3), np.nan, np.float32),
        "bad-channels": np.zeros((8, 8, 5), np.uint8),
        "unsupported-type": None,
    }
    inputs = [x for fault in bad.values() for x in (good, fault)] + [good]
    with ours(tiny.folder("vit"), batch_size=4) as pipe:
        want = pipe(good)
        returned = pipe(inputs, on_error="return")
        skipped = pipe(inputs, on_error="skip")
    assert [r.code for r in returned[1::2]] == list(bad)
    assert [r.index for r in returned[1::2]] == list(range(1, len(inputs), 2))
    assert all(isinstance(r, InputError) and r.source for r in returned[1::2])
    assert [r.index for r in skipped] == list(range(0, len(inputs), 2))
    for result in [*returned[::2], *skipped]:
        assert_close(result.to_dict(), want.to_dict())


CONTRACT = Contract(
    build=lambda **settings: ours(tiny.folder("vit"), **settings),
    inputs=make_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    options=[{"top_k": 2}, {"function_to_apply": "none", "top_k": None}],
)


def test_an_array_of_several_pictures_counts_as_these_in_a_stream_too():
    batch = np.stack([np.asarray(make_image(48, 40, seed)) for seed in range(3)])
    rows = [batch, make_image(), torch.from_numpy(batch).permute(0, 3, 1, 2)]
    with ours(tiny.folder("vit")) as pipe:
        expected = pipe(rows)
        assert [result.index for result in expected] == list(range(7))
        for inputs in (rows, iter(rows), (row for row in rows)):
            streamed = list(pipe.stream(inputs))
            assert [result.index for result in streamed] == list(range(7))
            assert_close([result.to_dict() for result in streamed], [result.to_dict() for result in expected])
        assert len(list(pipe(row for row in rows))) == 7
