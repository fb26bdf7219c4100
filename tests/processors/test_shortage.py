"""Too little memory is no fault of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sensorium
from sensorium.errors import InputError
from sensorium.processors import image_decoding
from sensorium.processors.audio_reading import load_audio
from sensorium.processors.media import load_image
from sensorium.processors.shortage import is_shortage
from tests import audio, tiny
from tests.media import jpeg, make_image
from tests.processors.test_image_decoding import encode

TORCHS = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to …")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError("out of memory error when reading image file"), TORCHS, ValueError("Out of memory")],
)
def test_libraries_say_it_in_many_ways(error):
    assert is_shortage(error)


def test_damage_is_none_where_memory_was_missing():
    damage = OSError("decoder error -2")
    assert not is_shortage(damage)
    assert not is_shortage(damage, 2**20)
    assert is_shortage(damage, 2**60)


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("error", [MemoryError("x"), TORCHS])
def test_a_picture_is_not_said_to_be_damaged(monkeypatch, error):
    images = [make_image(), make_image().convert("L"), make_image().convert("P")]
    files = [encode(image, "PNG") for image in images]
    monkeypatch.setattr("PIL.Image.Image.convert", failing(error))
    monkeypatch.setattr(image_decoding, "pil_to_tensor", failing(error))
    for data in files:
        with pytest.raises(InputError) as caught:
            load_image(data)
        assert caught.value.code == "out-of-memory"
        assert "damaged" not in caught.value.message


def test_a_jpeg_is_not_said_to_be_damaged(monkeypatch):
    monkeypatch.setattr(image_decoding, "_decode_jpeg", failing(TORCHS))
    with pytest.raises(InputError) as caught:
        load_image(jpeg())
    assert caught.value.code == "out-of-memory"


def test_a_sound_is_not_said_to_be_damaged(monkeypatch):
    import soundfile

    data = audio.encoded(audio.make_audio(0.1))
    monkeypatch.setattr(soundfile.SoundFile, "read", failing(MemoryError("x")))
    with pytest.raises(InputError) as caught:
        load_audio(data)
    assert caught.value.code == "out-of-memory"


def test_a_pipeline_says_so(monkeypatch):
    pipe = sensorium.pipeline("image-classification", tiny.folder("vit"), device="cpu", compile=False)
    monkeypatch.setattr(pipe.task.processor, "fit", failing(TORCHS))
    (outcome,) = pipe([jpeg()], on_error="return")
    assert outcome.code == "out-of-memory"


SMALL = """
import io, resource, sys
from PIL import Image
from sensorium.errors import InputError
from sensorium.isolation.bounds import address_space
from sensorium.processors.media import MediaLimits, load_image
import torchvision.io

def encoded(kind, mode, side, **options):
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind, **options)
    return file.getvalue()

kinds = [("JPEG", "RGB", {}), ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"progressive": True}), ("PNG", "RGBA", {}),
         ("PNG", "I;16", {}), ("GIF", "P", {}), ("WEBP", "RGB", {"lossless": True}), ("BMP", "RGB", {}),
         ("TIFF", "RGB", {"compression": "tiff_deflate"}), ("TIFF", "F", {"compression": "tiff_lzw"}),
         ("PPM", "L", {})]
files = [(kind, side, encoded(kind, mode, side, **options)) for kind, mode, options in kinds for side in (64, 4000)]
load_image(files[0][2])
base = address_space()
for room in (3 * 2**30, 2**27):
    resource.setrlimit(resource.RLIMIT_AS, (base + room, resource.RLIM_INFINITY))
    for kind, side, data in files:
        try:
            print(room, kind, side, tuple(load_image(data).shape))
        except InputError as error:
            print(room, kind, side, error.code)
print("alive")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is bounded on Linux")
def test_every_file_has_its_result_or_its_own_error():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, text=True, env=environment)
    *lines, last = ran.stdout.splitlines()
    assert last == "alive", ran.stderr[-2000:]
    assert len(lines) == 2 * 22
    for line in lines:
        room, _, side, outcome = line.split(" ", 3)
        allowed = [f"(3, {side}, {side})"] + ["out-of-memory"] * (int(room) < 2**30)
        assert outcome in allowed, line
    assert sum(line.endswith("out-of-memory") for line in lines) > 3
