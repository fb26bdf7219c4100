"""OWL-ViT and OWLv2: each patch of a picture is a box with a vector, which is compared with the queries' vectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sensorium.models.on_device import sent
from sensorium.processors.text import TextProcessor
from sensorium.tasks.base import Batch
from sensorium.tasks.grounding.box_scores import BoxScores, without_others
from sensorium.tasks.grounding.finder import Finder
from sensorium.tasks.grounding.queries import Queries, QueryImage
from sensorium.tasks.texts.label_texts import LabelTexts

TOGETHER = 8
"""Pictures of what is looked for that are encoded in one batch."""

KEPT_IMAGES = 1024
"""Pictures of what is looked for whose vectors are kept."""

MOST_SCORES = 2**24
"""Scores that are made at once: 64 MiB of float32."""


class Owl(Finder):
    """Boxes of patches, and how well each query fits each of them.

    Args:
        model: Transformers' OwlViTForObjectDetection or Owlv2ForObjectDetection.
        text_processor: its tokenizer.
    """

    clips = False
    takes_images = True
    most = None

    def __init__(self, model: Any, text_processor: TextProcessor) -> None:
        self._model = model
        self._base: Any = next(getattr(model, name) for name in ("owlvit", "owlv2") if hasattr(model, name))
        self._texts = LabelTexts(self._base, text_processor)
        self._images: OrderedDict[bytes, Tensor] = OrderedDict()
        # float32, as bfloat16 next to 1 has steps of 1/256 of the picture
        rows, columns = self._model.num_patches_height, self._model.num_patches_width
        self._bias = self._model.compute_box_bias(rows, columns).float()
        self._on_device: dict[torch.device, Tensor] = {}

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuses labels that the model cannot read."""
        self._texts.check(labels)

    def cost(self, queries: Queries) -> float:
        """A query costs next to nothing beside the picture."""
        return 1.0

    def suppression(self, queries: Queries) -> float | None:
        """The IoU beyond which boxes that a picture finds suppress each other, as in Transformers; labels' do not."""
        return 0.3 if queries.images else None

    def found(
        self,
        run: Callable[..., Batch],
        wanted: Sequence[Queries],
        device: torch.device,
        finish: Callable[[Batch], Batch],
    ) -> Batch:
        """What lies in each patch, and the vectors of each picture's queries, `(B, N, D)`; those are encoded once."""
        seen = run()
        boxes = (seen.pop("offsets") + self._bias_on(device)).sigmoid()
        vectors = {queries: self._vectors(queries, device, finish) for queries in dict.fromkeys(wanted)}
        if len(vectors) == 1:
            return {**seen, "boxes": boxes, "queries": vectors[wanted[0]].expand(len(wanted), -1, -1)}
        rows = pad_sequence([vectors[queries] for queries in wanted], batch_first=True)
        return {**seen, "boxes": boxes, "queries": rows}

    def scores(self, outputs: Batch, wanted: Sequence[Queries]) -> Iterator[BoxScores]:
        """How well the queries fit each patch, some of the queries at a time."""
        patches, queries = outputs["vectors"].transpose(1, 2), outputs["queries"]
        shift, scale = outputs["shift"].transpose(1, 2), outputs["scale"].transpose(1, 2)
        step = max(1, MOST_SCORES // max(1, len(patches) * patches.shape[2]))
        for start in range(0, queries.shape[1], step):
            some = queries[:, start : start + step]
            logits = (some @ patches).add_(shift).mul_(scale)
            logits = without_others(logits, [max(0, len(each) - start) for each in wanted])
            yield BoxScores(logits[:, None], outputs["boxes"][:, None], [[start]] * len(wanted))

    def compute(self, inputs: Batch, *texts: Batch) -> Batch:
        """What depends on the picture alone: a vector, a shift, a scale and a box for each patch."""
        features = self._model.image_embedder(pixel_values=inputs["pixel_values"])[0].flatten(1, 2)
        head = self._model.class_head
        vectors = head.dense0(features).float()
        return {
            "vectors": vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-6),
            "shift": head.logit_shift(features).float(),
            "scale": head.elu(head.logit_scale(features).float()) + 1,
            "offsets": self._model.box_head(features).float(),
        }

    def _vectors(self, queries: Queries, device: torch.device, finish: Callable[[Batch], Batch]) -> Tensor:
        """`(N, D)` float32."""
        if queries.images:
            vectors = self._image_vectors(queries.images, device, finish)
        else:
            vectors = self._texts.vectors(queries.labels, device)
        lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
        return vectors / (lengths + 1e-6)

    def _image_vectors(
        self, images: Sequence[QueryImage], device: torch.device, finish: Callable[[Batch], Batch]
    ) -> Tensor:
        """`(N, D)` float32, the vectors of the patches that show the thing; for one thread at a time."""
        known = {image.key: self._images[image.key] for image in images if image.key in self._images}
        new = list({image.key: image for image in images if image.key not in known}.values())
        for start in range(0, len(new), TOGETHER):
            some = new[start : start + TOGETHER]
            names = some[0].inputs
            batch = {name: sent(torch.stack([image.inputs[name] for image in some]), device) for name in names}
            vectors = self._shown(finish(batch))
            known.update((image.key, vector.clone()) for image, vector in zip(some, vectors, strict=True))
        for key, vector in known.items():
            self._images[key] = vector
            self._images.move_to_end(key)
        while len(self._images) > KEPT_IMAGES:
            self._images.popitem(last=False)
        return torch.stack([known[image.key] for image in images])

    def _shown(self, inputs: Batch) -> Tensor:
        """`(B, D)` float32: for each picture the vector of the patch whose box is the thing, as Transformers finds it.

        OWLv2 takes the patch that is most likely a thing. OWL-ViT looks among the boxes that cover the picture best,
        and takes that whose vector is least like the picture's mean.
        """
        features = self._model.image_embedder(pixel_values=inputs["pixel_values"])[0].flatten(1, 2)
        vectors: Tensor = self._model.class_head.dense0(features).float()
        if hasattr(self._model, "objectness_predictor"):
            best = self._model.objectness_predictor(features).float().argmax(-1)
        else:
            boxes = self._model.box_head(features).float() + self._bias_on(features.device)
            centre, sides = boxes.sigmoid().split(2, dim=-1)
            low, high = (centre - 0.5 * sides), (centre + 0.5 * sides)
            inner = (high.clamp(0, 1) - low.clamp(0, 1)).prod(-1)  # a box's centre is inside: it has a part there
            overlap = inner / (1 + sides.prod(-1) - inner)
            covering = overlap >= overlap.amax(-1, keepdim=True) * 0.8
            alike = (vectors @ vectors.mean(1, keepdim=True).transpose(1, 2)).squeeze(-1)
            best = alike.masked_fill(~covering, torch.inf).argmin(-1)
        return vectors.take_along_dim(best[:, None, None], dim=1).squeeze(1)

    def _bias_on(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            self._on_device[device] = sent(self._bias, device)
        return self._on_device[device]
