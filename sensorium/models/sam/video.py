"""SAM 2's model of films and its kin, a step at a time: look at memories, draw masks, remember them.

The result is the model's own to rounding (`Sam2VideoModel` of Transformers and its kin). What it does otherwise:

- Objects with as many memories as each other look at them, and are drawn, in one batch.
- Of several guesses at a mask the best is chosen before it is enlarged, not after.
- Whether a mask in the memory is cut to 0 and 1 is asked object by object, as SAM 2's authors do
  (facebookresearch/sam2, sam2_video_predictor.py). Transformers, up to 5.23 at least, cuts those of all objects on a
  frame where one of them is prompted, so that a prompt for one object changes the others' masks.
- Coordinates are embedded in float32 whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.on_device import sent
from sensorium.models.sam.decoding import NO_POINT, PromptDecoder
from sensorium.models.sam.memories import Drawn, Recollection

NO_OBJECT = -1024.0
"""The logit of each px of an object that is not in sight."""

_GIVEN_SCALE, _GIVEN_OFFSET = 20.0, -10.0  # what makes logits of a mask that is given: nearly 0 and 1


@dataclass(frozen=True)
class EncodedFrame:
    """A frame as the model's vision encoder gives it.

    Attributes:
        fine: `(1, C/8, 4h, 4w)` and `(1, C/4, 2h, 2w)`.
        coarse: `(1, C, h, w)`.
        places: `(1, C, h, w)`, the position of each place of `coarse`.
    """

    fine: tuple[Tensor, ...]
    coarse: Tensor
    places: Tensor

    @classmethod
    def of(cls, maps: Sequence[Tensor], at: int) -> EncodedFrame:
        """One of a batch, of what `VideoSteps.encode` gives."""
        *fine, coarse, places = (each[at : at + 1] for each in maps)
        return cls(tuple(fine), coarse, places)

    def to(self, device: torch.device | None) -> EncodedFrame:
        """The frame on a device."""
        fine = tuple(each.to(device) for each in self.fine)
        return EncodedFrame(fine, self.coarse.to(device), self.places.to(device))


class VideoSteps:
    """The steps of a loaded `Sam2VideoModel`, `EdgeTamVideoModel` or `Sam3TrackerVideoModel`.

    Attributes:
        size: px of the square that the model sees.
        memories: how many of the last frames' masks it looks at, with one more for those that were prompted.
        pointers: how many of the last frames' pointers it looks at, with one more.
        most_prompted: how many prompted frames it looks at, at most; -1 for all.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._prompts, config = model, PromptDecoder(model), model.config
        self.size: int = int(model.image_size)
        self.memories: int = int(model.num_maskmem)
        self.pointers: int = int(config.max_object_pointers_in_encoder)
        self.most_prompted: int = int(config.max_cond_frame_num)

    def encode(self, pixels: Tensor) -> list[Tensor]:
        """`(B, 3, S, S)` as maps of `(B, C, h, w)`, fine to coarse, and the places of the last; for `EncodedFrame`s."""
        found = self._model.get_image_features(pixels, return_dict=True)
        sizes = self._model.backbone_feature_sizes
        maps = [_as_map(flat, size) for flat, size in zip(found.fpn_hidden_states, sizes, strict=True)]
        return [*maps, _as_map(found.fpn_position_encoding[-1], sizes[-1])]

    def first_look(self, frame: EncodedFrame) -> Tensor:
        """`(1, C, h, w)`: the frame where nothing is remembered."""
        looked: Tensor = frame.coarse + self._model.no_memory_embedding.view(1, -1, 1, 1)
        return looked

    def recall(self, frame: EncodedFrame, recollections: Sequence[Recollection]) -> Tensor:
        """The frame as it looks to whoever remembers an object.

        Args:
            frame: the frame.
            recollections: of B objects, with as many memories and as many pointers in each.

        Returns:
            `(B, C, h, w)`.
        """
        attention, flat = self._model.memory_attention, frame.coarse.flatten(2).permute(2, 0, 1)
        memory, places = zip(*(self._memory(each, flat.dtype) for each in recollections), strict=True)
        count = len(recollections[0].offsets)
        splits = flat.shape[2] // self._model.mem_dim
        given = {"num_object_pointer_tokens": len(recollections[0].pointers) * splits}
        if hasattr(self._model, "spatial_perceiver"):
            given["num_spatial_memory_tokens"] = count
        looked = attention(
            current_vision_features=flat.expand(-1, len(recollections), -1),
            current_vision_position_embeddings=frame.places.flatten(2).permute(2, 0, 1),
            memory=torch.cat(memory, dim=1),
            memory_posision_embeddings=torch.cat(places, dim=1),
            **given,
        )
        again: Tensor = looked[0].transpose(1, 2).unflatten(2, frame.coarse.shape[2:])
        return again

    def draw(
        self,
        frame: EncodedFrame,
        looked: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        first: bool = False,
        mask: Tensor | None = None,
    ) -> Drawn:
        """Masks of B objects.

        Args:
            frame: the frame.
            looked: `(B, C, h, w)`, the frame as it looks for each of them.
            points: `(B, P, 2)` float32, px of the square; corners of boxes are points, too. None for no prompt.
            labels: `(B, P)`, 1 on the object, 0 off it, 2 and 3 the corners of a box.
            first: whether the objects are seen for the first time.
            mask: `(B, 1, s, s)`, a prompt of the mask encoder.
        """
        count, config, device = len(looked), self._model.config, looked.device
        told = 0 if points is None else points.shape[1]
        several = mask is not None or (
            config.multimask_output_in_sam
            and (first or config.multimask_output_for_tracking)
            and config.multimask_min_pt_num <= told <= config.multimask_max_pt_num
        )
        if points is None or labels is None:
            points = torch.zeros(count, 1, 2, device=device)
            labels = torch.full((count, 1), NO_POINT, device=device)
        dense = self._model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand_as(looked)
        masks, ious, tokens, seen = self._model.mask_decoder(
            image_embeddings=looked,
            image_positional_embeddings=self._model.get_image_wide_positional_embeddings().expand_as(looked),
            sparse_prompt_embeddings=self._prompts.embed(points, labels, None)[:, None],
            dense_prompt_embeddings=dense if mask is None else self._model.prompt_encoder.mask_embed(mask),
            multimask_output=several,
            high_resolution_features=[one.expand(count, -1, -1, -1) for one in frame.fine],
        )
        masks, ious, tokens, seen = masks[:, 0], ious[:, 0], tokens[:, 0], seen[:, 0]
        rows = torch.arange(count, device=device)
        best = ious.argmax(1) if several else torch.zeros_like(rows)
        token = tokens[rows, best] if several and tokens.shape[1] > 1 else tokens[:, 0]
        appears = seen > 0
        pointers = self._pointers(self._model.object_pointer_proj(token), appears)
        chosen = torch.where(appears[..., None], masks[rows, best], NO_OBJECT)
        return Drawn(chosen, seen[:, 0], ious[rows, best], pointers)

    def take(self, frame: EncodedFrame, mask: Tensor) -> Drawn:
        """A mask that is given, as if it had been drawn.

        Args:
            frame: the frame.
            mask: `(1, 1, S, S)`, 1 on the object and 0 off it.
        """
        model, given = self._model, mask.to(frame.coarse.dtype)
        full = given * _GIVEN_SCALE + _GIVEN_OFFSET
        size = model.prompt_encoder.mask_input_size
        small = _resized(full, size)
        prompt = model.mask_downsample(given)
        if prompt.shape[-2:] != tuple(size):
            prompt = _resized(prompt, size).to(prompt.dtype)
        drawn = self.draw(frame, frame.coarse, mask=prompt)
        appears = (mask.flatten(1) > 0).any(1, keepdim=True)
        pointers = self._pointers(drawn.pointers, appears)
        seen = _GIVEN_SCALE * appears[:, 0].to(given.dtype) + _GIVEN_OFFSET
        return Drawn(small[:, 0].to(given.dtype), seen, torch.ones_like(seen), pointers, full)

    def remember(self, frame: EncodedFrame, drawn: Drawn, *, prompted: bool) -> tuple[Tensor, Tensor]:
        """What is kept of a frame and the masks of B objects on it.

        Args:
            frame: the frame.
            drawn: the masks.
            prompted: whether a user has told of them: such masks are kept as they are, others as how sure they are.

        Returns:
            `(L, B, M)`, and `(L, 1, M)`, where each of its L places lies, which is the same for every frame.
        """
        model, config, dtype = self._model, self._model.config, frame.coarse.dtype
        full = drawn.full
        if full is None:
            small = drawn.masks[:, None].float()
            full = F.interpolate(small, size=(self.size, self.size), mode="bilinear", align_corners=False).to(dtype)
        side = 4 * model.prompt_encoder.mask_input_size[0]
        if full.shape[-1] != side and not hasattr(model, "spatial_perceiver"):
            full = _resized(full, (side, side)).to(dtype)
        sure = (full > 0).to(dtype) if prompted else full.sigmoid()
        sure = sure * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        features, places = model.memory_encoder(frame.coarse.expand(len(sure), -1, -1, -1), sure)
        if model.occlusion_spatial_embedding_parameter is not None:
            hidden = 1 - (drawn.seen > 0).float()
            offset = model.occlusion_spatial_embedding_parameter[..., None, None]
            features = (features + hidden[:, None, None, None] * offset).to(dtype)
        if not hasattr(model, "spatial_perceiver"):
            kept = features.to(torch.bfloat16)  # as the reference and the authors keep them
            return kept.flatten(2).permute(2, 0, 1), places[:1].to(dtype).flatten(2).permute(2, 0, 1)
        places = places[:1].to(dtype)
        pairs = [model.spatial_perceiver(one[None], places) for one in features]  # it takes one at a time
        return torch.cat([pair[0].to(dtype) for pair in pairs]).transpose(0, 1), pairs[0][1].to(dtype).transpose(0, 1)

    def _memory(self, own: Recollection, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """`(L, 1, M)` each: all that is remembered of one object, and where, and when, it lies."""
        model, times = self._model, self._model.memory_temporal_positional_encoding
        parts = [each.to(dtype) for each in own.features]
        places = [own.place + times[offset - 1] for offset in own.offsets]
        if own.pointers:
            pointers = torch.stack(own.pointers)  # (P, 1, C)
            count, _, channels = pointers.shape
            splits = channels // model.mem_dim
            parts.append(pointers.view(count, splits, model.mem_dim).flatten(0, 1)[:, None].to(dtype))
            when = pointers.new_zeros(count, model.mem_dim)
            if model.config.enable_temporal_pos_encoding_for_object_pointers:
                ages = sent([age / (own.most - 1) for age in own.ages], pointers.device, torch.float32)
                waves = _waves(ages, channels).to(pointers.dtype)
                when = model.temporal_positional_encoding_projection_layer(waves)
            places.append(when[:, None].repeat_interleave(splits, dim=0).to(dtype))
        return torch.cat(parts), torch.cat(places)

    def _pointers(self, pointers: Tensor, appears: Tensor) -> Tensor:
        """`(B, C)`: those of objects in sight, and one that stands for "none" for the others; `appears` is `(B, 1)`."""
        share = appears.to(pointers.dtype)
        mixed: Tensor = share * pointers + (1 - share) * self._model.no_object_pointer
        return mixed


def _as_map(flat: Tensor, size: Sequence[int]) -> Tensor:
    """`(h·w, B, C)` as `(B, C, h, w)`."""
    return flat.permute(1, 2, 0).reshape(flat.shape[1], flat.shape[2], *size)


def _resized(masks: Tensor, size: Sequence[int]) -> Tensor:
    """`(B, 1, …)` in float32, smoothed where they become smaller."""
    return F.interpolate(masks.float(), size=tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _waves(ages: Tensor, channels: int) -> Tensor:
    """`(P, channels)`: sines and cosines of ages, `(P,)` in [0, 1]."""
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=ages.device)
    angles = ages[:, None] / 10000 ** (2 * (steps // 2) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
