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


@dataclass(slots=True)
class Memory:
    """What the decoder attends to.

    Attributes:
        heard: `(layers, 2, B, heads, positions, width)`, keys and values of B windows.
        written: `(layers, 2, R, heads, length, width)`, keys and values of the tokens of R = B × beams rows.
        used: how many tokens of `written` are there.
    """

    heard: Tensor
    written: Tensor
    used: int = 0

    def reorder(self, rows: Tensor) -> None:
        """Gives each row what another one has written; `rows` is `(R,)` int64."""
        so_far = self.written[:, :, :, :, : self.used]
        self.written[:, :, :, :, : self.used] = so_far[:, :, rows]

    def spread(self, beams: int) -> None:
        """Repeats each row that many times."""
        if beams > 1:
            self.written = self.written.repeat_interleave(beams, dim=2)


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

    def room(self, windows: int, like: Tensor) -> Tensor:
        """Space for the keys and values of so many windows: `(layers, 2, windows, heads, positions, width)`.

        Args:
            windows: how many.
            like: `(B, positions, d)`, what the encoder gave for some of them.
        """
        return like.new_empty((len(self.layers), 2, windows, self.heads, like.shape[1], self.width))

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

    def remember(self, heard: Tensor, length: int) -> Memory:
        """An empty memory for one row per window and up to `length` tokens."""
        layers, _, windows = heard.shape[:3]
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
        positions = self.decoder.embed_positions.weight[begin:end]
        hidden = self.decoder.embed_tokens(tokens) + positions
        for layer, written, heard in zip(self.layers, memory.written, memory.heard, strict=True):
            hidden = hidden + self._look_back(layer.self_attn, layer.self_attn_layer_norm(hidden), written, begin, end)
            hidden = hidden + self._look_at(layer.encoder_attn, layer.encoder_attn_layer_norm(hidden), heard)
            inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
            hidden = hidden + layer.fc2(inner)
        memory.used = end
        last: Tensor = self.project(self.decoder.layer_norm(hidden[:, -1]))
        return last.float()

    def _look_back(self, attention: Any, hidden: Tensor, written: Tensor, begin: int, end: int) -> Tensor:
        """Attention to the tokens written so far, these among them."""
        rows, length = hidden.shape[:2]
        shape = (rows, length, self.heads, self.width)
        written[0, :, :, begin:end] = attention.k_proj(hidden).view(shape).transpose(1, 2)
        written[1, :, :, begin:end] = attention.v_proj(hidden).view(shape).transpose(1, 2)
        query = (attention.q_proj(hidden) * self.scaling).view(shape).transpose(1, 2)
        keys, values = written[0, :, :, :end], written[1, :, :, :end]
        if length > 1:
            attended = F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=1.0)
        else:
            attended = _attend(query, keys, values)
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


def _attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of a few queries, already scaled, to all keys.

    For so few, on a CPU, torch's fused kernel takes several times as long as two products do (7× in bfloat16).
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, keys, values, scale=1.0)
    shares = (query @ keys.transpose(-1, -2)).softmax(-1, dtype=torch.float32)
    return shares.to(values.dtype) @ values
