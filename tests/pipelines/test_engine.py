"""The engine, run with a made-up task of many units an input and two kinds of input."""

from __future__ import annotations

import gc
import itertools
import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError, OptionError, UnknownNameError
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement
from tests.pipelines.made_up import TotalScoring, WholeScoring, WindowScoring, expected

CPU = Placement(torch.device("cpu"), torch.float32)


def build(**settings):
    return Pipeline(WindowScoring(), CPU, **{"compile": False, "num_workers": 2, **settings})


def raw(length, question=1, start=0.0):
    return {"series": (np.arange(length) + start).tolist(), "question": question}


def test_one_input_of_many_units_merges_in_order():
    with build(batch_size=3) as pipe:
        result = pipe(raw(103, question=2))
    assert result.windows == 26
    assert result.value == pytest.approx(expected(raw(103, question=2)), rel=1e-5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(0, 90), max_size=24),
    batch_size=st.sampled_from(["auto", 1, 2, 5, 16]),
    workers=st.integers(1, 4),
)
def test_one_list_and_stream_agree(lengths, batch_size, workers):
    raws = [raw(n, question=n % 8, start=i) for i, n in enumerate(lengths)]
    with build(batch_size=batch_size, num_workers=workers) as pipe:
        listed = pipe(raws)
        streamed = list(pipe.stream(iter(raws)))
        single = [pipe(one) for one in raws]
    assert [r.index for r in listed] == list(range(len(raws)))
    assert [r.index for r in streamed] == list(range(len(raws)))
    for one, a, b, c in zip(raws, listed, streamed, single, strict=True):
        want = expected(one)
        assert a.value == pytest.approx(want, rel=1e-4, abs=1e-3)
        assert b.value == pytest.approx(want, rel=1e-4, abs=1e-3)
        assert c.value == pytest.approx(want, rel=1e-4, abs=1e-3)


def test_units_of_short_inputs_share_batches_with_a_long_one():
    with build(batch_size=8) as pipe:
        pipe([raw(400), *[raw(4) for _ in range(28)]])
    calls = pipe.model.calls
    assert sum(calls) == 128
    assert calls == [8] * 16


def test_inputs_by_name_go_side_by_side():
    with build() as pipe:
        together = pipe(series=[[1.0, 2.0], [3.0]], question=5)
        alone = pipe(series=np.array([1.0, 2.0]), question=5)
    assert [r.value for r in together] == pytest.approx(
        [expected({"series": s, "question": 5}) for s in ([1.0, 2.0], [3.0])]
    )
    assert alone.value == pytest.approx(together[0].value)


def test_inputs_by_name_of_different_lengths_are_refused():
    with build() as pipe, pytest.raises(OptionError, match=r"\[2, 3\]"):
        pipe(series=[[1.0], [2.0]], question=[1, 2, 3])


def test_empty_list_gives_empty_list():
    with build() as pipe:
        assert pipe([]) == []
        assert list(pipe.stream(iter([]))) == []


@pytest.mark.parametrize("on_error", ["skip", "return", "raise"])
def test_a_bad_input_costs_no_good_one(on_error):
    raws = [raw(9, start=i) for i in range(20)]
    for i in (0, 7, 19):
        raws[i] = {"series": [math.nan], "question": 0}
    with build(batch_size=4) as pipe:
        if on_error == "raise":
            with pytest.raises(InputError, match="input 0: series must be finite"):
                pipe(raws, on_error=on_error)
            return
        results = pipe(raws, on_error=on_error)
    good = [r for r in results if not isinstance(r, InputError)]
    assert [r.index for r in good] == [i for i in range(20) if i not in (0, 7, 19)]
    for r in good:
        assert r.value == pytest.approx(expected(raws[r.index]), rel=1e-5)
    bad = [r for r in results if isinstance(r, InputError)]
    assert [(r.index, r.code) for r in bad] == ([] if on_error == "skip" else [(i, "not-finite") for i in (0, 7, 19)])


