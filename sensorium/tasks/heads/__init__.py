"""Heads on bare backbones, and the composites that they make."""

from __future__ import annotations

from sensorium.tasks.base import Head
from sensorium.tasks.heads.classification import LinearClassifier, ProblemType
from sensorium.tasks.heads.composites import Composite, HeadOutput, build_head

__all__ = ["Composite", "Head", "HeadOutput", "LinearClassifier", "ProblemType", "build_head"]
