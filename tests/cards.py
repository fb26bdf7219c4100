"""Whether tests marked gpu have a card to run on: a real one, or a pretend one where SENSORIUM_PRETEND_CUDA is 1."""

from __future__ import annotations

import os

import pytest

PRETEND = os.environ.get("SENSORIUM_PRETEND_CUDA") == "1"

real_card = pytest.mark.skipif(PRETEND, reason="needs kernels, which the pretend device does not have")
"""For tests marked gpu of what only a real card's kernels can show."""


def there_is_one() -> bool:
    """Whether there is a card, or a pretend one is asked for."""
    import torch

    return PRETEND or torch.cuda.is_available()
