"""Every option of every task refuses, before any work, what its type does not allow; so do settings and arguments."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from sensorium.errors import OptionError
from sensorium.retrieval.lexical.files import LexicalSettings
from sensorium.retrieval.reading.splitting import Splitting
from sensorium.tasks.base import get_task, task_names
from sensorium.tasks.options import Range

NOT_NUMBERS = [True, False, "3", math.nan, math.inf, -math.inf, [1], object(), np.bool_(True)]
FREE = {"where", "reranker"}  # anything may be given: the index checks them
OF_THEIR_OWN = {  # options of other types, which their task's own __post_init__ checks
    "candidate_labels": ["cat", 3, b"cat", [""], [1]],
    "feature_maps": ["x", 3, None, [1.5], [True], b"x"],
    "generate_kwargs": [3, "x", [1], {"num_beams": True}, {"max_new_tokens": 0}, {"top_p": 2}],
    "query_images": [3, "", [], ["a.jpg", None], [["a.jpg"]], {"image": "a.jpg"}],
    "stride_length_s": [True, "3", math.nan, math.inf, -1, (1, 2, 3), (1, "2"), ()],
}
DEFAULTS = {LexicalSettings: LexicalSettings(1.2, 0.75, "lucene", ()), Splitting: Splitting()}


def options_of_all_tasks():
    for name in task_names():
        task = get_task(name)
        for field in dataclasses.fields(task.options):
            yield pytest.param(task.options, field.name, id=f"{name}-{field.name}")


def parts_of(hint):
    """The plain types, choices and ranges that a type is made of."""
    if typing.get_origin(hint) is Annotated:
        yield from hint.__metadata__
        yield from parts_of(hint.__origin__)
    elif typing.get_origin(hint) in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from parts_of(part)
    else:
        yield hint


def wrong_values(hint):
    parts = list(parts_of(hint))
    kinds = {part for part in parts if isinstance(part, type)}
    wrong = [value for value in NOT_NUMBERS if not isinstance(value, tuple(kinds)) or isinstance(value, float)]
    wrong += [] if types.NoneType in kinds else [None]
    wrong = [value for value in wrong if not (isinstance(value, bool) and bool in kinds)]
    if int in kinds and bool not in kinds:
        wrong += [True, False]
    if float in kinds:
        wrong += [10**400]
    else:
        wrong += [1.5, np.float64(2)]
    if not kinds & {int, float}:
        wrong += [0, 1, np.int64(1)]
    wrong += ["no such choice"] if str not in kinds else []
    for bounds in (part for part in parts if isinstance(part, Range)):
        wrong += [bounds.least - 1] if bounds.least is not None else []
        wrong += [bounds.above, bounds.above - 1] if bounds.above is not None else []
        wrong += [bounds.most + 1] if bounds.most is not None else []
        wrong += [bounds.below, bounds.below + 1] if bounds.below is not None else []
    return wrong


@pytest.mark.parametrize(("options", "name"), options_of_all_tasks())
def test_every_option_refuses_what_it_cannot_be(options, name):
    hint = typing.get_type_hints(options, include_extras=True)[name]
    if name in FREE:
        assert hint is Any
        return
    known = {bool, int, float, str, types.NoneType}
    plain = all(p in known or isinstance(p, Range) or typing.get_origin(p) is Literal for p in parts_of(hint))
    assert plain == (name not in OF_THEIR_OWN), f"{name}: {hint} is not checked by its type"
    wrong = wrong_values(hint) if plain else OF_THEIR_OWN[name]
    assert len(wrong) > 4
    for value in wrong:
        with pytest.raises(OptionError) as caught:
            options.parse({name: value})
        named = [name, *value] if isinstance(value, dict) else [name]
        assert any(each in str(caught.value) for each in named), f"{value!r}: {caught.value}"


@pytest.mark.parametrize(("options", "name"), options_of_all_tasks())
def test_every_number_may_be_one_of_numpy_s(options, name):
    field = next(field for field in dataclasses.fields(options) if field.name == name)
    if isinstance(field.default, bool) or not isinstance(field.default, int | float):
        return
    for given in (np.int64(field.default),) if isinstance(field.default, int) else (np.float64(field.default),):
        taken = getattr(options.parse({name: given}), name)
        assert taken == field.default
        assert type(taken) in (int, float)


@pytest.mark.parametrize(
    ("settings", "name"),
    [(LexicalSettings, "k1"), (LexicalSettings, "b"), (LexicalSettings, "method")]
    + [(Splitting, name) for name in ("by", "words", "overlap")],
)
def test_settings_of_retrieval_refuse_what_they_cannot_be(settings, name):
    for value in wrong_values(typing.get_type_hints(settings, include_extras=True)[name]):
        with pytest.raises(OptionError, match=name):
            dataclasses.replace(DEFAULTS[settings], **{name: value})
