"""Raw media → tensors, by each checkpoint's own recipe.

Names are imported when they are used: `from sensorium.processors import ImageProcessor`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.processors.audio import AudioProcessor
    from sensorium.processors.audio_reading import AudioReader, load_audio, open_audio
    from sensorium.processors.image import ImageProcessor
    from sensorium.processors.media import MediaLimits, load_image, load_pil
    from sensorium.processors.recipe import Recipe
    from sensorium.processors.video_frame import VideoFrame
    from sensorium.processors.video_frames import frames
    from sensorium.processors.video_reader import VideoReader
    from sensorium.processors.video_reading import open_video

__all__ = [
    "AudioProcessor",
    "AudioReader",
    "ImageProcessor",
    "MediaLimits",
    "Recipe",
    "VideoFrame",
    "VideoReader",
    "frames",
    "load_audio",
    "load_image",
    "load_pil",
    "open_audio",
    "open_video",
]

_MODULES = {
    "AudioProcessor": "audio",
    "ImageProcessor": "image",
    "MediaLimits": "media",
    "Recipe": "recipe",
    "AudioReader": "audio_reading",
    "load_image": "media",
    "load_pil": "media",
    "load_audio": "audio_reading",
    "open_audio": "audio_reading",
    "VideoFrame": "video_frame",
    "VideoReader": "video_reader",
    "frames": "video_frames",
    "open_video": "video_reading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
