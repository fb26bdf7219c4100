"""What SAM and its kin make of pictures before anything is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def detector_of(model: nn.Module) -> Any:
    """What of a loaded model finds what texts name: SAM 3's detector, or None."""
    kind = type(model).__name__
    return model if kind == "Sam3Model" else model.detector_model if kind == "Sam3VideoModel" else None


def tracker_of(model: nn.Module) -> Any:
    """What of a loaded model takes points and boxes, with a prompt encoder and a mask decoder; None for none."""
    kind = type(model).__name__
    return None if kind == "Sam3Model" else model.tracker_model if kind == "Sam3VideoModel" else model


def encode(model: Any, pixels: Tensor) -> dict[str, list[Tensor]]:
    """Runs a loaded model's encoder, of one with two halves once for both.

    Args:
        model: one that `mask-generation` takes.
        pixels: `(B, 3, s, s)` in the model's dtype.

    Returns:
        `features`, what `PromptDecoder` takes of each picture, and `maps`, what `ConceptDecoder` does; each if the
        model has what takes it. Both are lists of `(B, C, h, w)`, finest first unless the decoder says otherwise.
    """
    kind = type(model).__name__
    if kind not in ("Sam3Model", "Sam3TrackerModel", "Sam3VideoModel"):
        return {"features": _features(model, pixels)}
    detector, tracker = detector_of(model), tracker_of(model)
    seen = (detector or tracker).vision_encoder(pixels)
    if detector is None:
        return {"features": _of_tracker(tracker, seen.fpn_hidden_states)}
    maps = list(seen.fpn_hidden_states[:-1])  # of the last, at half the resolution, nothing is made
    if tracker is None:
        return {"maps": maps}
    height, width = maps[-1].shape[-2:]
    states = seen.last_hidden_state.transpose(1, 2).unflatten(2, (height, width))
    return {"features": _of_tracker(tracker, model.tracker_neck(states)[0]), "maps": maps}


def _features(model: Any, pixels: Tensor) -> list[Tensor]:
    features = model.get_image_embeddings(pixels)
    if isinstance(features, Tensor):
        return [features]
    if isinstance(features, tuple):  # SAM-HQ's embedding, and what its encoder sees between, `(B, h, w, C)` each
        return [features[1][0].permute(0, 3, 1, 2), features[0]]
    return list(features)


def _of_tracker(tracker: Any, maps: Sequence[Tensor]) -> list[Tensor]:
    """The first three of SAM 3's maps as its mask decoder takes them.

    That no frame is remembered is added to the coarsest of the three, as its authors do (facebookresearch/sam3,
    sam1_task_predictor.py). Sam3TrackerModel, from 5.17 to 5.23 at least, adds it to a fourth, which it leaves out.
    """
    fine, middle, coarse = maps[:3]
    decoder = tracker.mask_decoder
    return [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse + tracker.no_memory_embedding.view(1, -1, 1, 1)]
