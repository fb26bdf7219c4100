"""One row of a result: a dict that says no to whoever writes into it, since the result would not know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class Row(dict[str, Any]):
    """A read-only dict, made anew at each access; what is written into it would be lost.

    Everything that reads dicts takes it: `json`, `**row`, `row | {…}`. `dict(row, file=path)` is a copy to write to.
    """

    __slots__ = ()

    def __init__(self, row: Mapping[str, Any]) -> None:
        """Takes the entries of a mapping; the mappings in it become rows, too."""
        super().__init__({name: Row(value) if type(value) is dict else value for name, value in row.items()})

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "a row of a result is read-only: it is made anew at each access, and what is written into it would be "
            "lost. Keep a copy with what you add: dict(row, name=value)"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = pop = popitem = setdefault = clear = _refuse

    def copy(self) -> dict[str, Any]:
        """A plain dict of the same entries, to write to."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:  # dicts are filled by writing
        return Row, (dict(self),)
