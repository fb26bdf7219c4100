"""When and how a task's tensor functions are compiled, and proof that they are not compiled again."""

from __future__ import annotations

import logging
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from sensorium.errors import OptionError
from sensorium.pipelines import attention
from sensorium.pipelines.batching import is_out_of_memory
from sensorium.pipelines.graphs import GraphPool
from sensorium.pipelines.libraries import Counted, Libraries
from sensorium.pipelines.modes import DEFAULT, RECORDED, TUNED, Compiled, milliseconds, options_of
from sensorium.pipelines.statistics import Statistics

MOST_SHAPES = 16
"""How many static shapes of one function are compiled; a further one runs eagerly, and is counted."""

MOST_COMPILED = 64 * MOST_SHAPES
"""How often torch may compile one piece of code, which it counts over all models of a process: those of a pipeline's
devices, and of other pipelines."""

MOST_CALLS = 1024
"""How many functions and shapes to remember the choice of attention for."""

PAYBACK_S = {"cpu": 60.0, "cuda": 60.0}
"""Seconds of eager forward work, spent or foreseen, from which compiling pays for itself."""


class _Compiling:
    """One at a time compiles, of all threads: torch's settings are those of the process, and so is what it counts.

    Attributes:
        moments: how often one has begun, or ended.
    """

    def __init__(self) -> None:
        self.moments = self._inside = 0
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._inside += 1
        self.moments += 1

    def __exit__(self, *_: object) -> None:
        self.moments += 1
        self._inside -= 1
        self._lock.release()

    def none_since(self, moments: int) -> bool:
        """Whether nobody has compiled since `moments` was so many."""
        return self.moments == moments and not self._inside


_compiling = _Compiling()


