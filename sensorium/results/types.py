"""The types of results by their names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from sensorium.errors import UnknownNameError
from sensorium.results.result import Result


def result_type(name: str) -> type[Result]:
    """The class of results that has a name, as `type(result).__name__` gives it.

    Args:
        name: such as "Labels"; or the name of a class that derives from `Result` elsewhere, once it is imported. Of
            several with one name it is this package's, else the one that was defined last.

    Raises:
        UnknownNameError: a KeyError, too: there is none; names the nearest one.
    """
    known = {kind.__name__: kind for kind in sorted(_derived(Result), key=_is_ours)}  # type: ignore[type-abstract]
    if name not in known:
        raise UnknownNameError("type of results", name, known, "One of your own is known once its module is imported.")
    return known[name]


def _derived(of: type[Result]) -> Iterator[type[Result]]:
    for kind in of.__subclasses__():
        if not inspect.isabstract(kind):
            yield kind
        yield from _derived(kind)


def _is_ours(kind: type[Result]) -> bool:
    return kind.__module__.startswith("sensorium.results.")
