"""The best spans of sequences, from a score for each token to be a span's first and one to be its last."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.processors.windows import CONTEXT, COUNTED, NOTHING

MASKED = -10_000.0
"""The logit of tokens that are out of the question; Transformers 4.57's."""


class Spans(NamedTuple):
    """K spans of each of B sequences, best first.

    Attributes:
        starts: `(B, K)` int64, positions of their first tokens.
        ends: `(B, K)` int64, positions of their last tokens.
        scores: `(B, K)` float32; -inf where a sequence has fewer spans.
        nothing: `(B,)` float32, the score of the span that says that there is no answer.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float32]
    nothing: NDArray[np.float32]


def probabilities(logits: Tensor, roles: Tensor) -> Tensor:
    """Softmax over those tokens of each sequence that count.

    Args:
        logits: `(B, L)` in any floating-point dtype.
        roles: `(B, L)` uint8, as in `sensorium.processors.windows`.

    Returns:
        `(B, L)` float32.
    """
    return logits.float().masked_fill(roles < COUNTED, MASKED).softmax(-1)


def best_spans(
    start: Tensor,
    end: Tensor,
    roles: Tensor,
    *,
    most_tokens: int,
    top_k: int,
    join: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Spans:
    """Searches the band of spans of up to `most_tokens` tokens, on the device; only the best come down, at once.

    Args:
        start: `(B, L)` float32, how well a span begins at each token: probabilities, or logits.
        end: `(B, L)` float32, how well it ends there.
        roles: `(B, L)` uint8; spans lie in the context alone.
        most_tokens: how many tokens a span has at most, from 1.
        top_k: how many spans to give for each sequence, from 1.
        join: makes a span's score of its start's and its end's: `torch.mul` for probabilities, `torch.add` for logits.
    """
    scores, width = _band(start, end, roles, most_tokens, join)
    best, where = scores.topk(min(top_k, scores.shape[-1]), dim=-1)
    return _found(best, where, width, (join(start, end) * (roles == NOTHING)).sum(-1, keepdim=True))


def separate_spans(
    start: Tensor,
    end: Tensor,
    roles: Tensor,
    *,
    most_tokens: int,
    top_k: int,
    join: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Spans:
    """The best spans of which none lies within another: again and again the best of those left, the first of equals.

    This is how DPR's reader chooses its spans; those that merely overlap are kept there, too. Arguments as in
    `best_spans`.
    """
    scores, width = _band(start, end, roles, most_tokens, join)
    places = torch.arange(scores.shape[-1], device=scores.device)
    firsts, lasts = places // width, places // width + places % width
    best: list[Tensor] = []
    where: list[Tensor] = []
    for _ in range(min(top_k, scores.shape[-1])):
        at = scores.argmax(-1, keepdim=True)
        where.append(at)
        best.append(scores.gather(-1, at))
        first, last = firsts[at], lasts[at]
        around = (firsts <= first) & (lasts >= last)
        inside = (firsts >= first) & (lasts <= last)
        scores = scores.masked_fill(around | inside, -torch.inf)
    nothing = (join(start, end) * (roles == NOTHING)).sum(-1, keepdim=True)
    return _found(torch.cat(best, -1), torch.cat(where, -1), width, nothing)


def _band(
    start: Tensor, end: Tensor, roles: Tensor, most_tokens: int, join: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, int]:
    """Scores of spans that begin at token `i // width` and end `i % width` further, `(B, L * width)`, and `width`."""
    width = min(most_tokens, start.shape[-1])
    context = roles == CONTEXT
    # ends[b, i, d] is token i + d as an end; what lies beyond the sequence is out of the context
    ends = torch.nn.functional.pad(end, (0, width - 1)).unfold(-1, width, 1)
    allowed = torch.nn.functional.pad(context, (0, width - 1)).unfold(-1, width, 1) & context[..., None]
    return join(start[..., None], ends).masked_fill(~allowed, -torch.inf).flatten(1), width


def _found(best: Tensor, where: Tensor, width: int, nothing: Tensor) -> Spans:
    """Spans from their scores and their places in the band, both `(B, K)`; one copy from the device."""
    # positions are exact in float32 up to 2**24: one tensor, one copy
    first, further = where // width, where % width
    columns = torch.cat([best, first.float(), further.float(), nothing], dim=-1).cpu().numpy()
    scored, firsts, furthers = np.split(columns[:, :-1], 3, axis=1)
    starts = firsts.astype(np.int64)
    return Spans(starts, starts + furthers.astype(np.int64), scored, columns[:, -1])
