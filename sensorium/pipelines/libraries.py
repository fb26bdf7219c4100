"""Compiled graphs that are kept as shared libraries, so that the next process need not compile them."""

from __future__ import annotations

import hashlib
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from sensorium.checkpoints.passing import passing_folder

MOST_BYTES = 2**30
"""Graphs with more bytes of weights are not kept: each library holds them all, and there is one for each shape."""

_KNOWN = ("torch", "torchvision", "math", "_operator", "builtins")
"""Whose functions may stand in a graph that is kept: their versions are in its key, the code of others is not."""

_KNOWN_OPERATORS = ("aten", "prim", "prims", "torchvision")


class NotKept(Exception):  # noqa: N818 - a reason, which is told, not a failure
    """Why a graph cannot be kept."""


class Libraries:
    """A backend of `torch.compile` for CPUs: inductor, with what it compiles kept in its cache folder.

    Weights are frozen into a graph, and inductor keeps none of those. They are compiled ahead of time instead
    (AOTInductor), and found again by a digest of all that goes into them: each operation as it was traced in this
    process, the bytes of every weight, torch, its settings, the processor, the number of threads. So no library answers
    for other weights or another code, and Dynamo's guards hold as ever. Graphs that cannot be kept go to inductor.

    Attributes:
        outcomes: what became of each graph: "read", "written", or "none: " and why.
    """

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def __call__(self, graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        """Called by Dynamo; the library is looked for when the graph is first run, outside of Dynamo's own state."""
        try:
            return _KeptGraph(graph, folder() / f"{digest(graph, inputs)}.so", self.outcomes)
        except NotKept as reason:
            self.outcomes.append(f"none: {reason}")
            return _by_inductor(graph, inputs)

    @property
    def outcome(self) -> str:
        """What became of the graphs together: the worst of them."""
        worst = [each for each in self.outcomes if each.startswith("none")] or sorted(self.outcomes, reverse=True)
        return worst[0] if worst else "none: nothing was compiled"


class Counted:
    """What inductor itself keeps, in the same folder: graphs whose weights are not frozen in; from here on."""

    def __init__(self) -> None:
        self._before = self._counts()

    @property
    def outcome(self) -> str:
        """What became of the graphs together: "read", "written", or "none: " and why."""
        new = self._counts() - self._before
        if new["fxgraph_cache_bypass"]:
            return "none: inductor does not keep such graphs"
        kept = {"written": new["fxgraph_cache_miss"], "read": new["fxgraph_cache_hit"]}
        return next((outcome for outcome, count in kept.items() if count), "none: nothing was compiled")

    @staticmethod
    def _counts() -> Counter[str]:
        return Counter(torch._dynamo.utils.counters["inductor"])


class _KeptGraph:
    """Runs a graph from its library, which is read or made at the first call."""

    def __init__(self, graph: fx.GraphModule, path: Path, outcomes: list[str]) -> None:
        self._graph, self._path, self._outcomes = graph, path, outcomes
        self._run: Callable[[list[Tensor]], Any] | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        if self._run is None:
            # tensors made in inference mode cannot be traced outside of it, and inductor compiles outside of it
            with torch.inference_mode(False), torch.no_grad():
                self._run = self._prepared([x.clone(memory_format=torch.preserve_format) for x in inputs])
        return self._run(list(inputs))

    def _prepared(self, examples: list[Tensor]) -> Callable[[list[Tensor]], Any]:
        found = self._path.exists()
        try:
            if not found:
                _write(self._path, self._graph, examples)
            runner = _load(self._path)
        except NotKept as reason:
            self._outcomes.append(f"none: {reason}")
            compiled = _by_inductor(self._graph, examples)
            return lambda given: compiled(*given)
        self._outcomes.append("read" if found else "written")
        return runner


def _by_inductor(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    from torch._inductor.compile_fx import compile_fx

    compiled: Any = compile_fx(graph, inputs)
    return compiled  # type: ignore[no-any-return]


def folder() -> Path:
    """Where libraries are kept: in inductor's cache, which `TORCHINDUCTOR_CACHE_DIR` moves."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    path = Path(cache_dir()) / "sensorium"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NotKept(str(error)) from error
    if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
        raise NotKept(f"{path} belongs to somebody else")  # who could have put any code there
    return path


def digest(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    """Of all that a graph's library is made from.

    Raises:
        NotKept: something is in it of which this cannot be told.
    """
    size = sum(weight.nbytes for weight in _weights(graph))
    if size > MOST_BYTES:
        raise NotKept(f"its weights take {size / 2**30:.1f} GiB, more than {MOST_BYTES / 2**30:.0f}")
    hasher = hashlib.blake2b(digest_size=20)
    for fact in (*_surroundings(), *(_layout(x) for x in inputs), *_operations(graph)):
        hasher.update(fact.encode() + b"\n")
    for weight in _weights(graph):
        hasher.update(_facts(weight).encode())
        hasher.update(weight.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _surroundings() -> Iterator[str]:
    """What else decides about the code that inductor writes, and the compiler makes."""
    yield f"{torch.__version__} {torch.version.git_version} {version('torchvision')} {platform.machine()}"
    info = Path("/proc/cpuinfo")  # it is compiled for this very processor
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    yield next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    yield f"{torch.get_num_threads()} {torch.get_float32_matmul_precision()}"
    yield f"{torch.are_deterministic_algorithms_enabled()} {os.environ.get('ATEN_CPU_CAPABILITY')}"
    settings = torch._inductor.config.save_config_portable(ignore_private_configs=False)
    settings.pop("aot_inductor.metadata", None)  # of the graph before: inductor leaves it there
    yield repr(sorted(settings.items()))


def _operations(graph: fx.GraphModule) -> Iterator[str]:
    for name, module in graph.named_modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                yield f"{name}: {node.name} = {node.op} {_target(node)} {node.args!r} {node.kwargs!r}"
                if " at 0x" in f"{node.args!r} {node.kwargs!r}":
                    raise NotKept(f"{node.name} takes an object of which nothing is known")
        elif next(module.children(), None) is None and type(module) is not nn.Module:
            raise NotKept(f"it calls a {type(module).__name__} as it is")


def _target(node: fx.Node) -> str:
    target: Any = node.target
    if node.op != "call_function":
        return str(target)
    if isinstance(target, torch._ops.HigherOrderOperator):
        name, known = f"higher order {target.name()}", True
    elif isinstance(target, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        name = str(target._name if isinstance(target, torch._ops.OpOverload) else target._qualified_op_name)
        known = name.split("::")[0] in _KNOWN_OPERATORS
    else:
        # those in C have no module, or none that can be told
        module = getattr(target, "__module__", None) or "torch"
        name = f"{module}.{getattr(target, '__qualname__', target)}"
        known = module.split(".")[0] in _KNOWN
    if not known or " at 0x" in name:
        raise NotKept(f"it calls {name}, whose code is not torch's")
    return name


def _weights(graph: fx.GraphModule) -> Iterator[Tensor]:
    """Every tensor that the graph holds, in a fixed order."""
    for module in graph.modules():
        held = [*module._parameters.items(), *module._buffers.items()]
        held += [(name, value) for name, value in vars(module).items() if isinstance(value, Tensor)]
        yield from (value for _, value in sorted(held, key=lambda pair: pair[0]) if value is not None)


def _facts(weight: Tensor) -> str:
    if type(weight) not in (Tensor, nn.Parameter) or weight.layout != torch.strided or weight.is_quantized:
        raise NotKept(f"it holds a {type(weight).__name__} of layout {weight.layout}")
    if weight.device.type != "cpu" or weight.is_conj() or weight.is_neg():
        raise NotKept(f"it holds a tensor on {weight.device} that is no plain one")
    return _layout(weight)


def _layout(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}"


def _write(path: Path, graph: fx.GraphModule, examples: list[Tensor]) -> None:
    """Compiles the graph; nobody sees a library that is not whole."""
    try:
        exported = torch.export.export(graph, tuple(examples))
        with passing_folder("making-", within=path.parent) as making:
            made = making / "graph.so"
            options = {"freezing": True, "aot_inductor.output_path": str(made), "aot_inductor.package": False}
            torch._inductor.aot_compile(exported.module(), tuple(examples), options=options)
            made.replace(path)
    except Exception as error:  # of many kinds: what cannot be exported, is not written in C++, or finds no room
        raise NotKept(f"{type(error).__name__}: {error}".splitlines()[0]) from error


def _load(path: Path) -> Callable[[list[Tensor]], Any]:
    try:
        return torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1).run
    except RuntimeError as error:  # a library of the system is not there, or the file is broken
        raise NotKept(f"{path} cannot be loaded, and may be deleted: {error}".splitlines()[0]) from error