def test_an_input_on_which_the_model_fails_is_found_in_its_batch():
    with build(batch_size=8) as pipe:
        pipe.model.fails_on = -5.0
        raws = [raw(4, start=i) for i in range(16)]
        raws[11] = {"series": [-5.0], "question": 0}
        results = pipe(raws, on_error="return")
    assert [r.index for r in results if isinstance(r, InputError)] == [11]
    assert results[11].code == "model-failed"
    assert isinstance(results[11].__cause__, ValueError)
    for i, r in enumerate(results):
        if i != 11:
            assert r.value == pytest.approx(expected(raws[i]), rel=1e-5)


@pytest.mark.parametrize("fits", range(1, 65))
def test_out_of_memory_halves_and_goes_on(fits):
    batch = 64
    with build(batch_size=batch) as pipe:
        pipe.model.fits_rows = fits
        raws = [raw(4, question=i % 8, start=i) for i in range(130)]
        results = pipe(raws)
        failed = sum(n > fits for n in pipe.model.calls)
        assert failed <= math.log2(batch) + 1
        assert pipe.stats()["out_of_memory"] == failed
        before = len(pipe.model.calls)
        again = pipe(raws[:batch])
        assert all(n <= fits for n in pipe.model.calls[before:]), "the size that fits is remembered"
    assert [r.value for r in results] == pytest.approx([expected(r) for r in raws], rel=1e-5)
    assert [r.value for r in again] == pytest.approx([expected(r) for r in raws[:batch]], rel=1e-5)


def test_one_that_does_not_fit_alone_is_an_error_row():
    with build(batch_size=4) as pipe:
        pipe.model.fits_rows = 0
        results = pipe([raw(4), raw(4)], on_error="return")
    assert [r.code for r in results] == ["out-of-memory"] * 2


def test_a_stream_is_lazy_and_bounded():
    taken = 0

    def endless():
        nonlocal taken
        for i in itertools.count():
            taken += 1
            yield raw(4, start=i)

    with build(batch_size=4) as pipe:
        stream = pipe.stream(endless())
        assert taken == 0
        for _ in range(50):
            next(stream)
        assert taken <= 50 + 4 * 12
        stream.close()


def test_an_endless_input_is_split_in_bounded_steps():
    class Endless(WindowScoring):
        def split(self, raw, options):
            for unit in itertools.cycle(list(super().split(raw, options))):
                self.open_units += 1
                yield unit

    task = Endless()
    pipe = Pipeline(task, CPU, batch_size=4, compile=False, num_workers=2)
    run = pipe._engine.run([raw(4)], task.options(), total=None)
    original = pipe.model.forward

    def forward(*args):
        if len(pipe.model.calls) == 100:
            raise KeyboardInterrupt
        return original(*args)

    pipe.model.forward = forward
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert task.open_units - sum(pipe.model.calls) <= 64
    pipe.close()


def test_ctrl_c_in_the_source_stops_at_once_and_leaves_the_pipeline_usable():
    def interrupted():
        yield raw(4)
        raise KeyboardInterrupt

    with build() as pipe:
        with pytest.raises(KeyboardInterrupt):
            list(pipe.stream(interrupted()))
        assert pipe(raw(4)).value == pytest.approx(expected(raw(4)))


def test_a_source_that_fails_still_gives_what_came_before():
    def failing():
        for i in range(5):
            yield raw(4, start=i)
        raise OSError("the disk went away")

    got = []
    with build(batch_size=2) as pipe, pytest.raises(OSError, match="disk went away"):
        for result in pipe.stream(failing()):
            got.append(result.index)
    assert got == [0, 1, 2, 3, 4]


def test_an_abandoned_stream_leaves_no_work_behind():
    """Splits after the first few wait until the stream has been left; what had not begun by then never does."""
    begun, left = [], threading.Event()

    class Gated(WindowScoring):
        def split(self, raw, options):
            begun.append(raw)
            if len(begun) > 2:
                left.wait()
            return super().split(raw, options)

    others = set(threading.enumerate())
    pipe = Pipeline(Gated(), CPU, batch_size=2, compile=False, num_workers=2)
    stream = pipe.stream(raw(4, start=i) for i in range(1000))
    next(stream)
    computed = sum(pipe.model.calls)
    del stream
    gc.collect()
    left.set()
    both = threading.Barrier(2)
    for last in [pipe._engine._pool.submit(both.wait) for _ in range(2)]:  # once both are here, nothing is queued
        last.result()
    assert len(begun) <= 2 + 2, "what the two workers were at"
    assert sum(pipe.model.calls) == computed
    pipe.close()
    for thread in set(threading.enumerate()) - others:
        thread.join()


