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

__all__ = [
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
