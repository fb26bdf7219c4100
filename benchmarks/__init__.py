"""Side-by-side runs against the peers; each prints a ratio with its spread."""

import sensorium  # noqa: F401 - before torch, as users are told to
