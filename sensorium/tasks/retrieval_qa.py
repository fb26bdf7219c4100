"""retrieval-qa: what answers a question, read in passages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Self

from torch import Tensor, nn

from sensorium.checkpoints import Checkpoint
from sensorium.errors import OptionError
from sensorium.processors.text import TextProcessor
from sensorium.results import CitedAnswers, Hits
from sensorium.tasks.base import Batch, Call, Fit, Loader, Runner, Session, Task, Unit
from sensorium.tasks.options import Count, Natural, Range
from sensorium.tasks.reading.generating import GeneratingReader
from sensorium.tasks.reading.loading import fit_of, load_reader, reader_for
from sensorium.tasks.reading.passages import read_asked
from sensorium.tasks.reading.prompts import check_prompt
from sensorium.tasks.reading.reader import Reader
from sensorium.tasks.retrieval import Retrieval
from sensorium.tasks.searching.search_task import Mode, SearchOptions
from sensorium.tasks.writing.options import GenerationOptions
from sensorium.tasks.writing.session import WritingSession

_SOME = (
    "retrieval_weight",
    "num_spans_per_passage",
    "max_answer_len",
    "max_seq_len",
    "doc_stride",
    "align_to_words",
    "title_spans",
    "prompt",
    "refusal",
)


_SEARCHED = ("where", "mode", "reranker")
"""What is handed on to a search."""


@dataclass(frozen=True)
class RetrievalQaOptions(GenerationOptions):
    """The options of a call. An option of one kind of reader is an error for another; None leaves it to the reader.

    Readers that write take those of `GenerationOptions`, too.

    Attributes:
        top_k: how many answers to give, best first. There may be fewer; a reader that writes gives one.
        num_passages: how many passages to read; None for all that are given, or the best 20 of a search (5 for a
            reader that writes).
        where: which passages a search may find; for the index.
        mode: how the index is searched: "dense" by vectors (None, too), "lexical" by words (BM25), "hybrid" by both.
        reranker: a `Reranker`, which reads the question with the best passages of the search and reorders them.
        retrieval_weight: how much a passage's score in the search adds to the reader's own; None for 0, the reader's
            order alone. For readers that point.
        num_spans_per_passage: how many answers one passage gives at most; None for 4. For readers that point.
        max_answer_len: how many tokens an answer has at most; None for 64 with DPR's readers, and 15 with others
            that point.
        max_seq_len: how many tokens a window has, the question and special tokens included; None for 512 with DPR's
            readers and 384 with others that point, or as many as the model takes.
        doc_stride: how many of a passage's tokens neighbouring windows share; None for 128, or half of what a window
            has for the passage where that is less. For readers that point.
        align_to_words: whether an answer is widened to whole words; None for no with DPR's readers, and yes with others
            that point.
        title_spans: whether an answer may stand in the title, too, as in Transformers; None for yes. For DPR's readers.
        prompt: the instructions for a reader that writes: a text with {question} and {passages}, and optionally
            {refusal}.
        refusal: what a reader that writes is to write where the passages do not hold the answer; None for
            "unanswerable".
        stream: whether the answer to one question comes as an iterator of pieces of text, while it is written.
        max_new_tokens: how many tokens to write at most; None for 256, or what the checkpoint says.
    """

    top_k: Count = 1
    num_passages: Count | None = None
    where: Any = None
    mode: Mode | None = None
    reranker: Any = None
    retrieval_weight: Annotated[float, Range(0)] | None = None
    num_spans_per_passage: Count | None = None
    max_answer_len: Count | None = None
    max_seq_len: Count | None = None
    doc_stride: Natural | None = None
    align_to_words: bool | None = None
    title_spans: bool | None = None
    prompt: str | None = None
    refusal: str | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None:
            check_prompt(self.prompt)
        if self.refusal is not None and not any(map(str.isalnum, self.refusal)):
            raise OptionError(f"refusal is a text with words, got {self.refusal!r}")

    def for_some_readers(self) -> list[str]:
        """The names of those options that are given and that not every reader takes."""
        names = [name for name in _SOME if getattr(self, name) is not None]
        names += ["top_k"] * (self.top_k != 1) + ["stream"] * self.stream
        return names + self.settings_given()


class RetrievalQa(Task):
    """Answers out of passages that are given with the question, or were found for it.

    A reader is DPR's (`DPRReader`), any model for extractive question answering, or any model that writes text.
    """

    name = "retrieval-qa"
    summary = "what answers a question, read in passages that are given or found for it"
    inputs = ("question", "passages")
    optional_inputs = ("scores",)
    takes = ("index", "reader")
    options = RetrievalQaOptions
    processor: TextProcessor

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader.model, reader.processor)
        self.reader = reader
        self.padded = reader.padded

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> Fit:
        """DPR's readers natively; models of question answering, and those that write, possibly."""
        return fit_of(checkpoint)

    @classmethod
    def assemble(cls, loader: Loader, model: Any, parts: Mapping[str, Any]) -> Self:
        """Loads the model, whose other name is `reader`; with an index it finds its passages there."""
        reader = parts.get("reader")
        if reader is not None and model is not None:
            raise OptionError("model and reader are the same thing; give one of them")
        task = loader.load(cls, model if reader is None else reader)
        if "index" in parts:
            task.search_in(parts["index"])
        return task

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, processor: Any = None) -> Self:
        """Loads a reader with its tokenizer."""
        return cls(load_reader(checkpoint, processor))

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any) -> Self:
        """Takes a loaded Transformers model with its tokenizer."""
        return cls(reader_for(model, processor))

    def check(self, options: RetrievalQaOptions) -> None:
        """Refuses options of another kind of reader, and of a search where there is none."""
        self.reader.check(options)
        searched = [name for name in _SEARCHED if getattr(options, name) is not None]
        if searched and self.upstream is None:
            raise OptionError(f"{searched[0]} is for a search, and the passages are given here; leave it out")
        if self.upstream is not None:
            self.upstream.check(self.upstream_options(options))

    def wanted_passages(self, options: RetrievalQaOptions) -> int:
        """How many passages a search should find for a call."""
        return self.reader.usual_passages if options.num_passages is None else options.num_passages

    def search_in(self, index: Any) -> None:
        """Takes an index of texts: a call takes questions then, and finds their passages by itself."""
        self.upstream = Retrieval.over(index)
        vars(self).update(inputs=("question",), optional_inputs=())  # of this one, not of the class

    def upstream_options(self, options: RetrievalQaOptions) -> SearchOptions:
        """How many passages to find for a question, and among which."""
        return SearchOptions(self.wanted_passages(options), options.where, options.mode or "dense", options.reranker)

    def expand(self, inputs: Any) -> list[Any] | None:
        """Several questions: a list of inputs, or one mapping with a list of questions or of lists of passages."""
        if isinstance(inputs, Mapping) and set(self.inputs) <= inputs.keys():
            names = (*self.inputs, *self.optional_inputs)
            combined = self.combine({name: inputs[name] for name in names if name in inputs})
            return combined if isinstance(combined, list) else None
        return list(inputs) if isinstance(inputs, (list, tuple)) else None

    def combine(self, named: Mapping[str, Any]) -> Any:
        """One list of passages goes with every question; a list of such lists side by side with the questions."""
        wrapped = {name: _Whole(value) if _is_one(name, value) else value for name, value in named.items()}
        combined = super().combine(wrapped)
        rows = combined if isinstance(combined, list) else [combined]
        for row in rows if len(self.inputs) > 1 else ():
            row.update({name: value.value for name, value in row.items() if isinstance(value, _Whole)})
        return combined

    def split(self, raw: Any, options: RetrievalQaOptions) -> Iterable[Unit]:
        """The question with each passage, or one prompt with all of them."""
        if isinstance(raw, Hits):
            raw = {"question": raw.query, "passages": raw.passages, "scores": raw.scores.tolist()}
        return self.reader.units(read_asked(raw, max_passages=options.num_passages), options)

    def forward(self, batch: Batch, options: Any, call: Call) -> dict[str, Tensor]:
        """The reader's tensors, one row per unit."""
        return self.reader.run(batch, options, call)

    def decode(self, outputs: Any, metas: Sequence[Any], options: Any) -> Sequence[Any]:
        """The reader's parts, one a unit."""
        return self.reader.decode(outputs, metas, options)

    def merge(self, parts: Sequence[Any], options: Any, index: int) -> CitedAnswers:
        """The answers to one question; empty where there was nothing to read."""
        return self.reader.merge(parts, options, index)

    def open(self, raw: Any, runner: Runner) -> Session:
        """A question with its passages, for a reader that writes: its answer comes piece by piece."""
        if not isinstance(self.reader, GeneratingReader):
            return super().open(raw, runner)
        return WritingSession(runner, self.reader.writer, partial(self.split, raw), self.reader.run)

    def example(self) -> Any:
        """A question; with four passages of about a hundred words, where there is no index to find them."""
        question = "Where does the river begin?"
        if self.upstream is not None:
            return question
        return {"question": question, "passages": ["The river begins in the hills. " * 16] * 4}


@dataclass(frozen=True)
class _Whole:
    """A list that is one input."""

    value: Any


def _is_one(name: str, value: Any) -> bool:
    """Whether this is a list, and the passages of one question, or their scores."""
    several = isinstance(value, (list, tuple))
    return name != "question" and several and not (value and all(isinstance(item, (list, tuple)) for item in value))
