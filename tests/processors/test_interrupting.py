"""What a library takes long over is done beside the main thread, which Ctrl-C can then interrupt."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sensorium.processors import image_decoding
from sensorium.processors.interrupting import LONG_WORK, interruptibly
from sensorium.processors.media import load_image
from tests.media import jpeg, make_image
from tests.processors.test_image_decoding import encode


def thread_of(work):
    return interruptibly(threading.current_thread, work)


def test_only_long_work_of_the_main_thread_is_moved():
    main = threading.main_thread()
    assert thread_of(LONG_WORK - 1) is main
    assert thread_of(LONG_WORK) is not main
    found = []
    other = threading.Thread(target=lambda: found.append(thread_of(LONG_WORK)))
    other.start()
    other.join()
    assert found == [other]
    with pytest.raises(ZeroDivisionError):
        interruptibly(lambda: 1 // 0, LONG_WORK)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_wait_for_it():
    begun, go_on = threading.Event(), threading.Event()

    def library():
        begun.set()
        os.kill(os.getpid(), signal.SIGINT)
        go_on.wait()

    with pytest.raises(KeyboardInterrupt):
        interruptibly(library, LONG_WORK)
    assert begun.is_set()
    go_on.set()


@pytest.mark.parametrize("kind", ["JPEG", "JPEG, progressive", "PNG", "AVIF", "a PIL image"])
def test_decoders_are_told_how_much_there_is(monkeypatch, kind):
    told = []
    monkeypatch.setattr(image_decoding, "interruptibly", lambda function, work: (told.append(work), function())[1])
    image = make_image(64, 48)
    sources = {"JPEG": jpeg(64, 48), "JPEG, progressive": encode(image, "JPEG", progressive=True), "a PIL image": image}
    load_image(sources[kind] if kind in sources else encode(image, kind))
    if kind == "AVIF":  # its decoder may find more than the header tells of
        assert max(told) == LONG_WORK
    else:
        assert max(told) == 64 * 48 * (16 if kind == "JPEG, progressive" else 1)
