"""Loading what a task runs: its model, held to what Sensorium promises, and its processor."""

from sensorium.tasks.loading.models import describe_module, load_transformers
from sensorium.tasks.loading.processors import (
    both_of,
    check_fast,
    load_audio_processor,
    load_both,
    load_processor,
    load_text_processor,
    processor_of,
)
from sensorium.tasks.loading.whole import TIPSV2_HEADS

__all__ = [
    "TIPSV2_HEADS",
    "both_of",
    "check_fast",
    "describe_module",
    "load_audio_processor",
    "load_both",
    "load_processor",
    "load_text_processor",
    "load_transformers",
    "processor_of",
]
