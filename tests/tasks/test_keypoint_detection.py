"""keypoint-detection against Transformers' SuperPoint and its post-processing, on the same checkpoint, in float32."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sensorium
from sensorium.errors import CheckpointError, InputError, LimitError, OptionError, TaskMismatchError
from tests import tiny, tiny_keypoints
from tests.contract import Contract, assert_close
from tests.media import jpeg, make_image, make_images

PARITY = 2e-5  # float32 rounding of scores that a softmax of large logits gives


def ours(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("keypoint-detection", folder, **settings)


CONTRACT = Contract(
    build=lambda **settings: ours(tiny_keypoints.superpoint(), **settings),
    inputs=make_images,
    bad=["nowhere.jpg", None, np.zeros((0, 3, 3), np.uint8), b"no picture"],
    options=[{"threshold": 0.3}, {"max_keypoints": 7}, {"descriptors": False}, {"nms_radius": 2}],
)


@functools.cache
def reference(folder, **overrides):
    config = transformers.AutoConfig.from_pretrained(folder, **overrides)
    model = transformers.AutoModelForKeypointDetection.from_pretrained(folder, config=config).eval()
    return model, transformers.AutoImageProcessor.from_pretrained(folder)


def theirs(folder, images, **overrides):
    """What a careful user gets: the model and the processor's post-processing, in a loop."""
    model, processor = reference(folder, **overrides)
    found = []
    for image in images:
        with torch.no_grad():
            outputs = model(**processor(image, return_tensors="pt"))
        found += processor.post_process_keypoint_detection(outputs, [(image.height, image.width)])
    return found


def assert_same(result, expected):
    np.testing.assert_array_equal(np.trunc(result.xy), expected["keypoints"].numpy())  # which it rounds down
    np.testing.assert_allclose(result.scores, expected["scores"].numpy(), atol=PARITY, rtol=0)
    np.testing.assert_allclose(result.descriptors, expected["descriptors"].numpy(), atol=PARITY, rtol=0)


@pytest.mark.parametrize("do_grayscale", [False, True])
def test_same_answers_as_transformers(do_grayscale):
    folder, images = tiny_keypoints.superpoint(do_grayscale=do_grayscale), make_images()
    expected = theirs(folder, images)
    with ours(folder, batch_size=4) as pipe:
        together, alone = pipe(images), pipe(images[3])
    assert [len(result) for result in together] == [len(each["scores"]) for each in expected]
    assert min(len(result) for result in together) > 20
    for result, each in zip([*together, alone], [*expected, expected[3]], strict=True):
        assert_same(result, each)


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({"threshold": 0.4}, {"keypoint_threshold": 0.4}),
        ({"max_keypoints": 9}, {"max_keypoints": 9}),
        ({"max_keypoints": 0}, {"max_keypoints": 0}),
        ({"nms_radius": 1}, {"nms_radius": 1}),
        ({"nms_radius": 0, "max_keypoints": 200}, {"nms_radius": 0, "max_keypoints": 200}),
        ({"border_removal_distance": 0}, {"border_removal_distance": 0}),
        ({"border_removal_distance": 21}, {"border_removal_distance": 21}),
        ({"border_removal_distance": 350}, {"border_removal_distance": 350}),  # the far border counts only here
    ],
    ids=str,
)
def test_options_are_the_checkpoint_s_own_settings(options, config):
    folder, images = tiny_keypoints.superpoint(), make_images()[:3]
    with ours(folder, batch_size=3) as pipe:
        results = pipe(images, **options)
    for result, each in zip(results, theirs(folder, images, **config), strict=True):
        assert_same(result, each)


def test_settings_come_from_the_checkpoint():
    folder, images = tiny_keypoints.superpoint(max_keypoints=12, nms_radius=2), make_images()[:3]
    with ours(folder, batch_size=3) as pipe:
        results, everything = pipe(images), pipe(images, max_keypoints=-1)
    for result, each in zip(results, theirs(folder, images), strict=True):
        assert len(result) == 12
        assert_same(result, each)
    assert min(len(result) for result in everything) > 12


def test_pictures_are_not_resized_where_the_checkpoint_does_not(tmp_path):
    folder = tiny_keypoints.superpoint()
    model, _ = reference(folder)
    processor = transformers.SuperPointImageProcessor(do_resize=False)
    images = [make_image(70, 53, seed=1), make_image(40, 90, seed=2), make_image(70, 53, seed=3)]
    with sensorium.pipeline(
        "keypoint-detection", model, processor=processor, device="cpu", dtype="float32", compile=False
    ) as pipe:
        results = pipe(images)
        with pytest.raises(InputError, match="at least 8 px per side") as caught:
            pipe(make_image(7, 30))
    assert caught.value.code == "too-narrow"
    for image, result in zip(images, results, strict=True):
        with torch.no_grad():
            outputs = model(**processor(image, return_tensors="pt"))
        assert_same(result, processor.post_process_keypoint_detection(outputs, [(image.height, image.width)])[0])