class Compiler:
    """Runs tensor functions eagerly or through `torch.compile`, one static graph for each shape.

    On the CPU the weights are frozen into the graph and packed for the matrix kernels (inductor's freezing), and the
    libraries that come out are kept for later processes; on CUDA small static batches are replayed as CUDA graphs,
    which is all that "cudagraphs" does.

    Attributes:
        report: of each function and shape that was compiled: `function`, `shapes` of its tensors, `seconds` that it
            took, with the first run; `cache`: "read" if an earlier process had compiled it, "written" if a later one
            need not, or why neither; `graph`: "captured", or why there is no CUDA graph of it, None on the CPU; `mode`
            of torch.compile, or "cudagraphs"; and `ms`, what a call took in each mode where two were compared, or why
            one failed.

    Raises:
        OptionError: "cudagraphs" on another device.
    """

    def __init__(
        self,
        setting: bool | Literal["auto", "max-autotune", "cudagraphs"],
        device: torch.device,
        statistics: Statistics,
        dtype: torch.dtype | None = None,
    ) -> None:
        if setting == RECORDED and device.type != "cuda":
            raise OptionError(f'compile="{RECORDED}" is for CUDA devices, and this one is {device}; use "auto" or True')
        self.setting, self.device, self._statistics = setting, device, statistics
        self._mode = RECORDED if setting == RECORDED else DEFAULT
        self._compiled: dict[Hashable, Compiled] = {}
        self._modes: dict[Hashable, str] = {}
        self._shapes: dict[Hashable, set[Hashable]] = {}
        self._writes_out = attention.applies(device, dtype)
        self._attends: dict[Hashable, bool] = {}
        self._lock = threading.RLock()
        self._graphs = GraphPool(device)
        self._broken: str | None = None
        self._slower = self._said_crowded = False
        self.report: list[dict[str, Any]] = []

    @property
    def always(self) -> bool:
        """Whether each batch is compiled, whatever it costs."""
        return self.setting not in (False, "auto")

    def pays(self, spent_s: float, foreseen_s: float | None) -> bool:
        """Whether a run should be compiled from here on.

        Args:
            spent_s: seconds that its forward passes have taken so far.
            foreseen_s: seconds that the rest will take, or None where the number of inputs is not known.
        """
        if self.setting != "auto":
            return bool(self.setting)
        payback = PAYBACK_S.get(self.device.type)
        if payback is None or self._slower or self._broken is not None or not can_compile(self.device):
            return False
        return (spent_s if foreseen_s is None else foreseen_s) >= payback

    def disappointed(self) -> None:
        """Notes that the compiled model was measured and is slower; "auto" stays eager from here on."""
        self._slower = True

    def eager(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Calls the function as it is."""
        if not self._writes_out:
            return function(*args)
        call = (function, _signature(args))
        if not self._attends.get(call, True):
            return function(*args)
        with attention.WrittenOut() as mode:
            result = function(*args)
        if len(self._attends) >= MOST_CALLS:
            self._attends.clear()
        self._attends[call] = mode.replaced > 0
        return result

    def compiled(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Calls the function compiled for the shapes of `args`."""
        shape = _signature(args)
        with self._lock:
            shapes = self._shapes.setdefault(function, set())
            known = shape in shapes
            crowded = not known and len(shapes) >= MOST_SHAPES
            if crowded and not self._said_crowded:
                self._said_crowded = True
                warnings.warn(
                    f"batches came in more than {MOST_SHAPES} shapes; further ones run without torch.compile. "
                    'stats()["eager_batches"] counts them.',
                    RuntimeWarning,
                    stacklevel=2,
                )
            if self._broken is not None or crowded:
                self._statistics.count("eager_batches")
                return self.eager(function, *args)
            if not known:
                shapes.add(shape)
                return self._first_call(function, shape, args)
            graphs, moments = _graph_count(), _compiling.moments
            result = self._run(self._compiled[function, shape], args)
            if _graph_count() > graphs and _compiling.none_since(moments):  # another device may be compiled for
                self._statistics.count("recompiles")
            return result

    def _run(self, compiled: Compiled, args: tuple[Any, ...]) -> Any:
        result = self._graphs.replay(compiled.key, args)
        return compiled.call(*args) if result is None else result

    def _first_call(self, function: Callable[..., Any], shape: Hashable, args: tuple[Any, ...]) -> Any:
        began = time.perf_counter()
        try:
            with _compiling:
                compiled, result = self._compile(function, shape, args, self._modes.get(function, self._mode))
        except Exception as error:  # inductor raises many kinds; "auto" goes on eagerly and says so, once
            self._shapes[function].discard(shape)  # nothing was compiled for it
            if is_out_of_memory(error):
                raise  # a smaller batch may compile
            if self.setting != "auto":
                error.add_note(f"compile={self.setting!r} was asked for; compile=False runs the model as it is.")
                raise
            self._broken = f"{type(error).__name__}: {error}"
            warnings.warn(f"torch.compile failed, going on without it: {self._broken}", RuntimeWarning, stacklevel=2)
            return self.eager(function, *args)
        ms: dict[str, float | str] = {}
        if self.setting == "max-autotune" and function not in self._modes:  # the first shape decides for all
            with _compiling:
                compiled, ms = self._faster(compiled, function, shape, args)
            self._modes[function] = compiled.mode
        self._compiled[function, shape] = compiled
        self._statistics.count("compiles")
        shapes = [tuple(x.shape) for x in pytree.tree_leaves(args) if isinstance(x, torch.Tensor)]
        name = getattr(function, "__qualname__", type(function).__name__)
        entry = {"function": name, "shapes": shapes, "seconds": round(time.perf_counter() - began, 3)}
        outcome = {"cache": compiled.cache, "graph": compiled.graph, "mode": compiled.mode, "ms": ms}
        self.report.append({**entry, **outcome})
        return result

    def _compile(
        self, function: Callable[..., Any], shape: Hashable, args: tuple[Any, ...], mode: str
    ) -> tuple[Compiled, Any]:
        """Compiles a function for these arguments, and calls it."""
        if mode == RECORDED:
            return self._recorded(function, shape, args)
        import torch._inductor.config  # takes as long as torch itself: for those alone who compile

        # freezing as an option of torch.compile is read too late to take effect (torch 2.13): it is set around the call
        cpu = self.device.type == "cpu"
        settings = torch._inductor.config.patch({"freezing": True, **options_of(mode)} if cpu else {})
        kept: Libraries | Counted = Libraries() if cpu else Counted()
        how = {"backend": kept} if isinstance(kept, Libraries) else {"mode": mode}
        fast = torch.compile(function, dynamic=False, **how)
        limits = torch._dynamo.config.patch(recompile_limit=MOST_COMPILED, accumulated_recompile_limit=MOST_COMPILED)
        with settings, limits, _quiet():
            result = fast(*args)
        key = (function, shape, mode)
        graph = self._graphs.capture(key, fast, args)
        return Compiled(mode, fast, key, graph, kept.outcome), result

    def _recorded(self, function: Callable[..., Any], shape: Hashable, args: tuple[Any, ...]) -> tuple[Compiled, Any]:
        """Records a function as it is for these arguments, and calls it."""
        call, key = partial(self.eager, function), (function, shape, RECORDED)
        result = call(*args)
        graph = self._graphs.capture(key, call, args)
        if key in self._graphs.refused:
            warnings.warn(
                f"the model cannot be recorded as a CUDA graph, and runs as it is: {self._graphs.refused[key]}",
                RuntimeWarning,
                stacklevel=2,
            )
        return Compiled(RECORDED, call, key, graph, "none: nothing is compiled"), result

    def _faster(
        self, plain: Compiled, function: Callable[..., Any], shape: Hashable, args: tuple[Any, ...]
    ) -> tuple[Compiled, dict[str, float | str]]:
        """This one or a tuned one, whichever is faster, and what a call of each takes, in milliseconds."""
        args = pytree.tree_map_only(torch.Tensor, torch.clone, args)  # they may be written to
        try:
            tuned, _ = self._compile(function, shape, args, TUNED)
        except Exception as error:  # noqa: BLE001 - as above; the plain one is there
            return plain, {TUNED: f"{type(error).__name__}: {error}".splitlines()[0]}
        both = (plain, tuned)
        ms = milliseconds(self.device, *(partial(self._run, each, args) for each in both))
        keep, leave = both if ms[0] <= ms[1] else (tuned, plain)
        self._graphs.forget(leave.key)
        return keep, {DEFAULT: ms[0], TUNED: ms[1]}


def can_compile(device: torch.device) -> bool:
    """Whether `torch.compile` has what it needs: a C++ compiler for the CPU, Triton for CUDA."""
    if device.type == "cpu":
        return any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return bool(has_triton())
    return False


def _signature(args: Any) -> Hashable:
    leaves, structure = pytree.tree_flatten(args)
    facts = [(x.shape, x.stride(), x.dtype) if isinstance(x, torch.Tensor) else x for x in leaves]
    return (str(structure), *facts)


def _graph_count() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


class _quiet:  # noqa: N801 - a context manager that reads as a word
    """Hides inductor's warnings about its inner workings while it compiles."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._level = logging.getLogger("torch._inductor").level
        logging.getLogger("torch._inductor").setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("torch._inductor").setLevel(self._level)
        self._warnings.__exit__(None, None, None)
