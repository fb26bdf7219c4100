"""A head that fuses a backbone's feature map with a question and scores answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.backbones import Backbone
from sensorium.backbones.weights import load_weights
from sensorium.checkpoints import resolve
from sensorium.errors import CheckpointError, MissingWeightsError, OptionError, UnknownNameError
from sensorium.tasks.heads import Head
from sensorium.tasks.options import Count, checked

_OPTIONS = ["text_encoder", "width", "depth", "heads", "dropout"]


class FusionHead(Head):
    """Cells of a feature map and tokens of a question go through one small transformer with a token for the answer.

    Each of the two is brought to one width and gets a vector that says which it is, as in ViLT (Kim, Son, Kim,
    https://arxiv.org/abs/2102.03334); cells get the sine positions of DETR (Carion et al.,
    https://arxiv.org/abs/2005.12872). Answers are scored each by itself (train with
    `binary_cross_entropy_with_logits`), so that several may be right to a degree.

    Attributes:
        text_encoder: a Transformers model of text; the head's own, trained and saved with it.
    """

    kind = "fusion"

    def __init__(
        self,
        text_encoder: nn.Module,
        channels: int,
        num_labels: int,
        *,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.text_encoder: Any = text_encoder
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.from_image = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        config: Any = text_encoder.config
        hidden = int(config.hidden_size)
        self.from_text = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width))
        self.kinds = nn.Parameter(torch.zeros(2, width))
        self.answer = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.classify = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_labels))
        for vector in (self.kinds, self.answer):
            nn.init.normal_(vector, std=0.02)

    @classmethod
    def build(
        cls,
        backbone: Backbone,
        labels: Sequence[str],
        *,
        text_encoder: str | PathLike[str] | nn.Module | None = None,
        width: int = 256,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        **options: Any,
    ) -> Self:
        """A head on the coarsest map that the backbone gives.

        Args:
            backbone: gives the map.
            labels: the answers.
            text_encoder: what reads the question: the name or folder of a Transformers checkpoint such as BERT's, or a
                loaded model. The processor that is saved with the composite brings its tokenizer.
            width: of the transformer; a multiple of `heads`.
            depth: its layers.
            heads: its attention heads.
            dropout: share dropped in training, in [0, 1).
            **options: none.
        """
        if options:
            raise UnknownNameError("option of a fusion head", next(iter(options)), _OPTIONS)
        for name, value in (("width", width), ("depth", depth), ("heads", heads)):
            checked(name, value, Count)
        if width % (2 * heads) or width % 4:
            raise OptionError(f"width is a multiple of 4 and of twice the heads ({heads}), got {width}")
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise OptionError(f"dropout is a share in [0, 1), got {dropout!r}")
        if not backbone.channels:
            raise MissingWeightsError("this backbone gives no feature maps, which a fusion head needs.")
        encoder = _loaded(text_encoder)
        return cls(
            encoder, backbone.channels[-1], len(labels), width=width, depth=depth, heads=heads, dropout=float(dropout)
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backbone: Backbone) -> Self:
        """The head of a composite's config."""
        from transformers import AutoConfig, AutoModel

        spec = config["sensorium"]["head"]
        described = dict(spec["text_encoder"])
        encoder = AutoModel.from_config(AutoConfig.for_model(described.pop("model_type"), **described))
        sizes = {name: spec[name] for name in ("width", "depth", "heads", "dropout")}
        return cls(_without_pooler(encoder), backbone.channels[-1], len(config["id2label"]), **sizes)

    def spec(self) -> dict[str, Any]:
        """Its sizes and the text encoder's config."""
        described = self.text_encoder.config.to_dict()
        described.pop("dtype", None)
        sizes = {"width": self.width, "depth": self.depth, "heads": self.heads, "dropout": self.dropout}
        return {**sizes, "text_encoder": described}

    def extract(self, backbone: Backbone, pixel_values: Tensor) -> Tensor:
        """The backbone's coarsest map, `(B, C, h, w)`."""
        coarsest: Tensor = backbone(pixel_values, feature_maps=True, pooled=False, tokens=False).feature_maps[-1]
        return coarsest

    def forward(self, features: Tensor, **inputs: Tensor) -> Tensor:
        """Logits of the answers, `(B, num_labels)`.

        Args:
            features: `(B, C, h, w)`, one map for each question.
            **inputs: the text encoder's: `input_ids`, `attention_mask` and where it takes them `token_type_ids`,
                `(B, length)` int64 each.
        """
        words = self.from_text(self.text_encoder(**inputs).last_hidden_state) + self.kinds[0]
        cells = self.from_image(features.flatten(2).transpose(1, 2)) + self.kinds[1]
        cells = cells + _positions(features.shape[2], features.shape[3], self.width, like=cells)
        states = torch.cat([self.answer.expand(len(words), -1, -1), words, cells], dim=1)
        mask = inputs.get("attention_mask")
        seen = None
        if mask is not None:
            seen = F.pad(F.pad(mask.bool(), (1, 0), value=True), (0, cells.shape[1]), value=True)[:, None, None]
        for block in self.blocks:
            states = block(states, seen)
        logits: Tensor = self.classify(states[:, 0])
        return logits


class _Block(nn.Module):
    """A layer of a transformer, normalised before."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, seen: Tensor | None) -> Tensor:
        """`(B, N, width)` to the same; `seen` is `(B, 1, 1, N)` bool."""
        parts = self.mix(self.norm(states)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=seen)
        states = states + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        wider: Tensor = states + self.dropout(self.widen(states))
        return wider


def _positions(height: int, width: int, channels: int, *, like: Tensor) -> Tensor:
    """Sines and cosines of each cell's place, rows in the first half: `(1, height · width, channels)`."""
    quarter = channels // 4
    rates = torch.exp(-math.log(10_000.0) * torch.arange(quarter, device=like.device) / quarter)
    rows = torch.arange(height, device=like.device)[:, None] * rates
    columns = torch.arange(width, device=like.device)[:, None] * rates
    down = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    across = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([down, across], dim=2).flatten(0, 1)[None].to(like.dtype)


def _loaded(text_encoder: Any) -> nn.Module:
    if text_encoder is None:
        raise OptionError("a fusion head needs text_encoder: the name or folder of a checkpoint such as BERT's")
    encoder = text_encoder if isinstance(text_encoder, nn.Module) else _read(text_encoder)
    config: Any = getattr(encoder, "config", None)
    if getattr(encoder, "main_input_name", "") != "input_ids" or getattr(config, "is_encoder_decoder", True):
        raise OptionError(f"text_encoder is a Transformers model that encodes text, got {type(encoder).__name__}")
    if not hasattr(config, "hidden_size"):
        raise OptionError(f"text_encoder has one width (hidden_size), got a {type(encoder).__name__} without")
    return _without_pooler(encoder)


def _read(name: str | PathLike[str]) -> nn.Module:
    from transformers import AutoModel

    checkpoint = resolve(name)
    if checkpoint.kind != "transformers":
        raise CheckpointError(f"text_encoder is a Transformers checkpoint, {checkpoint.name!r} is none")
    checkpoint.weights()
    encoder, missing = load_weights(AutoModel, None, checkpoint)
    missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise MissingWeightsError(f"{checkpoint.name!r} lacks weights of a text encoder: {', '.join(missing[:4])}")
    loaded: nn.Module = encoder.float()
    return loaded


def _without_pooler(encoder: Any) -> nn.Module:
    """Nothing here is pooled, and not every checkpoint has what a pooler needs."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    module: nn.Module = encoder
    return module
