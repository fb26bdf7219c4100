"""`sensorium index search`: queries to hits, by words, by texts, by pictures and by sounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sensorium.cli.indexes.hit_sinks import HitLines, HitTables
from sensorium.cli.inputs import read_inputs
from sensorium.cli.running import TaskRun
from sensorium.cli.settings import PipelineSettings
from sensorium.cli.sinks import Lines, Sink, Tables
from sensorium.errors import InputError, OptionError

if TYPE_CHECKING:
    from sensorium.retrieval import Index

TASKS = {"text": "retrieval", "image": "image-retrieval", "audio": "audio-retrieval"}
"""The task that searches an index, by what it holds."""


@dataclass
class IndexSearch(TaskRun):
    """The searches of one command.

    Attributes:
        files: media that are queries after the texts, each as its kind and its path.
    """

    files: Sequence[tuple[str, str]] = ()

    def _count(self) -> int | None:
        texts = super()._count()
        return None if texts is None else texts + len(self.files)

    def _row_sink(self) -> Sink:
        usual = super()._row_sink()
        return HitTables() if isinstance(usual, Tables) else HitLines() if isinstance(usual, Lines) else usual

    def _pipeline(self, opened: ExitStack) -> Any:
        self._found()
        from sensorium.cli.indexes.opening import open_index, open_reranker
        from sensorium.pipelines.factory import pipeline
        from sensorium.tasks.searching.search_task import SearchOptions

        options = SearchOptions.parse(self.options)
        if options.mode == "lexical":
            self._refuse_what_words_have_no_use_for()
        assert self.index is not None
        index = open_index(self.index, self.settings, self.limits)
        self.options = open_reranker(self.options, self.settings, opened)
        if options.mode == "lexical":
            index.check_search(**options.further())
            return _WordSearch(index)
        modality = index.encoder.modality
        for kind, _ in self.files:
            if kind != modality:
                raise OptionError(f"--{kind} is for an index of {kind}; {self.index.index} is of {modality}")
        settings = asdict(self.settings)
        run = {name: settings[name] for name in ("batch_size", "num_workers", "decode")}
        compile: bool | Literal["auto"] = "auto" if self.settings.compile is None else self.settings.compile
        pipe = opened.enter_context(pipeline(TASKS[modality], index=index, compile=compile, **run))
        pipe.task.check(SearchOptions.parse(self.options))  # before an output is emptied
        return pipe

    def _refuse_what_words_have_no_use_for(self) -> None:
        assert self.index is not None
        blank = PipelineSettings()
        refused = [kind for kind, _ in self.files]
        refused += [name for name in ("encoder", "query_model") if getattr(self.index, name) is not None]
        names = ("compile", "batch_size", "num_workers", "decode")
        refused += [name for name in names if getattr(self.settings, name) != getattr(blank, name)]
        for name in refused:
            raise OptionError(f"--{name.replace('_', '-')} has no meaning for --mode lexical, which searches for words")

    def _inputs(self) -> Iterator[Any]:
        for text in read_inputs(self.words, "query"):
            self._sources.append(text)
            yield text
        for kind, path in self.files:
            self._sources.append(path)
            yield {kind: path if path.startswith(("http://", "https://", "data:")) else Path(path)}


class _WordSearch:
    """Runs searches that need no encoder, as a pipeline runs those that do."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def stream(
        self, inputs: Iterable[str], *, on_error: str, progress: bool, total: int | None, **options: Any
    ) -> Iterator[Any]:
        """The hits of each query, or the error that it failed with."""
        from tqdm.auto import tqdm

        search_options: Mapping[str, Any] = {"k": options.pop("top_k", 10), **options}
        for i, query in enumerate(tqdm(inputs, total=total, desc="search", unit="input", disable=not progress)):
            try:
                (hits,) = self._index.search([query], **search_options)
            except InputError as error:
                error.index = i
                yield error
                continue
            hits.index = i
            yield hits
