"""Results in other tools' forms: each read by the tool itself where it is installed with the tests, and back."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as their_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sensorium.errors import InputError
from sensorium.results import CocoFile, Detections, Masks, Segments, rle, write_coco
from sensorium.results.exporting.filling import filled
from sensorium.results.exporting.label_studio import brush
from sensorium.results.exporting.polygons import outlines, rings, simplified

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it has no OpenCV
    import supervision

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools' own

SIZE = (30, 40)
NAMES = {3: "cat", 7: "猫"}


def blobs(number, size=SIZE, seed=0):
    """Masks of every kind: with holes, in parts, of px that touch at corners, and at the picture's edges."""
    rng = np.random.default_rng(seed)
    made = rng.random((number, *size)) < rng.choice([0.2, 0.5, 0.8], (number, 1, 1))
    made[0] = False
    made[0, 5:20, 10:30], made[0, 9:12, 14:20], made[0, 10, 15] = True, False, True
    return made


def detections(**more):
    boxes = [[1.25, 2, 11.5, 12.75], [-3, 20, 15, 33], [20, 5, 39, 8.1]]
    return Detections(boxes, [0.9, 0.5, 0.25], ["cat", "猫", "cat"], [3, 7, 3], **{"size": SIZE, **more})


def segments():
    return Segments.from_masks(blobs(3), ["cat", "猫", "cat"], [0.9, 0.5, 0.25], [3, 7, 3])


def masks():
    return Masks(blobs(4), [0.9, 0.5, 0.25, 0.125])


def decode(counts):
    return their_masks.decode(counts).astype(bool)


