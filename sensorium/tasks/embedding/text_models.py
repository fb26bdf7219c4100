"""Models that give texts hidden states, and maybe a vector: which class a checkpoint needs, and how it is asked."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.sentence_transformers import Stored, read_stored
from sensorium.errors import CheckpointError, TaskMismatchError
from sensorium.tasks.base import Batch, Fit
from sensorium.tasks.embedding.sentence_modules import SentenceModules, load_sentence_modules
from sensorium.tasks.loading import describe_module, load_transformers
from sensorium.tasks.texts.lengths import most_positions, takes_padding

SHARED = frozenset(
    ["align", "altclip", "chinese_clip", "clap", "clip", "metaclip_2", "siglip", "siglip2", "tipsv2"]
)  # fmt: skip
"""Model types that give texts and pictures, or texts and sounds, vectors of one space."""

DPR = {"DPRContextEncoder": "ctx_encoder", "DPRQuestionEncoder": "question_encoder"}
"""DPR's encoders, with the attribute that holds BERT. AutoModel takes the one for the other, with random weights."""

_NOT_TEXT_ALONE = frozenset(["cpmant", "fastspeech2_conformer", "lxmert", "tapas", "visual_bert", "vits"])
_SHIFTS_ITSELF = frozenset(["bart", "led", "mbart", "mvp", "plbart"])  # others need the decoder's tokens as well


class TextModel(nn.Module, ABC):
    """Texts' hidden states, and the vectors that the checkpoint makes of them.

    Attributes:
        model: the Transformers model.
        modules_behind: what sentence-transformers' files put behind it, if there are any.
        has_own: whether the checkpoint has a pooling of its own.
        unit: whether its own vectors are to have unit length.
        stored: what sentence-transformers' files say.
    """

    has_own = True
    unit = False

    def __init__(self, model: Any, stored: Stored | None = None) -> None:
        super().__init__()
        self.model = model
        self.stored = stored or Stored()
        self.modules_behind: SentenceModules | None = None

    @property
    def text_part(self) -> Any:
        """The module that reads texts."""
        return self.model

    @property
    def takes(self) -> set[str]:
        """The names of the inputs that it takes."""
        return set(inspect.signature(self.text_part.forward).parameters)

    @property
    def include_prompt(self) -> bool:
        """Whether the tokens of a prompt count in its own pooling."""
        return True

    @property
    def fixed_length(self) -> int | None:
        """The length that all texts are padded to, for a model that was trained so and sees no mask."""
        return None

    @property
    def takes_padding(self) -> bool:
        """Whether rows may be padded without changing what is in them."""
        return takes_padding(self.text_part)

    @property
    def positions(self) -> int | None:
        """How many positions it has learnt."""
        return most_positions(self.text_part)

    @abstractmethod
    def states(self, inputs: Batch) -> Tensor:
        """`(B, L, D)`, the last hidden state."""

    @abstractmethod
    def vectors(self, inputs: Batch, counted: Tensor) -> Tensor:
        """`(B, D)` float32, by the checkpoint's own pooling, before they are brought to unit length where they are.

        Args:
            inputs: the model's inputs, `(B, L)` each.
            counted: `(B, L)` int64, 1 for the tokens that count.
        """


class PlainText(TextModel):
    """A bare encoder or decoder; its pooling is sentence-transformers', if the checkpoint has that."""

    def __init__(self, model: Any, stored: Stored | None = None, behind: SentenceModules | None = None) -> None:
        super().__init__(model, stored)
        self.modules_behind = behind
        self.has_own = behind is not None
        self.unit = behind is not None and behind.unit
        self._further: dict[str, Any] = {"use_cache": False} if "use_cache" in self.takes else {}

    @property
    def include_prompt(self) -> bool:
        """As its pooling says."""
        return self.modules_behind is None or self.modules_behind.include_prompt

    def states(self, inputs: Batch) -> Tensor:
        """`(B, L, D)`, the last hidden state."""
        hidden: Tensor = self.model(**inputs, **self._further)[0]
        return hidden

    def vectors(self, inputs: Batch, counted: Tensor) -> Tensor:
        """`(B, D)` float32, pooled by sentence-transformers' modules."""
        assert self.modules_behind is not None  # Task.check has refused the call
        pooled: Tensor = self.modules_behind(self.states(inputs), counted)
        return pooled


class DprText(TextModel):
    """One of DPR's three models, whose own class gives no hidden states."""

    def __init__(self, model: Any, stored: Stored | None = None) -> None:
        super().__init__(model, stored)
        self.has_own = type(model).__name__ in DPR

    @property
    def text_part(self) -> Any:
        """DPR's encoder inside of its context encoder, question encoder or reader."""
        attribute = DPR.get(type(self.model).__name__)
        return self.model.span_predictor.encoder if attribute is None else getattr(self.model, attribute)

    def states(self, inputs: Batch) -> Tensor:
        """`(B, L, D)`, the last hidden state."""
        hidden: Tensor = self.text_part(**inputs, return_dict=True).last_hidden_state
        return hidden

    def vectors(self, inputs: Batch, counted: Tensor) -> Tensor:
        """`(B, D)` float32, the encoder's `pooler_output`."""
        pooled: Tensor = self.text_part(**inputs, return_dict=True).pooler_output
        return pooled.float()


