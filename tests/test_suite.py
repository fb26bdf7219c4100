"""What the tests themselves keep to, so that they pass on every machine, quiet or busy: read from their sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(path for path in TESTS.rglob("*.py") if path != Path(__file__))

CLOCKS = re.compile(
    r"\btime\.(time|perf_counter|monotonic|process_time|thread_time)(_ns)?\b|\b(os\.times|getrusage|ru_[us]time|wait4)\b"
    r"|\b(datetime|date)\.(now|today|utcnow)\b"
)
"""What reads a wall clock or the time of a processor; also in the code that a test gives to another process."""


def names(node: ast.AST) -> str:
    """The module and name of an import or an attribute, as far as they can be read."""
    if isinstance(node, ast.Import):
        return " ".join(alias.name for alias in node.names)
    return node.module or "" if isinstance(node, ast.ImportFrom) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_reads_a_clock_or_sleeps(path):
    """A time says how busy the machine is. Count calls, reads or modules instead, wait for an event, or give a clock.

    What may hang is ended by the timeout of pyproject.toml, and times are for benchmarks/ to compare.
    """
    source = path.read_text(encoding="utf-8")
    found = [f"{source[: match.start()].count(chr(10)) + 1}: {match[0]}" for match in CLOCKS.finditer(source)]
    for node in ast.walk(ast.parse(source)):
        modules = {name.partition(".")[0] for name in names(node).split()}
        found += [f"{node.lineno}: import {name}" for name in modules & {"time", "timeit"}]
    assert not found, f"{path.name}: {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_process_is_given_a_time_limit(path):
    """One that hangs is ended with its test; a limit of its own only fails where the machine is busy."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            given = [keyword.arg for keyword in node.keywords]
            assert "timeout" not in given, f"{path.name}:{node.lineno}"


def test_the_rule_sees_a_clock(tmp_path):
    for line in ("import time", "from time import sleep", "x = 'import os; os.times()'", "datetime.now()"):
        path = tmp_path / "test_x.py"
        path.write_text(line)
        with pytest.raises(AssertionError, match="test_x"):
            test_no_test_reads_a_clock_or_sleeps(path)
    path.write_text("wait(timeout=3)")
    with pytest.raises(AssertionError, match="test_x"):
        test_no_process_is_given_a_time_limit(path)
