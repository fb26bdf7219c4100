"""Untrusted pictures in helper processes: the same answers, and what ends a helper costs its own picture alone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image

import sensorium
from sensorium.errors import InputError, LimitError, OptionError
from sensorium.isolation.forking import KEPT_BYTES
from sensorium.isolation.pool import HelperPool
from sensorium.processors import image_isolation
from sensorium.processors.media import MediaLimits, load_image, load_pil
from tests import tiny
from tests.media import jpeg, make_image
from tests.processors.test_image_decoding import encode

APART = MediaLimits.untrusted()
HOSTILE = "tests.processors.hostile_helper"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hostile(monkeypatch):
    """Helpers that fall over files which end with CRASH, HANG or FILL."""
    with closing(HelperPool(HOSTILE, image_isolation.SETTINGS)) as helpers:
        monkeypatch.setattr(image_isolation, "HELPERS", helpers)
        yield helpers


def outcome(source, limits):
    try:
        return load_image(source, limits=limits)
    except InputError as error:
        return type(error), error.code, error.source, error.message


def test_pictures_are_the_same():
    image = make_image(61, 40)
    sources = [encode(image, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")]
    sources += [encode(image, "JPEG", progressive=True), encode(image.convert("L"), "JPEG"), jpeg(4000, 3)]
    for source in sources:
        apart, here = load_image(source, limits=APART), load_image(source)
        assert torch.equal(apart, here)
        assert apart.stride() == here.stride()
        assert load_pil(source, limits=APART).tobytes() == load_pil(source).tobytes()


def test_errors_are_the_same(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg()[:300])
    sources = ["nowhere.jpg", path, b"no picture", b"", jpeg(9, 9)[:200], None]
    for limits in ({}, {"max_pixels": 5}, {"formats": ("PNG",)}):
        for source in sources:
            here = outcome(source, MediaLimits(**limits))
            assert outcome(source, MediaLimits(isolate=True, **limits)) == here, source
    with pytest.raises(OptionError, match="JPG"):
        load_image(b"x", limits=MediaLimits(isolate=True, formats=("JPG",)))


def test_a_crash_costs_no_neighbour(hostile):
    good = [jpeg(30 + i, 20, seed=i) for i in range(40)]
    mixed = [data + b"CRASH" if i % 10 == 5 else data for i, data in enumerate(good)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda data: outcome(data, APART), mixed))
    for i, (data, found) in enumerate(zip(good, outcomes, strict=True)):
        if i % 10 == 5:
            assert found[:2] == (InputError, "crashed")
        else:
            assert torch.equal(found, load_image(data)), i
    assert len(hostile._all) <= 4 + 8 + 2  # no more than threads, and two for each that ended two


def test_what_takes_too_long_is_ended(hostile):
    limits = MediaLimits(isolate=True, decode_s=0.2)
    kind, code, _, message = outcome(jpeg() + b"HANG", limits)
    assert (kind, code) == (LimitError, "decoding-timeout")
    assert "0.2 s" in message
    assert torch.equal(load_image(jpeg(), limits=limits), load_image(jpeg()))


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is kept on Linux")
def test_what_takes_too_much_memory_is_ended(hostile):
    assert outcome(jpeg() + b"FILL", APART)[:2] == (LimitError, "too-much-memory")
    assert torch.equal(load_image(jpeg(), limits=APART), load_image(jpeg()))


def test_helpers_that_are_ended_from_outside_cost_nothing(hostile):
    assert outcome(jpeg() + b"CRASH", APART)[1] == "crashed"  # there are spare ones from now on
    load_image(jpeg(), limits=APART)
    helpers = list(hostile._all)
    assert len(hostile._spare) >= 1
    hostile._forker.kill()  # and with it its helpers
    hostile._forker.wait()
    for helper in helpers:
        if helper._line.fileno() >= 0:
            assert helper._line.recv(1) == b""  # it has ended
    for seed in range(3):
        assert torch.equal(load_image(jpeg(seed=seed), limits=APART), load_image(jpeg(seed=seed)))


def test_large_pictures_go_through_the_file_and_leave_no_room_taken(hostile):
    image = encode(Image.new("RGB", (4800, 2400), (200, 100, 50)), "JPEG")  # 34.6 MB of pixels
    for source in (image, jpeg()):
        assert torch.equal(load_image(source, limits=APART), load_image(source))
    (helper,) = hostile._all
    assert os.fstat(helper._descriptor).st_size == KEPT_BYTES


def test_what_can_not_be_started_says_so(monkeypatch):
    with closing(HelperPool("sensorium.no_such_module")) as helpers:
        monkeypatch.setattr(image_isolation, "HELPERS", helpers)
        with pytest.raises(sensorium.SensoriumError, match="does not start"):
            load_image(jpeg(), limits=APART)


def test_it_is_asked_for():
    assert MediaLimits().isolate is False
    assert MediaLimits(isolate=True) == APART
    with pytest.raises(OptionError, match="isolate"):
        MediaLimits(isolate="yes")
    with pytest.raises(OptionError, match="decode_s"):
        MediaLimits(decode_s=0)
    with pytest.raises(OptionError, match='decode="cuda"'):
        sensorium.pipeline("image-classification", tiny.folder("vit"), decode="cuda", limits=APART)


def test_a_pipeline_isolates(hostile):
    pipe = sensorium.pipeline("image-classification", tiny.folder("vit"), device="cpu", compile=False, limits=APART)
    here = sensorium.pipeline("image-classification", tiny.folder("vit"), device="cpu", compile=False)
    good, bad, other = pipe([jpeg(), jpeg() + b"CRASH", jpeg(seed=3)], on_error="return")
    assert bad.code == "crashed"
    assert bad.index == 1
    assert [good.to_dict(), other.to_dict()] == [each.to_dict() for each in here([jpeg(), jpeg(seed=3)])]


FORK_AND_HANG = """
import os, sys, threading
import numpy as np
from sensorium.isolation.pool import HelperPool
from sensorium.processors import image_isolation
image_isolation.HELPERS = pool = HelperPool("tests.processors.hostile_helper")
from sensorium.processors.media import MediaLimits, load_image
limits = MediaLimits(isolate=True, decode_s=600)
good = open(sys.argv[1], "rb").read()
first = load_image(good, limits=limits).numpy()
child = os.fork()
if child == 0:
    same = np.array_equal(load_image(good, limits=limits).numpy(), first)
    pool.close()
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(load_image(good, limits=limits).numpy(), first)
threading.Thread(target=load_image, args=(good + b"HANG",), kwargs={"limits": limits}, daemon=True).start()
while pool._idle:  # until it has a helper
    pass
