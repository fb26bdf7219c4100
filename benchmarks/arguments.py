"""The arguments that benchmarks share, with defaults for the device at hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Parser(argparse.ArgumentParser):
    """A parser whose defaults may differ between the CPU and a card, which takes far more to be busy.

    Args:
        description: the benchmark's docstring.
        rounds: how often each side is timed.
    """

    def __init__(self, description: str | None, *, rounds: int = 3) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._by_device: dict[str, tuple[Any, Any]] = {}
        self.add_argument("--device", help="the best there is by default")
        self.add_argument("--rounds", type=int, default=rounds)
        self.add_argument("--warmup", type=int, help="rounds before that do not count: 1, on a card 2")
        self.add_argument("--results", type=Path, default=RESULTS, help="the folder that figures go to")
        self.add_argument("--no-save", action="store_true", help="only print the figures")
        self._by_device["warmup"] = (1, 2)

    def count(self, name: str, on_cpu: int, on_cuda: int, help: str | None = None) -> None:
        """Adds a number with a default for each kind of device."""
        self.add_argument(name, type=int, help=f"{help or ''} ({on_cpu}, on a card {on_cuda})".strip())
        self._by_device[name.removeprefix("--").replace("-", "_")] = (on_cpu, on_cuda)

    def peer_settings(
        self,
        sample: int,
        *,
        dtypes: Sequence[str] = ("float32", "bfloat16"),
        batch_sizes: Sequence[int] = (1, 4, 8, 16),
        workers: Sequence[int] = (),
        batch_sizes_on_cuda: Sequence[int] = (1, 8, 32, 128),
    ) -> None:
        """Adds what the peer's best is sought over; the defaults given are the CPU's.

        Args:
            sample: how many inputs each setting is tried on; twice its batch size if that is more.
            dtypes: of the peer's weights.
            batch_sizes: of the peer; none where it does not take batches.
            workers: `num_workers` of the peer; none where it takes no such argument.
            batch_sizes_on_cuda: of the peer, on a card.
        """
        on_cuda = {"dtypes": ["float32", "float16", "bfloat16"], "batch_sizes": batch_sizes_on_cuda, "workers": (0, 8)}
        self.add_argument("--sample", type=int, default=sample, help="inputs for each of the peer's settings, at least")
        for name, on_cpu in {"dtypes": dtypes, "batch_sizes": batch_sizes, "workers": workers}.items():
            if on_cpu:
                kind = str if name == "dtypes" else int
                self.add_argument("--" + name.replace("_", "-"), nargs="+", type=kind, help="the peer's")
                self._by_device[name] = (list(on_cpu), list(on_cuda[name]))

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The arguments; what was not given is what suits the device."""
        from sensorium.pipelines.placement import resolve_device

        found = super().parse_args(args, namespace)
        found.device = str(resolve_device(found.device))
        for name, (on_cpu, on_cuda) in self._by_device.items():
            if getattr(found, name) is None:
                setattr(found, name, on_cuda if found.device.startswith("cuda") else on_cpu)
        return found
