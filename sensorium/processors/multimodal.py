"""Pictures with texts → what a model of both takes, from the processors of each."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from sensorium.checkpoints.writing import CONFIG, checkpoint_written
from sensorium.errors import CheckpointError, InputError
from sensorium.processors.image import ImageProcessor, write_recipe
from sensorium.processors.image_resampling import to_numpy_hwc
from sensorium.processors.padding import Padding
from sensorium.processors.templates import apart
from sensorium.processors.text import Encoded, TextProcessor

if TYPE_CHECKING:
    from sensorium.checkpoints import Checkpoint, LoadOptions


@dataclass(frozen=True)
class FittedImage:
    """A picture as a model takes it, ready for any number of questions.

    Attributes:
        inputs: the model's tensors; for a chat model they keep a first axis for the pictures of a conversation.
        key: 16 bytes that differ between any two different pictures.
        own: what the checkpoint's own image processor gave, where the prompt depends on it.
    """

    inputs: dict[str, Tensor]
    key: bytes
    own: Any = None

    @property
    def nbytes(self) -> int:
        """How much memory its tensors take."""
        return sum(tensor.nbytes for tensor in self.inputs.values())


class MultimodalProcessor:
    """The processors of a model that takes a picture and a text.

    Attributes:
        image: for the picture.
        text: for the text.
    """

    def __init__(self, image: ImageProcessor, text: TextProcessor) -> None:
        self.image, self.text = image, text

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | PathLike[str] | Checkpoint, *, options: LoadOptions | None = None
    ) -> MultimodalProcessor:
        """Load both processors of a checkpoint, or of a folder that `save_pretrained` wrote.

        Args:
            name_or_folder: a Hub id, a local folder, or a checkpoint that is already found.
            options: how to find and open it.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            CheckpointError: it lacks one of the two, or has a broken one.
        """
        image = ImageProcessor.from_pretrained(name_or_folder, options=options)
        return cls(image, TextProcessor.from_pretrained(name_or_folder, options=options))

    @classmethod
    def from_transformers(cls, processor: Any) -> MultimodalProcessor:
        """Take a loaded processor of Transformers that has an image processor and a tokenizer.

        Raises:
            CheckpointError: it lacks one of the two.
        """
        if not (hasattr(processor, "image_processor") and hasattr(processor, "tokenizer")):
            raise CheckpointError(
                f"expected a processor with an image processor and a tokenizer, got {type(processor).__name__}; load "
                "one with AutoProcessor, or name a folder that has both"
            )
        return cls(ImageProcessor.from_transformers(processor), TextProcessor.from_transformers(processor))

    def fit(self, image: Tensor) -> FittedImage:
        """Run the geometry on one picture, `(3, H, W)`, as `ImageProcessor.fit` does."""
        inputs = self.image.fit(image)
        return FittedImage(inputs, digest(image, inputs))

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the files of both, so that `from_pretrained` gives this processor again."""
        with checkpoint_written(Path(folder)) as new:
            write_recipe(self.image, new, config=not (Path(folder) / CONFIG).exists())
            self.text.tokenizer.save_pretrained(new)

    @property
    def config_entries(self) -> dict[str, Any]:
        """What the `config.json` beside it must hold for the picture's recipe to be found; usually nothing."""
        return self.image.config_entries

    def __repr__(self) -> str:
        return f"{type(self).__name__}(image={self.image}, text={self.text})"


