"""LightGlue over pairs with different numbers of points, each with its own depth and its own pruning.

Lindenberger, Sarlin, Pollefeys: LightGlue: Local Feature Matching at Light Speed, https://arxiv.org/abs/2306.13643. A
pair leaves the batch after the layer at which its matches are certain; points that will not match leave their pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.matching import Links, Pairs, choose
from sensorium.models.on_device import sent


@dataclass
class _PairStates:
    """The pairs that are left at a layer.

    Attributes:
        pair: which pairs these are.
        points: `(p,)` int64, how many points each pair began with.
        states: `(2p, n, D)`, in the model's dtype.
        turns: `(2, 2p, n, d)` float32, cosines and sines of the points' places.
        mask: `(2p, n)` bool, true for points.
        point_index: `(2p, n)` int64, which of its picture's points each one is.
    """

    pair: list[int]
    points: Tensor
    states: Tensor
    turns: Tensor
    mask: Tensor
    point_index: Tensor

    def keep(self, pairs: list[int]) -> _PairStates:
        """Some of the pairs, by their positions among these."""
        device = self.mask.device
        both = sent([row for pair in pairs for row in (2 * pair, 2 * pair + 1)], device, torch.int64)
        return _PairStates(
            [self.pair[pair] for pair in pairs],
            self.points[sent(pairs, device, torch.int64)],
            self.states[both],
            self.turns[:, both],
            self.mask[both],
            self.point_index[both],
        )

    def prune(self, kept: Tensor) -> _PairStates:
        """Some of the points, moved together, of pairs that have any in both pictures; `kept` is `(2p, n)` bool."""
        counts = kept.sum(dim=1).tolist()
        order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, : max(counts)]
        turns = self.turns.gather(2, order[None, ..., None].expand(2, -1, -1, self.turns.shape[-1]))
        states = self.states.gather(1, order[..., None].expand(-1, -1, self.states.shape[-1]))
        pruned = _PairStates(
            self.pair, self.points, states, turns, kept.gather(1, order), self.point_index.gather(1, order)
        )
        left = [pair for pair in range(len(self.pair)) if counts[2 * pair] and counts[2 * pair + 1]]
        return pruned if len(left) == len(self.pair) else pruned.keep(left)


def lightglue(model: Any, pairs: Pairs) -> Links:
    """Matches pairs in which both pictures have points. The host waits twice a layer: who stops, and what is left.

    Args:
        model: a `LightGlueForKeypointMatching`.
        pairs: their points.
    """
    count, _, points = pairs.mask.shape
    links = Links.none(count, points, pairs.xy.device)
    config, layers = model.config, len(model.transformer_layers)
    at = _begin(model, pairs)
    for layer in range(layers):
        at.states = model.transformer_layers[layer](
            at.states, (at.turns[0], at.turns[1]), attention_mask=_attention_mask(model, at)
        )[0]
        sure, threshold = None, _threshold(layer, layers)
        goes_on = [layer < layers - 1] * len(at.pair)
        if config.depth_confidence > 0 and layer < layers - 1:
            sure = model.token_confidence[layer](at.states).float()
            unsure = ((sure < threshold) & at.mask).unflatten(0, (-1, 2)).sum(dim=(1, 2))
            goes_on = (~(1.0 - unsure.float() / at.points > config.depth_confidence)).tolist()
        stopped, going = ([i for i, each in enumerate(goes_on) if each is wanted] for wanted in (False, True))
        if stopped:
            _link(model.match_assignment_layers[layer], at.keep(stopped), config.filter_threshold, links)
        if not going:
            break
        if stopped:
            sure = None if sure is None else sure.unflatten(0, (-1, 2))[sent(going, sure.device)].flatten(0, 1)
            at = at.keep(going)
        if config.width_confidence > 0:
            kept = model.match_assignment_layers[layer].get_matchability(at.states) > 1 - config.width_confidence
            at = at.prune((kept if sure is None else kept | (sure <= threshold)) & at.mask)
            if not at.pair:
                break
    return links


def _begin(model: Any, pairs: Pairs) -> _PairStates:
    size = sent(pairs.size, pairs.xy.device)
    shares = pairs.xy / size * size  # as the reference rounds them
    places = ((shares - size / 2) / (size.max() / 2)).flatten(0, 1)
    # Places in float32, whatever the weights' dtype: bfloat16 has no hundredths of a px.
    angles = F.linear(places, model.positional_encoder.projector.weight.float()).repeat_interleave(2, dim=-1)
    dtype = model.positional_encoder.projector.weight.dtype
    states = model.input_projection(pairs.descriptors.flatten(0, 1).to(dtype))
    mask = pairs.mask.flatten(0, 1)
    point_index = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    return _PairStates(
        list(range(len(pairs.mask))),
        pairs.mask.sum(dim=(1, 2)),
        states,
        torch.stack([angles.cos(), angles.sin()]),
        mask,
        point_index,
    )


def _attention_mask(model: Any, at: _PairStates) -> Tensor:
    """The mask in the form that the model's attention takes."""
    from transformers.masking_utils import create_bidirectional_mask

    mask: Tensor = create_bidirectional_mask(
        config=model.config,
        inputs_embeds=at.states[:, :1],
        attention_mask=at.mask,
        allow_is_bidirectional_skip=False,
    )
    return mask


def _threshold(layer: int, layers: int) -> float:
    """How sure a point has to be at a layer; from the paper's appendix."""
    return min(max(0.8 + 0.1 * math.exp(-4.0 * layer / layers), 0.0), 1.0)


def _link(assignment: Any, at: _PairStates, threshold: float, links: Links) -> None:
    """Assigns the points of pairs to each other, and writes the matches into `links`."""
    mask = at.mask.unflatten(0, (-1, 2))
    features = (assignment.final_projection(at.states) / at.states.shape[-1] ** 0.25).float().unflatten(0, (-1, 2))
    similar = features[:, 0] @ features[:, 1].transpose(1, 2)
    both = mask[:, 0, :, None] & mask[:, 1, None]
    similar = similar.masked_fill(~both, torch.finfo(torch.float32).min)
    able = F.logsigmoid(assignment.matchability(at.states).float()[..., 0]).unflatten(0, (-1, 2))
    scores = similar.log_softmax(dim=2) + similar.log_softmax(dim=1) + (able[:, 0, :, None] + able[:, 1, None])
    column, value, mutual = choose(scores)
    value = value.exp()
    valid = mutual & (value > threshold) & mask[:, 0]
    point_index = at.point_index.unflatten(0, (-1, 2))
    partner = point_index[:, 1].gather(1, column)
    rows, places = sent(at.pair, mask.device)[:, None], point_index[:, 0]
    links.partner[rows, places] = torch.where(valid, partner, -1)
    links.scores[rows, places] = torch.where(valid, value, 0.0)
