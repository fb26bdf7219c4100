"""Whisper's decoder, run token by token on memories that the beams of a window share.

It computes what `WhisperDecoder` of Transformers computes, with two differences that save most of the time: what the
encoder gives is projected to keys and values once per window, whichever number of beams looks at it, and the keys and
values of what is written lie in one buffer that is never copied but for the order of beams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.models.whisper.desk import Desk


@dataclass(slots=True)
class Memory:
    """What the decoder attends to.

    Attributes:
        heard: `(layers, 2, B, heads, positions, width)`, keys and values of B windows.
        written: `(layers, 2, R, heads, length, width)`, keys and values of the tokens of R = B × beams rows.
        used: how many tokens of `written` are there.
        desk: where both lie if steps are recorded, else None.
    """

    heard: Tensor
    written: Tensor
    used: int = 0
    desk: Desk | None = None

    def reorder(self, rows: Tensor) -> None:
        """Gives each row what another one has written; `rows` is `(R,)` int64."""
        so_far = self.written[:, :, :, :, : self.used]
        self.written[:, :, :, :, : self.used] = so_far[:, :, rows]

    def spread(self, beams: int) -> None:
        """Repeats each row that many times."""
        if beams == 1:
            return
        if self.desk is None:
            self.written = self.written.repeat_interleave(beams, dim=2)
            return
        so_far = self.written[:, :, :, :, : self.used].repeat_interleave(beams, dim=2)
        self.written = self.desk.written[:, :, : so_far.shape[2]]
        self.written[:, :, :, :, : self.used] = so_far


class WhisperDecoder:
    """A Whisper model's decoder as functions of tensors.

    Args:
        model: a `WhisperForConditionalGeneration`.
    """

    def __init__(self, model: Any) -> None:
        self.decoder, self.project = model.model.decoder, model.proj_out
        self.layers = list(self.decoder.layers)
        attention = self.layers[0].self_attn
        self.heads, self.width, self.scaling = attention.num_heads, attention.head_dim, attention.scaling

    def room(self, windows: int, like: Tensor, desk: Desk | None = None) -> Tensor:
        """Space for the keys and values of so many windows: `(layers, 2, windows, heads, positions, width)`.

        Args:
            windows: how many.
            like: `(B, positions, d)`, what the encoder gave for some of them.
            desk: where, if steps are to be recorded.
        """
        shape = (len(self.layers), 2, windows, self.heads, like.shape[1], self.width)
        return like.new_empty(shape) if desk is None else desk.room(windows, shape, like)

    def listen(self, encoded: Tensor, heard: Tensor) -> None:
        """Projects the encoder's output to the keys and values of every layer.

        Args:
            encoded: `(B, positions, d)`.
            heard: `(layers, 2, B, heads, positions, width)`, is written.
        """
        shape = (*encoded.shape[:2], self.heads, self.width)
        for memory, layer in zip(heard, self.layers, strict=True):
            attention = layer.encoder_attn
            memory[0].copy_(attention.k_proj(encoded).view(shape).transpose(1, 2))
            memory[1].copy_(attention.v_proj(encoded).view(shape).transpose(1, 2))

    def remember(self, heard: Tensor, length: int, desk: Desk | None = None) -> Memory:
        """An empty memory for one row per window and up to `length` tokens; on the desk on which `heard` lies."""
        layers, _, windows = heard.shape[:3]
        if desk is not None:
            written = desk.lay(length, self.project.out_features)
            return Memory(heard, written[:, :, :windows], desk=desk)
        return Memory(heard, heard.new_zeros((layers, 2, windows, self.heads, length, self.width)))

    def step(self, tokens: Tensor, memory: Memory) -> Tensor:
        """Reads tokens, and scores what may come next.

        Args:
            tokens: `(R, L)` int64, all that follow what the memory holds; more than one only at the beginning.
            memory: of R rows; takes note of the tokens.

        Returns:
            `(R, vocabulary)` float32 logits.
        """
        begin, end = memory.used, memory.used + tokens.shape[1]
        if memory.desk is not None and tokens.shape[1] == 1:
            memory.used = end
            return memory.desk.step(self._read, tokens, begin)
        positions = self.decoder.embed_positions.weight[begin:end]
        hidden = self.decoder.embed_tokens(tokens) + positions
        memory.used = end
        return self._through(hidden, memory.written, memory.heard, _Span(begin, end))

    def _read(self, desk: Desk, reach: int) -> None:
        """One step on a desk: what it does does not depend on how many tokens came before."""
        hidden = self.decoder.embed_tokens(desk.tokens)
        hidden = hidden + self.decoder.embed_positions.weight.index_select(0, desk.position)
        spot = _Spot(desk.position, reach, (desk.places[:reach] <= desk.position)[None])
        desk.scores.copy_(self._through(hidden, desk.written, desk.heard, spot))

    def _through(self, hidden: Tensor, written: Tensor, heard: Tensor, place: _Span | _Spot) -> Tensor:
        """Through all layers, to the scores of what follows the last token."""
        for layer, own, shared in zip(self.layers, written, heard, strict=True):
            hidden = hidden + self._look_back(layer.self_attn, layer.self_attn_layer_norm(hidden), own, place)
            hidden = hidden + self._look_at(layer.encoder_attn, layer.encoder_attn_layer_norm(hidden), shared)
            inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
            hidden = hidden + layer.fc2(inner)
        last: Tensor = self.project(self.decoder.layer_norm(hidden[:, -1]))
        return last.float()

    def _look_back(self, attention: Any, hidden: Tensor, written: Tensor, place: _Span | _Spot) -> Tensor:
        """Attention to the tokens written so far, these among them."""
        rows, length = hidden.shape[:2]
        shape = (rows, length, self.heads, self.width)
        place.write(written[0], attention.k_proj(hidden).view(shape).transpose(1, 2))
        place.write(written[1], attention.v_proj(hidden).view(shape).transpose(1, 2))
        query = (attention.q_proj(hidden) * self.scaling).view(shape).transpose(1, 2)
        attended = place.attend(query, written[0], written[1])
        out: Tensor = attention.out_proj(attended.transpose(1, 2).reshape(rows, length, -1))
        return out

    def _look_at(self, attention: Any, hidden: Tensor, heard: Tensor) -> Tensor:
        """Attention to the sound; the rows of one window are so many queries to the same keys."""
        rows, length = hidden.shape[:2]
        windows = heard.shape[1]
        shape = (windows, rows // windows * length, self.heads, self.width)
        query = (attention.q_proj(hidden) * self.scaling).view(shape).transpose(1, 2)
        attended = _attend(query, heard[0], heard[1])
        out: Tensor = attention.out_proj(attended.transpose(1, 2).reshape(rows, length, -1))
        return out


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the tokens of a step lie, as the host knows it: from `begin` to before `end`."""

    begin: int
    end: int

    def write(self, memory: Tensor, values: Tensor) -> None:
        """Puts `(R, heads, L, width)` there."""
        memory[:, :, self.begin : self.end] = values

    def attend(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention to all tokens up to each."""
        keys, values = keys[:, :, : self.end], values[:, :, : self.end]
        if query.shape[2] > 1:
            return F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=1.0)
        return _attend(query, keys, values)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the one token of a step lies, as only the device knows it.

    Attributes:
        position: `(1,)` int64.
        reach: how many tokens are looked at.
        seen: `(1, reach)` bool, which of them are there.
    """

    position: Tensor
    reach: int
    seen: Tensor

    def write(self, memory: Tensor, values: Tensor) -> None:
        """Puts `(R, heads, 1, width)` there."""
        memory.index_copy_(2, self.position, values)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention to all tokens up to it."""
        keys, values = keys[:, :, : self.reach], values[:, :, : self.reach]
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=self.seen, scale=1.0)


def _attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of a few queries, already scaled, to all keys.

    For so few, on a CPU, torch's fused kernel takes several times as long as two products do (7× in bfloat16).
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, keys, values, scale=1.0)
    shares = (query @ keys.transpose(-1, -2)).softmax(-1, dtype=torch.float32)
    return shares.to(values.dtype) @ values
