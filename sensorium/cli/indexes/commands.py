"""The commands of `sensorium index`, each declared when it is asked for; what they do is imported when they run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import typer

from sensorium.cli.finding import find_encoder, find_model
from sensorium.cli.indexes.settings import (
    OF_TEXTS,
    AddSettings,
    BuildSettings,
    EncoderSettings,
    EvaluationSettings,
    ReadSettings,
    ReportSettings,
    WorkerSettings,
)
from sensorium.cli.options import argument, command, parameter, read_all
from sensorium.cli.settings import ENCODER_ACCESS, IndexSettings, OutputSettings, PipelineSettings
from sensorium.cli.task_options import INDEX, LIMITS, OF_A_MODEL, OUTPUT, PIPELINE, SHORT, Cards, flags_of, options_of
from sensorium.cli.telling import told
from sensorium.processors.limits import MediaLimits
from sensorium.retrieval.reading.formats.limits import DocumentLimits
from sensorium.retrieval.reading.splitting import Splitting
from sensorium.tasks.catalogue import REQUIRED, OptionCard, cards_of, task_card

_BUILD, _ADD, _ENCODER, _READ, _SPLITTING, _DOCUMENTS, _REPORT, _EVALUATION, _WORKERS = (
    cards_of(settings)
    for settings in (
        BuildSettings,
        AddSettings,
        EncoderSettings,
        ReadSettings,
        Splitting,
        DocumentLimits,
        ReportSettings,
        EvaluationSettings,
        WorkerSettings,
    )
)
_OPENING = tuple(card for card in INDEX if card.name != "index")
_ACCESS = tuple(card for card in PIPELINE if card.name in ("device", *ENCODER_ACCESS))
_SEARCH_OUTPUT = tuple(card for card in OUTPUT if card.name != "html")
_MEDIA = flags_of(LIMITS, _DOCUMENTS)
_OF_WORKERS = {
    name: flag.replace("option-", "worker-") for name, flag in flags_of(_WORKERS, (*LIMITS, *_DOCUMENTS)).items()
}
_FILES = tuple(
    OptionCard(kind, tuple[str, ...], (), f"a {name} to search with, for an index of {name}s.")
    for kind, name in (("image", "picture"), ("audio", "sound"))
)

_WHERE = OptionCard(
    "where", Any, None, 'delete all passages of which this is so, such as {"source": "a.md"} or {"year": {"<": 1990}}.'
)

_INDEX = argument("index", "INDEX", "The folder of an index.")
_PATHS_HELP = (
    "Files and folders (searched to any depth) of documents: .txt, .rst, .md, .html, .pdf, .docx, manual pages, all of "
    "them also .gz; files of passages: .jsonl, .tsv; for an encoder of pictures or sounds, those. - reads one per line "
    "from standard input."
)
_PATHS = argument("paths", "PATH...", _PATHS_HELP, several=True)


def _build() -> Any:
    def run(**arguments: Any) -> int:
        settings = BuildSettings(**read_all(_BUILD, arguments))
        encoder = EncoderSettings(**read_all(_ENCODER, arguments))
        report = ReportSettings(**read_all(_REPORT, arguments))
        find_model(settings.encoder, encoder, revision=encoder.revision)
        find_model(encoder.query_model, encoder)
        from sensorium.cli.indexes.building import Build

        given = {name: arguments[flag.replace("-", "_")] for name, flag in _OF_WORKERS.items()}
        return Build(_sources(arguments), settings, encoder, report, read_all(_WORKERS, given)).run()

    options = (*_BUILD, *_SPLITTING, *_READ, *_ENCODER, *_DOCUMENTS, *_REPORT)
    return _command(
        "build",
        "Encodes files and writes an index. They are documents, passages, pictures or sounds; a build that was "
        "interrupted goes on where it stopped when the same command is given again.",
        run,
        (_PATHS,),
        options,
        further=[*(parameter(card, flag=_OF_WORKERS[card.name]) for card in _WORKERS), *_media_limits()],
    )


def _add() -> Any:
    def run(**arguments: Any) -> int:
        settings, pipeline = AddSettings(**read_all(_ADD, arguments)), PipelineSettings(**read_all(_ACCESS, arguments))
        opening, report = _opening(arguments), ReportSettings(**read_all(_REPORT, arguments))
        find_encoder(opening, pipeline)
        from sensorium.cli.indexes.changing import Add

        return Add(_sources(arguments), settings, opening, pipeline, report).run()

    options = (*_ADD, *_SPLITTING, *_READ, *_OPENING, *_ACCESS, *_DOCUMENTS, *_REPORT)
    text = (
        "Adds files to an index. An add that was interrupted goes on where it stopped when the same command is given "
        "again; the index stays as it was until all is added."
    )
    return _command("add", text, run, (_INDEX, _PATHS), options, further=_media_limits())


def _refresh() -> Any:
    def run(**arguments: Any) -> int:
        settings, pipeline = AddSettings(**read_all(_ADD, arguments)), PipelineSettings(**read_all(_ACCESS, arguments))
        opening, report = _opening(arguments), ReportSettings(**read_all(_REPORT, arguments))
        find_encoder(opening, pipeline)
        from sensorium.cli.indexes.refreshing import Refresh

        return Refresh(_sources(arguments), settings, opening, pipeline, report).run()

    options = (*_ADD, *_SPLITTING, *_READ, *_OPENING, *_ACCESS, *_DOCUMENTS, *_REPORT)
    text = (
        "Brings an index up to date with its files. What is new or changed is encoded, what is gone is deleted, and "
        "all else stays; documents are cut as they were, unless options say otherwise."
    )
    return _command("refresh", text, run, (_INDEX, _PATHS), options, further=_media_limits())


def _delete() -> Any:
    def run(**arguments: Any) -> int:
        from sensorium.cli.indexes.contents import delete

        where = read_all((_WHERE,), arguments).get("where")
        delete(
            arguments["index"],
            arguments["ids"] or [],
            where=where,
            report=ReportSettings(**read_all(_REPORT, arguments)),
        )
        return 0

    text = "Ids of passages; - reads one per line from standard input."
    ids = argument("ids", "ID...", text, several=True, required=False)
    options = (_WHERE, *(card for card in _REPORT if card.name != "progress"))
    return _command("delete", "Deletes passages from an index.", run, (_INDEX, ids), options)


def _info() -> Any:
    def run(**arguments: Any) -> int:
        from sensorium.cli.indexes.contents import show

        show(
            arguments["index"], verify=_opening(arguments).verify, report=ReportSettings(**read_all(_REPORT, arguments))
        )
        return 0

    options = tuple(card for card in (*_OPENING, *_REPORT) if card.name in ("verify", "json", "debug"))
    return _command(
        "info",
        "Shows what an index is. With what it was built, what it holds, and its room on disk.",
        run,
        (_INDEX,),
        options,
    )


def _search() -> Any:
    card = task_card("retrieval")
    own = options_of(card)
    general = tuple(option for option in PIPELINE if option.name not in OF_A_MODEL)

    def run(**arguments: Any) -> int:
        from sensorium.cli.indexes.searching import IndexSearch

        files = read_all(_FILES, arguments)
        if not arguments["queries"] and not files:
            raise typer.BadParameter("expected a query: a text, or --image or --audio with a file")
        return IndexSearch(
            card,
            arguments["queries"] or [],
            {},
            read_all(own, arguments),
            PipelineSettings(**read_all(general, arguments)),
            OutputSettings(**read_all(_SEARCH_OUTPUT, arguments)),
            MediaLimits(**read_all(LIMITS, arguments)),
            _opening(arguments),
            files=[(kind, path) for kind, paths in files.items() for path in paths],
        ).run()

    queries = argument(
        "queries", "QUERY...", "Texts; - reads one per line from standard input.", several=True, required=False
    )
    options = (*_FILES, *own, *_OPENING, *general, *_SEARCH_OUTPUT, *LIMITS)
    return _command("search", "Finds what is nearest to each query.", run, (_INDEX, queries), options)


def _ask() -> Any:
    card = task_card("retrieval-qa")
    own = tuple(option for option in options_of(card) if option.name != "stream")
    reader = OptionCard("reader", str, REQUIRED, "the model that reads what is found, by name or folder.")
    general = tuple(option for option in PIPELINE if option.name != "model")

    def run(**arguments: Any) -> int:
        from sensorium.cli.running import TaskRun

        return TaskRun(
            card,
            arguments["questions"],
            {},
            read_all(own, arguments),
            PipelineSettings(model=arguments["reader"], **read_all(general, arguments)),
            OutputSettings(**read_all(_SEARCH_OUTPUT, arguments)),
            MediaLimits(**read_all(LIMITS, arguments)),
            _opening(arguments),
        ).run()

    questions = argument("questions", "QUESTION...", "Texts; - reads one per line from standard input.", several=True)
    options = (reader, *own, *_OPENING, *general, *_SEARCH_OUTPUT, *LIMITS)
    text = "Answers questions out of an index. `sensorium run retrieval-qa --index INDEX` does the same."
    return _command("ask", text, run, (_INDEX, questions), options)


def _eval() -> Any:
    search = tuple(option for option in options_of(task_card("retrieval")) if option.name != "top_k")
    not_read = {"top_k", "stream", *(option.name for option in search)}
    read = tuple(option for option in options_of(task_card("retrieval-qa")) if option.name not in not_read)
    general = tuple(option for option in PIPELINE if option.name != "model")

    def run(**arguments: Any) -> int:
        from sensorium.cli.indexes.evaluation import Evaluation

        return Evaluation(
            _opening(arguments),
            arguments["questions"],
            read_all(search, arguments),
            read_all(read, arguments),
            EvaluationSettings(**read_all(_EVALUATION, arguments)),
            PipelineSettings(**read_all(general, arguments)),
            ReportSettings(**read_all(_REPORT, arguments)),
        ).run()

    questions = argument(
        "questions",
        "QUESTIONS.jsonl",
        'A file with one object per line: "question", and "answers" (texts) or "relevant" (ids of passages), or both.',
    )
    options = (*_EVALUATION, *search, *read, *_OPENING, *general, *_REPORT)
    text = (
        "Measures answers and rankings. How well an index, and a reader of what it finds, answer questions: accuracy, "
        "recall, MRR, nDCG, exact match, F1."
    )
    return _command("eval", text, run, (_INDEX, questions), options)


COMMANDS: dict[str, Callable[[], Any]] = {
    "build": _build,
    "add": _add,
    "refresh": _refresh,
    "delete": _delete,
    "info": _info,
    "search": _search,
    "ask": _ask,
    "eval": _eval,
}
"""What makes each command of `sensorium index`, in the order in which one uses them."""


def _command(
    name: str,
    text: str,
    run: Callable[..., int],
    arguments: tuple[inspect.Parameter, ...],
    options: Cards,
    *,
    further: Iterable[inspect.Parameter] = (),
) -> Any:
    """A command whose `run` gives the exit code; its errors are reported."""
    flags = {**_OF_WORKERS, **flags_of(options, ())}

    def told_run(**arguments: Any) -> None:
        with told(debug=bool(arguments["debug"]), flags=flags):
            raise typer.Exit(run(**arguments))

    short = {**SHORT, "out": "o"}
    parameters = [*arguments, *(parameter(option, short=short.get(option.name)) for option in options), *further]
    return command(name, told_run, parameters, help=text)


def _media_limits() -> list[inspect.Parameter]:
    return [parameter(option, flag=_media_flag(option.name)) for option in LIMITS]


def _media_flag(name: str) -> str:
    """Limits of media whose names documents have, too, are told apart."""
    return _MEDIA[name].replace("option-", "media-")


def _sources(arguments: Mapping[str, Any]) -> Any:
    from sensorium.cli.indexes.sources import Sources

    media = {option.name: arguments[_media_flag(option.name).replace("-", "_")] for option in LIMITS}
    splitting, documents, limits = (
        read_all(_SPLITTING, arguments),
        read_all(_DOCUMENTS, arguments),
        read_all(LIMITS, media),
    )
    reading = read_all(_READ, arguments)
    texts = {**splitting, **documents, **{name: 0 for name in reading if name in OF_TEXTS}}
    return Sources(
        arguments["paths"],
        splitting,
        ReadSettings(**reading),
        DocumentLimits(**documents),
        MediaLimits(**limits),
        {"text": [name.replace("_", "-") for name in texts], "media": [_media_flag(name) for name in limits]},
    )


def _opening(arguments: Mapping[str, Any]) -> IndexSettings:
    return IndexSettings(index=arguments["index"], **read_all(_OPENING, arguments))
