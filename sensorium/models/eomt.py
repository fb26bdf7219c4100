"""EoMT without a look at the device in each of its last blocks."""

from __future__ import annotations

from torch import nn


def keep_mask_shares(model: nn.Module) -> None:
    """Makes a loaded EoMT know by heart how often each block's queries see their own masks only; results stay.

    The shares lie in a buffer, and the model asks for each: the host waits for the device. Training ends with 0 or 1.
    """
    shares = model._buffers.get("attn_mask_probs")
    if shares is not None:
        vars(model)["attn_mask_probs"] = tuple(shares.tolist())
