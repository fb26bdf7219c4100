"""image-classification: which of its labels a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.models.on_device import brought
from sensorium.results import Labels
from sensorium.tasks.base import Batch, Fit, Models, Options
from sensorium.tasks.heads import Composite, LinearClassifier
from sensorium.tasks.loading import load_processor, load_transformers, processor_of
from sensorium.tasks.media.images import ImageTask
from sensorium.tasks.options import Range, lower_case

Activation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class ImageClassificationOptions(Options):
    """The options of a call.

    Attributes:
        top_k: how many labels to give, best first; None for all. If there are fewer, all are given.
        function_to_apply: what turns logits into scores; None for what the checkpoint's config asks for: "sigmoid" for
            several labels at once or a single one, "none" for regression, else "softmax".
    """

    top_k: Annotated[int | None, Range(1, none="all labels")] = 5
    function_to_apply: Activation | None = None

    def __post_init__(self) -> None:
        lower_case(self, "function_to_apply")
        super().__post_init__()


class ImageClassification(ImageTask):
    """Labels with scores, as Transformers' pipeline of the same name gives them."""

    name = "image-classification"
    summary = "which of its labels a picture shows"
    options = ImageClassificationOptions
    models = (Models("AutoModelForImageClassification", never=("shieldgemma2",), own_code=True),)
    default = "google/vit-base-patch16-224@3f49326"
    head = LinearClassifier

    def __init__(self, model: nn.Module, processor: Any, *, labels: Sequence[str] | None = None) -> None:
        super().__init__(model, processor)
        config: Any = getattr(model, "config", None) or {}

        def read(name: str) -> Any:
            return config.get(name) if isinstance(config, dict) else getattr(config, name, None)

        self._takes_names = not isinstance(model, Composite) and hasattr(config, "to_dict")
        self._nameless = read("model_type") == "pp_lcnet"  # whose classifier gives its logits under another name
        self._labels = list(labels) if labels else _label_names(read("id2label"), model)
        self._activation = _default_activation(read("problem_type"), len(self._labels), read("function_to_apply"))

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """Checkpoints saved with a classifier of pictures, those of timm among them."""
        if checkpoint.kind == "timm":
            return "native" if _num_classes(checkpoint.config) else None
        return super().fits(checkpoint)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a Transformers or timm classifier, or a composite."""
        if checkpoint.kind == "composite":
            return cls(Composite.from_pretrained(checkpoint), load_processor(processor, checkpoint))
        loaded_processor = load_processor(processor, checkpoint)
        if checkpoint.kind == "timm":
            from sensorium.backbones.timm import load_model

            return cls(load_model(checkpoint), loaded_processor, labels=checkpoint.config.get("label_names"))
        from transformers import AutoModelForImageClassification

        return cls(load_transformers(AutoModelForImageClassification, checkpoint), loaded_processor)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers, timm or composite classifier."""
        return cls(model, processor_of(model, processor))

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """`{"logits": (B, number of labels)}` in the model's dtype."""
        inputs = self.processor.finish(batch, dtype=self.dtype)
        output = self.model(**inputs) if self._takes_names else self.model(inputs["pixel_values"])
        if self._nameless:
            return {"logits": output.last_hidden_state}
        return {"logits": output if isinstance(output, Tensor) else output.logits}

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """Scores in float32, sorted; one `(scores, ids)` pair of NumPy arrays per picture."""
        logits = outputs["logits"].float()
        activation = options.function_to_apply or self._activation
        if activation == "softmax":
            logits = logits.softmax(-1)
        elif activation == "sigmoid":
            logits = logits.sigmoid()
        scores, ids = logits.sort(dim=-1, descending=True, stable=True)
        count = options.top_k or logits.shape[-1]
        scores, ids = brought([scores[:, :count], ids[:, :count]])
        return list(zip(scores.numpy(), ids.numpy(), strict=True))

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Labels:
        """The one picture's labels."""
        scores, ids = parts[0]
        named = len(self._labels)
        return Labels([self._labels[i] if i < named else f"LABEL_{i}" for i in ids], scores, ids, index=index)


def _label_names(id2label: Any, model: nn.Module) -> list[str]:
    """The labels in the order of the logits; `LABEL_<i>` where the checkpoint names none, as Transformers has it."""
    if id2label is None:
        count = int(getattr(model, "num_classes", 0))
        return _timm_labels(model, count) or [f"LABEL_{i}" for i in range(count)]
    names = {int(key): str(value) for key, value in dict(id2label).items()}
    return [names.get(i, f"LABEL_{i}") for i in range(max(names, default=-1) + 1)]


def _timm_labels(model: nn.Module, count: int) -> list[str]:
    """The names of ImageNet's classes (or a subset's), where a loaded timm model was trained on them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    config = dict(getattr(model, "pretrained_cfg", {}), num_classes=count)
    if config.get("label_names"):
        return list(config["label_names"])
    subset = infer_imagenet_subset(config)
    if not subset:
        return []
    info = ImageNetInfo(subset)
    descriptions = info.label_descriptions(as_dict=True)
    return [descriptions[name] for name in info.label_names()]


def _default_activation(problem_type: str | None, labels: int, configured: str | None) -> Activation:
    if problem_type == "regression":
        return "none"
    if problem_type == "multi_label_classification" or labels == 1:
        return "sigmoid"
    if problem_type == "single_label_classification" or labels > 1:
        return "softmax"
    return configured or "none"  # type: ignore[return-value]  # a config's own word, checked when it is used


def _num_classes(config: dict[str, Any]) -> int:
    inner = config.get("pretrained_cfg") or {}
    return int(config.get("num_classes", inner.get("num_classes", 0)) or 0)
