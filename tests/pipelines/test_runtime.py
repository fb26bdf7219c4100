"""The one place that knows where a model lies, and in which dtype."""

from __future__ import annotations

import ast
import gc
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import sensorium
from sensorium.pipelines.engine import Engine
from sensorium.pipelines.settings import Settings
from sensorium.tasks.base import Runtime
from sensorium.tasks.base.runtime import release_file
from tests import tiny
from tests.media import make_image
from tests.pipelines.made_up import WindowScoring, expected

PACKAGE = Path(sensorium.__file__).parent


def test_a_runtime_tells_where_its_module_lies():
    runtime = Runtime(nn.Linear(2, 2).train())
    assert (runtime.device, runtime.dtype) == (torch.device("cpu"), torch.float32)
    runtime.place(torch.device("meta"), torch.bfloat16)
    assert (runtime.device, runtime.dtype) == (torch.device("meta"), torch.bfloat16)
    assert not runtime.module.training


def test_a_spread_module_stays_where_it_is():
    runtime = Runtime(nn.Linear(2, 2))
    runtime.place(torch.device("meta"), torch.bfloat16, spread=True)
    assert (runtime.device, runtime.dtype) == (torch.device("cpu"), torch.float32)


def test_a_module_without_weights_is_where_it_was_placed():
    runtime = Runtime(nn.Identity())
    assert (runtime.device, runtime.dtype) == (torch.device("cpu"), torch.float32)
    runtime.place(torch.device("meta"))
    assert runtime.device == torch.device("meta")


def test_a_cpu_does_not_tell_how_much_memory_is_free():
    assert Runtime(nn.Linear(2, 2)).free_bytes() is None


def test_what_the_allocator_keeps_counts_as_free(monkeypatch):
    class OnCuda(Runtime):
        device = torch.device("cuda", 1)

    asked = []
    sizes = {"mem_get_info": (1000, 9000), "memory_reserved": 700, "memory_allocated": 300}
    for name, size in sizes.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, size=size: asked.append(device) or size)
    assert OnCuda(nn.Linear(2, 2)).free_bytes() == 1000 + 700 - 300
    assert set(asked) == {torch.device("cuda", 1)}


def test_convolutional_nets_are_laid_out_channels_last():
    convolutional = nn.Sequential(*(nn.Conv2d(4, 4, 3) for _ in range(5)))
    Runtime(convolutional).place(torch.device("cpu"))
    assert convolutional[0].weight.is_contiguous(memory_format=torch.channels_last)
    embedding = nn.Sequential(nn.Conv2d(4, 4, 3))
    Runtime(embedding).place(torch.device("cpu"))
    assert embedding[0].weight.is_contiguous()


def test_the_engine_calls_through_the_runtime_of_its_task():
    task = WindowScoring()
    engine = Engine(task, Settings(compile=False, num_workers=1))
    called = []
    caller = engine.runtime.caller

    def watched(*, compiled):
        call = caller(compiled=compiled)
        return lambda function, *args: called.append(function) or call(function, *args)

    engine.runtime.caller = watched
    raw = {"series": [1.0, 2.0, 3.0, 4.0, 5.0], "question": 1}
    ((_, total),) = engine.run([raw], task.options(), total=1)
    engine.close()
    assert task.runtime is engine.runtime
    assert called and set(called) == {task.model}
    assert total.value == pytest.approx(expected(raw), rel=1e-5)


def test_a_pipeline_s_placement_is_its_runtime_s():
    with sensorium.pipeline(model=tiny.folder("vit"), device="cpu", dtype="bfloat16") as pipe:
        assert pipe.placement.device == pipe.task.runtime.device
        assert pipe.placement.dtype == pipe.task.runtime.dtype == torch.bfloat16
        assert pipe(make_image()).index == 0


@pytest.mark.parametrize("room", ["pipelines", "tasks", "retrieval"])
def test_nothing_else_asks_a_model_s_weights_where_they_lie(room):
    """`next(….parameters()).device` and its like stand in the runtime alone."""
    for path in sorted((PACKAGE / room).rglob("*.py")):
        if path.name == "runtime.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asks = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parameters"
            # a module of a checkpoint that is being read may ask what dtype it was made in
            assert not asks or path.name in ("sentence_modules.py", "encodings.py"), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "wrong", [{"compile": "yes"}, {"batch_size": 0}, {"batch_size": True}, {"num_workers": "2"}, {"num_workers": -1}]
)
def test_settings_are_checked_before_any_work(wrong):
    with pytest.raises(sensorium.OptionError, match=next(iter(wrong))):
        sensorium.pipeline("image-classification", "nowhere/at-all", **wrong)


def test_settings_tell_which_of_loading_were_chosen():
    assert Settings.of(batch_size=4, compile=False).of_loading() == {}
    assert Settings.of(device="cpu", revision="main", dtype="float32").of_loading() == {
        "device": "cpu",
        "dtype": "float32",
        "revision": "main",
    }


def borrowed_bytes():
    """Of all tensors that live, what lies in memory that torch has not allocated, such as mapped files."""
    gc.collect()
    tensors = (each for each in gc.get_objects() if type(each) in (torch.Tensor, nn.Parameter))
    plain = (each for each in tensors if each.layout == torch.strided and each.device.type == "cpu")
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in plain}
    return sum(storage.nbytes() for storage in storages.values() if not storage.resizable())


@pytest.mark.parametrize(
    ("architecture", "dtype", "mapped"),
    [
        ("resnet", "float32", False),  # laid out channels-last
        ("resnet", "bfloat16", False),  # converted, but for counters
        ("vit", "bfloat16", False),
        ("vit", "float32", True),  # as in the file, whose pages processes share
    ],
)
def test_weights_are_not_held_twice(architecture, dtype, mapped, tmp_path):
    folder = shutil.copytree(tiny.folder(architecture), tmp_path / architecture)  # other tests may hold that file
    gc.collect()
    before = borrowed_bytes()
    with sensorium.pipeline("image-classification", folder, device="cpu", dtype=dtype, compile=False) as pipe:
        pipe(make_image(40, 40))
        weights = pipe.task.model.state_dict().values()
        added = borrowed_bytes() - before
        assert added == (sum(weight.nbytes for weight in weights) if mapped else 0)
        maps = Path("/proc/self/maps")
        if maps.exists():
            assert (str(folder.resolve() / "model.safetensors") in maps.read_text()) == mapped


def test_weights_that_share_memory_go_on_sharing_it():
    array = torch.arange(6.0).numpy()
    model = nn.Module()
    model.one, model.other = nn.Parameter(torch.from_numpy(array)), nn.Parameter(torch.from_numpy(array))
    model.register_buffer("third", torch.from_numpy(array), persistent=False)
    model.large = nn.Parameter(torch.zeros(100))
    release_file(model)
    array[:] = -1
    assert model.one.tolist() == list(range(6)) and "third" not in model.state_dict()
    assert model.one.data_ptr() == model.other.data_ptr() == model.third.data_ptr()