def loaded(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def average_precision(truth, found, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated = COCOeval(truth, truth.loadRes(found), kind)
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated.stats[0]


@pytest.mark.parametrize("seed", range(40))
def test_outlines_filled_by_pycocotools_are_the_mask(seed):
    rng = np.random.default_rng(seed)
    height, width = map(int, rng.integers(1, 40, 2))
    mask = rng.random((height, width)) < rng.choice([0.2, 0.5, 0.8])
    polygons = outlines(rle.runs(mask), mask.shape)
    assert sum(area(p.outline) + sum(map(area, p.holes)) for p in polygons) == mask.sum()
    assert all(area(p.outline) > 0 and all(area(hole) < 0 for hole in p.holes) for p in polygons)
    flat = [ring.ravel().tolist() for ring in rings(polygons)]
    if not flat:
        assert not mask.any()
        return
    np.testing.assert_array_equal(decode(their_masks.merge(their_masks.frPyObjects(flat, height, width))), mask)
    np.testing.assert_array_equal(rle.fill(filled(flat, mask.shape), mask.shape), mask)
    for polygon in polygons:  # a hole lies in its own polygon: alone, it has no px that the mask has not
        (ring,) = rings([polygon])
        assert not (rle.fill(filled([ring.ravel()], mask.shape), mask.shape) & ~mask).any()


def area(ring):
    x, y = ring.T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


@pytest.mark.parametrize("seed", range(60))
def test_any_polygons_are_filled_as_pycocotools_fills_them(seed):
    rng = np.random.default_rng(seed)
    height, width = map(int, rng.integers(1, 60, 2))
    several = [rng.normal(0.5, 0.6, (rng.integers(3, 12), 2)) * [width, height] for _ in range(rng.integers(1, 4))]
    flat = [ring.ravel().tolist() for ring in several]
    theirs = decode(their_masks.merge(their_masks.frPyObjects(flat, height, width)))
    np.testing.assert_array_equal(rle.fill(filled(flat, (height, width)), (height, width)), theirs)


def test_a_smoothed_outline_stays_near_and_has_fewer_corners():
    y, x = np.mgrid[:200, :200]
    disc = (x - 90) ** 2 + (y - 100) ** 2 < 80**2
    (exact,), (smooth,) = (outlines(rle.runs(disc), disc.shape, tolerance_px=t) for t in (0, 1))
    assert len(smooth.outline) < len(exact.outline) / 8
    drawn = rle.fill(filled([smooth.outline.ravel()], disc.shape), disc.shape)
    assert (drawn & disc).sum() / (drawn | disc).sum() > 0.98
    line = np.array([[0.0, 0], [5, 0], [9, 0], [9, 1], [0, 1]])
    assert len(simplified(line, 50)) == 3  # never less than an area


def test_a_result_evaluated_against_its_own_file_is_perfect(tmp_path):
    for result, kind in ((detections(), "bbox"), (segments(), "segm"), (masks(), "segm")):
        path = tmp_path / f"{type(result).__name__}.coco.json"
        write_coco(path, [result, result[:1]], names=["a.jpg", "猫.jpg"])
        truth = loaded(path)
        assert truth.getImgIds() == [1, 2]
        assert [image["file_name"] for image in truth.loadImgs([1, 2])] == ["a.jpg", "猫.jpg"]
        found = result.to_coco(image_id=1) + result[:1].to_coco(image_id=2)
        assert average_precision(truth, found, kind) == pytest.approx(1)
        worse = [{**row, "category_id": 99} for row in found]
        assert average_precision(truth, worse, kind) <= 0


@pytest.mark.parametrize("shapes", ["rle", "polygons"])
def test_masks_come_back_from_a_file(tmp_path, shapes):
    for result in (segments(), masks()):
        with CocoFile(tmp_path / "x.json", shapes=shapes) as file:
            assert file.add(result, "a.jpg") == 1
        truth = loaded(tmp_path / "x.json")
        rows = truth.loadAnns(truth.getAnnIds(imgIds=1))
        theirs = [decode(truth.annToRLE(row)) for row in rows]
        np.testing.assert_array_equal(theirs, result.masks)
        names = {"categories": truth.dataset["categories"]} if isinstance(result, Segments) else {}
        back = type(result).from_coco(rows, size=SIZE, **names)
        assert back == result
        np.testing.assert_array_equal(back._named()[1], result._named()[1])


def test_boxes_come_back_exactly():
    result = detections()
    rows = json.loads(json.dumps(result.to_coco(image_id=4, first_id=9)))
    assert [row["id"] for row in rows] == [9, 10, 11]
    assert rows[0]["bbox"] == [1.25, 2, 10.25, 10.75]
    assert rows[0]["area"] == 10.25 * 10.75
    assert (rows[0]["image_id"], rows[0]["category_id"], rows[0]["iscrowd"]) == (4, 3, 0)
    back = Detections.from_coco(rows, categories=NAMES, size=SIZE)
    assert back == result
    assert back.ids.tolist() == [3, 7, 3]
    assert Detections.from_coco([{"bbox": [0, 0, 1, 1], "category_id": 3}]).labels.tolist() == ["3"]
    assert len(Detections.from_coco([])) == 0
    assert Segments.from_coco([], size=SIZE).masks.shape == (0, *SIZE)


def test_a_map_of_segments_goes_out_and_comes_back_as_masks():
    values = np.zeros(SIZE, np.uint8)
    values[3:9, 4:30], values[20:, :7] = 3, 7
    semantic = Segments(values, [3, 7, 9], ["cat", "猫", "dog"])  # the last has no px
    rows = semantic.to_coco()
    assert "score" not in rows[0]
    assert [row["area"] for row in rows] == [156, 70, 0]
    assert rows[0]["bbox"] == [4, 3, 26, 6]
    back = Segments.from_coco(rows, categories={**NAMES, 9: "dog"})
    assert back == semantic
    assert back.scores is None
    assert [row["category_id"] for row in semantic.to_coco(shapes="polygons")] == [3, 7]


def test_classes_are_numbered_by_name_where_they_are_told():
    told = [{"id": 0, "name": "猫", "supercategory": "animal"}, {"id": 90, "name": "cat"}]
    assert [row["category_id"] for row in detections().to_coco(categories=told)] == [90, 0, 90]
    assert [row["category_id"] for row in detections().to_coco(categories={3: "cat", 1: "cat", 7: "猫"})] == [3, 7, 3]
    with pytest.raises(ValueError, match=r"'猫' is none of the categories that were given: cat"):
        detections().to_coco(categories={3: "cat"})
    unnumbered = Detections([[0, 0, 1, 1]] * 2, [1, 1], ["a", "b"], size=SIZE)
    with pytest.raises(ValueError, match=r"by name only, 'a' among them; pass categories="):
        unnumbered.to_coco()
    with pytest.raises(ValueError, match=r'categories is \{0: "cat", …\}'):
        detections().to_coco(categories=["cat"])
    with pytest.raises(ValueError, match="number 3 twice"):
        detections().to_coco(categories=[{"id": 3, "name": "a"}, {"id": 3, "name": "b"}])


def test_a_file_numbers_classes_that_have_none_and_refuses_a_number_for_two(tmp_path):
    unnumbered = [Detections([[0, 0, 1, 1]], [1], [name], size=SIZE) for name in "bab"]
    write_coco(tmp_path / "x.json", unnumbered, names="123")
    file = json.loads((tmp_path / "x.json").read_text())
    assert [row["category_id"] for row in file["annotations"]] == [1, 2, 1]
    assert [row["id"] for row in file["annotations"]] == [1, 2, 3]
    assert file["categories"] == [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}]
    two = [Detections([[0, 0, 1, 1]], [1], [name], [0], size=SIZE) for name in "ab"]
    with pytest.raises(ValueError, match="class 0 is 'b' in one result and 'a' in another"):
        write_coco(tmp_path / "x.json", two, names="12")
    assert json.loads((tmp_path / "x.json").read_text()) == file  # what was there before stays
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_file_of_a_stream_leaves_out_what_failed(tmp_path):
    outcomes = [detections(), InputError("no", code="missing-file"), None, detections(size=None)]
    sizes, names = [SIZE, None, None, SIZE], ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    write_coco(tmp_path / "x.json", iter(outcomes), names=iter(names), sizes=iter(sizes))
    file = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert [image["file_name"] for image in file["images"]] == ["a.jpg", "d.jpg"]
    assert file["images"][0] == {"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}
    assert [row["image_id"] for row in file["annotations"]] == [1, 1, 1, 2, 2, 2]
    write_coco(tmp_path / "x.json", [])
    assert loaded(tmp_path / "x.json").getImgIds() == []
    with pytest.raises(ValueError, match="there are more results"):
        write_coco(tmp_path / "x.json", outcomes, names=["a.jpg"])


def test_what_a_file_cannot_take(tmp_path):
    with CocoFile(tmp_path / "x.json") as file:
        with pytest.raises(ValueError, match=r"does not know its picture's size: pass size="):
            file.add(detections(size=None), "a.jpg")
        with pytest.raises(ValueError, match="picture has no path: name it"):
            file.add(detections())
        with pytest.raises(ValueError, match=r"got size=\(1, 2\)"):
            file.add(detections(), "a.jpg", size=(1, 2))
        with pytest.raises(TypeError, match="got list"):
            file.add([], "a.jpg")
        file.add(detections(), "a.jpg", image_id=139)
        with pytest.raises(ValueError, match="image_id 139 is that of another"):
            file.add(detections(), "a.jpg", image_id=139)
        with pytest.raises(ValueError, match="either all pictures"):
            file.add(detections(), "a.jpg")
    with pytest.raises(ValueError, match="within its block"):
        file.add(detections(), "a.jpg")
    assert loaded(tmp_path / "x.json").getImgIds() == [139]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"category_id": 1}, '"bbox": [left, top, width, height]'),
        ({"category_id": True, "bbox": [1, 2, 3, 4]}, '"category_id"'),
        ({"category_id": 1, "bbox": [1, 2, float("nan"), 4]}, '"bbox": [left, top, width, height]'),
        ({"bbox": [1, 2, 3, 4]}, '"category_id"'),
        ({"bbox": [1, 2, 3, 4], "category_id": 1, "score": "high"}, "score is a number"),
        ({"bbox": [1, 2, 3, 4], "category_id": 1, "score": 1e300}, "score is a number"),
        ({"bbox": [1, 2, 3, 1e300], "category_id": 1}, '"bbox": [left, top, width, height]'),
        ({"bbox": [1, 2, 3, 4], "category_id": 2**63}, '"category_id"'),
        ("row", "an annotation is"),
    ],
)
def test_annotations_that_are_none(row, told):
    with pytest.raises(ValueError) as caught:
        Detections.from_coco([row])
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (None, "RLE or polygons"),
        ([], "RLE or polygons"),
        ([[1, 2, 3, 4]], "three corners at least"),
        ([[1, 2, 3, 4, 5, "x"]], "a list of numbers"),
        ([[0, 0, 1e300, 5, 5, 5]], "px away"),
        ([[0, 0, 3e3, 0, 0, 3e3]], "px around"),
        ({"size": [30, 41], "counts": [0]}, "whose size"),
        ({"size": [30, 40], "counts": [5]}, "do not fill"),
        ({"size": ["a", 40], "counts": [5]}, "two whole numbers"),
        ({"size": [[1], 40], "counts": [5]}, "two whole numbers"),
        ({"size": [30], "counts": [5]}, "two whole numbers"),
        ({"size": None, "counts": [5]}, "two whole numbers"),
    ],
)
def test_masks_that_are_none(mask, told):
    with pytest.raises(ValueError) as caught:
        Masks.from_coco([{"category_id": 1, "segmentation": mask}], size=SIZE)
    assert told in str(caught.value)


