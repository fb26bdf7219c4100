"""One pipeline on several devices: the results of one, in order, whatever becomes of the others."""

from __future__ import annotations

import _thread
import contextlib
import itertools
import pickle
import threading

import pytest
import torch
from torch import nn

import sensorium
from sensorium.errors import DeviceError, InputError, OptionError
from sensorium.jobs import Job
from sensorium.pipelines.pipeline import Pipeline
from sensorium.pipelines.placement import Placement, resolve_device, resolve_devices, resolve_dtype
from sensorium.pipelines.run import Run
from sensorium.pipelines.settings import several_of
from sensorium.pipelines.stages import Stages
from sensorium.retrieval import Encoder, Index
from sensorium.tasks.base.runtime import copied_to
from tests import tiny
from tests.contract import assert_close
from tests.media import make_image
from tests.pipelines.made_up import Scorer, TotalScoring, WindowScoring, expected

CPU = Placement(torch.device("cpu"), torch.float32)
RAWS = [{"series": [float(i), 2.0, 3.0] * (1 + i % 5), "question": i % 8} for i in range(48)]
PATIENCE_S = 120


class Held(Scorer):
    """A model whose calls wait until they may go on; `entered` tells that one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def forward(self, window, question):
        self.entered.set()
        assert self.go_on.wait(PATIENCE_S)
        return super().forward(window, question)


class Telling(Scorer):
    """A model that tells another that it has been called."""

    def __init__(self, told: threading.Event, *, times: int = 1) -> None:
        super().__init__()
        self.told, self.times = told, times

    def forward(self, window, question):
        self.times -= 1
        if self.times <= 0:
            self.told.set()
        return super().forward(window, question)


def opened(*models, task=WindowScoring, **settings):
    first, *others = [task(model) for model in models]
    return Pipeline(first, CPU, copies=others, **{"compile": False, "batch_size": 4, "num_workers": 2, **settings})


def values(results):
    return [result.value for result in results]


def check(raws, results):
    assert [result.index for result in results] == list(range(len(raws)))
    assert values(results) == pytest.approx([expected(raw) for raw in raws], rel=1e-5)


@contextlib.contextmanager
def both_at_work(**settings):
    """A pipeline whose first device does nothing until the second has been given a batch."""
    first = Held()
    with opened(first, Telling(first.go_on), **settings) as pipe:
        yield pipe


# Order


def test_results_are_those_of_one_device_to_the_bit():
    with opened(Scorer()) as pipe:
        want = values(pipe(RAWS))
    with both_at_work() as pipe:
        listed = pipe(RAWS)
        check(RAWS, listed)
        assert values(listed) == want
        assert values(pipe.stream(iter(RAWS))) == pytest.approx(want, rel=1e-6)  # which batches there are is time's
        stats = pipe.stats()
    assert all(device["batches"] for device in stats["devices"])
    assert sum(device["units"] for device in stats["devices"]) == stats["stages"]["forward"]["items"]
    assert stats["inputs"] == 2 * len(RAWS)


def test_batches_of_a_list_are_the_same_whoever_is_slow():
    """Each batch runs when it is full, and none before for want of results."""
    made = []
    for held in (0, 1):
        models = [Scorer(), Scorer()]
        slow = models[held] = Held()
        models[1 - held] = Telling(slow.go_on, times=1)
        with opened(*models, num_workers=1) as pipe:
            raws = [{"series": [1.0, float(i)], "question": i % 8} for i in range(203)]
            check(raws, pipe(raws))
        made.append(sorted(models[0].calls + models[1].calls))
    assert made[0] == made[1] == sorted([4] * 50 + [3])


def test_the_others_run_only_so_far_ahead_of_a_slow_one(monkeypatch):
    slow, full = Held(), []
    room = Stages.room

    def watched(self, splitting, opened):
        left = room(self, splitting, opened)
        if left == splitting == 0 and not slow.go_on.is_set():
            full.append(opened)
            slow.go_on.set()
        return left

    monkeypatch.setattr(Stages, "room", watched)
    raws = [{"series": [float(i)], "question": 1} for i in range(2000)]
    with opened(slow, Scorer()) as pipe:
        check(raws, list(pipe.stream(raws)))
    assert full == [8 * 8 + 2 * 8 + 2], "eight batches of each device are open, and two are being split ahead"


def test_a_live_source_is_not_waited_for_while_a_device_is_idle():
    """The first device holds its batch until the second has run the next input, which comes later."""
    first = Held()

    def source():
        yield RAWS[0]
        assert first.entered.wait(PATIENCE_S)
        yield RAWS[1]

    with opened(first, Telling(first.go_on)) as pipe:
        check(RAWS[:2], list(pipe.stream(source())))
        assert [device["batches"] for device in pipe.stats()["devices"]] == [1, 1]


def test_one_input_uses_one_device():
    with opened(Scorer(), Scorer()) as pipe:
        for _ in range(5):
            assert pipe(RAWS[0]).value == pytest.approx(expected(RAWS[0]))
        assert [device["batches"] > 0 for device in pipe.stats()["devices"]] == [True, False]


def test_submitted_inputs_run_on_both():
    first = Held()
    with opened(first, Telling(first.go_on)) as pipe:
        futures = [pipe.submit(raw, max_delay_s=0) for raw in RAWS]
        got = [future.result(PATIENCE_S) for future in futures]
        assert values(got) == pytest.approx([expected(raw) for raw in RAWS], rel=1e-5)
        assert all(device["batches"] for device in pipe.stats()["devices"])
        assert pipe.stats()["queued"] == 0


def test_many_threads_share_both():
    got = {}
    with both_at_work() as pipe:

        def work(n):
            got[n] = pipe(RAWS)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == list(range(4))
    for results in got.values():
        check(RAWS, results)


def test_a_task_upstream_and_duplicates():
    upstream = WindowScoring()
    with Pipeline(
        TotalScoring(upstream), CPU, copies=[TotalScoring(WindowScoring())], compile=False, batch_size=2, num_workers=1
    ) as pipe:
        want = [pipe(raw).value for raw in RAWS]
        assert values(pipe(RAWS)) == want
        twice = pipe([*RAWS, *RAWS], dedupe=True)
        assert values(twice) == want * 2
        assert pipe.stats()["upstream"]["devices"][0]["batches"]


# Failures


def failing(method, pipe, error):
    """Has one of the stages of the second device fail, each time."""

    def fail(*_args, **_named):
        raise error

    task = pipe._engine.forwarders[1].task
    setattr(task, method, fail)
    return task


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), ValueError("broken")], ids=["memory", "fault"])
@pytest.mark.parametrize("method", ["collate", "forward", "decode"])
def test_what_one_device_cannot_do_the_other_does(method, error):
    first = Held()
    with opened(first, Scorer()) as pipe:
        failing(method, pipe, error)
        task, tried = pipe._engine.forwarders[1].task, []
        fail = getattr(task, method)

        def noted(*args, **named):
            tried.append(1)
            first.go_on.set()
            return fail(*args, **named)

        setattr(task, method, noted)
        check(RAWS, pipe(RAWS))
        check(RAWS, list(pipe.stream(iter(RAWS))))
        futures = [pipe.submit(raw) for raw in RAWS]
        assert values(f.result(PATIENCE_S) for f in futures) == pytest.approx([expected(raw) for raw in RAWS], rel=1e-5)
        stats = pipe.stats()
    assert tried
    assert stats["failures"] == 0
    assert [device["lost"] for device in stats["devices"]] == [False, False]
    if isinstance(error, torch.OutOfMemoryError):
        assert stats["devices"][1]["batch_size"] == 1 and stats["devices"][0]["batch_size"] == 4


def test_what_no_device_can_do_is_that_inputs_error():
    models = Scorer(), Scorer()
    for model in models:
        model.fails_on = 7.0
    raws = [{"series": [float(i)] * 4, "question": 1} for i in range(12)]
    with opened(*models) as pipe:
        results = pipe(raws, on_error="return")
        assert [isinstance(result, InputError) for result in results] == [i == 7 for i in range(12)]
        assert results[7].code == "model-failed" and results[7].index == 7
        with pytest.raises(InputError, match="input 7"):
            pipe(raws)
        assert [result.index for result in pipe(raws, on_error="skip")] == [i for i in range(12) if i != 7]
    assert all(any(count == 1 for count in model.calls) for model in models), "each of them has tried it alone"


def lose(pipe, number):
    pipe._engine.forwarders[number].runtime.lost = lambda: True


def test_a_device_that_fails_for_good_is_told_of_once_and_the_others_go_on():
    first = Held()
    with opened(first, Telling(first.go_on), Scorer()) as pipe:
        pipe._engine.forwarders[1].task.model.fails_on = pipe._engine.forwarders[2].task.model.fails_on = None
        failing("forward", pipe, RuntimeError("CUDA error"))
        fail = pipe._engine.forwarders[1].task.forward

        def noted(*args):
            first.go_on.set()
            fail(*args)

        pipe._engine.forwarders[1].task.forward = noted
        lose(pipe, 1)
        with pytest.warns(RuntimeWarning, match="cpu failed for good.*2 of 3 devices go on") as told:
            check(RAWS, pipe(RAWS))
        assert len(told) == 1
        check(RAWS, pipe(RAWS))
        check(RAWS, list(pipe.stream(iter(RAWS))))
        assert [device["lost"] for device in pipe.stats()["devices"]] == [False, True, False]
        assert pipe.stats()["failures"] == 0


@pytest.mark.filterwarnings("ignore:cpu failed for good:RuntimeWarning")
def test_when_the_last_one_fails_for_good_the_call_ends_with_its_cause():
    with opened(Scorer(), Scorer()) as pipe:
        for number, forwarder in enumerate(pipe._engine.forwarders):
            forwarder.task.model.fails_on = 30.0
            lose(pipe, number)
        raws = [{"series": [float(i)] * 4, "question": 1} for i in range(48)]
        got = []
        with pytest.raises(DeviceError, match="failed for good while inputs 28 to 31 ran") as failed:
            got.extend(pipe.stream(raws))
        assert isinstance(failed.value.__cause__, ValueError)
        assert values(got) == pytest.approx([expected(raw) for raw in raws[: len(got)]])
        for _ in range(2):
            with pytest.raises(DeviceError, match="failed for good"):
                pipe(raws[0])
            assert isinstance(pipe.submit(raws[0]).exception(PATIENCE_S), DeviceError)


def test_a_call_does_not_spin_while_it_waits_for_a_slow_device(monkeypatch):
    first, steps, step, rests = Held(), [], Run.step, []
    monkeypatch.setattr(Run, "step", lambda run: steps.append(run) or step(run))

    def release():
        assert first.entered.wait(PATIENCE_S)
        while not rests and len(steps) < 100_000:  # until what the other one may run ahead of it is done
            before = len(steps)
            threading.Event().wait(0.1)
            rests.extend([True] * (len(steps) == before))
        first.go_on.set()

    with opened(first, Scorer()) as pipe:
        thread = threading.Thread(target=release)
        thread.start()
        check(RAWS * 50, pipe(RAWS * 50))
        thread.join()
    assert rests


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_call_and_leaves_the_pipeline_usable():
    first = Held()

    def interrupt():
        assert first.entered.wait(PATIENCE_S)
        _thread.interrupt_main()

    with opened(first, Scorer()) as pipe:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            pipe(RAWS * 50)
        thread.join()
        first.go_on.set()
        check(RAWS, pipe(RAWS))


def test_a_stream_that_is_left():
    first = Held()
    with opened(first, Telling(first.go_on)) as pipe:
        stream = pipe.stream(itertools.cycle(RAWS))
        assert next(stream).value == pytest.approx(expected(RAWS[0]))
        stream.close()
        check(RAWS, pipe(RAWS))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("sensorium-cpu")]
    check(RAWS, pipe(RAWS))  # a closed one starts its threads again
    pipe.close()


# Sessions, warming up, settings


def test_sessions_go_where_the_fewest_are():
    with opened(Scorer(), Scorer()) as pipe:
        sessions, opened_on = pipe._engine.sessions, []
        for forwarder in pipe._engine.forwarders:
            forwarder.task.open = lambda raw, runner, on=forwarder: opened_on.append((on, runner)) or Session(runner)
        kept = [sessions.open(None) for _ in range(4)]
        first, second = pipe._engine.forwarders
        assert [on for on, _ in opened_on] == [first, second, first, second]
        assert [runner.forwarder for _, runner in opened_on] == [on for on, _ in opened_on]
        kept[1].close()
        sessions.open(None)
        assert opened_on[-1][0] is second


class Session:
    def __init__(self, runner):
        self.close = runner.close


def test_warming_up_reaches_each():
    with opened(Scorer(), Scorer(), Scorer()) as pipe:
        assert pipe.warmup(batch_sizes=[2]) is pipe
        assert [device["batches"] for device in pipe.stats()["devices"]] == [1, 1, 1]
        pipe.reset_stats()
        assert not any(device["units"] for device in pipe.stats()["devices"])


def test_torch_s_threads_are_shared_out(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    used = []
    monkeypatch.setattr(torch, "set_num_threads", lambda n: used.append((threading.current_thread().name, n)))
    with opened(Scorer(), Scorer()) as pipe:
        pipe(RAWS[0])
    assert [n for name, n in used if name == "sensorium-cpu"] == [3, 3]
    assert all(n == 6 for name, n in used if name == threading.current_thread().name)


def test_one_device_starts_no_thread_of_its_own():
    with opened(Scorer()) as pipe:
        pipe(RAWS)
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("sensorium-cpu")]
        assert [device["device"] for device in pipe.stats()["devices"]] == ["cpu"]


def test_pipeline_takes_a_list_and_remembers_it():
    settings = {"dtype": "float32", "compile": False, "batch_size": 2, "num_workers": 1}
    folder, images = tiny.folder("vit"), [make_image(40, 40, seed) for seed in range(7)]
    with (
        sensorium.pipeline("image-classification", folder, device="cpu", **settings) as one,
        sensorium.pipeline("image-classification", folder, device=("cpu", "cpu"), **settings) as two,
    ):
        assert two.device == torch.device("cpu") and two.devices == (torch.device("cpu"),) * 2
        assert "device=['cpu', 'cpu']" in repr(two) and "device='cpu'" in repr(one)
        for ours, theirs in zip(two(images), one(images), strict=True):
            assert_close(ours.to_dict(), theirs.to_dict())  # each copy has half of torch's threads
        assert two.checkpoint.name == one.checkpoint.name
        first, second = (forwarder.task for forwarder in two._engine.forwarders)
        assert first.model is two.model is not second.model
        with pickle.loads(pickle.dumps(two)) as again:
            assert again.devices == two.devices


def test_a_loaded_module_is_copied_to_the_others():
    folder = tiny.folder("vit")
    with sensorium.pipeline("image-classification", folder, device="cpu", dtype="float32") as one:
        module, processor, want = one.model, one.processor, one(make_image(40, 40)).to_dict()
    made = sensorium.pipeline("image-classification", module, processor=processor, device=["cpu", "cpu"])
    with made as two:
        assert two.model is module
        other = two._engine.forwarders[1].task.model
        own = {weight.data_ptr() for weight in module.parameters()}
        assert not own & {weight.data_ptr() for weight in other.parameters()}
        two.warmup()
        assert_close(two(make_image(40, 40)).to_dict(), want)


def test_a_copy_shares_what_its_original_does():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    copied = copied_to(model, torch.device("cpu"))
    assert copied[0].weight is copied[1].weight is not model[0].weight
    assert [weight.requires_grad for weight in copied.parameters()] == [w.requires_grad for w in model.parameters()]
    for a, b in zip(model.state_dict().values(), copied.state_dict().values(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
    there = copied_to(model, torch.device("meta"))
    assert {weight.device.type for weight in there.state_dict().values()} == {"meta"}


WRONG = {
    "nothing": ([], r'such as \["cuda:0", "cuda:1"\]'),
    "left open": (["cpu", None], "names each"),
    "all in a list": (["cpu", "all"], "names each"),
    "nested": ([["cpu"]], "names each"),
    "unknown": (["cpu", "cpux"], "cpux"),
    "two kinds": (["cpu", "meta"], "of one kind"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_list_that_cannot_be_is_refused(name):
    device, message = WRONG[name]
    with pytest.raises(OptionError, match=message):
        sensorium.pipeline("image-classification", tiny.folder("vit"), device=device)


def test_devices_by_name(monkeypatch):
    assert resolve_devices("cpu") == (torch.device("cpu"),)
    assert resolve_devices(["cpu", -1]) == (torch.device("cpu"),) * 2
    assert resolve_devices("all") == resolve_devices(None) == (resolve_device(),)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert resolve_devices("all") == tuple(torch.device("cuda", i) for i in range(3))
    assert resolve_devices([2, "cuda:0"]) == (torch.device("cuda", 2), torch.device("cuda", 0))
    with pytest.raises(OptionError, match=r"cuda:0 is in \['cuda', 'cuda:0'\] twice"):
        resolve_devices(["cuda", "cuda:0"])
    with pytest.raises(OptionError, match="this machine has 3 CUDA devices"):
        resolve_devices(["cuda:0", "cuda:3"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7 + device.index, 0))
    old, new = torch.device("cuda", 0), torch.device("cuda", 1)
    assert resolve_dtype("auto", new) == torch.bfloat16
    assert resolve_dtype("auto", new, old) == torch.float32, "both compute the same"


@pytest.mark.parametrize("device", ["all", ["cpu", "cpu"]])
def test_what_is_on_one_device_refuses_several(device):
    with pytest.raises(OptionError, match="one device is taken here"):
        Encoder.from_pretrained("starter/dpr-context", device=device)
    with pytest.raises(OptionError, match="one device is taken here"):
        Index.load("nowhere", device=device)


@pytest.mark.parametrize("device", ["all", "cuda:0,cuda:1", ["cpu", "cpu"]])
def test_a_job_has_a_process_for_each_card_by_itself(device, tmp_path):
    with pytest.raises(OptionError, match="by default one for each CUDA device: leave device out"):
        Job("image-classification", inputs=["x.jpg"], out=tmp_path / "job", device=device)


def test_devices_with_commas_are_a_list():
    assert several_of("cuda:0, 1,-1") == ["cuda:0", 1, -1]
    assert several_of("cuda:1") is several_of(None) is several_of(2) is None
    assert resolve_devices("cpu,cpu") == (torch.device("cpu"),) * 2
    with pytest.raises(OptionError, match="names each"):
        sensorium.pipeline("image-classification", tiny.folder("vit"), device="cpu,")
