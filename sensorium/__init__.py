"""Sensorium: one-line inference for models of vision, sound and text, and search by them.

The names below are the whole public interface. Importing the package loads none of torch, timm and transformers;
they come with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sensorium.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    ClosedError,
    DeviceError,
    DownloadError,
    IndexFileError,
    InputError,
    JobError,
    JobStoppedError,
    LimitError,
    MissingWeightsError,
    OptionError,
    QueueFullError,
    SensoriumError,
    TaskMismatchError,
    UnknownNameError,
    UnsafeCheckpointError,
)
from sensorium.openmp import wait_briefly

if TYPE_CHECKING:
    from sensorium.backbones import AutoBackbone, Backbone
    from sensorium.pipelines.chains import Crops
    from sensorium.pipelines.factory import pipeline
    from sensorium.pipelines.pipeline import Pipeline
    from sensorium.processors.image import ImageProcessor
    from sensorium.processors.media import MediaLimits
    from sensorium.processors.video_frames import frames
    from sensorium.results import (
        AlphaMatte,
        Answers,
        CitedAnswers,
        Crop,
        DepthMap,
        Detections,
        Embedding,
        FrameMasks,
        Hits,
        Keypoints,
        Labels,
        Masks,
        Matches,
        NormalMap,
        OutputImage,
        Poses,
        Ranking,
        SearchResults,
        Segments,
        Transcript,
        VideoMasks,
        similarity,
    )
    from sensorium.tasks.base import Options, Task, Unit, register_task
    from sensorium.tasks.heads import Composite, build_head

__version__ = "0.1.0"

wait_briefly()  # before torch is imported, which reads it

__all__ = [
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
]

_HOMES = {
    "AlphaMatte": "results",
    "Answers": "results",
    "AutoBackbone": "backbones",
    "Backbone": "backbones",
    "CitedAnswers": "results",
    "Composite": "tasks.heads",
    "Crop": "results",
    "Crops": "pipelines.chains",
    "DepthMap": "results",
    "Detections": "results",
    "Embedding": "results",
    "FrameMasks": "results",
    "Hits": "results",
    "ImageProcessor": "processors.image",
    "Keypoints": "results",
    "Labels": "results",
    "Masks": "results",
    "Matches": "results",
    "MediaLimits": "processors.media",
    "NormalMap": "results",
    "Options": "tasks.base",
    "OutputImage": "results",
    "Pipeline": "pipelines.pipeline",
    "Poses": "results",
    "Ranking": "results",
    "SearchResults": "results",
    "Segments": "results",
    "Task": "tasks.base",
    "Transcript": "results",
    "Unit": "tasks.base",
    "VideoMasks": "results",
    "build_head": "tasks.heads",
    "frames": "processors.video_frames",
    "pipeline": "pipelines.factory",
    "register_task": "tasks.base",
    "similarity": "results",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sensorium' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sensorium.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
