"""Nested values with something odd in one place: what a hostile, damaged or hurried hand puts into a file."""

from __future__ import annotations

import copy
import json
import math
import random

from hypothesis import strategies as st

ODD = (None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 10**6, 10**9, 2**31, 2**63, 2**64, 10**30, math.inf, -math.inf,
       math.nan, "", "x", "0", "1e9", "\ud800", "a/b", "../x", "\0", "x" * 5_000, [], [0], [-1], [10**9], ["x"], [None],
       [[]], [1] * 100, {}, {"x": 1}, {"0": "x"}, [{}], {"": {}})  # fmt: skip
"""Values of every type that JSON has, each of them wrong somewhere."""

_CHANGES = {
    "as text": str,
    "in a list": lambda value: [value],
    "in an object": lambda value: {"x": value},
    "negative": lambda value: -value if isinstance(value, (int, float)) else value,
    "a million times": lambda value: value * 10**6 if isinstance(value, (int, float)) else value,
    "twice": lambda value: value * 2 if isinstance(value, (int, float, str, list)) else value,
    "half": lambda value: value[: len(value) // 2] if isinstance(value, (str, list)) else value,
}


def places(value, *, above=()):
    """The paths of all values in a nested one, its own among them."""
    yield above
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], above=(*above, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 20)):
            yield from places(value[i], above=(*above, i))


def changed_json(data: bytes, draw: random.Random) -> bytes | None:
    """JSON with one place changed, twice there, or gone; None where it is none, or has no places."""
    try:
        result = json.loads(data)
    except (ValueError, RecursionError):
        return None
    found = [path for path in places(result) if path]
    if not found:
        return None
    *above, last = draw.choice(found)
    holder = result
    for key in above:
        holder = holder[key]
    how = draw.choice(["odd", "odd", "gone", "twice", "from elsewhere", *_CHANGES])
    if how == "gone":
        del holder[last]
    elif how == "twice":
        holder.insert(last, holder[last]) if isinstance(holder, list) else holder.update({f"{last}2": holder[last]})
    elif how == "from elsewhere":
        value = result
        for key in draw.choice(found):
            value = value[key]
        holder[last] = copy.deepcopy(value)
    else:
        holder[last] = copy.deepcopy(draw.choice(ODD)) if how == "odd" else _CHANGES[how](holder[last])
    return json.dumps(result).encode()


@st.composite
def mutated(draw, value, *, names=(), times=1):
    """A value with up to `times` places changed, or gone, and perhaps an odd entry of one of these names."""
    result = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, times))):
        if names and draw(st.integers(0, 3)) == 0 and isinstance(result, dict):
            result[draw(st.sampled_from(names))] = copy.deepcopy(draw(st.sampled_from(ODD)))
            continue
        *above, last = draw(st.sampled_from([path for path in places(result) if path] or [("x",)]))
        holder = result
        for key in above:
            holder = holder[key]
        if last not in range(len(holder)) if isinstance(holder, list) else last not in holder:
            continue
        change = draw(st.sampled_from(["odd", "odd", "odd", "gone", *_CHANGES]))
        if change == "gone":
            del holder[last]
        elif change == "odd":
            holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            holder[last] = _CHANGES[change](holder[last])
    return result
