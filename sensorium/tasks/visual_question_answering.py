"""visual-question-answering: what answers a question about a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError
from sensorium.processors.media import is_batch, load_image
from sensorium.processors.multimodal import FittedImage, MultimodalProcessor
from sensorium.results import Answers
from sensorium.tasks.answering.kinds import IMAGE, KEY, Answering
from sensorium.tasks.answering.loading import answering_for, chats, load_answering
from sensorium.tasks.answering.questions import Question, image_and_question, products
from sensorium.tasks.answering.writing import WritingAnswering
from sensorium.tasks.base import Batch, Call, Empty, Fit, Models, Runner, Session, Task, Unit
from sensorium.tasks.heads.fusion import FusionHead
from sensorium.tasks.options import Range
from sensorium.tasks.writing.options import GenerationOptions, check_sampling, check_streaming
from sensorium.tasks.writing.session import WritingSession


@dataclass(frozen=True)
class VisualQuestionAnsweringOptions(GenerationOptions):
    """The options of a call; `stream` and those of `GenerationOptions` are for models that write.

    Attributes:
        top_k: how many answers to give, best first; None for all. If there are fewer, all are given; a model that
            writes gives one.
        truncation: whether a question that is too long is cut, instead of being refused.
        stream: whether the answer to one question comes as an iterator of pieces of text, while it is written.
        max_new_tokens: how many tokens to write at most; None for 256, or what the checkpoint says.
    """

    top_k: Annotated[int | None, Range(1, none="all answers")] = 5
    truncation: bool = False
    stream: bool = False


class VisualQuestionAnswering(Task):
    """Answers as the pipeline of that name gave them in Transformers 4, and those of chat models."""

    name = "visual-question-answering"
    summary = "what answers a question about a picture"
    inputs = ("image", "question")
    options = VisualQuestionAnsweringOptions
    models = (Models("AutoModelForVisualQuestionAnswering", only=("vilt", "blip"), unnamed=False),)
    default = "dandelin/vilt-b32-finetuned-vqa@d0a1f6a"
    head = FusionHead
    processor: MultimodalProcessor

    def __init__(self, answering: Answering) -> None:
        super().__init__(answering.model, answering.processor)
        self.answering = answering
        self.padded, self.on_host = answering.padded, frozenset([IMAGE, KEY])

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """ViLT and BLIP for questions, composites for them, and chat models that see."""
        if checkpoint.kind == "transformers" and super().fits(checkpoint) is None:
            return "possible" if chats(checkpoint) else None
        return super().fits(checkpoint)

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a checkpoint of any of these kinds."""
        return cls(load_answering(checkpoint, processor))

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded model with its processor, which has an image processor and a tokenizer."""
        return cls(answering_for(model, processor))

    def check(self, options: VisualQuestionAnsweringOptions) -> None:
        """Refuses settings of writing for a model that chooses, and what would have no effect."""
        if not self.answering.writes:
            written = options.settings_given()
            if written or options.stream:
                raise OptionError(
                    f"{(written or ['stream'])[0]} is for models that write their answer; "
                    f"{type(self.model).__name__} chooses among those that it knows"
                )
            return
        self.answering.check(options)
        config: Any = self.model.generation_config
        check_sampling(options, config)
        if options.truncation and self.answering.templated:
            raise OptionError("truncation would cut into a chat model's template; ask shorter questions")
        check_streaming(options, config)

    def expand(self, inputs: Any) -> list[Any] | None:
        """Lists are taken apart; a picture that several of their inputs name is prepared once."""
        return Question.sharing(list(inputs)) if isinstance(inputs, (list, tuple)) else None

    def combine(self, named: Mapping[str, Any]) -> Any:
        """Several pictures and several questions give every question about every picture, question by question."""
        missing = [name for name in self.inputs if name not in named]
        if missing == ["question"] and is_batch(named["image"]) and isinstance(named["image"], (list, tuple)):
            return self.expand(named["image"])
        if missing:
            raise OptionError(f"{self.name} needs the inputs {', '.join(self.inputs)}; {', '.join(missing)} missing")
        return products(named["image"], named["question"])

    def split(self, raw: Any, options: VisualQuestionAnsweringOptions) -> Iterable[Unit]:
        """One unit: the question's tensors and those of its picture, which are prepared once for all questions."""
        image, question = image_and_question(raw)
        shared = getattr(raw, "shared", None)
        fitted = self._fit(image) if shared is None else shared.fitted(image, self._fit)
        tokens = self.answering.read(question, fitted, truncation=options.truncation)
        return [Unit({**tokens, **fitted.inputs}, meta=fitted.key)]

    def collate(self, units: Sequence[Unit], empty: Empty = torch.empty) -> Batch:
        """The questions' tensors padded to one length, and each picture once."""
        rows = {key: row for row, key in enumerate(dict.fromkeys(unit.meta for unit in units))}
        first = {unit.meta: unit for unit in reversed(units)}
        texts = [Unit(_part(unit, self.padded, inside=True)) for unit in units]
        images = [Unit(_part(first[key], self.padded, inside=False)) for key in rows]
        keys = [[int.from_bytes(key[i : i + 8], "little", signed=True) for i in (0, 8)] for key in rows]
        return {
            **super().collate(texts, empty),
            **super().collate(images, empty),
            IMAGE: torch.tensor([rows[unit.meta] for unit in units]),
            KEY: torch.tensor(keys),
        }

    def forward(self, batch: Batch, options: Any, call: Call) -> dict[str, Tensor]:
        """`logits` or `ids`, one row per question."""
        return self.answering.run(batch, options, call, self.dtype)

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """One pair of answers and scores per question."""
        return self.answering.answers(outputs, options)

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> Answers:
        """The one question's answers."""
        answers, scores = parts[0]
        return Answers(answers, scores, index=index)

    def open(self, raw: Any, runner: Runner) -> Session:
        """A picture with its question, for a model that writes: its answer comes piece by piece."""
        answering = self.answering
        if not isinstance(answering, WritingAnswering):
            return super().open(raw, runner)
        image_and_question(raw)  # else a picture alone would be found to lack its question when that is written about
        run = partial(answering.run, dtype=self.dtype)
        return WritingSession(runner, answering.writer, partial(self.split, raw), run)

    def example(self) -> dict[str, Any]:
        """A grey gradient of 375 by 500 px, and a question of usual length."""
        gradient = torch.linspace(0, 255, 500).to(torch.uint8).expand(3, 375, 500).contiguous()
        return {"image": gradient, "question": "what is to be seen in this picture?"}

    def _fit(self, image: Any) -> FittedImage:
        return self.processor.fit(load_image(image, limits=self.limits))


def _part(unit: Unit, names: Mapping[str, Any], *, inside: bool) -> Batch:
    return {name: tensor for name, tensor in unit.inputs.items() if (name in names) is inside}
