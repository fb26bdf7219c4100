"""How a job is run; a later run may do it otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sensorium.errors import OptionError
from sensorium.tasks.options.checks import Count, Positive, Range, check_fields

SHARD_SIZE = 512
"""Inputs a shard: what a run that is killed has to do again, at most, for each worker."""

SAMPLE = 100
"""Inputs that have to be done before the share of those that failed says anything."""


@dataclass(frozen=True)
class RunSettings:
    """How a job is run.

    Attributes:
        workers: processes that run the model; "auto" is one for each CUDA device, or one.
        timeout_s: seconds without an outcome after which a worker is taken to hang, and is ended.
        load_timeout_s: seconds that a worker may take to load the model, downloads included; then the run is ended.
        max_failures: ends the job when more inputs than this fail: a share of those done, `"5%"`, or a number of them;
            None to do all, whatever becomes of them.
        max_inputs_per_worker: inputs after which a worker is replaced, at the next end of a shard; None for never.
        engine: where workers run: on this machine, or on a cluster of Ray.
        ray_address: of the cluster, such as 10.0.0.1:6379; that which runs here, or one that is started, unless given.
        cpus_per_worker: CPUs of Ray that a worker takes, and threads that it has; its GPU's share, or 1, unless given.
        gpus_per_worker: GPUs of Ray that a worker takes; 1 where there are any, unless given.
    """

    workers: Count | Literal["auto"] = "auto"
    timeout_s: Positive = 600.0
    load_timeout_s: Positive = 1800.0
    max_failures: Annotated[float, Range(0)] | str | None = None
    max_inputs_per_worker: Count | None = None
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    cpus_per_worker: Count | None = None
    gpus_per_worker: Annotated[float, Range(0)] | None = None

    def __post_init__(self) -> None:
        """Checks the fields.

        Raises:
            OptionError: an invalid value.
        """
        check_fields(self)
        if isinstance(self.max_failures, str):
            self.too_many(0, 1)
        for name in ("ray_address", "cpus_per_worker", "gpus_per_worker"):
            if self.engine == "local" and getattr(self, name) is not None:
                raise OptionError(f'{name} is of engine="ray", and workers run on this machine; give engine="ray"')

    def too_many(self, failures: int, done: int) -> bool:
        """Whether so many failures end the job.

        Raises:
            OptionError: `max_failures` is no share.
        """
        most = self.max_failures
        if most is None:
            return False
        if not isinstance(most, str):
            return failures > most
        try:
            share = float(most.strip().removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not most.strip().endswith("%") or not 0 <= share <= 1:
            raise OptionError(f'max_failures is a share such as "5%", or a number of inputs, got {most!r}')
        return done >= SAMPLE and failures > share * done
