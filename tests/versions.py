"""What the installed Transformers cannot be a reference for, as later versions do it otherwise."""

from __future__ import annotations

from importlib.metadata import version

import pytest

TRANSFORMERS = tuple(int(part) for part in version("transformers").split(".")[:2])

needs_newer_transformers = pytest.mark.skipif(
    TRANSFORMERS < (5, 23), reason="later versions of Transformers do it otherwise"
)