def test_several_threads_share_a_pipeline():
    outcomes: dict[int, list] = {}
    with build(batch_size=4) as pipe:

        def work(n):
            raws = [raw(10, question=n, start=i) for i in range(40)]
            outcomes[n] = [r.value for r in pipe(raws)]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pipe.model.most_inside == 1
    for n, values in outcomes.items():
        assert values == pytest.approx([expected(raw(10, question=n, start=i)) for i in range(40)], rel=1e-5)


@pytest.mark.parametrize("fresh", [False, True], ids=["by the main thread", "by a thread new to torch"])
def test_workers_work_alone_and_take_no_thread_of_others(fresh):
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, *(["fresh"] if fresh else [])],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "model {3} workers {1} afterwards 3 new thread 3"


COUNT_THREADS = """
import sys, threading, torch
from tests.pipelines import made_up
from tests.pipelines.test_engine import build, raw
from sensorium.pipelines import stages

def count():
    torch.ones(300_000).exp()  # torch's parallel loops set a thread up, too
    return torch.get_num_threads()

def watch(where, name, seen):
    real = getattr(where, name)
    setattr(where, name, lambda *args: seen.add(count()) or real(*args))

def on_a_new_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()

torch.set_num_threads(3)
workers, model, later = set(), set(), []
watch(stages, "advance", workers)
watch(made_up.WindowScoring, "forward", model)
with build(num_workers=2) as pipe:
    run = lambda: pipe([raw(5) for _ in range(20)])
    on_a_new_thread(run) if "fresh" in sys.argv else run()
    on_a_new_thread(lambda: later.append(count()))
    print("model", model, "workers", workers, "afterwards", count(), "new thread", *later)
"""


def test_unknown_option_fails_before_any_work_and_names_the_nearest():
    with build() as pipe:
        with pytest.raises(UnknownNameError, match="Did you mean 'scale'"):
            pipe(raw(4), scael=2.0)
        with pytest.raises(OptionError, match="on_error"):
            pipe(raw(4), on_error="ignore")
        with pytest.raises(OptionError, match="length is a whole number"):
            pipe.stream([raw(4)], length=0)
        assert pipe.model.calls == []


def test_options_reach_the_task():
    with build() as pipe:
        assert pipe(raw(7), scale=3.0).value == pytest.approx(expected(raw(7), 3.0), rel=1e-5)


def test_statistics_account_for_every_unit():
    with build(batch_size=4) as pipe:
        pipe([raw(10) for _ in range(9)])
        stats = pipe.stats()
    assert stats["inputs"] == 9
    assert stats["failures"] == 0
    assert {s: stats["stages"][s]["items"] for s in ("split", "forward", "decode", "merge")} == {
        "split": 27,
        "forward": 27,
        "decode": 27,
        "merge": 9,
    }
    assert stats["batches"] == 7
    assert sum(s["bottleneck"] for s in stats["stages"].values()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "large"])
def test_bad_settings_fail_when_the_pipeline_is_built(bad):
    with pytest.raises(OptionError, match="batch_size"):
        build(batch_size=bad)
    with pytest.raises(OptionError, match="num_workers"):
        build(num_workers=bad)


def test_progress_shows_true_totals(capsys):
    with build() as pipe:
        pipe([raw(4), {"series": [math.nan], "question": 0}, raw(4)], progress=True, on_error="skip")
    err = capsys.readouterr().err
    assert "3/3" in err
    assert "failed=1" in err


def test_the_automatic_batch_size_settles():
    with build(batch_size="auto") as pipe:
        pipe([raw(4, start=i) for i in range(600)])
        assert pipe._engine.sizer.settled
        assert pipe.stats()["batch_size"] in (4, 8, 16, 32)


def test_inputs_by_position_by_name_and_both():
    with build() as pipe:
        want = expected(raw(9, question=3))
        series = np.array(raw(9)["series"])
        named = {"series": series, "question": 3}
        for result in (pipe(series, 3), pipe(series, question=3), pipe(**named), pipe(named), pipe([named])[0]):
            assert result.value == pytest.approx(want, rel=1e-5)
        whole = raw(9, question=3)
        late = pipe({**whole, "start": 5})
        assert late.value == pytest.approx(expected({"series": series[5:], "question": 3}), rel=1e-5)
        assert pipe(series, 3, 5).value == pipe(series, 3, start=5).value == late.value


