"""Untrusted pictures in helper processes: the same answers, and what ends a helper costs its own picture alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import torch

import sensorium
from sensorium.errors import InputError, LimitError, OptionError
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


def test_a_helper_that_is_ended_from_outside_costs_nothing(hostile):
    load_image(jpeg(), limits=APART)
    hostile._forker.kill()  # and with it its helpers
    hostile._forker.wait()
    for seed in range(3):
        assert torch.equal(load_image(jpeg(seed=seed), limits=APART), load_image(jpeg(seed=seed)))


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
