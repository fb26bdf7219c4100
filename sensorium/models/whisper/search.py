"""Which tokens Whisper writes: its rules for them, the likeliest one by one, and the search with beams.

Rules and search choose what Transformers' `generate()` chooses for a single input, whatever else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sensorium.models.whisper.decoder import WhisperDecoder
from sensorium.models.whisper.desk import Desk

NEVER = -1.0e9
"""A log-probability that rules a sequence out."""

BROKEN = -1
"""The only token of a text that was to be chosen by scores that are NaN or infinite."""

LOOK_EVERY = 8
"""Steps between checks whether everything is written, on devices where a check makes the CPU wait."""


@dataclass(frozen=True)
class Rules:
    """Which tokens may be written.

    Attributes:
        end: the token that ends a text.
        suppressed: tokens that are never written, `(N,)` int64.
        suppressed_at_first: tokens that are not written first, `(N,)` int64.
        min_new_tokens: how many tokens come before the end.
        timestamps: whether timestamps are written, by Whisper's rules for them.
        timestamp_begin: the token of 0.00 s; those after it are later times. The one before it says that none follow.
        latest_first: how many steps of 0.02 s the first timestamp may lie after the beginning, or None.
    """

    end: int
    suppressed: Tensor | None = None
    suppressed_at_first: Tensor | None = None
    min_new_tokens: int = 0
    timestamps: bool = False
    timestamp_begin: int = 0
    latest_first: int | None = None

    def apply(self, scores: Tensor, written: Tensor) -> Tensor:
        """Forbids, in place, tokens that may not follow.

        Args:
            scores: `(R, vocabulary)` float32 logits or log-probabilities.
            written: `(R, t)` int64, what was written so far, without the prompt.
        """
        never = -torch.inf
        if written.shape[1] < self.min_new_tokens:
            scores[:, self.end] = never
        if self.suppressed_at_first is not None and not written.shape[1]:
            scores.index_fill_(1, self.suppressed_at_first, never)
        if self.suppressed is not None:
            scores.index_fill_(1, self.suppressed, never)  # `scores[:, …] = never` would copy `never` there, and wait
        return self._time(scores, written) if self.timestamps else scores

    def _time(self, scores: Tensor, written: Tensor) -> Tensor:
        """Times come first and in pairs, never go back, and come where all together are likelier than any text."""
        never, begin = -torch.inf, self.timestamp_begin
        scores[:, begin - 1] = never
        if written.shape[1]:
            self._pair(scores, written)
        else:
            scores[:, :begin] = never
            if self.latest_first is not None:
                scores[:, begin + self.latest_first + 1 :] = never
        likelihoods = scores.log_softmax(-1)
        timed = likelihoods[:, begin:].logsumexp(-1) > likelihoods[:, :begin].amax(-1)
        scores[:, :begin].masked_fill_(timed[:, None], never)
        return scores

    def _pair(self, scores: Tensor, written: Tensor) -> None:
        never, begin = -torch.inf, self.timestamp_begin
        last = written[:, -1] >= begin
        second = written[:, -2] >= begin if written.shape[1] > 1 else torch.ones_like(last)
        scores[:, begin:].masked_fill_((last & second)[:, None], never)
        scores[:, : self.end].masked_fill_((last & ~second)[:, None], never)
        latest = torch.where(written >= begin, written, begin - 1).amax(-1)  # begin - 1: none yet, so none is forbidden
        earliest = torch.where(last & ~second, latest, latest + 1)
        times = torch.arange(begin, scores.shape[1], device=scores.device)
        scores[:, begin:].masked_fill_(times < earliest[:, None], never)


def write_greedily(
    decoder: WhisperDecoder, heard: Tensor, prompt: Tensor, rules: Rules, *, max_tokens: int, desk: Desk | None = None
) -> list[list[int]]:
    """Writes the likeliest token at each step.

    Args:
        decoder: the model's.
        heard: `(layers, 2, B, heads, positions, width)`, filled by `decoder.listen`.
        prompt: `(B, P)` int64.
        rules: what may be written.
        max_tokens: how many tokens to write at most.
        desk: where `heard` lies, if steps are recorded.

    Returns:
        For each of the B windows the tokens written, with the end token if it was reached; or `BROKEN` alone.
    """
    memory = decoder.remember(heard, prompt.shape[1] + max_tokens, desk)
    written = prompt.new_full((prompt.shape[0], max_tokens), rules.end)
    ended = torch.zeros(prompt.shape[0], dtype=torch.bool, device=prompt.device)
    broken = torch.zeros_like(ended)
    tokens, look_every = prompt, _looks_every(prompt.device)
    for t in range(max_tokens):
        scores = rules.apply(decoder.step(tokens, memory), written[:, :t])
        best = scores.max(-1)
        broken |= ~(best.values < torch.inf)
        chosen = best.indices.masked_fill_(ended, rules.end)
        written[:, t] = chosen
        ended |= chosen == rules.end
        if (t + 1) % look_every == 0 and bool(ended.all()):
            break
        tokens = chosen[:, None]
    written[:, 0].masked_fill_(broken, BROKEN)
    return [_to_end(row, rules.end) for row in written.tolist()]


@dataclass(frozen=True)
class Beams:
    """How to search with beams.

    Attributes:
        count: how many beams to keep.
        length_penalty: the power of the length by which a finished sequence's score is divided.
        early_stopping: whether to stop at the first `count` finished sequences; "never" to go on as long as a
            better one is possible, False as long as it is likely.
    """

    count: int
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False


def write_with_beams(
    decoder: WhisperDecoder,
    heard: Tensor,
    prompt: Tensor,
    rules: Rules,
    *,
    max_tokens: int,
    beams: Beams,
    desk: Desk | None = None,
) -> list[list[int]]:
    """Writes the sequence of the best score that a search with beams finds; arguments as in `write_greedily`."""
    memory = decoder.remember(heard, prompt.shape[1] + max_tokens, desk)
    search = _BeamSearch(prompt.shape[0], max_tokens, rules.end, beams, prompt.device)
    look_every = _looks_every(prompt.device)
    scores = decoder.step(prompt, memory)
    memory.spread(beams.count)
    scores = scores.repeat_interleave(beams.count, dim=0)
    for t in range(max_tokens):
        came_from = search.advance(rules.apply(scores.log_softmax(-1), search.written), t)
        if t + 1 == max_tokens or ((t + 1) % look_every == 0 and search.over()):
            break
        memory.reorder(came_from)
        scores = decoder.step(search.written[:, -1:], memory)
    return search.best()


class _BeamSearch:
    """The running and the finished sequences of B windows.

    A window whose search is over takes nothing new, so that it does not matter how long its neighbours search.
    """

    def __init__(self, windows: int, max_tokens: int, end: int, beams: Beams, device: torch.device) -> None:
        self.windows, self.max_tokens, self.end, self.beams = windows, max_tokens, end, beams
        count = beams.count
        self.written = torch.empty((windows * count, 0), dtype=torch.int64, device=device)  # of the running ones
        self.scores = torch.full((windows, count), NEVER, device=device)
        self.scores[:, 0] = 0  # all beams are alike at first: only one of them may branch
        self.finished = torch.full((windows, count, max_tokens), end, dtype=torch.int64, device=device)
        self.lengths = torch.zeros((windows, count), dtype=torch.int64, device=device)
        self.finished_scores = torch.full((windows, count), NEVER, device=device)
        self.is_finished = torch.zeros((windows, count), dtype=torch.bool, device=device)
        self.broken = torch.zeros((windows, 1), dtype=torch.bool, device=device)
        self.open = torch.ones((windows, 1), dtype=torch.bool, device=device)
        self.offsets = (torch.arange(windows, device=device) * count)[:, None]

    def advance(self, likelihoods: Tensor, t: int) -> Tensor:
        """Takes the log-probabilities of token number t, `(B × beams, vocabulary)`.

        Returns:
            `(B × beams,)` int64, the row that each of the running sequences goes on from.
        """
        count, vocabulary = self.beams.count, likelihoods.shape[1]
        total = likelihoods.view(self.windows, count, vocabulary) + self.scores[:, :, None]
        scores, at = total.view(self.windows, -1).topk(2 * count)  # as many may end, and still `count` run on
        self.broken |= scores[:, :1].isnan()
        rows = at // vocabulary + self.offsets
        sequences = torch.cat([self.written[rows], (at % vocabulary)[:, :, None]], dim=-1)
        ends = (sequences[:, :, -1] == self.end) | (t + 1 == self.max_tokens)
        self._finish(scores, sequences, ends, t + 1)
        scores, kept = (scores + ends * NEVER).topk(count)
        self.scores = scores
        self.written = _pick(sequences, kept).view(self.windows * count, -1)
        self._close(t + 1)
        return rows.gather(1, kept).view(-1)

    def over(self) -> bool:
        """Whether no window can get a better sequence."""
        full = self.is_finished.all() & (self.beams.early_stopping is True)
        return bool(full | ~self.open.any())

    def best(self) -> list[list[int]]:
        """Each window's best sequence, with its end token; or `BROKEN` alone."""
        self.lengths.masked_fill_(self.broken, 1)
        self.finished[:, :, 0].masked_fill_(self.broken, BROKEN)
        rows = torch.cat([self.lengths[:, :1], self.finished[:, 0]], dim=1).tolist()
        return [tokens[:length] for length, *tokens in rows]

    def _finish(self, scores: Tensor, sequences: Tensor, ends: Tensor, length: int) -> None:
        """Takes those that end, and are among the best `count`, into the finished ones if they are better."""
        ending = ends.clone()
        ending[:, self.beams.count :] = False
        full = self.is_finished.all(-1, keepdim=True) & (self.beams.early_stopping is True)
        scores = scores / length**self.beams.length_penalty
        scores = scores + full * NEVER + ~self.open * NEVER + ~ending * NEVER
        padded = self.finished.new_full((*ends.shape, self.max_tokens), self.end)
        padded[:, :, :length] = sequences
        self.finished_scores, kept = torch.cat([self.finished_scores, scores], 1).topk(self.beams.count)
        self.finished = _pick(torch.cat([self.finished, padded], 1), kept)
        self.lengths = torch.cat([self.lengths, torch.full_like(ends, length, dtype=torch.int64)], 1).gather(1, kept)
        self.is_finished = torch.cat([self.is_finished, ending], 1).gather(1, kept)

    def _close(self, length: int) -> None:
        """Ends the search of the windows whose running sequences can hardly beat the finished ones."""
        beams = self.beams
        longest = self.max_tokens if beams.early_stopping == "never" and beams.length_penalty > 0 else length
        hoped = self.scores[:, :1] / longest**beams.length_penalty
        worst = self.finished_scores.amin(1, keepdim=True).where(self.is_finished, NEVER)
        self.open = self.open & (hoped > worst).any(-1, keepdim=True)


def _looks_every(device: torch.device) -> int:
    return 1 if device.type == "cpu" else LOOK_EVERY


def _pick(sequences: Tensor, kept: Tensor) -> Tensor:
    """Those sequences, `(B, n, t)`, that `kept`, `(B, k)`, names."""
    return sequences.gather(1, kept[:, :, None].expand(-1, -1, sequences.shape[-1]))


def _to_end(tokens: list[int], end: int) -> list[int]:
    if tokens[0] == BROKEN:
        return tokens[:1]
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
