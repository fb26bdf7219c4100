"""How long a sequence a model takes."""

from __future__ import annotations

from torch import nn


def most_positions(model: nn.Module) -> int | None:
    """How many tokens the model has learnt places for, or None where it counts them in another way."""
    for name, module in model.named_modules():
        if name.endswith(("position_embeddings", "position_embedding")) and isinstance(module, nn.Embedding):
            # RoBERTa counts from the place after its padding's
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