def test_annotations_of_several_pictures_are_refused():
    rows = detections().to_coco(image_id=1) + detections().to_coco(image_id=2)
    with pytest.raises(ValueError, match="one picture are expected, got image_id 1 and 2"):
        Detections.from_coco(rows)
    with pytest.raises(ValueError, match="a list of"):
        Detections.from_coco({"annotations": rows})
    with pytest.raises(ValueError, match="categories has no 3"):
        Detections.from_coco(rows[:1], categories={1: "dog"})


def test_supervision_takes_boxes_and_masks():
    boxes = detections().to_supervision()
    assert isinstance(boxes, supervision.Detections)
    np.testing.assert_array_equal(boxes.xyxy, detections().xyxy)
    np.testing.assert_array_equal(boxes.confidence, detections().scores)
    assert boxes.class_id.tolist() == [3, 7, 3]
    assert boxes["class_name"].tolist() == ["cat", "猫", "cat"]
    assert len(boxes[boxes.confidence > 0.4].with_nms(0.5)) == 2
    masked = masks().to_supervision()
    np.testing.assert_array_equal(masked.mask, blobs(4))
    np.testing.assert_array_equal(masked.area, blobs(4).sum((1, 2)))
    assert masked.data["stability"].tolist() == [1] * 4
    assert segments().to_supervision().xyxy[0].tolist() == [10, 5, 30, 20]  # outer edges
    assert len(Detections([], [], []).to_supervision()) == 0
    assert masks()[:0].to_supervision().mask.shape == (0, *SIZE)
    drawn = supervision.MaskAnnotator().annotate(np.zeros((*SIZE, 3), np.uint8), segments().to_supervision())
    assert drawn.any()


