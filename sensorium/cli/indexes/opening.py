"""Opening an index, and what reads its passages, with the settings of a command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.cli.settings import ENCODER_ACCESS, IndexSettings, PipelineSettings
from sensorium.errors import OptionError
from sensorium.retrieval import Encoder, Index, Reranker
from sensorium.retrieval.storage import read_folder


def open_index(settings: IndexSettings, pipeline: PipelineSettings) -> Index:
    """Opens an index; its encoder is loaded with what the settings say of device, dtype and access.

    Raises:
        IndexFileError: there is no index, or it is not as it was written.
        OptionError: settings of an encoder for an index without one, or another encoder than the index was built with.
    """
    assert settings.index is not None
    named = {"model": settings.encoder, "query_model": settings.query_model}
    named = {name: value for name, value in named.items() if value is not None}
    access = _given(pipeline, ENCODER_ACCESS)
    if not named and not access:
        return Index.load(settings.index, verify=settings.verify, device=pipeline.device)
    facts, _ = read_folder(Path(settings.index), verify=False)
    if facts["encoder"] is None:
        told = {"model": "encoder"}
        first = next(told.get(name, name) for name in (*named, *access))
        raise OptionError(
            f"the index in {settings.index} was made of vectors and has no encoder for --{first.replace('_', '-')}"
        )
    encoder = Encoder.from_spec({**facts["encoder"]["spec"], **named}, device=pipeline.device, **access)
    return Index.load(settings.index, encoder=encoder, verify=settings.verify, device=pipeline.device)


def check_search(index: Index, options: Mapping[str, Any]) -> None:
    """Searches once, so that what the index cannot do is told before any query.

    Raises:
        OptionError, UnknownNameError: `where` does not suit the passages, or the index has not what `mode` needs.
    """
    how = {name: options[name] for name in ("mode", "where") if options.get(name) is not None}
    if how:
        index.search_encoded(np.zeros((1, index.dimension), np.float32), ["a"], 1, **how)


def open_reranker(options: Mapping[str, Any], pipeline: PipelineSettings, opened: ExitStack) -> Mapping[str, Any]:
    """The options with the reranker itself in place of its name, if they have one."""
    name = options.get("reranker")
    if name is None:
        return options
    reranker = Reranker.from_pretrained(name, **_given(pipeline, ("device", *ENCODER_ACCESS)))
    return {**options, "reranker": opened.enter_context(reranker)}


def _given(settings: PipelineSettings, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the settings that differ from their defaults."""
    fields = (field for field in dataclasses.fields(settings) if field.name in names)
    values = {field.name: (getattr(settings, field.name), field.default) for field in fields}
    return {name: value for name, (value, default) in values.items() if value != default}
