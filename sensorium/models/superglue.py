"""SuperGlue over pairs with different numbers of points: what pads a pair never changes its result.

Sarlin, DeTone, Malisiewicz, Rabinovich: SuperGlue: Learning Feature Matching with Graph Neural Networks,
https://arxiv.org/abs/1911.11763. The reference gives the points with which it fills up the picture with fewer of them
a share in the optimal transport. For one pair that is part of the answer and kept here; points with which a pair is
padded to its neighbours' number have no share.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from sensorium.models.matching import Links, Pairs, choose
from sensorium.models.on_device import sent

RENEWED = 10
"""Sweeps of Sinkhorn's algorithm between two returns to logarithms."""

_LEAST = torch.finfo(torch.float32).tiny  # rows without a share sum up to 0, and get 0, not NaN


def superglue(model: Any, pairs: Pairs) -> Links:
    """Matches pairs in which both pictures have points.

    Args:
        model: a `SuperGlueForKeypointMatching`.
        pairs: their points.
    """
    config = model.config
    size = sent(pairs.size, pairs.xy.device)
    shares = pairs.xy / size * size  # as the reference rounds them
    places = ((shares - size / 2) / (size.max() * 0.7)).flatten(0, 1)
    # Coordinates and scores are encoded in float32, whatever the weights' dtype: bfloat16 has no hundredths of a px.
    weights = {name: tensor.float() for name, tensor in model.keypoint_encoder.state_dict().items()}
    encoded = functional_call(model.keypoint_encoder, weights, (places, pairs.scores.flatten(0, 1)))[0]
    dtype = model.final_projection.final_proj.weight.dtype
    states = (pairs.descriptors.flatten(0, 1) + encoded).to(dtype)
    barred = torch.where(pairs.mask, 0.0, torch.finfo(dtype).min).to(dtype).flatten(0, 1)[:, None, None]
    states = model.final_projection(model.gnn(states, mask=barred)[0]).float().unflatten(0, (-1, 2))
    similar = states[:, 0] @ states[:, 1].transpose(1, 2) / config.hidden_size**0.5
    both = pairs.mask[:, 0, :, None] & pairs.mask[:, 1, None]
    similar = similar.masked_fill(~both, torch.finfo(torch.float32).min)
    plan = transport(similar, model.bin_score.float(), pairs.lengths, sweeps=config.sinkhorn_iterations)
    column, value, mutual = choose(plan)
    scores = torch.where(mutual, value.exp(), 0.0)
    valid = (scores > max(config.matching_threshold, 0.0)) & pairs.mask[:, 0]
    return Links(torch.where(valid, column, -1), torch.where(valid, scores, 0.0))


def transport(similar: Tensor, bin_score: Tensor, lengths: Tensor, *, sweeps: int) -> Tensor:
    """The logarithm of the optimal assignment of rows to columns, or to a bin, by Sinkhorn's algorithm.

    A sweep over logarithms takes an exponential of every entry; one over the entries themselves a product of a matrix
    with a vector, ten times as fast. So the plan so far is written out (its entries are at most 1), only what remains
    to be scaled is found on it, and taken into the logarithms every few sweeps, before anything can overflow.

    Args:
        similar: `(P, N, N)` float32, logarithms.
        bin_score: scalar, the similarity to the bin.
        lengths: `(P,)` int64; rows and columns from there on have no share.
        sweeps: normalisations of rows and columns, each.

    Returns:
        `(P, N, N)` float32, the logarithm of the plan times 2 · length; -inf where there is no share.
    """
    pairs, count, _ = similar.shape
    costs = bin_score.expand(pairs, count + 1, count + 1).clone()
    costs[:, :count, :count] = similar
    norm = -(2.0 * lengths).log()[:, None]
    inside = torch.arange(count, device=similar.device) < lengths[:, None]
    share = torch.cat([norm.masked_fill(~inside, -math.inf), lengths.log()[:, None] + norm], dim=1)
    rows = columns = torch.where(share == -math.inf, share, 0.0)
    for sweep in range(sweeps):
        if sweep % RENEWED == 0:
            rows = share - torch.logsumexp(costs + columns[:, None], dim=2)
            columns = share - torch.logsumexp(costs + rows[..., None], dim=1)
            plan = (costs + rows[..., None] + columns[:, None]).exp()
            part, by_row = share.exp(), torch.ones_like(share)
            by_column = by_row
            continue
        by_row = part / torch.bmm(plan, by_column[..., None])[..., 0].clamp_min(_LEAST)
        by_column = part / torch.bmm(by_row[:, None], plan)[:, 0].clamp_min(_LEAST)
        if sweep % RENEWED == RENEWED - 1 or sweep == sweeps - 1:
            rows, columns = rows + by_row.log(), columns + by_column.log()
    return (costs + rows[..., None] + columns[:, None] - norm[..., None])[:, :count, :count]