def test_without_supervision_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(ImportError, match=r"pip install 'sensorium\[supervision\]'"):
        detections().to_supervision()


def test_yolo_boxes():
    lines = detections().to_yolo().splitlines()
    assert lines[0] == f"3 {6.375 / 40:.6f} {7.375 / 30:.6f} {10.25 / 40:.6f} {10.75 / 30:.6f}"
    number, x, y, width, height = map(float, lines[1].split())  # cut at the picture's edges
    assert (number, x * 40, y * 30, width * 40, height * 30) == pytest.approx((7, 7.5, 25, 15, 10), abs=1e-4)
    assert detections().to_yolo(scores=True, categories={0: "猫", 1: "cat"}).splitlines()[2].split()[::5] == [
        "1",
        "0.25",
    ]
    outside = Detections([[50, 0, 60, 5], [5, 5, 5, 9]], [1, 1], ["a", "a"], [0, 0])
    assert outside.to_yolo(size=SIZE) == ""
    with pytest.raises(ValueError, match="pass size="):
        outside.to_yolo()


def test_yolo_outlines_are_the_masks():
    for result in (segments(), masks()):
        for line, mask in zip(result.to_yolo(tolerance_px=0).splitlines(), result.masks, strict=True):
            _, *shares = map(float, line.split())
            corners = np.array(shares).reshape(-1, 2) * SIZE[::-1]
            assert ((corners >= 0) & (corners <= SIZE[::-1])).all()
            np.testing.assert_array_equal(rle.fill(filled([corners.ravel()], SIZE), SIZE), mask)
    assert masks().to_yolo(shapes="boxes").startswith("0 0.500000 0.416667 0.500000 0.500000\n")
    nothing = Masks(np.zeros((1, *SIZE), bool), [1.0])
    assert nothing.to_yolo() == ""
    semantic = Segments(np.ones(SIZE, np.uint8), [1], ["sky"])
    with pytest.raises(ValueError, match="no scores"):
        semantic.to_yolo(scores=True)


