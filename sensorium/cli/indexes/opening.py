"""Opening an index, and what reads its passages, with the settings of a command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sensorium.cli.settings import ENCODER_ACCESS, IndexSettings, PipelineSettings
from sensorium.errors import OptionError
from sensorium.processors.limits import MediaLimits
from sensorium.retrieval import Encoder, Index, Reranker
from sensorium.retrieval.contents import check_facts
from sensorium.retrieval.storage import read_folder


def open_index(settings: IndexSettings, pipeline: PipelineSettings, limits: MediaLimits | None = None) -> Index:
    """Opens an index; its encoder is loaded with what the settings say of device, dtype and access.

    Args:
        settings: which index, and where its encoder is.
        pipeline: how the encoder is loaded.
        limits: what a medium may cost that is encoded.

    Raises:
        IndexFileError: there is no index, or it is not as it was written.
        OptionError: settings of an encoder for an index without one, or a different encoder from the one that the index
            was built with.
    """
    assert settings.index is not None
    named = {"model": settings.encoder, "query_model": settings.query_model}
    named = {name: value for name, value in named.items() if value is not None}
    access = _given(pipeline, ENCODER_ACCESS)
    if limits not in (None, MediaLimits()):
        access["limits"] = limits
    if not named and not access:
        return Index.load(settings.index, verify=settings.verify, device=pipeline.device)
    facts, _ = read_folder(Path(settings.index), verify=False)
    check_facts(facts, Path(settings.index))
    if facts["encoder"] is None:
        told = {"model": "encoder"}
        first = next(told.get(name, name) for name in (*named, *access))
        raise OptionError(
            f"the index in {settings.index} was made of vectors and has no encoder for --{first.replace('_', '-')}"
        )
    encoder = Encoder.from_spec({**facts["encoder"]["spec"], **named}, device=pipeline.device, **access)
    return Index.load(settings.index, encoder=encoder, verify=settings.verify, device=pipeline.device)


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
