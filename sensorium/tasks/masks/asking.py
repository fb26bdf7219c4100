"""Many prompts on one picture's embedding: as many at a time as the device has room for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.models.sam.decoding import ImageState, PromptDecoder
from sensorium.tasks.masks.prompts import Prompts

CPU_PROMPTS = 4
"""Prompts at a time on the CPU, whatever is allowed: what they write then stays in the caches."""

PROMPTS = 64
"""Prompts at a time where nothing is told, by the caller or by the device."""

ROOM = 0.5
"""The share of a device's free memory that prompts may take; the next batch's pictures are encoded beside them."""


class Asking(Protocol):
    """The options that say how prompts are asked."""

    @property
    def multimask(self) -> bool: ...  # noqa: D102 - named as the option
    @property
    def pred_iou_thresh(self) -> float: ...  # noqa: D102
    @property
    def points_per_batch(self) -> int | None: ...  # noqa: D102


def at_once(wanted: int | None, state: ImageState, masks: int, free_bytes: int | None) -> int:
    """How many prompts to ask at a time, at most.

    Args:
        wanted: how many the caller allows; None for as many as there is room for.
        state: of the picture.
        masks: how many there are for a prompt.
        free_bytes: of the device; None where it does not tell.
    """
    if state.keys.device.type == "cpu":
        return min(wanted or CPU_PROMPTS, CPU_PROMPTS)
    if wanted is not None or free_bytes is None:
        return wanted or PROMPTS
    # The places as a prompt sees them, before and after each step, and at 16 times the resolution; then its masks.
    places, drawn = state.keys.nbytes, 16 * len(state.keys) * (masks + 1)
    return max(1, int(ROOM * free_bytes) // (8 * places + 3 * 4 * drawn))


def asked(prompts: Prompts, step: int, device: torch.device) -> Iterator[tuple[int, list[Tensor | None]]]:
    """So many prompts at a time on a device: the number of the first, and their points, labels and boxes."""
    parts = [_on(device, array) for array in (prompts.points, prompts.labels, prompts.boxes)]
    for at in range(0, len(prompts), step):
        yield at, [None if tensor is None else tensor[at : at + step] for tensor in parts]


def ask(
    decoder: PromptDecoder, state: ImageState, prompts: Tensor, options: Asking, *, strict: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The scores `(K,)`, logits `(K, s, s)` and objects `(K,)` of these prompts' masks.

    A mask's score is known before the mask itself is: those that would be left out are never drawn. The host waits once
    to know which these are.

    Args:
        decoder: the model's.
        state: of the picture.
        prompts: `(N, T, C)` as `decoder.embed` gives.
        options: of the call.
        strict: whether masks that score too low are left out.
    """
    ious, tokens, keys = decoder.attend(state, prompts)
    first, last = (1, decoder.masks + 1) if options.multimask else (0, decoder.masks + 1 if decoder.chooses else 1)
    scores = ious[:, first:last]
    chooses, device = first == 0 and last > 1, ious.device
    if not strict or options.pred_iou_thresh <= 0:
        masks = decoder.draw(state, tokens, keys, first, last)
        scores, masks = decoder.choose(scores, masks) if chooses else (scores, masks)
        if decoder.sorts:
            scores, order = scores.sort(dim=1, descending=True)
            masks = masks.take_along_dim(order[..., None, None], 1)
        objects = torch.arange(len(ious), device=device)[:, None].expand_as(scores)
        return scores.flatten(), masks.flatten(0, 1), objects.flatten()
    good = (scores > options.pred_iou_thresh).cpu()
    (places,) = good.any(1).nonzero(as_tuple=True)
    rows = sent(places, device)
    scores, tokens, keys = scores[rows], tokens[rows], keys[rows]
    masks = decoder.draw(state, tokens, keys, first, last)
    if chooses:
        scores, masks = decoder.choose(scores, masks)
    good = (scores > options.pred_iou_thresh).cpu() if chooses else good[places]
    row, mask = (sent(axis, device) for axis in good.nonzero(as_tuple=True))
    return scores[row, mask], masks[row, mask], rows[row]


def _on(device: torch.device, array: NDArray[Any] | None) -> Tensor | None:
    if array is None:
        return None
    tensor = torch.from_numpy(array)
    if device.type == "mps" and tensor.is_floating_point():  # which has no float64
        tensor = tensor.float()
    return sent(tensor, device)
