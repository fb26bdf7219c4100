"""image-feature-extraction: a picture as vectors, for search, comparison and heads of your own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from sensorium.backbones import AutoBackbone, Backbone
from sensorium.checkpoints import Checkpoint
from sensorium.errors import CheckpointError, OptionError, TaskMismatchError, UnknownNameError
from sensorium.results import Embedding
from sensorium.tasks.base import Batch, Call, Fit, Options
from sensorium.tasks.heads import Composite
from sensorium.tasks.loading import load_processor
from sensorium.tasks.media.images import ImageTask
from sensorium.tasks.options import checked

Pool = Literal["none", "cls", "mean", "max", "pooled"]


@dataclass(frozen=True)
class ImageFeatureExtractionOptions(Options):
    """The options of a call.

    Attributes:
        pool: "none" gives the last hidden state, one vector per token; "cls" its class token, "mean" and "max" pool its
            other tokens; "pooled" gives what the architecture's own classifier would see.
        normalize: divides each vector by its Euclidean norm.
        feature_maps: the maps to give beside the vector, by position or by name; () for none.
        return_tensors: "np" gives NumPy arrays, "pt" torch tensors; both on the CPU.
    """

    pool: Pool = "none"
    normalize: bool = False
    feature_maps: tuple[int | str, ...] = ()
    return_tensors: Literal["np", "pt"] = "np"

    def __post_init__(self) -> None:
        super().__post_init__()
        maps: Any = self.feature_maps
        if isinstance(maps, (str, bytes)) or not isinstance(maps, Iterable):
            raise OptionError(f"feature_maps is a sequence of positions or names of maps, got {maps!r:.200}")
        named = tuple(checked("each of feature_maps", each, int | str) for each in maps)
        object.__setattr__(self, "feature_maps", named)


class ImageFeatureExtraction(ImageTask):
    """Embeddings and feature maps from any backbone."""

    name = "image-feature-extraction"
    summary = "a picture as vectors, for search, comparison and heads of your own"
    options = ImageFeatureExtractionOptions
    default = "google/vit-base-patch16-224@3f49326"
    model: Backbone

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """Anything that AutoBackbone can load; a checkpoint saved without a head is meant for this."""
        if checkpoint.kind == "backbone":
            return "native"
        if checkpoint.kind == "composite":
            return "possible"
        if checkpoint.kind == "timm":
            inner = checkpoint.config.get("pretrained_cfg") or {}
            classes = checkpoint.config.get("num_classes", inner.get("num_classes", 0))
            return "possible" if classes else "native"
        from transformers.models.auto import modeling_auto as auto
        from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

        kind = checkpoint.model_type
        if kind not in IMAGE_PROCESSOR_MAPPING_NAMES and kind not in auto.MODEL_FOR_BACKBONE_MAPPING_NAMES:
            return None
        # These are saved as a bare model that does all of another task: SAM, CLIP. LightGlue's "model" has a head.
        whole = {
            *map(auto.MODEL_MAPPING_NAMES.get, auto.MODEL_FOR_MASK_GENERATION_MAPPING_NAMES),
            *auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES.values(),
        }
        bare = {auto.MODEL_MAPPING_NAMES.get(kind), auto.MODEL_FOR_BACKBONE_MAPPING_NAMES.get(kind)} - whole
        saved = [name for name in checkpoint.architectures if not re.search("For[A-Z]", name)]
        return "native" if bare.intersection(saved) else "possible"

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads the checkpoint's backbone, without its head."""
        loaded_processor = load_processor(processor, checkpoint)
        return cls(
            AutoBackbone.from_pretrained(checkpoint, out_indices="all", options=checkpoint.options), loaded_processor
        )

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Backbone, or a composite's."""
        backbone = model.backbone if isinstance(model, Composite) else model
        if not isinstance(backbone, Backbone):
            raise TaskMismatchError(
                f"{cls.name} takes a Backbone, got {type(model).__name__}; load it with AutoBackbone.from_pretrained()"
            )
        if processor is None:
            raise CheckpointError(
                "a loaded backbone needs its processor; pass processor=… (a name, a folder or a loaded one)"
            )
        return cls(backbone, load_processor(processor, None))

    def check(self, options: ImageFeatureExtractionOptions) -> None:
        """Refuses what this backbone cannot give, before any work."""
        names = self.model.out_features
        for wanted in options.feature_maps:
            if isinstance(wanted, str) and wanted not in names:
                raise UnknownNameError("feature map", wanted, names)
            if isinstance(wanted, int) and not -len(names) <= wanted < len(names):
                raise OptionError(
                    f"feature_maps lie in [{-len(names)}, {len(names) - 1}], got {wanted}; they are {names}"
                )
        if options.pool == "cls" and not self.model.geometry.prefix_tokens:
            raise OptionError('this backbone has no class token; use pool="mean", "max" or "pooled"')
        if options.pool == "pooled" and not self.model.num_features:
            raise OptionError('this checkpoint has no weights for pool="pooled"; use "mean", "max" or "none"')

    def forward(self, batch: Batch, options: Any, call: Call) -> Any:
        """Asks the backbone for what the options need and no more."""
        function = self.compute_pooled if options.pool == "pooled" else self.compute
        outputs = call(function, batch)
        if options.feature_maps:
            outputs["maps"] = list(call(self.compute_maps, batch))
        return outputs

    def compute(self, batch: Batch) -> dict[str, Any]:
        """The last hidden state as tokens `(B, N, D)`, and what is known of them."""
        pixels = self.processor.finish(batch, dtype=self.dtype)["pixel_values"]
        output = self.model(pixels, feature_maps=False, pooled=False, tokens=True)
        return {"tokens": output.tokens, "mask": output.token_mask, "prefix": output.prefix_tokens}

    def compute_pooled(self, batch: Batch) -> dict[str, Any]:
        """The pooled features `(B, D)`."""
        return {"pooled": self.model.pool(self.processor.finish(batch, dtype=self.dtype)["pixel_values"])}

    def compute_maps(self, batch: Batch) -> tuple[Tensor, ...]:
        """All feature maps, `(B, C, H, W)` each."""
        pixels = self.processor.finish(batch, dtype=self.dtype)["pixel_values"]
        maps: tuple[Tensor, ...] = self.model(pixels, pooled=False, tokens=False).feature_maps
        return maps

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Pools and normalises in float32; one `(vector, maps)` pair of CPU tensors per picture."""
        vectors = outputs["pooled"].float() if "pooled" in outputs else _pool(outputs, options.pool)
        if options.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        names = self.model.out_features
        positions = [names.index(m) if isinstance(m, str) else m for m in options.feature_maps]
        maps = [outputs["maps"][position].float().cpu() for position in positions]
        return [(vector, [m[i] for m in maps]) for i, vector in enumerate(vectors.cpu())]

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Embedding:
        """The one picture's embedding; its arrays own their memory, not a batch's."""
        vector, maps = parts[0]
        arrays = [t.clone() if options.return_tensors == "pt" else t.numpy().copy() for t in (vector, *maps)]
        names = self.model.out_features
        chosen = [m if isinstance(m, str) else names[m] for m in options.feature_maps]
        return Embedding(arrays[0], arrays[1:], chosen, index=index)


def _pool(outputs: dict[str, Any], pool: Pool) -> Tensor:
    tokens: Tensor = outputs["tokens"].float()
    prefix, mask = int(outputs["prefix"]), outputs["mask"]
    if pool == "none":
        return tokens
    if pool == "cls":
        return tokens[:, 0]
    places = tokens[:, prefix:]
    real = torch.ones(places.shape[:2], dtype=torch.bool, device=places.device) if mask is None else mask[:, prefix:]
    if pool == "max":
        return places.masked_fill(~real[..., None], float("-inf")).amax(1)
    return (places * real[..., None]).sum(1) / real.sum(1, keepdim=True)
