"""All that one encoded picture is asked for by points and boxes, or by a grid of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sensorium.models.sam.decoding import PromptDecoder
from sensorium.tasks.masks.asking import Asking, ask, asked, at_once
from sensorium.tasks.masks.crops import point_grid
from sensorium.tasks.masks.filtering import Enlarger, Frame, MaskThresholds, measure
from sensorium.tasks.masks.mask_batch import MaskBatch, join
from sensorium.tasks.masks.prompts import Prompts


class ObjectOptions(Asking, MaskThresholds, Protocol):
    """The options that say what is asked, and what is kept."""


class ObjectSearch:
    """Asks SAM, one of its kin, or SAM 3's tracker.

    Args:
        model: with a prompt encoder and a mask decoder.
        padded: whether the model's square is the resized crop and padding, as SAM's, or the crop alone, as SAM 2's.
    """

    def __init__(self, model: Any, *, padded: bool) -> None:
        self._model, self._padded = model, padded
        self.input_size = int(PromptDecoder(model).input_size)
        """Px of the square that the model sees."""

    def grid(self, side: int, frame: Frame) -> Prompts:
        """A grid of points on a crop, as prompts in px of the model's square."""
        height, width = frame.size
        # As the reference does it for both models. SAM 2 sees a square without padding, so that on a wide picture the
        # grid ends above the lower edge (huggingface/transformers, image_processing_sam2.py): the answers are the same.
        scale = self.input_size * 1.0 / max(height, width)
        down, across = int(height * scale + 0.5), int(width * scale + 0.5)
        points = point_grid(side, height, width)
        prompts = Prompts(points, torch.ones(points.shape[:2], dtype=torch.int64).numpy(), None)
        return prompts.scaled(across / width, down / height)

    def search(
        self,
        features: Sequence[Tensor],
        prompts: Prompts,
        frame: Frame,
        options: ObjectOptions,
        *,
        strict: bool,
        free_bytes: int | None,
    ) -> MaskBatch | None:
        """Runs a unit's prompts, some at a time.

        Args:
            features: `(C, h, w)` each, as `PromptDecoder.prepare` takes them.
            prompts: px of the square that the model sees.
            frame: where the unit lies.
            options: of the call.
            strict: whether masks that score too low, are unstable or cut off are left out.
            free_bytes: of the device; None where it does not tell.
        """
        decoder = PromptDecoder(self._model)
        state = decoder.prepare(features)
        step = at_once(options.points_per_batch, state, decoder.masks, free_bytes)
        enlarge = Enlarger(frame, self._padded)
        batches: list[MaskBatch] = []
        for at, some in asked(prompts, step, state.keys.device):
            scores, masks, objects = ask(decoder, state, decoder.embed(*some), options, strict=strict)
            batches.extend(measure(masks, scores, objects + at, enlarge, options, strict=strict))
        return join(batches) if batches else None
