"""`--output x.coco.json` and `job export --to x.coco.json`: what was found, as pycocotools loads it."""

from __future__ import annotations

import contextlib
import io

import pyarrow as pa
import pytest
from pycocotools.coco import COCO

from sensorium.cli.coco_output import CocoOutput, write_coco_rows
from sensorium.cli.jobs import exporting
from sensorium.cli.settings import OutputSettings, kind_of_file
from sensorium.errors import InputError, OptionError
from sensorium.results import Detections, Labels, Masks, to_table
from tests.results.test_exports import SIZE, detections, masks, segments


def loaded(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def names(truth):
    return [image["file_name"] for image in truth.loadImgs(truth.getImgIds())]


def test_results_are_written_as_they_come_and_failures_left_out(tmp_path):
    sink = CocoOutput(str(tmp_path / "x.coco.json"))
    assert list(tmp_path.iterdir()) == []
    sink.begin()
    sink.add("a.jpg", detections())
    sink.add("b.jpg", InputError("no", code="bad"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.coco.json.part"]
    sink.add("c.jpg", detections())
    sink.finish()
    sink.close()
    truth = loaded(tmp_path / "x.coco.json")
    assert names(truth) == ["a.jpg", "c.jpg"]
    assert Detections.from_coco(truth.imgToAnns[2], categories=truth.dataset["categories"]) == detections()


@pytest.mark.parametrize(
    ("outcome", "told"),
    [(Labels(["cat"], [1.0]), "Labels results have none"), (detections(size=None), "cannot take 'a.jpg'")],
)
def test_other_results_are_refused_and_nothing_is_written(tmp_path, outcome, told):
    (tmp_path / "x.coco.json").write_text("before")
    sink = CocoOutput(str(tmp_path / "x.coco.json"))
    sink.begin()
    with pytest.raises(OptionError, match=told):
        sink.add("a.jpg", outcome)
    sink.finish()
    assert (tmp_path / "x.coco.json").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("make", [detections, segments, masks])
def test_rows_of_a_job_are_written_as_their_results(tmp_path, make):
    outcomes = [make(), InputError("no", code="bad", index=1), make()]
    table = to_table(outcomes)
    source = pa.array(["a.jpg", "b.jpg", None], pa.string())
    table = table.set_column(table.column_names.index("source"), "source", source)
    write_coco_rows(tmp_path / "x.coco.json", table.schema, table.to_batches(max_chunksize=2))
    truth = loaded(tmp_path / "x.coco.json")
    assert names(truth) == ["a.jpg", "0"]
    result = make()
    names_of = {} if isinstance(result, Masks) else {"categories": truth.dataset["categories"]}
    back = type(result).from_coco(truth.imgToAnns[2], size=SIZE, **names_of)
    assert back.to_dict() == result.to_dict() or isinstance(result, Masks)
    assert isinstance(result, Detections) or (back.masks == result.masks).all()
    with pytest.raises(OptionError, match="results have none"):
        write_coco_rows(tmp_path / "y.json", to_table([Labels(["cat"], [1.0])]).schema, [])


def test_the_suffix_is_known_by_both_commands(tmp_path):
    assert kind_of_file("runs/x.coco.json") == ".coco.json"
    assert kind_of_file("x.jsonl") == ".jsonl"
    assert OutputSettings(output=str(tmp_path / "x.coco.json")).output
    with pytest.raises(OptionError, match=r"\.npz or \.coco\.json, got 'x\.json'"):
        OutputSettings(output="x.json")
    with pytest.raises(OptionError, match=r"\.jsonl, \.coco\.json, got"):
        exporting.export(str(tmp_path), "x.json", status=None, overwrite=False)
