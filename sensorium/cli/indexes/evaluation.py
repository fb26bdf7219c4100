"""`sensorium index eval`: how well an index, and a reader of what it finds, answer questions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from sensorium.cli.finding import find_encoder, find_model
from sensorium.cli.indexes.questions import Questions, read_questions
from sensorium.cli.indexes.settings import EvaluationSettings, ReportSettings
from sensorium.cli.settings import IndexSettings, PipelineSettings
from sensorium.cli.telling import say, wants_progress
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.checkpoints import Checkpoint
    from sensorium.results import Hits
    from sensorium.retrieval import Index

AT_ONCE = 256
"""Questions that are searched for, and read, together."""

_OF_READERS = ("processor", "revision", "compile", "batch_size", "num_workers", "decode")


@dataclass
class Evaluation:
    """One evaluation.

    Attributes:
        index: which index.
        questions: the file of them.
        search: options of the search: `mode`, `where`, `reranker`.
        read: options of the reader, as retrieval-qa has them.
        settings: what is measured.
        pipeline: how the encoder, the reranker and the reader are loaded.
        report: what is said.
    """

    index: IndexSettings
    questions: str
    search: Mapping[str, Any]
    read: Mapping[str, Any]
    settings: EvaluationSettings
    pipeline: PipelineSettings
    report: ReportSettings

    def run(self) -> int:
        """Runs the evaluation; prints the measures as a table, as lines, or as JSON.

        Raises:
            SensoriumError: something could not be opened, or a question cannot be searched for or read.
        """
        if min(self.settings.k) < 1:
            raise OptionError(f"--k is a whole number from 1, got {min(self.settings.k)}")
        if self.settings.reader is None:
            self._refuse_what_is_for_readers()
        asked = read_questions(self.questions)
        if self.settings.reader is not None and asked.answers is None:
            raise OptionError(f'--reader is measured by answers, and {self.questions} has no "answers"')
        reader = self._found()
        from sensorium.cli.indexes.opening import open_index, open_reranker
        from sensorium.retrieval.measuring import evaluate

        progress = wants_progress(self.report.progress)
        with ExitStack() as opened:
            index = open_index(self.index, self.pipeline)
            relevant = _checked_ids(asked.relevant, index)
            ask = None if reader is None else self._reader(reader, opened)
            search = open_reranker(self.search, self.pipeline, opened)
            index.check_search(**search)
            all_hits, predictions = self._find(asked.texts, index, search, ask, progress)
        measures = evaluate(
            ranked=None if relevant is None else [hits.ids.tolist() for hits in all_hits],
            relevant=relevant,
            passages=None if asked.answers is None else [[row["text"] for row in hits.passages] for hits in all_hits],
            answers=asked.answers,
            predictions=None if ask is None else predictions,
            k=self.settings.k,
            match=self.settings.match,
        )
        self._print(asked, measures)
        return 0

    def _refuse_what_is_for_readers(self) -> None:
        blank = PipelineSettings()
        changed = [name for name in _OF_READERS if getattr(self.pipeline, name) != getattr(blank, name)]
        for name in (*self.read, *changed):
            raise OptionError(f"--{name.replace('_', '-')} is for a reader; pass --reader, too")

    def _found(self) -> Checkpoint | None:
        """The reader that was named; what else is named is looked for, too, before torch is imported."""
        find_encoder(self.index, self.pipeline)
        find_model(self.search.get("reranker"), self.pipeline)
        return find_model(self.settings.reader, self.pipeline, revision=self.pipeline.revision)

    def _reader(self, reader: Checkpoint, opened: ExitStack) -> Any:
        from sensorium.pipelines.factory import pipeline
        from sensorium.tasks.retrieval_qa import RetrievalQaOptions

        RetrievalQaOptions.parse(self.read)  # a wrong value costs no download
        settings = asdict(self.pipeline) | {"model": reader}
        settings["compile"] = "auto" if settings["compile"] is None else settings["compile"]
        ask = opened.enter_context(pipeline("retrieval-qa", **settings))
        ask.task.check(RetrievalQaOptions.parse(self.read))
        return ask

    def _find(
        self, texts: Sequence[str], index: Index, search: Mapping[str, Any], ask: Any, progress: bool
    ) -> tuple[list[Hits], list[str]]:
        """What each question finds, and what the reader answers to it, "" for nothing."""
        from tqdm.auto import tqdm

        deepest, read = max(self.settings.k), 0
        if ask is not None:
            read = ask.task.wanted_passages(ask.task.options.parse(self.read))
        all_hits: list[Hits] = []
        predictions: list[str] = []
        with tqdm(total=len(texts), desc="eval", unit="question", disable=not progress) as bar:
            for first in range(0, len(texts), AT_ONCE):
                some = list(texts[first : first + AT_ONCE])
                hits = [*index.search(some, max(deepest, read), **search)]
                if ask is not None:
                    rows = [_row(question, one[:read]) for question, one in zip(some, hits, strict=True)]
                    predictions += [str(result.answers[0]) if result else "" for result in ask(rows, **self.read)]
                all_hits += hits
                bar.update(len(some))
        return all_hits, predictions

    def _print(self, asked: Questions, measures: Mapping[str, float]) -> None:
        if self.report.json:
            typer.echo(json.dumps({"questions": len(asked.texts), **measures}, indent=2))
        elif sys.stdout.isatty():
            _table(len(asked.texts), measures)
        else:
            typer.echo(f"questions\t{len(asked.texts)}")
            for name, value in measures.items():
                typer.echo(f"{name}\t{value:.4f}")


def _row(question: str, hits: Hits) -> dict[str, Any]:
    return {"question": question, "passages": list(hits.passages), "scores": hits.scores.tolist()}


def _checked_ids(relevant: list[Any] | None, index: Index) -> list[Any] | None:
    """The relevant ids in the kind that the index has; reports how many it does not hold.

    Raises:
        InputError: an id of another kind than the index has.
    """
    if relevant is None:
        return None
    known = set(index.ids.tolist())
    texts = index.ids.dtype.kind == "U"
    checked: list[Any] = []
    for number, listed in enumerate(relevant):
        graded = isinstance(listed, dict)
        ids = [_id(passage_id, texts, graded, number) for passage_id in listed]
        checked.append(dict(zip(ids, listed.values(), strict=True)) if graded else ids)
    missing = {passage_id for listed in checked for passage_id in listed} - known
    if missing:
        say(f"note: the index does not hold {len(missing)} of the relevant ids, such as {min(missing)!r}")
    return checked


def _id(value: Any, texts: bool, is_key: bool, number: int) -> int | str:
    """An id as the index has it; the keys of a JSON object are always texts."""
    if is_key and not texts and value.lstrip("-").isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, str if texts else int):
        wanted = "texts" if texts else "whole numbers"
        raise InputError(
            f"the ids of this index are {wanted}, got the relevant id {value!r}", code="bad-id", index=number
        )
    return value


def _table(count: int, measures: Mapping[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    cuts = list(dict.fromkeys(name.partition("@")[2] for name in measures if "@" in name))
    table = Table("", *(f"@{cut}" for cut in cuts), caption=f"{count} questions")
    for name in dict.fromkeys(name.partition("@")[0] for name in measures if "@" in name):
        table.add_row(name, *(f"{measures[f'{name}@{cut}']:.4f}" for cut in cuts))
    for name in (name for name in measures if "@" not in name):
        table.add_row(name, f"{measures[name]:.4f}")
    Console().print(table)
