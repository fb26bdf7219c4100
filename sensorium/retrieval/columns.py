"""The columns of passages: of what kind they are, and how two of one name become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import pyarrow as pa

from sensorium.errors import InputError
from sensorium.retrieval.column_types import (
    LARGE,
    MOST_FIELDS,
    NULL,
    cast_to,
    in_floats,
    in_large,
    kept_as,
    kind_of,
    widened,
)
from sensorium.retrieval.reading.passages import RESERVED
from sensorium.retrieval.value_types import check_name, checked_type

_TYPES = pa.types
_OURS = frozenset(RESERVED)


class Columns:
    """What the columns of metadata hold, row by row; what does not go with the rest is that row's error.

    What a column holds is decided by the rows that come first: of several kinds among them, by the commonest.

    Args:
        stored: the table of an index that rows are added to.
    """

    def __init__(self, stored: pa.Table | None = None) -> None:
        fields = [] if stored is None else [field for field in stored.schema if field.name not in RESERVED]
        self._types: dict[str, pa.DataType] = {field.name: field.type for field in fields}
        self._unread = {} if stored is None else {field.name: stored[field.name] for field in fields}

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The type of each column by its name."""
        return {name: kept_as(kind) for name, kind in self._types.items()}

    def take(self, rows: Sequence[Mapping[str, Any]]) -> list[InputError | None]:
        """Takes rows, each wholly or not at all.

        Returns:
            For each row None, or the error `bad-metadata` for which it was not taken.
        """
        found = [_types_of(row, self._types) for row in rows]
        self._decide([types for types in found if not isinstance(types, InputError)])
        return [types if isinstance(types, InputError) else self._refused(types) for types in found]

    def _decide(self, found: Sequence[Mapping[str, pa.DataType]]) -> None:
        """What new columns hold, where rows do not agree."""
        kinds: dict[str, list[pa.DataType]] = {}
        for types in found:
            for name, kind in types.items():
                if name not in self._types and kind is not NULL:
                    kinds.setdefault(name, []).append(kind)
        for name, several in kinds.items():
            if all(kind is several[0] for kind in several):
                continue
            families = Counter(map(_family, several))
            if len(families) > 1 and len(self._types) < MOST_FIELDS:
                ((commonest, _),) = families.most_common(1)
                self._types[name] = next(kind for kind in several if _family(kind) == commonest)

    def _refused(self, types: Mapping[str, pa.DataType]) -> InputError | None:
        wider: dict[str, pa.DataType] = {}
        for name, kind in types.items():
            known = self._types.get(name)
            if known is None and len(self._types) + len(wider) >= MOST_FIELDS:
                return _misfit(name, f"holds one name more than the {MOST_FIELDS:,} that an index has")
            if known is not kind and known != kind:
                try:
                    wider[name] = kind if known is None else widened(self._of_all(name, kind), kind)
                except TypeError:
                    return _misfit(name, f"holds {_told(kind)} here, and {_told(known)} in other passages")
        self._types |= wider
        return None

    def _of_all(self, name: str, kind: pa.DataType) -> pa.DataType:
        """The type of a column; of a stored one told from its values, as far as it matters beside another."""
        stored = self._unread.get(name)
        if stored is not None and in_floats(stored.type) != stored.type:
            del self._unread[name]
            try:
                stored.cast(in_floats(stored.type))
            except pa.ArrowException:
                self._types[name] = in_large(stored.type)
        return self._types[name]


def _types_of(row: Mapping[str, Any], known: Container[str]) -> dict[str, pa.DataType] | InputError:
    types, name = {}, ""
    try:
        for name, value in row.items():
            if name not in _OURS:
                if name not in known:
                    check_name(name)
                types[name] = checked_type(value)
    except ValueError as error:
        return _misfit(name, str(error))
    return types


def _misfit(name: str, what: str) -> InputError:
    return InputError(
        f"the metadata {name[:80]!r} {what}. Give it one type in all passages, another name, or turn it into a text.",
        code="bad-metadata",
    )


def _family(kind: pa.DataType) -> str:
    return "large" if kind == LARGE else kind_of(kind).removeprefix("whole ")


def _told(kind: pa.DataType) -> str:
    text = kind_of(kind)
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]} …"


_LONGEST_TOLD = 200


def joined(old: pa.Table, new: pa.Table) -> pa.Table:
    """One table under the other, whose columns take what both hold; what one of them lacks is null there.

    Raises:
        InputError: `bad-metadata`: columns of one name are of two kinds, or their values of no type that holds both.
    """
    for name in set(old.column_names) & set(new.column_names):
        one, other = old.schema.field(name).type, new.schema.field(name).type
        if one == other:
            continue
        try:
            both = widened(one, other)
            old, new = (table.set_column(table.column_names.index(name), name, cast_to(table[name], both))
                        for table in (old, new))  # fmt: skip
        except (pa.ArrowException, TypeError) as error:
            raise InputError(
                f"the metadata {name!r} holds {kind_of(one)} in this index, and {kind_of(other)} in the new passages, "
                f"which no column holds both without loss{f': {error}' if str(error) else ''}. Give them one type, or "
                "another name.",
                code="bad-metadata",
            ) from error
    return pa.concat_tables([old, new], promote_options="default")
