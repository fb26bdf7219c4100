"""What a library may allocate while it builds a model for weights that a checkpoint holds."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_buffer_registration_hook as buffers_hook
from torch.nn.modules.module import register_module_parameter_registration_hook as parameters_hook
from torch.overrides import TorchFunctionMode

from sensorium.checkpoints import Checkpoint
from sensorium.checkpoints.opening import likely_entries
from sensorium.checkpoints.stored import StoredTensors
from sensorium.errors import CheckpointError

TIMES = 4
"""How many times the numbers that are stored a model may have: some build a part twice, or keep tables beside it."""

PACKED = 16
"""The same for numbers that are stored in fewer bits than a byte each."""

LEAST_NUMBERS, LEAST_TENSORS = 2**25, 8_192
"""What any model may have: 128 MiB of float32, and so many tensors."""

_MADE = frozenset(
    [torch.arange, torch.empty, torch.empty_like, torch.empty_strided, torch.eye, torch.full, torch.full_like,
     torch.linspace, torch.ones, torch.ones_like, torch.rand, torch.rand_like, torch.randn, torch.randn_like,
     torch.randint, torch.tril_indices, torch.triu_indices, torch.zeros, torch.zeros_like]
)  # fmt: skip
_LARGE = 2**20
"""Numbers of one tensor above which it is first made without memory, to see how large it is."""


class TooMuch(Exception):  # noqa: N818 - it never leaves the package
    """A model asks for more than its weights account for."""


class _Budget:
    """What is left of what a model may have."""

    def __init__(self, stored: StoredTensors, *, packed: bool) -> None:
        numbers = stored.numbers if stored.shapes else stored.nbytes  # a pickle's are not known
        self._numbers = LEAST_NUMBERS + numbers * (PACKED if packed else TIMES)
        self._tensors = LEAST_TENSORS + len(stored.shapes) * (TIMES * 4) if stored.shapes else 2**20
        self._thread = threading.get_ident()

    def registered(self, _: nn.Module, __: str, made: Tensor | None) -> None:
        """Counts a weight or a buffer that a module is given on this thread; torch calls it."""
        if made is not None and threading.get_ident() == self._thread:
            self.spend(made)

    def spend(self, made: Tensor) -> None:
        """Counts a tensor, also one without memory: the library goes on to give it some.

        Raises:
            TooMuch: it is one too many.
        """
        self._numbers -= made.numel()
        self._tensors -= 1
        if self._numbers < 0 or self._tensors < 0:
            raise TooMuch("more numbers" if self._numbers < 0 else "more tensors")


class _Factories(TorchFunctionMode):
    """Counts each tensor that is made anew, whatever for, and the large ones before they take memory."""

    def __init__(self, budget: _Budget) -> None:
        super().__init__()
        self._budget = budget

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See above."""
        kwargs = kwargs or {}
        if func in _MADE and _asks_for(args, kwargs) > _LARGE:
            self._budget.spend(func(*args, **{**kwargs, "device": "meta"}))
        return func(*args, **kwargs)


@contextmanager
def building(checkpoint: Checkpoint, *, with_memory: bool = False) -> Iterator[None]:
    """Stops a library that builds more than the weights of a checkpoint account for, before it fills that with values.

    A model whose config asks for a million layers or labels has no weights for them: it would be refused in the end,
    when all of them are built. The headers of the weights are checked first.

    Args:
        checkpoint: whose model is built.
        with_memory: whether it is built in memory at once, and not without it, as Transformers does.

    Raises:
        CheckpointError: more was asked for, a file of weights is damaged, or there is no memory for the weights.
    """
    stored, options = checkpoint.stored(), checkpoint.options
    if options.device_map is None and (options.device is None or options.device.type == "cpu"):
        check_free(stored, of=checkpoint.name)
    packed = options.quantization_config is not None or "quantization_config" in checkpoint.config
    budget = _Budget(stored, packed=packed)
    hooks = [hook(budget.registered) for hook in (parameters_hook, buffers_hook)]
    try:
        with _Factories(budget) if with_memory else nullcontext():
            yield
    except TooMuch as error:
        raise CheckpointError(
            f"{checkpoint.name!r} asks for {error} than its weights account for, which are {stored.numbers:,} numbers "
            f"in {len(stored.shapes):,} tensors.{likely_entries(checkpoint.folder)} Correct its config.json."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def check_free(stored: StoredTensors, *, of: str) -> None:
    """Refuses weights for which there is no memory, before any of it is taken.

    Args:
        stored: what the checkpoint holds.
        of: its name, for the error.

    Raises:
        CheckpointError: they are larger than all the memory that the machine has free.
    """
    free = _free_bytes()
    if free is not None and stored.nbytes > free:
        raise CheckpointError(
            f"{of!r} has {stored.nbytes / 2**30:.1f} GiB of weights, and {free / 2**30:.1f} GiB of memory are free. "
            "Free some, choose another device=, or spread it with device_map=."
        )


def _free_bytes() -> int | None:
    """What programs can still have of the machine's memory; None where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    entry = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if entry is None else int(entry) * 1024


def _asks_for(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """How many numbers a call may ask for, at most, by its arguments."""
    sizes = [1.0]
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            sizes.append(float(value.numel()))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            sizes.append(abs(float(value)) if math.isfinite(value) else math.inf)
        elif isinstance(value, (tuple, list, torch.Size)):
            sizes += [float(one) for one in value if isinstance(one, int)]
    return math.prod(size for size in sizes if size > 1)
