"""pose-estimation against Transformers' processors, models and post-processing, in float32."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sensorium
from sensorium.errors import CheckpointError, InputError, OptionError, TaskMismatchError, UnknownNameError
from sensorium.models.heat_maps import Blur, locate
from sensorium.models.vitpose import simple_head
from sensorium.results import Poses
from sensorium.tasks.pose.skeletons import skeleton_of
from tests import tiny_detection, tiny_pose
from tests.contract import Contract
from tests.media import make_image
from tests.versions import older

# The maps of tiny random models are rough: where the parabola through a peak is almost flat, its top is far away, and
# float32's rounding is as much larger; so points are compared to how far away they are. Trained peaks are round.
TOLERANCE = 2e-3

FLAT = older("transformers", "5.18")
"""It draws other random weights, with which the parabola through one of Sapiens' joints is almost flat."""

BOXES = [[3, 4, 40, 44], [-10, 2, 20.5, 47.25], [30, 10, 31, 60]]


def ours(name="vitpose", **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("pose-estimation", tiny_pose.folder(name), **settings)


def theirs(name, image, boxes, *, expert=0, swayed=0.0, **options):
    """What Transformers' processor, model and post-processing give for the people of a picture.

    The model's maps are changed by the share `swayed` at most: by how far joints move then, their rounding is known.
    """
    folder = tiny_pose.folder(name)
    model = transformers.AutoModelForPoseEstimation.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    rows = np.array(boxes, dtype=float)
    rows[:, 2:] -= rows[:, :2]
    inputs = processor(image, boxes=[rows.tolist()], return_tensors="pt")
    if "vitpose" in name:
        inputs["dataset_index"] = torch.full((len(rows),), expert)
    with torch.no_grad():
        outputs = model(**inputs)
    noise = torch.rand(outputs.heatmaps.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    outputs.heatmaps = outputs.heatmaps * (1 + swayed * noise)
    return processor.post_process_pose_estimation(outputs, boxes=[rows.tolist()], **options)[0]


def near(xy, expected, tolerance=TOLERANCE, swayed=None):
    """Whether points lie where they are expected, to their distance from the picture's corner.

    `swayed` is where they lie for slightly other maps: a point may be further away by some times what it moves then.
    """
    xy, expected = np.asarray(xy), np.asarray(expected)
    apart = np.linalg.norm(xy - expected, axis=-1)
    allowed = tolerance * np.maximum(1, np.linalg.norm(expected, axis=-1))
    if swayed is not None:
        allowed = allowed + 5 * np.linalg.norm(np.asarray(swayed) - expected, axis=-1)
    assert (apart <= allowed).all(), (xy, expected)


def close(a, b, tolerance=TOLERANCE):
    """Two `to_dict()`, or lists of them."""
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        if isinstance(one, list):
            close(one, other, tolerance)
            continue
        assert one.keys() == other.keys()
        assert one["box"] == pytest.approx(other["box"], rel=tolerance)
        assert [joint["label"] for joint in one["keypoints"]] == [joint["label"] for joint in other["keypoints"]]
        near(*([[joint["x"], joint["y"]] for joint in person["keypoints"]] for person in (one, other)), tolerance)
        scores = [[joint["score"] for joint in person["keypoints"]] for person in (one, other)]
        np.testing.assert_allclose(*scores, rtol=tolerance, atol=tolerance)


def people():
    """Four pictures of three sizes, with none to three people."""
    boxes = [BOXES, [[0, 0, 48, 64]], [], BOXES[:2]]
    sizes = [(64, 48), (48, 64), (40, 40), (33, 97)]
    images = [make_image(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    return [{"image": image, "boxes": own} for image, own in zip(images, boxes, strict=True)]


def bad():
    image = make_image()
    return [
        "nowhere.jpg",
        None,
        image,
        {"boxes": BOXES},
        {"image": image, "box": BOXES},
        {"image": "nowhere.jpg", "boxes": []},
        {"image": b"no picture", "boxes": BOXES},
        *({"image": image, "boxes": boxes} for boxes in ([[1, 2, 3]], [[[0, 0, 9, 9]]], "people", [[0, 0, 9, None]])),
        *({"image": image, "boxes": [boxes]} for boxes in ([5, 5, 5, 9], [9, 9, 5, 5], [70, 5, 80, 9], [5, 50, 9, 60])),
        *({"image": image, "boxes": [[0, 0, 9, far]]} for far in (np.nan, np.inf, 1e30)),
        {"image": image, "boxes": [[1, 1, 1 + 1e-6, 1 + 1e-6]]},
    ]


CONTRACT = Contract(
    build=ours,
    inputs=people,
    bad=bad(),
    options=[{"threshold": 0.9}, {"kernel_size": 3}],
    close=close,
    tolerance=TOLERANCE,
)


@pytest.mark.parametrize("name", tiny_pose.ARCHITECTURES)
def test_same_joints_as_transformers(name):
    inputs = [each for each in people() if len(each["boxes"])]
    with ours(name, batch_size=4) as pipe:
        results = pipe(inputs)
        for given, result in zip(inputs, results, strict=True):
            expected = theirs(name, given["image"], given["boxes"])
            swayed = theirs(name, given["image"], given["boxes"], swayed=1e-6) if FLAT else expected
            assert isinstance(result, Poses)
            assert len(result) == len(expected)
            for xy, scores, one, other in zip(result.xy, result.scores, expected, swayed, strict=True):
                near(xy, one["keypoints"], swayed=other["keypoints"])
                np.testing.assert_allclose(scores, one["scores"], atol=2e-5)
            np.testing.assert_array_equal(result.boxes, np.float32(given["boxes"]))
        assert pipe.stats()["batches"] == 2, "the six people of three pictures share batches of four"
    assert np.ptp(results[0].xy, axis=0).max() > 1, "the model has to tell people apart"


@pytest.mark.parametrize(("name", "kernel_size"), [("vitpose", 3), ("vitpose", 17), ("sapiens2", 5)])
def test_the_blur_and_the_threshold_are_the_reference_s(name, kernel_size):
    given = people()[0]
    expected = theirs(name, *given.values(), kernel_size=kernel_size, threshold=0.8)
    with ours(name) as pipe:
        result = pipe(given, kernel_size=kernel_size, threshold=0.8)
    assert 0 < result.given.sum() < result.given.size
    for at, (row, one) in enumerate(zip(result, expected, strict=True)):
        assert np.flatnonzero(result.given[at]).tolist() == one["labels"].tolist()
        found = [[joint["x"], joint["y"]] for joint in row["keypoints"]]
        near(found, one["keypoints"])


def test_each_expert_gives_its_own_joints():
    given = people()[0]
    with ours("vitpose-experts") as pipe:
        results = [pipe(given, dataset_index=expert) for expert in range(3)]
        close(pipe(given).to_dict(), results[0].to_dict())
        for expert, result in enumerate(results):
            for xy, one in zip(result.xy, theirs("vitpose-experts", *given.values(), expert=expert), strict=True):
                near(xy, one["keypoints"])
        assert len({result.scores.tobytes() for result in results}) == 3
        with pytest.raises(OptionError, match="from 0 to 2 for this model, got 3"):
            pipe(given, dataset_index=3)


def test_only_one_expert_runs():
    with ours("vitpose-experts") as pipe:
        ran = []
        for layer in pipe.model.backbone.encoder.layer:
            for number, expert in enumerate(layer.mlp.experts):
                expert.register_forward_hook(lambda *_, number=number: ran.append(number))
        pipe(people()[0], dataset_index=1)
    assert ran == [1, 1]


def test_no_layer_runs_behind_the_one_that_the_head_looks_at():
    with ours("vitpose-named") as pipe:
        first, second = pipe.model.backbone.encoder.layer
        ran = []
        first.attention.register_forward_hook(lambda *_: ran.append(1))
        second.attention.register_forward_hook(lambda *_: ran.append(2))
        result = pipe(people()[0])
    assert ran == [1]
    assert result.labels.tolist() == [f"joint {i}" for i in range(6)]
    assert result.edges.tolist() == [[0, 1], [1, 5]]


def test_a_peak_of_nothing_is_the_reference_s_and_depends_on_no_neighbour():
    maps = torch.zeros(1, 2, 8, 6)
    maps[0, 0, 3, 2] = 1
    alone, scores = locate(maps, Blur(0.8, 5, mirrored=True, keeps_peak=False))
    np.testing.assert_allclose(alone[0], [[2, 3], [-1, -1]], atol=1e-4)  # a logarithm's rounding
    assert scores.tolist() == [[1, 0]]
    maps[0, 0, 7, 5] = 9  # the last px of the map before: where the reference looks, too
    assert locate(maps, Blur(0.8, 5, mirrored=True, keeps_peak=False))[0][0, 1].tolist() == [-1, -1]


def test_pictures_one_pixel_wide():
    boxes = [[0, 0, 1, 90]]
    narrow, good = make_image(1, 90), people()[0]
    with ours() as pipe:
        result = pipe(narrow, boxes=boxes)
    expected = theirs("vitpose", narrow, boxes)[0]["keypoints"]
    near(result.xy[0], expected)
    with ours("sapiens2") as pipe:
        failed, found = pipe([{"image": narrow, "boxes": boxes}, good], on_error="return")
    assert failed.code == "too-narrow"
    assert len(found) == 3


def test_inputs_by_name_side_by_side_and_whole_images():
    images = [make_image(64, 48, 1), make_image(40, 40, 2)]
    with ours() as pipe:
        first, second = pipe(image=images, boxes=[BOXES, np.zeros((0, 4))])
        close(first.to_dict(), pipe(images[0], BOXES).to_dict())
        assert len(second) == 0
        assert second.to_dict() == []
        assert second.labels.tolist() == first.labels.tolist()
        close(pipe(images[0], boxes=BOXES[0]).to_dict(), first[:1].to_dict())
        whole = pipe(images[0], whole_image=True)
        assert whole.boxes.tolist() == [[0, 0, 64, 48]]
        close(whole.to_dict(), pipe(images[0], boxes=[[0, 0, 64, 48]]).to_dict())
        with pytest.raises(InputError, match="whole_image=True") as caught:
            pipe(images[0])
        assert caught.value.code == "no-boxes"
        with pytest.raises(OptionError, match="a list of the same length"):
            pipe(image=images, boxes=[BOXES])


def test_options_that_the_model_cannot_serve():
    with ours() as pipe:
        for options, message in [
            ({"kernel_size": 4}, "an odd number of px, got 4"),
            ({"dataset_index": 0}, "has none here"),
            ({"detector_threshold": 0.3}, "detector_threshold is for a detector"),
            ({"detector_label": "dog"}, "detector_label is for a detector"),
        ]:
            with pytest.raises(OptionError, match=message):
                pipe("nowhere.jpg", **options)
    with ours("sapiens2") as pipe, pytest.raises(OptionError, match="at least 3 for Sapiens 2"):
        pipe("nowhere.jpg", kernel_size=1)


# --- people that a detector finds


def detector(name="detr", **settings):
    settings = {"device": "cpu", "dtype": "float32", "compile": False, **settings}
    return sensorium.pipeline("object-detection", tiny_detection.folder(name), **settings)


def class_of(pipe, images):
    """A class that the tiny detector finds on each of these pictures, and on some more than once."""
    found = pipe(images, threshold=0.0)
    common = set.intersection(*({str(label) for label in each.labels} for each in found))
    return max(sorted(common), key=lambda label: sum((each.labels == label).sum() for each in found))


def test_a_detector_s_boxes_of_one_class_are_looked_at():
    images = [make_image(96, 64, 1), make_image(64, 80, 2), make_image(70, 70, 3)]
    with detector() as find:
        label = class_of(find, images)
        found = find(images, threshold=0.0)
        with ours(detector=find) as pipe, ours() as plain:
            results = pipe(images, detector_label=label.upper(), detector_threshold=0.0)
            for image, result, each in zip(images, results, found, strict=True):
                mine = each[each.labels == label]
                assert 0 < len(mine) == len(result)
                np.testing.assert_allclose(result.boxes, mine.xyxy, rtol=1e-5, atol=1e-4)
                np.testing.assert_allclose(result.box_scores, mine.scores, rtol=1e-5)
                close(
                    [{k: v for k, v in row.items() if k != "score"} for row in result.to_dict()],
                    plain(image, boxes=mine.xyxy).to_dict(),
                )
            assert pipe.stats()["upstream"]["inputs"] == 3
            alone = pipe.submit(images[0], detector_label=label, detector_threshold=0.0).result()
            close(alone.to_dict(), results[0].to_dict())


def test_a_detector_by_name_and_what_comes_of_bad_pictures(tmp_path):
    images = [make_image(96, 64, 1), make_image(64, 80, 2)]
    images[0].save(tmp_path / "a.png")
    stored = io.BytesIO()
    images[1].save(stored, "PNG")
    stored.seek(0)
    with detector() as find, ours(detector=find) as whole:
        label = class_of(find, images)
        expected = whole(images, detector_label=label, detector_threshold=0.0)
    folder = tiny_detection.folder("detr")
    with ours(detector=folder) as pipe:
        options = {"detector_label": label, "detector_threshold": 0.0, "on_error": "return"}
        first, lost, second, none = pipe([tmp_path / "a.png", "nowhere.jpg", stored, b"no picture"], **options)
        assert isinstance(lost, InputError)
        assert (lost.code, lost.index) == ("missing-file", 1)
        assert isinstance(none, InputError)
        close([first.to_dict(), second.to_dict()], [each.to_dict() for each in expected])
        assert first.source == str(tmp_path / "a.png")
        nobody = pipe(images[0], detector_label=label, detector_threshold=1.0)
        assert len(nobody) == 0
        assert nobody.plot(images[0]).size == images[0].size
        with pytest.raises(UnknownNameError, match="Name one with detector_label"):
            pipe(images[0])  # the tiny detector knows no "person"
        with pytest.raises(UnknownNameError, match="boxes"):
            pipe(images[0], boxes=BOXES, detector_label=label)
        with pytest.raises(OptionError, match="the detector finds some"):
            pipe(images[0], whole_image=True, detector_label=label)


def test_boxes_of_a_detector_that_lie_off_the_picture_are_left_out(monkeypatch):
    image = make_image(96, 64, 1)
    boxes = np.array([[5, 5, 50, 60], [200, 5, 230, 60], [30, 30, 30, 60], [np.nan, 0, 9, 9]], np.float32)
    with detector() as find, ours(detector=find) as pipe:
        made = sensorium.Detections(boxes, np.ones(4), ["a"] * 4)
        monkeypatch.setattr(find.task, "merge", lambda parts, options, index: made)
        monkeypatch.setattr(find.task.model.config, "id2label", {0: "a"})
        result = pipe(image, detector_label="a")
    assert result.boxes.tolist() == [[5, 5, 50, 60]]


def test_what_is_no_detector():
    with ours() as pipe, pytest.raises(OptionError, match="got one for pose-estimation"):
        ours(detector=pipe)
    with pytest.raises(OptionError, match="got int"):
        ours(detector=7)
    with pytest.raises(OptionError, match="detector is for pose-estimation"):
        sensorium.pipeline("object-detection", tiny_detection.folder("detr"), detector=tiny_detection.folder("detr"))


# --- checkpoints


def test_a_checkpoint_with_another_s_processor_is_refused():
    with pytest.raises(CheckpointError, match="a VitPoseImageProcessor that cuts people out"):
        ours(processor=transformers.ViTImageProcessor())


def test_edges_that_are_none():
    config = transformers.PretrainedConfig(num_labels=3, edges=[[0, 3]])
    with pytest.raises(CheckpointError, match="pairs of joints from 0 to 2"):
        skeleton_of(config, 3)


def test_other_models_are_refused():
    with pytest.raises(TaskMismatchError):
        sensorium.pipeline("pose-estimation", tiny_detection.folder("detr"))


def test_a_loaded_model_with_its_processor():
    folder = tiny_pose.folder("vitpose")
    model = transformers.AutoModelForPoseEstimation.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with sensorium.pipeline(model=model, processor=processor, device="cpu", dtype="float32") as pipe, ours() as plain:
        assert pipe.task.name == "pose-estimation"
        close(pipe(people()[0]).to_dict(), plain(people()[0]).to_dict())


def test_pictures_of_floats_are_cut_out_in_floats():
    image = np.random.default_rng(0).random((48, 64, 3), dtype=np.float32)
    with ours() as pipe:
        result = pipe(image, boxes=BOXES[:1])
        rounded = pipe(Image.fromarray((image * 255).round().astype(np.uint8)), boxes=BOXES[:1])
    np.testing.assert_allclose(result.scores, rounded.scores, atol=0.05)
    assert not np.array_equal(result.scores, rounded.scores)


def test_the_simple_head_s_kernels_may_come_first():
    model = transformers.AutoModelForPoseEstimation.from_pretrained(tiny_pose.folder("vitpose"))
    features = torch.randn(2, 24, 8, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(simple_head(model.head, features), model.head(features), rtol=0, atol=1e-4)