def test_points_lie_on_the_original_picture():
    image = make_image(320, 96)
    with ours(tiny_keypoints.superpoint()) as pipe:
        result = pipe(image)
        fitted = pipe(image.resize((64, 48), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(result.xy, fitted.xy * [5, 2], atol=1e-4)
    assert result.xy.dtype == np.float32
    assert result.xy.max(axis=0)[0] > 200


def test_descriptors_can_be_left_out():
    with ours(tiny_keypoints.superpoint()) as pipe:
        without, with_them = pipe(make_image(), descriptors=False), pipe(make_image(), descriptors=True)
    assert without.descriptors is None
    assert with_them.descriptors.shape == (len(with_them), 16)
    np.testing.assert_allclose(np.linalg.norm(with_them.descriptors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(without.xy, with_them.xy)


def test_nothing_found_is_an_empty_result():
    blank = Image.new("RGB", (90, 70), (128, 128, 128))
    with ours(tiny_keypoints.superpoint(), batch_size=2) as pipe:
        assert len(theirs(tiny_keypoints.superpoint(), [blank], keypoint_threshold=1.0)[0]["scores"]) == 0
        for result in [pipe(blank, threshold=1.0), *pipe([blank, make_image()], threshold=1.0)]:
            assert len(result) == 0
            assert result.descriptors.shape == (0, 16)
            assert result.to_dict() == []
        blank_found, other = pipe([blank, make_image()])
    for result, each in zip(
        (blank_found, other), theirs(tiny_keypoints.superpoint(), [blank, make_image()]), strict=True
    ):
        assert_same(result, each)


def test_very_long_pictures():
    folder, images = tiny_keypoints.superpoint(), [Image.new("RGB", (1, 20_000), "red"), make_image(20_000, 1)]
    with ours(folder) as pipe:
        results = pipe(images)
    for result, each in zip(results, theirs(folder, images), strict=True):
        assert_same(result, each)


def test_every_form_of_a_picture():
    image = Image.open(__import__("io").BytesIO(jpeg()))
    with ours(tiny_keypoints.superpoint()) as pipe:
        forms = pipe([jpeg(), image, np.asarray(image), np.asarray(image).transpose(2, 0, 1)])
    for result in forms[1:]:
        assert result == forms[0] or np.abs(result.xy - forms[0].xy).max() < 1e-4


@pytest.mark.filterwarnings("ignore:.*recipe:UserWarning")
def test_checkpoints_of_other_tasks_are_refused():
    for folder, fits in (
        (tiny.folder("vit"), "image-classification"),
        (tiny_keypoints.superglue(), "keypoint-matching"),
    ):
        with pytest.raises(TaskMismatchError) as caught:
            ours(folder)
        assert fits in caught.value.fits
        assert fits in str(caught.value)
    with pytest.raises(TaskMismatchError, match="keypoint-detection"):
        sensorium.pipeline("image-classification", tiny_keypoints.superpoint(), device="cpu")
    assert sensorium.pipeline(model=tiny_keypoints.superpoint(), device="cpu").task.name == "keypoint-detection"


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 1.5},
        {"threshold": True},
        {"threshold": "high"},
        {"max_keypoints": -2},
        {"max_keypoints": 2.5},
        {"nms_radius": -1},
        {"border_removal_distance": True},
        {"descriptors": "yes"},
    ],
    ids=str,
)
def test_options_are_checked(options):
    with ours(tiny_keypoints.superpoint()) as pipe, pytest.raises(OptionError, match=next(iter(options))):
        pipe("nowhere.jpg", **options)


def test_bfloat16_finds_most_of_the_same_points():
    images = make_images()[:3]
    with ours(tiny_keypoints.superpoint()) as exact, ours(tiny_keypoints.superpoint(), dtype="bfloat16") as rounded:
        for a, b in zip(exact(images), rounded(images), strict=True):
            assert b.scores.dtype == np.float32
            near = np.abs(a.xy[:, None] - b.xy).max(-1).min(1) < 1.5 * max(images[a.index].size) / 64
            assert near.mean() > 0.7


class TestNamedPoints:
    """The heat-map head on a backbone."""

    LABELS = ("nose", "left eye", "right eye")

    def composite(self, architecture="convnext", **options):
        torch.manual_seed(0)
        backbone = sensorium.AutoBackbone.from_pretrained(tiny.folder(architecture))
        return sensorium.build_head(backbone, self.LABELS, task="keypoint-detection", **options)

    def pipe(self, composite, architecture="convnext", **settings):
        processor = sensorium.ImageProcessor.from_pretrained(tiny.folder(architecture))
        return sensorium.pipeline("keypoint-detection", composite, processor=processor, device="cpu", **settings)

    @pytest.mark.parametrize("architecture", ["convnext", "vit", "swin"])
    def test_saved_loaded_and_served(self, architecture, tmp_path):
        composite = self.composite(architecture).eval()
        composite.save_pretrained(tmp_path, sensorium.ImageProcessor.from_pretrained(tiny.folder(architecture)))
        with self.pipe(composite, architecture, compile=False) as first, ours(tmp_path, batch_size=3) as second:
            for a, b in zip(first(make_images()), second(make_images()), strict=True):
                assert_close(a.to_dict(), b.to_dict(), 1e-3)  # px: means over flat heat maps of random weights
                assert a.labels.tolist() == list(self.LABELS)
                assert a.descriptors is None
        assert sensorium.pipeline(model=tmp_path, device="cpu").task.name == "keypoint-detection"

    def test_it_learns_where_a_dot_is(self):
        """A few dozen steps bring the error from a third of the picture to a few px."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        from sensorium.tasks.heads.keypoints import draw_heat_maps

        torch.manual_seed(0)
        backbone = sensorium.AutoBackbone.from_pretrained(tiny.folder("resnet"), out_indices=[0])
        composite = sensorium.build_head(backbone, ["dot"], task="keypoint-detection", width=16)
        rng = np.random.default_rng(0)
        centres = rng.uniform(6, 26, (24, 2))
        y, x = np.mgrid[0:32, 0:32] + 0.5
        spots = np.exp(-((x - centres[:, :1, None]) ** 2 + (y - centres[:, 1:, None]) ** 2) / 8)
        images = [Image.fromarray(np.uint8(255 * np.repeat(spot[..., None], 3, -1))) for spot in spots]
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
        processor = sensorium.ImageProcessor.from_transformers(processor)
        pixels, wanted = processor(images)["pixel_values"], torch.tensor(centres / 32)[:, None]

        def error():
            settings = {"device": "cpu", "dtype": "float32", "compile": False}
            with sensorium.pipeline("keypoint-detection", composite.eval(), processor=processor, **settings) as pipe:
                larger = pipe([image.resize((64, 96)) for image in images])
            return np.mean([np.abs(r.xy[0] / [2, 3] - c).max() for r, c in zip(larger, centres, strict=True)])

        before = error()
        composite.train()
        optimizer = torch.optim.Adam(composite.parameters(), lr=0.01)
        for _ in range(60):
            logits = composite(pixels).logits
            loss = binary_cross_entropy_with_logits(logits, draw_heat_maps(wanted, size=logits.shape[-2:], sigma=1.0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert before > 4
        assert error() < 1.5

    def test_threshold_and_most(self):
        with self.pipe(self.composite(), compile=False) as pipe:
            everything = pipe(make_image())
            order = np.argsort(-everything.scores)
            between = float(everything.scores[order[:2]].mean())
            assert pipe(make_image(), threshold=between).labels.tolist() == [self.LABELS[order[0]]]
            assert pipe(make_image(), max_keypoints=2).labels.tolist() == [self.LABELS[i] for i in order[:2]]
            assert len(pipe(make_image(), max_keypoints=-1)) == 3
            assert len(pipe(make_image(), max_keypoints=0)) == 0

    def test_what_only_superpoint_has_is_refused(self):
        with self.pipe(self.composite()) as pipe:
            for options in ({"descriptors": True}, {"nms_radius": 3}, {"border_removal_distance": 0}):
                with pytest.raises(OptionError, match="SuperPoint"):
                    pipe(make_image(), **options)

    def test_bad_head_options(self):
        with pytest.raises(OptionError, match="width"):
            self.composite(width=0)
        with pytest.raises(sensorium.UnknownNameError, match="Did you mean 'width'"):
            self.composite(widht=3)

    def test_a_picture_that_would_be_enormous(self):
        with self.pipe(self.composite()) as pipe, pytest.raises(LimitError) as caught:
            pipe(Image.new("RGB", (1, 4_000_000)))
        assert caught.value.code == "too-elongated"

    @pytest.mark.filterwarnings("ignore:.*recipe:UserWarning")
    def test_a_processor_without_a_recipe_is_refused(self):
        delegated = sensorium.ImageProcessor.from_transformers(transformers.DonutImageProcessor())
        with pytest.raises(CheckpointError, match="brought back to the original picture"):
            sensorium.pipeline("keypoint-detection", self.composite(), processor=delegated, device="cpu")
