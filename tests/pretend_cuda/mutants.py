"""Breaking a function on purpose, so that a test can show that it would be noticed."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from typing import Any

FUTURE = importlib.import_module("__future__")


def mutated(function: Any, old: str, new: str) -> Any:
    """The function with a piece of its source replaced; it lies in the same module, on the same lines.

    Raises:
        ValueError: the piece is not there exactly once: the function has changed, and the mutant has to follow it.
    """
    function = inspect.unwrap(function)  # of what decorates it, which has another module's names
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(old) != 1:
        raise ValueError(f"{function.__qualname__} has {old!r} {source.count(old)} times; write the mutant anew")
    code = function.__code__
    padded = "\n" * (code.co_firstlineno - 1) + source.replace(old, new)
    compiled = compile(padded, code.co_filename, "exec", FUTURE.annotations.compiler_flag, dont_inherit=True)
    found: dict[str, Any] = {}
    exec(compiled, function.__globals__, found)
    return found[function.__name__]