def test_lists_go_side_by_side_and_single_values_with_each():
    with build() as pipe:
        arrays = [np.arange(5.0), np.arange(7.0)]
        results = pipe(arrays, question=[1, 2])
        assert [r.value for r in results] == pytest.approx(
            [expected({"series": a, "question": q}) for a, q in zip(arrays, (1, 2), strict=True)], rel=1e-5
        )
        assert [r.index for r in pipe(arrays, 4)] == [0, 1]
        with pytest.raises(OptionError, match="one length"):
            pipe(arrays, [1, 2, 3])


def test_a_wrong_number_of_inputs_is_told():
    with build() as pipe:
        with pytest.raises(OptionError, match="at most 3 inputs"):
            pipe(1, 2, 3, 4)
        with pytest.raises(OptionError, match=r"both by position and by name \(question\)"):
            pipe([1.0], 2, question=3)
        with pytest.raises(OptionError, match="question missing"):
            pipe(series=[1.0])
        with pytest.raises(UnknownNameError, match="Did you mean 'question'"):
            pipe([1.0], qestion=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_sequences_of_like_length_share_batches_and_change_nothing(lengths):
    raws = [raw(n, question=n % 8, start=i) for i, n in enumerate(lengths)]
    task = WholeScoring()
    with Pipeline(task, CPU, compile=False, batch_size=8, num_workers=2) as pipe:
        for one, result in zip(raws, pipe(raws), strict=True):
            assert result.value == pytest.approx(expected(one), rel=1e-4, abs=1e-3)
    assert all(width <= max(8, 1.125 * max(lengths)) for _, width in task.model.calls)
    assert sum(rows for rows, _ in task.model.calls) == len(raws)


def test_sequences_of_one_bucket_are_one_batch():
    task = WholeScoring()
    with Pipeline(task, CPU, compile=False, batch_size=8) as pipe:
        pipe([raw(n) for n in (33, 34, 35, 36, 37)])
    assert sorted(task.model.calls) == [(1, 40), (4, 36)]


@pytest.mark.parametrize("on_error", ["skip", "return"])
def test_a_task_upstream_gives_the_inputs_and_its_failures_keep_their_places(on_error):
    raws = [raw(4 + i, start=i) for i in range(12)]
    raws[2] = {"series": [math.nan], "question": 0}  # fails upstream
    raws[5] = {"series": [1e9, 1e9], "question": 1}  # fails downstream
    with Pipeline(TotalScoring(), CPU, compile=False, batch_size=3) as pipe:
        results = pipe(raws, on_error=on_error, scale=2.0)
        one = pipe(raws[7], scale=2.0)
        stats = pipe.stats()
        pipe.reset_stats()
        assert pipe.stats()["upstream"]["inputs"] == 0
    good = [r for r in results if not isinstance(r, InputError)]
    assert [r.index for r in good] == [i for i in range(12) if i not in (2, 5)]
    for r in good:
        total = expected(raws[r.index])
        assert r.value == pytest.approx(2 * expected({"series": [total], "question": 1}), rel=1e-5)
    assert one.index == 0 and one.value == pytest.approx(next(r.value for r in good if r.index == 7))
    bad = [(r.index, r.code) for r in results if isinstance(r, InputError)]
    assert bad == ([] if on_error == "skip" else [(2, "not-finite"), (5, "too-much")])
    assert (stats["inputs"], stats["failures"]) == (13, 2)
    assert (stats["upstream"]["inputs"], stats["upstream"]["failures"]) == (13, 1)


def test_a_stream_through_two_tasks_is_lazy():
    taken = []
    source = (taken.append(i) or raw(4, start=i) for i in itertools.count())
    with Pipeline(TotalScoring(), CPU, compile=False, batch_size=2) as pipe:
        stream = pipe.stream(source)
        assert [next(stream).index for _ in range(5)] == list(range(5))
        assert len(taken) < 200
        stream.close()
