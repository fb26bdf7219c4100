"""torch.compile: the same answers, static shapes, and no recompiles after warm-up."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sensorium
from sensorium.errors import OptionError
from sensorium.pipelines.compiling import Compiler, can_compile
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from sensorium.pipelines.statistics import Statistics
from tests import tiny
from tests.media import make_images
from tests.pipelines.made_up import WindowScoring, expected
from tests.pretend_cuda import PretendCuda

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not can_compile(CPU), reason="torch.compile needs a C++ compiler")


@needs_compiler
@pytest.mark.filterwarnings("ignore")
def test_compiled_equals_eager_and_warmup_is_all_the_compiling():
    folder, inputs = tiny.folder("vit"), make_images()
    settings = {"device": "cpu", "dtype": "float32", "batch_size": 2}
    with sensorium.pipeline(model=folder, compile=False, **settings) as eager:
        want = eager(inputs, top_k=None)
    with sensorium.pipeline(model=folder, compile=True, **settings) as pipe:
        pipe.warmup()
        assert pipe.stats()["compiles"] == 2  # batches of 1 and 2
        pipe.reset_stats()
        got = [*pipe(inputs, top_k=None), pipe(inputs[0], top_k=None)]
        stats = pipe.stats()
    assert (stats["compiles"], stats["recompiles"], stats["eager_batches"]) == (0, 0, 0)
    assert stats["padded_rows"] == 0  # six pictures are three batches of two
    for a, b in zip(got, [*want, want[0]], strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
        assert a.labels.tolist() == b.labels.tolist()


@needs_compiler
@pytest.mark.filterwarnings("ignore")
def test_the_tail_is_padded_and_dropped_again():
    raws = [{"series": list(range(4 * n)), "question": n % 8} for n in (1, 2, 4)]
    with Pipeline(WindowScoring(), Placement(CPU, torch.float32), batch_size=4, compile=True) as pipe:
        results = pipe(raws)
        stats = pipe.stats()
    assert stats["padded_rows"] == 1  # seven windows: four, and three padded to four
    assert stats["compiles"] == 1
    for raw, result in zip(raws, results, strict=True):
        assert result.value == pytest.approx(expected(raw), rel=1e-4, abs=1e-4)


def test_auto_compiles_only_what_pays():
    compiler = Compiler("auto", CPU, Statistics())
    assert not compiler.pays(spent_s=1.0, foreseen_s=5.0)
    assert not compiler.pays(spent_s=30.0, foreseen_s=None)
    assert compiler.pays(spent_s=1.0, foreseen_s=3600.0) == can_compile(CPU)
    assert Compiler(True, CPU, Statistics()).pays(0.0, 0.0)
    assert not Compiler(False, CPU, Statistics()).pays(1e9, 1e9)


def test_a_function_that_cannot_be_compiled_is_said_once_and_runs(monkeypatch):
    def broken(*_, **__):
        def call(*_):
            raise RuntimeError("no such instruction")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    compiler = Compiler("auto", CPU, Statistics())
    with pytest.warns(RuntimeWarning, match="no such instruction"):
        assert compiler.compiled(torch.add, torch.ones(1), 1).item() == 2
    assert compiler.compiled(torch.add, torch.ones(1), 1).item() == 2
    assert not compiler.pays(1e9, 1e9)
    with pytest.raises(RuntimeError) as caught:
        Compiler(True, CPU, Statistics()).compiled(torch.add, torch.ones(1), 1)
    assert "compile=False" in caught.value.__notes__[0]


@pytest.mark.parametrize(("compiled_s", "stays"), [(0.002, True), (0.03, False)])
def test_auto_goes_back_to_eager_where_compiling_did_not_help(monkeypatch, compiled_s, stays):
    now = 0.0  # a clock of our own, which only the model moves on

    def model(window, question):
        nonlocal now
        now += 0.01
        return window.sum(-1)

    def fake_compile(function, **_):
        def call(window, question):
            nonlocal now
            now += compiled_s
            return window.sum(-1)

        return call

    monkeypatch.setattr(torch, "compile", fake_compile)
    monkeypatch.setattr("sensorium.pipelines.forwarding.time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr("sensorium.pipelines.compiling.PAYBACK_S", {"cpu": 0.05})
    monkeypatch.setattr("sensorium.pipelines.compiling.can_compile", lambda device: True)
    task = WindowScoring()
    task.model.forward = model
    raws = [{"series": [1.0, 2.0], "question": 0}] * 120
    with Pipeline(task, Placement(CPU, torch.float32), batch_size=4, compile="auto") as pipe:
        results = list(pipe.stream(raws))
        assert pipe.stats()["compiles"] == 1
        assert pipe._engine.runtime.compiler.pays(1e9, None) is stays
    assert [r.value for r in results] == [3.0] * 120


def test_a_first_batch_that_does_not_fit_is_halved_and_its_shape_compiled_later(monkeypatch):
    fits = [3]

    def fake_compile(function, **_):
        def call(window, question):
            if len(window) > fits[0]:
                raise torch.OutOfMemoryError("too many rows")
            return function(window, question)

        return call

    monkeypatch.setattr(torch, "compile", fake_compile)
    compiler = Compiler(True, CPU, Statistics())
    rows = torch.ones(4, 2)
    for _ in range(2):  # the shape is not taken for a compiled one after its failure
        with pytest.raises(torch.OutOfMemoryError):
            compiler.compiled(torch.add, rows, rows)
    fits[0] = 4
    assert compiler.compiled(torch.add, rows, rows).sum() == 16
    assert compiler.compiled(torch.add, rows, rows).sum() == 16

    fits[0] = 3
    raws = [{"series": [1.0, 2.0, 3.0, 4.0], "question": i % 8} for i in range(10)]
    with Pipeline(WindowScoring(), Placement(CPU, torch.float32), batch_size=8, compile=True) as pipe:
        results = pipe(raws)
        assert pipe.stats()["batch_size"] <= 3
    assert [r.value for r in results] == pytest.approx([expected(r) for r in raws], rel=1e-5)


def test_too_many_shapes_are_said_once_and_run_eagerly(monkeypatch, recwarn):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr("sensorium.pipelines.compiling.MOST_SHAPES", 2)
    statistics = Statistics()
    compiler = Compiler(True, CPU, statistics)
    warnings.simplefilter("always")
    for rows in (1, 2, 3, 4, 1):
        assert compiler.compiled(torch.add, torch.ones(rows), 1).sum() == 2 * rows
    assert [str(w.message).split(";")[0] for w in recwarn] == ["batches came in more than 2 shapes"]
    assert (statistics.snapshot()["compiles"], statistics.snapshot()["eager_batches"]) == (2, 2)
    assert [(each["shapes"], each["graph"]) for each in compiler.report] == [
        ([(1,)], None),
        ([(2,)], None),
    ]
    assert all(each["function"].endswith("add") and each["seconds"] >= 0 for each in compiler.report), compiler.report


@pytest.mark.parametrize(("tuned_s", "chosen"), [(0.002, "max-autotune-no-cudagraphs"), (0.03, "default")])
def test_of_two_modes_the_faster_one_is_kept_for_all_shapes(monkeypatch, tuned_s, chosen):
    now, used = 0.0, []

    def fake_compile(function, **_):
        tuned = []

        def call(rows):
            nonlocal now
            tuned.append(torch._inductor.config.max_autotune)  # what is set around the first call decides
            now += tuned_s if tuned[0] else 0.01
            used.append(tuned[0])
            return function(rows)

        return call

    monkeypatch.setattr(torch, "compile", fake_compile)
    monkeypatch.setattr("sensorium.pipelines.modes.time", SimpleNamespace(perf_counter=lambda: now))
    compiler = Compiler("max-autotune", CPU, Statistics())
    assert compiler.always
    assert compiler.pays(0.0, 0.0)
    rows = torch.zeros(2)
    assert compiler.compiled(_one_more, rows).tolist() == [1, 1]
    assert rows.tolist() == [1, 1], "the comparison writes into copies"
    used.clear()
    assert compiler.compiled(_one_more, torch.zeros(3)).tolist() == [1, 1, 1]
    assert compiler.compiled(_one_more, rows).tolist() == [2, 2]
    assert used == [chosen != "default"] * 2
    first, second = compiler.report
    assert (first["mode"], first["ms"]) == (chosen, {"default": 10.0, "max-autotune-no-cudagraphs": 1000 * tuned_s})
    assert (second["mode"], second["ms"]) == (chosen, {})


def _one_more(rows):
    return rows.add_(1)


def test_where_tuning_fails_the_plain_mode_stays_and_the_report_says_why(monkeypatch):
    def fake_compile(function, **_):
        def call(rows):
            if torch._inductor.config.max_autotune:
                raise RuntimeError("no such kernel")
            return function(rows)

        return call

    monkeypatch.setattr(torch, "compile", fake_compile)
    compiler = Compiler("max-autotune", CPU, Statistics())
    assert compiler.compiled(torch.neg, torch.ones(2)).tolist() == [-1, -1]
    assert compiler.report[0]["mode"] == "default"
    assert compiler.report[0]["ms"] == {"max-autotune-no-cudagraphs": "RuntimeError: no such kernel"}


def test_an_unknown_mode_is_refused():
    with pytest.raises(
        OptionError, match='compile is "auto", True, False, "max-autotune" or "cudagraphs", got \'fast\''
    ):
        sensorium.pipeline(model=tiny.folder("vit"), compile="fast")


def test_cuda_graphs_are_refused_where_there_is_no_cuda():
    with pytest.raises(OptionError, match='compile="cudagraphs" is for CUDA devices, and this one is cpu'):
        sensorium.pipeline(model=tiny.folder("vit"), compile="cudagraphs", device="cpu")


def test_modes_are_compared_as_cuda_graphs_and_one_of_them_is_left():
    folder, inputs = tiny.folder("vit"), make_images()[:4]
    settings = {"model": folder, "dtype": "float32", "batch_size": 2}
    with sensorium.pipeline(device="cpu", compile=False, **settings) as eager:
        want = eager(inputs, top_k=None)
    with PretendCuda() as cuda, sensorium.pipeline(device="cuda", compile="max-autotune", **settings) as pipe:
        for _ in range(2):
            for a, b in zip(pipe(inputs, top_k=None), want, strict=True):
                np.testing.assert_allclose(sorted(a.scores), sorted(b.scores), atol=1e-4)
        stats = pipe.stats()
        assert (stats["compiles"], stats["recompiles"], stats["eager_batches"]) == (1, 0, 0)
        [entry] = stats["compiled"]
        assert entry["graph"] == "captured"
        assert set(entry["ms"]) == {"default", "max-autotune-no-cudagraphs"}
        assert len(pipe._engine.runtime.compiler._graphs._graphs) == 1
        cuda.check()