class ChatProcessor(MultimodalProcessor):
    """The processor of a chat model: one picture and one question, laid out by the checkpoint's own chat template.

    Text and placeholders are the work of Transformers' own processor for the model. A picture is prepared once for all
    questions about it: as bytes by our recipe where `image` has one, else by the checkpoint's image processor.

    Attributes:
        processor: Transformers' own.
    """

    def __init__(self, processor: Any) -> None:
        super().__init__(ImageProcessor.from_transformers(processor), TextProcessor.from_transformers(processor))
        if not getattr(processor, "chat_template", None):
            raise CheckpointError(
                f"{type(processor).__name__} comes without a chat template, so it is not known how to put a question "
                f"to the model. "
                "Pass processor= with one that has a template."
            )
        self.processor = processor
        self._lock = threading.Lock()

    @classmethod
    def from_transformers(cls, processor: Any) -> ChatProcessor:
        """Take a loaded processor of Transformers.

        Raises:
            CheckpointError: it lacks an image processor, a tokenizer or a chat template.
        """
        if not (hasattr(processor, "image_processor") and hasattr(processor, "tokenizer")):
            raise CheckpointError(f"expected a processor of a chat model, got {type(processor).__name__}")
        return cls(processor)

    @property
    def padding(self) -> dict[str, Padding]:
        """What pads shorter prompts: on the left, since what a model writes goes on from the right."""
        return {**self.text.prompt_padding, "mm_token_type_ids": Padding(0, side="left")}

    def fit(self, image: Tensor) -> FittedImage:
        """Prepare one picture, `(3, H, W)`, for any number of questions.

        Raises:
            InputError: the checkpoint's own processor cannot handle it.
        """
        if self.image.recipe is not None:
            inputs = {name: tensor[None] for name, tensor in self.image.fit(image).items()}
            return FittedImage(inputs, digest(image, inputs), inputs)
        pil_image = Image.fromarray(to_numpy_hwc(image.round().to(torch.uint8)))
        remembered = _Remembered(self.processor.image_processor)
        self._lay_out(remembered, pil_image, self.prompt("?"))
        inputs = {name: value for name, value in remembered.outputs.items() if isinstance(value, Tensor)}
        not_inputs = {"rows", "cols"}  # they count placeholders, and are no input of a model
        inputs = {name: tensor for name, tensor in inputs.items() if name not in not_inputs}
        return FittedImage(inputs, digest(image, inputs), remembered.outputs)

    def prompt(self, question: str) -> str:
        """What the model is given to read, before the picture's placeholder is laid out.

        Raises:
            InputError: `template-failed`.
        """
        content = [{"type": "image"}, {"type": "text", "text": question}]
        conversation = [{"role": "user", "content": content}]
        with self._lock, apart():
            text: str = self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        return text

    def encode(self, fitted: FittedImage, question: str) -> dict[str, Tensor]:
        """The model's other inputs for a question about a fitted picture, `(length,)` int64 each.

        Raises:
            InputError: `control-token`, where the question holds the picture's placeholder; `processor-failed`.
        """
        placeholder = getattr(self.processor, "image_token", None)
        if placeholder and placeholder in question:
            raise InputError(f"the question holds {placeholder!r}, which stands for the picture", code="control-token")
        laid_out = self._lay_out(_Remembered(self.processor.image_processor, fitted.own), None, self.prompt(question))
        return {name: value[0] for name, value in laid_out.items() if name in self.padding}

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the processor's files."""
        with checkpoint_written(Path(folder)) as new:
            self.processor.save_pretrained(new)

    def _lay_out(self, image_processor: _Remembered, image: Image.Image | None, prompt: str) -> Any:
        runner = copy.copy(self.processor)
        runner.image_processor = image_processor
        runner.tokenizer = _Locked(self.processor.tokenizer, self._lock)
        bos = self.processor.tokenizer.bos_token
        with _in_our_words(self.processor):
            return runner(
                images=[image or Image.new("RGB", (8, 8))],
                text=[prompt],
                add_special_tokens=not (bos and prompt.startswith(bos)),
                return_tensors="pt",
            )


def digest(image: Tensor, inputs: dict[str, Tensor]) -> bytes:
    """16 bytes that differ between any two pictures, from the picture or what was made of it, whichever is smaller."""
    fitted = list(inputs.values())
    chosen = [image] if image.nbytes <= sum(tensor.nbytes for tensor in fitted) else fitted
    hasher = hashlib.blake2b(digest_size=16)
    for tensor in chosen:
        hasher.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        hasher.update(tensor.cpu().contiguous().view(torch.uint8).numpy().data)
    return hasher.digest()


def truncated(encoded: Encoded, max_length: int, *, side: str = "right") -> Encoded:
    """A text's tokens cut to `max_length`, special tokens kept, as Transformers' tokenizers cut them.

    Args:
        encoded: of one text.
        max_length: how many tokens to keep.
        side: where to cut, "right" or "left".

    Raises:
        InputError: `question-too-long`, where it is not known which of the tokens are special.
    """
    surplus = len(encoded) - max_length
    if surplus <= 0:
        return encoded
    words = [i for i, part in enumerate(encoded.sequence_ids) if part is not None]
    if len(words) < surplus:
        raise InputError(
            f"the question cannot be cut to {max_length} tokens by this tokenizer", code="question-too-long"
        )
    gone = set(words[-surplus:] if side == "right" else words[:surplus])
    kept = [i for i in range(len(encoded)) if i not in gone]
    return replace(
        encoded,
        ids=[encoded.ids[i] for i in kept],
        type_ids=[encoded.type_ids[i] for i in kept],
        offsets=[encoded.offsets[i] for i in kept],
        sequence_ids=[encoded.sequence_ids[i] for i in kept],
    )


class _Remembered:
    """Stands in for an image processor: prepares a picture once, and gives the same again."""

    def __init__(self, real: Any, outputs: Any = None) -> None:
        self.real, self.outputs = real, outputs

    def __call__(self, images: Any, **settings: Any) -> Any:
        from transformers import BatchFeature

        if self.outputs is None:
            self.outputs = dict(self.real(images, **settings))
        return BatchFeature(dict(self.outputs))  # a copy: some processors take entries out again

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Locked:
    """Stands in for a tokenizer, which is not to be called from several threads at once."""

    def __init__(self, real: Any, lock: threading.Lock) -> None:
        self.real, self.lock = real, lock

    def __call__(self, *texts: Any, **settings: Any) -> Any:
        with self.lock:
            return self.real(*texts, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@contextmanager
def _in_our_words(processor: Any) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, AttributeError, RuntimeError, IndexError, KeyError, ZeroDivisionError) as error:
        raise InputError(
            f"the checkpoint's own {type(processor).__name__} failed ({type(error).__name__}: {error})",
            code="processor-failed",
        ) from error
