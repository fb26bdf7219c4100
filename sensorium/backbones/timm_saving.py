"""Models of timm, written into a folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn


def save_timm(model: nn.Module, folder: Path) -> None:
    """Writes a timm model into a folder that is there, as timm does for the Hub, in safetensors."""
    from timm.models import save_for_hf

    save_for_hf(model, str(folder), safe_serialization=True)
