"""What is compiled on the CPU answers in later processes, for these weights and this code alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from sensorium.pipelines.compiling import Compiler, can_compile
from sensorium.pipelines.libraries import Counted, Libraries, digest
from sensorium.pipelines.statistics import Statistics

CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.skipif(not can_compile(CPU), reason="torch.compile needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore"),
]

TWICE = """
    import json, sys, torch
    from torch import nn
    from sensorium.pipelines.compiling import Compiler
    from sensorium.pipelines.statistics import Statistics

    seed, slope, weight = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LeakyReLU(slope), nn.Flatten(), nn.Linear(288, 5)
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        model[4].bias[3] += weight
    compiler = Compiler(True, torch.device("cpu"), Statistics(), torch.float32)
    with torch.inference_mode():
        pictures = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(7))
        compute = lambda x: {"logits": model(x), "none": None}
        for given in (pictures, -pictures):
            got, want = compiler.compiled(compute, given), compute(given)
            assert got["none"] is None
            torch.testing.assert_close(got["logits"], want["logits"], rtol=1e-4, atol=1e-5)
    print(json.dumps(compiler.report[0]["cache"]))
"""


def started(folder, *arguments):
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", textwrap.dedent(TWICE), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_later_process_reads_what_an_earlier_one_compiled_and_nothing_else(tmp_path):
    """One weight's last bits, one number in the code: each is another library, and every answer is checked."""
    assert started(tmp_path, 0, 0.1, 0.0) == "written"
    assert started(tmp_path, 0, 0.1, 0.0) == "read"
    assert started(tmp_path, 1, 0.1, 0.0) == "written"  # other weights
    assert started(tmp_path, 0, 0.2, 0.0) == "written"  # another model with the same weights
    assert started(tmp_path, 0, 0.1, 1e-6) == "written"  # one weight, a little
    assert started(tmp_path, 0, 0.1, 0.0) == "read"
    assert len(list((tmp_path / "sensorium").iterdir())) == 4, "nothing else lies there"


def traced(function, *inputs, grad=False):
    """Digests of the graphs that Dynamo makes of a function, with the weights frozen in."""
    import torch._inductor.config

    found = []

    def backend(graph, examples):
        found.append(digest(graph, examples))
        return graph.forward

    torch._dynamo.reset()
    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        torch.compile(function, backend=backend, dynamic=False)(*inputs)
    return found


def test_all_that_a_library_is_made_from_is_in_its_key(monkeypatch):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 4), nn.GELU()).eval(), torch.randn(2, 4)
    [first] = traced(model, x)
    assert traced(model, x + 1) == [first], "what comes in is no part of it"
    others = [
        traced(model, torch.randn(3, 4)),
        traced(model, torch.randn(4, 2).T),
        traced(lambda y: model(y) * 2, x),
        traced(lambda y: model(y) * 3, x),
    ]
    model[1].approximate = "tanh"
    others.append(traced(model, x))
    model[1].approximate = "none"
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6
    others.append(traced(model, x))
    with torch.no_grad():
        model[0].weight[0, 0] -= 1e-6
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    others.append(traced(model, x))
    torch.set_num_threads(before)
    with torch._inductor.config.patch(max_autotune=True):
        others.append(traced(model, x))
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    others.append(traced(model, x))
    keys = [first, *(key for [key] in others)]
    assert len(set(keys)) == len(keys)


def test_code_that_is_not_torch_s_is_not_kept():
    library = torch.library.Library("made_up", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
    library.impl("twice", torch.empty_like, "Meta")
    with pytest.raises(Exception, match="made_up::twice, whose code is not torch's"):  # within Dynamo's own
        traced(lambda x: torch.ops.made_up.twice(x) + 1, torch.ones(2))
    compiler = Compiler(True, CPU, Statistics())
    with torch.inference_mode():
        got = compiler.compiled(lambda x: torch.ops.made_up.twice(x) + 1, torch.ones(2))
    assert got.tolist() == [3, 3]
    assert compiler.report[0]["cache"].startswith("none: it calls made_up::twice")


def test_large_weights_are_not_kept(monkeypatch):
    monkeypatch.setattr("sensorium.pipelines.libraries.MOST_BYTES", 10)
    compiler = Compiler(True, CPU, Statistics())
    model = nn.Linear(4, 4)
    with torch.inference_mode():
        x = torch.ones(2, 4)
        torch.testing.assert_close(compiler.compiled(model.forward, x), model(x))
    assert compiler.report[0]["cache"].startswith("none: its weights take 0.0 GiB")


def test_a_broken_library_is_said_and_not_used(monkeypatch, tmp_path):
    (tmp_path / "sensorium").mkdir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("sensorium.pipelines.libraries.digest", lambda graph, inputs: "broken")
    (tmp_path / "sensorium" / "broken.so").write_bytes(b"no library")
    compiler = Compiler(True, CPU, Statistics())
    with torch.inference_mode():
        assert compiler.compiled(lambda x: x * 3 + 1, torch.ones(2)).tolist() == [4, 4]
    assert "broken.so cannot be loaded, and may be deleted" in compiler.report[0]["cache"]


def test_a_library_writes_into_its_inputs_as_the_function_does(monkeypatch, tmp_path):
    """And compiling leaves nothing behind that would make another key of what is compiled next."""
    compiler, rows = Compiler(True, CPU, Statistics()), torch.ones(2)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    before = traced(added_to, rows)
    with torch.inference_mode():
        for count in (3, 4):
            assert compiler.compiled(added_to, rows).tolist() == [count * 5] * 2
            assert rows.tolist() == [count] * 2
    assert compiler.report[0]["cache"] == "written"
    assert traced(added_to, torch.ones(2)) == before


def added_to(rows):
    rows.add_(1)
    return rows * 5


def test_outcomes_of_several_graphs_are_told_together():
    libraries = Libraries()
    assert libraries.outcome == "none: nothing was compiled"
    for outcome, together in [("read", "read"), ("written", "written"), ("none: so", "none: so"), ("read", "none: so")]:
        libraries.outcomes.append(outcome)
        assert libraries.outcome == together


def test_what_inductor_keeps_is_counted_from_then_on(monkeypatch):
    counts = {"fxgraph_cache_hit": 3, "fxgraph_cache_miss": 4, "fxgraph_cache_bypass": 1}
    monkeypatch.setattr(torch._dynamo.utils, "counters", {"inductor": counts})
    for name, outcome in [("hit", "read"), ("miss", "written"), ("bypass", "none: inductor does not keep such graphs")]:
        counted = Counted()
        assert counted.outcome == "none: nothing was compiled"
        counts[f"fxgraph_cache_{name}"] += 1
        assert counted.outcome == outcome