print(pool._forker.pid, *open(f"/proc/{pool._forker.pid}/task/{pool._forker.pid}/children").read().split(), flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="helpers end with what has forked them on Linux")
def test_a_forked_process_has_its_own_helpers_and_a_killed_one_leaves_none(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg())
    command = [sys.executable, "-W", "ignore", "-c", FORK_AND_HANG, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        numbers = [int(number) for number in process.stdout.readline().split()]
        assert len(numbers) == 2  # one forks, one helps
        files = [os.pidfd_open(number) for number in numbers]
        process.kill()
        for file in files:
            select.select([file], [], [])  # until it has ended
            os.close(file)


@pytest.mark.slow
def test_a_hundred_crashes_among_ten_thousand_pictures_cost_no_neighbour(hostile, monkeypatch):
    started, new = [], hostile._new
    monkeypatch.setattr(hostile, "_new", lambda: started.append(new()) or started[-1])
    good = [jpeg(30 + i, 20, seed=i) for i in range(50)]
    expected = [load_image(data) for data in good]
    inputs = [good[i % 50] + (b"CRASH" if i % 100 == 50 else b"") for i in range(10_000)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda data: outcome(data, APART), inputs))
    for i, found in enumerate(outcomes):
        if i % 100 == 50:
            assert found[:2] == (InputError, "crashed"), i
        else:
            assert torch.equal(found, expected[i % 50]), i
    # two for each that ended two; and of four threads at once each may have one, one that is tried again, and two spare
    assert len(started) <= 2 * 100 + 4 * (1 + 1 + 2)


CTRL_C = """
import sys, threading
import sensorium
from sensorium.isolation.pool import HelperPool
from sensorium.processors import image_isolation
image_isolation.HELPERS = HelperPool("tests.processors.hostile_helper")
from sensorium.processors.media import MediaLimits
from tests import tiny
pipe = sensorium.pipeline("image-classification", tiny.folder("vit"), device="cpu", compile=False,
                          limits=MediaLimits(isolate=True, decode_s=600))
hang = open(sys.argv[1], "rb").read()
print("begun", flush=True)
pipe([hang] * int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_ctrl_c_ends_a_process_that_waits(tmp_path, count):
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg() + b"HANG")
    command = [sys.executable, "-c", CTRL_C, str(path), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        threading.Event().wait(1.0)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.stderr.read()  # until all that hold it have ended, helpers among them
        assert process.wait() == -signal.SIGINT
