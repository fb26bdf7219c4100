"""VideoMAE's places of patches, without a copy to the device in each pass.

Transformers keeps the table of sines and cosines as a tensor that does not move with the model, and copies it in each
forward pass, for which the host waits.
"""

from __future__ import annotations

from torch import Tensor, nn


def keep_places(model: nn.Module) -> None:
    """Makes the table move with a loaded model; results stay as they are, and so does what is saved."""
    for module in model.modules():
        table = vars(module).get("position_embeddings")
        if type(module).__name__ == "VideoMAEEmbeddings" and isinstance(table, Tensor):
            del module.position_embeddings
            module.register_buffer("position_embeddings", table, persistent=False)
