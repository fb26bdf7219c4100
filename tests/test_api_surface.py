"""The public interface, name by name; a change here is deliberate and stands in the CHANGELOG."""

from __future__ import annotations

import inspect

import pytest

import sensorium

PUBLIC = {
    "AlphaMatte",
    "Answers",
    "AutoBackbone",
    "Backbone",
    "CheckpointError",
    "CheckpointNotFoundError",
    "CitedAnswers",
    "ClosedError",
    "Composite",
    "Crop",
    "Crops",
    "DepthMap",
    "Detections",
    "DeviceError",
    "DownloadError",
    "Embedding",
    "FrameMasks",
    "Hits",
    "ImageProcessor",
    "IndexFileError",
    "InputError",
    "JobError",
    "JobStoppedError",
    "Keypoints",
    "Labels",
    "LimitError",
    "Masks",
    "Matches",
    "MediaLimits",
    "MissingWeightsError",
    "NormalMap",
    "OptionError",
    "Options",
    "OutputImage",
    "Pipeline",
    "Poses",
    "QueueFullError",
    "Ranking",
    "SearchResults",
    "Segments",
    "SensoriumError",
    "Task",
    "TaskMismatchError",
    "Transcript",
    "Unit",
    "UnknownNameError",
    "UnsafeCheckpointError",
    "VideoMasks",
    "build_head",
    "frames",
    "pipeline",
    "register_task",
    "similarity",
}

PIPELINE_PARAMETERS = [
    "task",
    "model",
    "index",
    "reader",
    "detector",
    "processor",
    "device",
    "dtype",
    "compile",
    "batch_size",
    "num_workers",
    "decode",
    "limits",
    "revision",
    "token",
    "cache_dir",
    "local_files_only",
    "use_safetensors",
    "trust_remote_code",
    "attn_implementation",
    "device_map",
    "quantization_config",
    "progress",
]


RESULTS = {
    "AlphaMatte",
    "Answers",
    "CitedAnswers",
    "CocoFile",
    "Crop",
    "DepthMap",
    "Detections",
    "Embedding",
    "FrameMasks",
    "Hits",
    "Keypoints",
    "Labels",
    "Masks",
    "Matches",
    "NormalMap",
    "OutputImage",
    "Poses",
    "Ranking",
    "Result",
    "Row",
    "SearchResults",
    "Segments",
    "Transcript",
    "VideoMasks",
    "result_type",
    "similarity",
    "to_pandas",
    "to_polars",
    "to_records",
    "to_table",
    "write_coco",
}

COLUMNS = {"Array", "Arrays", "Field", "Scalar", "Structs", "TypedColumn", "WholeJson"}
KINDS = {
    "ARRAY",
    "BOOL",
    "FLOAT32",
    "FLOAT64",
    "INT64",
    "OFFSET",
    "PASSAGE",
    "SECONDS",
    "TEXT",
    "Kind",
    "lists",
    "number",
}


def test_public_names_of_results():
    import sensorium.results
    from sensorium.results import columns, kinds

    assert set(sensorium.results.__all__) == RESULTS
    assert {name for name in COLUMNS if inspect.getdoc(getattr(columns, name))} == COLUMNS
    assert {name for name in KINDS if getattr(kinds, name) is not None} == KINDS
    members = {name for name in dir(sensorium.results.Result) if not name.startswith("_")}
    tables = {"columns", "from_row", "records", "schema", "to_pandas", "to_polars", "to_row"}
    assert members == {*tables, "arrays", "lines", "plot", "save", "seconds", "source", "time_s", "to_dict", "to_json"}


def test_public_names():
    assert set(sensorium.__all__) == PUBLIC
    assert sensorium.__all__ == sorted(sensorium.__all__)
    for name in sensorium.__all__:
        assert getattr(sensorium, name) is not None
        assert name in dir(sensorium)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        getattr(sensorium, "nothing_like_it")  # noqa: B009


def test_everything_public_is_documented():
    for name in sensorium.__all__:
        value = getattr(sensorium, name)
        assert inspect.getdoc(value), name
        if inspect.isclass(value):
            for member, function in vars(value).items():
                if not member.startswith("_") and (inspect.isfunction(function) or isinstance(function, property)):
                    assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_the_factory():
    parameters = inspect.signature(sensorium.pipeline).parameters
    assert list(parameters) == PIPELINE_PARAMETERS
    for name, parameter in list(parameters.items())[2:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name


def test_the_pipeline():
    members = {name for name in dir(sensorium.Pipeline) if not name.startswith("_")}
    calls = {"acall", "crop", "image", "stream", "submit", "video"}
    assert members == {
        *calls,
        "checkpoint",
        "close",
        "device",
        "devices",
        "keep_steady",
        "model",
        "processor",
        "reset_stats",
        "save_pretrained",
        "stats",
        "warmup",
    }


def test_error_tree():
    assert issubclass(sensorium.UnknownNameError, KeyError)
    assert issubclass(sensorium.InputError, ValueError)
    assert issubclass(sensorium.LimitError, sensorium.InputError)
    assert issubclass(sensorium.CheckpointNotFoundError, FileNotFoundError)
    assert issubclass(sensorium.DownloadError, OSError)
    assert issubclass(sensorium.QueueFullError, RuntimeError)
    assert issubclass(sensorium.ClosedError, RuntimeError)
    assert issubclass(sensorium.DeviceError, RuntimeError)
    for name in sensorium.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(sensorium, name), sensorium.SensoriumError)
    from sensorium import errors

    for name in [n for n in vars(errors) if n.endswith("Error")]:
        assert name in (errors.__doc__ or ""), f"{name} is missing from the tree in the docstring"