class SharedText(TextModel):
    """The text part of a model that also sees or hears; its vectors lie in the space that both share."""

    unit = True

    @property
    def text_part(self) -> Any:
        """The model of texts."""
        return self.model.text_model

    @property
    def fixed_length(self) -> int | None:
        """All of SigLIP's texts are as long as it has places."""
        return self.positions if "siglip" in self.model.config.model_type else None

    def states(self, inputs: Batch) -> Tensor:
        """`(B, L, D)`, the last hidden state."""
        hidden: Tensor = self.text_part(**inputs)[0]
        return hidden

    def vectors(self, inputs: Batch, counted: Tensor) -> Tensor:
        """`(B, D)` float32: projected, as they are compared with those of the other kind."""
        features = self.model.get_text_features(**inputs)
        return (features if isinstance(features, Tensor) else features.pooler_output).float()


def fit_of(checkpoint: Checkpoint) -> Fit:
    """Bare models, DPR's encoders and sentence-transformers' folders are made for vectors; the rest can serve."""
    if checkpoint.kind != "transformers":
        return None
    from transformers.models.auto import modeling_auto as auto

    kind, names = checkpoint.model_type or "", set(checkpoint.architectures)
    if "AutoModel" in (checkpoint.config.get("auto_map") or {}) and checkpoint.needs_remote_code:
        return "possible"
    if kind in SHARED:
        whole = auto.MODEL_MAPPING_NAMES.get(kind)
        return "possible" if not names or whole in names else None
    if not _reads_text_alone(kind, bool(checkpoint.config.get("is_encoder_decoder"))):
        return None
    bare = {auto.MODEL_MAPPING_NAMES.get(kind), auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(kind), *DPR}
    modules = (checkpoint.root or checkpoint.folder) / "modules.json"
    return "native" if names & bare or modules.is_file() else "possible"


def load_text_model(checkpoint: Checkpoint) -> TextModel:
    """Loads a checkpoint's model, as its `architectures` say, with what is behind it.

    Raises:
        CheckpointError: it cannot be used; the message says why.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    stored = read_stored(checkpoint)
    names = set(checkpoint.architectures)
    if checkpoint.model_type == "dpr":
        named = names & {*DPR, "DPRReader"}
        if len(named) != 1:
            raise CheckpointError(
                f"{checkpoint.name!r} is DPR's, and which part of it is not said: expected {', '.join(DPR)} or "
                f"DPRReader in architectures, got {sorted(names)}. Correct its config.json."
            )
        return DprText(load_transformers(getattr(transformers, named.pop()), checkpoint), stored)
    if checkpoint.model_type in SHARED:
        return SharedText(load_transformers(transformers.AutoModel, checkpoint), stored)
    behind = load_sentence_modules(checkpoint, stored)
    encodes = checkpoint.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    auto = transformers.AutoModelForTextEncoding if encodes else transformers.AutoModel
    return PlainText(load_transformers(auto, checkpoint, unused="pooler"), stored, behind)


def wrap_text_model(model: nn.Module) -> TextModel:
    """Takes a loaded Transformers model.

    Raises:
        TaskMismatchError: it has no hidden states of texts.
    """
    if isinstance(model, TextModel):
        return model
    name = type(model).__name__
    if not hasattr(model, "config"):
        raise TaskMismatchError(f"expected a model of Transformers, got {name}")
    if name in {*DPR, "DPRReader"}:
        return DprText(model)
    described = describe_module(model)
    if described.model_type in SHARED:
        return SharedText(model)
    encoder_decoder = getattr(model.config, "is_encoder_decoder", False) and described.model_type not in _SHIFTS_ITSELF
    loaded: Any = model
    return PlainText(loaded.get_encoder() if encoder_decoder else loaded.base_model)


def _reads_text_alone(kind: str, is_encoder_decoder: bool) -> bool:
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    if kind in auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES:
        return True
    other = (FEATURE_EXTRACTOR_MAPPING_NAMES, IMAGE_PROCESSOR_MAPPING_NAMES, PROCESSOR_MAPPING_NAMES)
    # many types take whatever tokenizer lies beside them, and stand in no table of tokenizers: Llama, Qwen, Mistral
    reads = {*TOKENIZER_MAPPING_NAMES, *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES}
    if kind not in auto.MODEL_MAPPING_NAMES or kind not in reads or kind in _NOT_TEXT_ALONE:
        return False
    return not any(kind in names for names in other) and (not is_encoder_decoder or kind in _SHIFTS_ITSELF)