def test_label_studio_boxes():
    task = json.loads(json.dumps(detections().to_label_studio("https://example.com/a.jpg")))
    assert task["data"] == {"image": "https://example.com/a.jpg"}
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "sensorium"
    assert prediction["score"] == pytest.approx(0.55)
    first = prediction["result"][0]
    assert (first["type"], first["from_name"], first["to_name"]) == ("rectanglelabels", "label", "image")
    assert (first["original_width"], first["original_height"], first["image_rotation"]) == (40, 30, 0)
    assert first["value"]["rectanglelabels"] == ["cat"]
    sides = [first["value"][side] for side in ("x", "y", "width", "height")]
    assert sides == pytest.approx([1.25 / 0.4, 2 / 0.3, 10.25 / 0.4, 10.75 / 0.3])
    assert len({region["id"] for region in prediction["result"]}) == 3
    assert all(0 <= region["value"]["x"] <= 100 for region in prediction["result"])


def test_label_studio_polygons():
    regions = segments().to_label_studio("a.jpg", tolerance_px=0)["predictions"][0]["result"]
    assert {region["type"] for region in regions} == {"polygonlabels"}
    assert len({region["id"] for region in regions}) == len(regions)
    for i, mask in enumerate(segments().masks):
        parts = [region["value"] for region in regions if region["id"].startswith(f"{i}-")]
        flat = [(np.array(part["points"]) / 100 * SIZE[::-1]).round(6).ravel() for part in parts]
        np.testing.assert_array_equal(rle.fill(filled(flat, SIZE), SIZE), mask)
        assert all(part["closed"] and part["polygonlabels"] == [NAMES[[3, 7, 3][i]]] for part in parts)


def unpacked(packed):
    """`@thi.ng/rle-pack`, bit by bit: a count, the size of words, four sizes of lengths; then runs or single words."""
    bits, at = "".join(f"{byte:08b}" for byte in packed), 0

    def take(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = take(32), take(5) + 1
    lengths, values = [take(4) + 1 for _ in range(4)], []
    while len(values) < total:
        repeated, count = take(1), take(lengths[take(2)]) + 1
        values += [take(word)] * count if repeated else [take(word) for _ in range(count)]
    assert len(bits) - at < 8
    return np.array(values)


@pytest.mark.parametrize("size", [(30, 40), (1, 1), (1, 5), (200, 300)])
def test_label_studio_brushes_are_the_masks(size):
    for mask in blobs(3, (30, 40)) if size == SIZE else [np.ones(size, bool), np.zeros(size, bool)]:
        values = unpacked(brush(mask)).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(values, np.repeat(mask[..., None], 4, axis=2) * 255)
    regions = masks().to_label_studio("a.jpg", shapes="brush")["predictions"][0]["result"]
    assert [region["type"] for region in regions] == ["brushlabels"] * 4
    assert regions[0]["value"]["format"] == "rle"
    assert regions[0]["value"]["brushlabels"] == ["object"]


def test_options_without_effect_are_refused():
    with pytest.raises(ValueError, match="boxes and no masks"):
        detections().to_coco(shapes="rle")
    with pytest.raises(ValueError, match="one of boxes, rle, polygons, got 'brush'"):
        masks().to_coco(shapes="brush")
    with pytest.raises(ValueError, match="tolerance_px is for"):
        masks().to_coco(tolerance_px=1)
    with pytest.raises(ValueError, match="px from 0"):
        masks().to_yolo(tolerance_px=-1)
    with pytest.raises(ValueError, match="px from 0"):
        masks().polygons(tolerance_px=float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        Detections([[0, 0, np.inf, 1]], [1], ["a"], [0]).to_coco()


def test_a_picture_s_name_that_is_not_utf_8_is_kept(tmp_path):
    with CocoFile(tmp_path / "x.json") as file:
        file.add(detections(), "caf\udce9.jpg")
    stored = json.loads(Path(tmp_path / "x.json").read_bytes())
    assert stored["images"][0]["file_name"] == "caf\udce9.jpg"
