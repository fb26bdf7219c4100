"""Embeddings of texts that have words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sensorium.errors import InputError
from sensorium.tasks.base import Unit
from sensorium.tasks.feature_extraction import FeatureExtraction, FeatureExtractionOptions


class WordedTexts(FeatureExtraction):
    """feature-extraction for search: a text without words has a vector, too, and would be found by any question."""

    def split(self, raw: Any, options: FeatureExtractionOptions) -> Iterable[Unit]:
        """The text's tokens, in one unit.

        Raises:
            InputError: `empty-text`, besides.
        """
        units = super().split(raw, options)
        special = self.processor.tokenizer.all_special_ids
        if not raw.strip() or set(special).issuperset(self.processor.encode(raw).ids):
            raise InputError("the text is empty: expected one that is not blank", code="empty-text")
        return units
