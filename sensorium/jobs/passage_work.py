"""What a worker does to encode passages for an index: an encoder in the place of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sensorium.errors import InputError, OptionError
from sensorium.jobs.description import PASSAGES
from sensorium.pipelines.placement import Placement, resolve_dtype
from sensorium.processors.limits import MediaLimits
from sensorium.retrieval import Encoder
from sensorium.retrieval.building import fault_of
from sensorium.tasks.options import Options


@dataclass
class PassageTask:
    """Passages to vectors, as a job knows a task.

    Attributes:
        limits: what an input may cost; the encoder keeps them.
    """

    name: ClassVar[str] = PASSAGES
    inputs: ClassVar[tuple[str, ...]] = ("passage",)
    optional_inputs: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[type[Options]] = Options
    limits: MediaLimits

    def example(self) -> None:
        """Nothing: the columns are known without one."""

    def check(self, options: Options) -> None:
        """Refuses nothing: there are no options."""


@dataclass(frozen=True)
class EncodedPassage:
    """What became of a passage.

    Attributes:
        vector: `(D,)` float32.
        cut: whether its end was cut off.
        seconds: what it took, which is not known.
    """

    vector: NDArray[np.float32]
    cut: bool
    seconds: float | None = None

    def schema(self) -> pa.Schema:
        """The columns of `to_row`."""
        return pa.schema([("vector", pa.list_(pa.float32(), len(self.vector))), ("cut", pa.bool_())])

    def to_row(self) -> dict[str, Any]:
        """It in columns."""
        return {"vector": self.vector, "cut": self.cut}


class PassagePipeline:
    """An encoder, as a worker calls a pipeline.

    Args:
        model: its name.
        settings: what `passages.settings_of` gave.

    Raises:
        OptionError: it is another one than that with which the job was made.
    """

    def __init__(self, model: str, settings: Mapping[str, Any]) -> None:
        known = dict(settings)
        fingerprint, spec = known.pop("fingerprint"), known.pop("spec")
        self._encoder = Encoder.from_spec({**spec, "model": model}, **known)
        if self._encoder.fingerprint != fingerprint:
            raise OptionError(
                f"{model!r} has other weights, another tokenizer or other prompts than when the passages were listed; "
                "build the index again, into another folder"
            )
        self.task = PassageTask(known.get("limits") or MediaLimits())
        self.checkpoint, self.device = self._encoder.checkpoint, self._encoder.device
        self.placement = Placement(self.device, resolve_dtype(self._encoder.settings.dtype, self.device))

    def __call__(self, example: Any) -> EncodedPassage:
        """A result, for its columns."""
        return EncodedPassage(np.zeros(self._encoder.dimension, np.float32), cut=False)

    def stream(self, raws: Iterable[Any], *, on_error: str, total: int) -> Iterator[EncodedPassage | InputError]:
        """The outcomes of passages as they were listed, in their order."""
        modality = self._encoder.modality
        passages = (_text(raw) if modality == "text" else {modality: raw} for raw in raws)
        for outcome in self._encoder.encode_in_order(passages, total=total):
            if isinstance(outcome, InputError):
                yield outcome
            else:
                vector, cut = outcome
                yield fault_of(vector, self._encoder.name) or EncodedPassage(vector, cut)


def _text(raw: Mapping[str, str]) -> Any:
    return (raw["title"], raw["text"]) if raw["title"] else raw["text"]
