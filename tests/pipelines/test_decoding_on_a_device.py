"""`decode="cuda"` on the pretend device, with the CPU's decoder in the place of nvJPEG."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import sensorium
from sensorium.errors import InputError, LimitError, OptionError
from sensorium.processors.image_jpeg import is_whole_baseline_jpeg
from sensorium.processors.jpeg_on_device import JpegDecoder, current_decoder
from sensorium.processors.media import MediaLimits, load_image
from tests import tiny
from tests.media import make_image
from tests.pretend_cuda import PretendCuda
from tests.test_contract import TASKS, assert_alike, contract_of
from tests.tiny_matting import make_trimap

ON_PICTURES = ["depth-estimation", "image-classification", "image-feature-extraction", "image-matting",
               "image-segmentation", "image-to-image", "keypoint-detection", "keypoint-matching", "mask-generation",
               "object-detection", "pose-estimation", "surface-normals", "visual-question-answering",
               "zero-shot-image-classification", "zero-shot-object-detection"]  # fmt: skip
REFUSED = b"nvJPEG does not know this"


def jpeg(width=64, height=48, seed=0, **settings):
    stream = io.BytesIO()
    make_image(width, height, seed).save(stream, "JPEG", quality=95, **settings)
    return stream.getvalue()


class NvJpeg:
    """Stands in for torchvision's decoder on CUDA; refuses a call with a picture that has the comment `REFUSED`."""

    def __init__(self):
        self.real, self.calls = torchvision.io.decode_jpeg, []
        self.before = lambda: None

    def __call__(self, data, mode, device="cpu"):
        if not isinstance(data, list):
            return self.real(data, mode=mode)
        self.calls.append(len(data))
        self.before()
        if any(REFUSED in bytes(one.numpy()) for one in data):
            raise RuntimeError("Error in decode_jpegs_cuda: nvjpegDecode failed")
        return [self.real(one, mode=mode).to(device, non_blocking=True) for one in data]


@pytest.fixture
def nvjpeg(monkeypatch):
    stand_in = NvJpeg()
    monkeypatch.setattr(torchvision.io, "decode_jpeg", stand_in)
    return stand_in


def classifier(**settings):
    settings = {"device": "cuda", "dtype": "float32", "compile": False, "decode": "cuda", **settings}
    return sensorium.pipeline("image-classification", tiny.folder("vit"), **settings)


def decoded(source, limits=None):
    """A picture as a thread of a pipeline loads it, where it lay, and what was counted."""
    counts = {}
    decoder = JpegDecoder(torch.device("cuda", 0), lambda name, n: counts.__setitem__(name, counts.get(name, 0) + n))
    with decoder.here():
        pixels = load_image(source, limits=limits or MediaLimits())
        place = pixels.device.type
        return pixels.cpu(), place, counts


def test_what_takes_pictures_is_known():
    assert set(ON_PICTURES) <= set(TASKS)


@pytest.mark.parametrize("name", ON_PICTURES)
def test_every_task_takes_pictures_from_the_device(name, nvjpeg):
    contract = contract_of(name)
    pictures = [jpeg(64, 48, 1), jpeg(80, 64, 2)]
    inputs = pictures
    if name == "keypoint-matching":
        inputs = [tuple(pictures), tuple(reversed(pictures))]
    if name == "image-matting":
        sizes = [(64, 48), (80, 64)]
        inputs = [{"image": one, "trimap": make_trimap(*size)} for one, size in zip(pictures, sizes, strict=True)]
    if name == "visual-question-answering":
        inputs = [{"image": picture, "question": "what is it?"} for picture in pictures]
    options = next((each for each in contract.options if "candidate_labels" in each), {})
    if name == "pose-estimation":
        options = {"whole_image": True}
    if name.startswith("zero-shot-"):
        options = {"candidate_labels": ["cat", "dog"]}
    with PretendCuda() as cuda, contract.build(device="cuda", compile=False, decode="cuda", batch_size=2) as pipe:
        got = pipe(inputs, **options)
        stats = pipe.stats()
        assert (stats["decoded_on_device"], stats["refused_by_device"]) == (4 if name == "keypoint-matching" else 2, 0)
    cuda.check()
    assert [result.index for result in got] == [0, 1]


def test_scores_are_those_of_pictures_decoded_on_the_cpu(nvjpeg):
    pictures = [jpeg(64 + 7 * i, 90 - 5 * i, i) for i in range(9)] + [make_image(50, 60)]
    with PretendCuda() as cuda:
        with classifier(decode="cpu", batch_size=4) as pipe:
            want = pipe(pictures, top_k=None)
            assert nvjpeg.calls == [] and pipe.stats()["decoded_on_device"] == 0
        with classifier(batch_size=4, num_workers=3) as pipe:
            got = pipe(pictures, top_k=None)
            one = pipe(pictures[0], top_k=None)
            assert pipe.stats()["decoded_on_device"] == 10
    cuda.check()
    contract = contract_of("image-classification")
    for a, b in zip(got, want, strict=True):
        assert np.abs(a.scores[a.ids.argsort()] - b.scores[b.ids.argsort()]).max() < 0.02
    assert_alike(one.to_dict(), got[0].to_dict(), contract)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(orientation, nvjpeg):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(40, 24, exif=exif)
    with PretendCuda() as cuda:
        pixels, place, counts = decoded(data)
    cuda.check()
    assert place == "cuda" and counts["decoded_on_device"] == 1
    assert torch.equal(pixels, load_image(data))


def test_what_it_refuses_is_decoded_on_the_cpu_and_counted(nvjpeg):
    pictures = [jpeg(seed=i, comment=REFUSED if i % 3 == 0 else b"") for i in range(7)]
    with PretendCuda() as cuda, classifier(batch_size=4) as pipe:
        results = pipe(pictures)
        stats = pipe.stats()
        pipe.reset_stats()
        assert pipe.stats()["refused_by_device"] == 0
    cuda.check()
    assert len(results) == 7
    assert (stats["decoded_on_device"], stats["refused_by_device"], stats["failures"]) == (4, 3, 0)


def test_one_call_decodes_what_several_threads_wait_for(nvjpeg):
    waiting = threading.Semaphore(0)

    class Noted(list):
        def append(self, request):
            super().append(request)
            waiting.release()

    with PretendCuda() as cuda:
        decoder, found = JpegDecoder(torch.device("cuda", 0), lambda name, n: None), {}

        def load(seed):
            with decoder.here():
                found[seed] = load_image(jpeg(seed=seed)).cpu()

        threads = [threading.Thread(target=load, args=(seed,)) for seed in range(1, 4)]

        def while_the_first_is_decoded():
            nvjpeg.before = lambda: None
            decoder._waiting = Noted()
            for thread in threads:
                thread.start()
            for _ in threads:
                waiting.acquire()

        nvjpeg.before = while_the_first_is_decoded
        load(0)
        for thread in threads:
            thread.join()
    cuda.check()
    assert nvjpeg.calls == [1, 3]
    for seed, pixels in found.items():
        assert torch.equal(pixels, load_image(jpeg(seed=seed)))


def test_limits_hold(nvjpeg):
    with PretendCuda():
        with pytest.raises(LimitError) as caught:
            decoded(jpeg(64, 48), MediaLimits(max_pixels=1_000))
        assert caught.value.code == "too-many-pixels"
        exif = Image.Exif()
        exif[0x0112] = 6
        with pytest.raises(LimitError):
            decoded(jpeg(64, 48, exif=exif), MediaLimits(max_pixels=1_000))
    assert nvjpeg.calls == []


def encoded(kind, **settings):
    stream = io.BytesIO()
    make_image().convert("CMYK" if settings.pop("cmyk", False) else "RGB").save(stream, kind, **settings)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [encoded("PNG"), encoded("JPEG", progressive=True), encoded("JPEG", cmyk=True), encoded("JPEG", keep_rgb=True)],
    ids=["png", "progressive", "cmyk", "rgb"],
)
def test_what_is_not_baseline_goes_to_the_cpu_as_ever(data, nvjpeg):
    with PretendCuda():
        pixels, place, counts = decoded(data)
    assert (place, counts, nvjpeg.calls) == ("cpu", {}, [])
    assert torch.equal(pixels, load_image(data))


@pytest.mark.parametrize("cut", [2, 40, 200])
def test_a_picture_that_is_cut_off_is_not_offered(cut, nvjpeg):
    data = jpeg()[:-cut]
    assert not is_whole_baseline_jpeg(data)
    with PretendCuda():
        try:
            want = load_image(data)
        except InputError as error:
            with pytest.raises(InputError) as caught:
                decoded(data)
            assert caught.value.code == error.code
        else:
            assert torch.equal(decoded(data)[0], want)
    assert nvjpeg.calls == []


def test_grey_pictures_are_baseline_too(nvjpeg):
    stream = io.BytesIO()
    make_image().convert("L").save(stream, "JPEG")
    with PretendCuda():
        pixels, place, _ = decoded(stream.getvalue())
    assert place == "cuda" and torch.equal(pixels, load_image(stream.getvalue()))


def test_it_is_for_pictures_on_a_cuda_device():
    with pytest.raises(OptionError, match="needs a model on a CUDA device"):
        classifier(device="cpu")
    with pytest.raises(OptionError, match='decode is "cpu" or "cuda"'):
        classifier(decode="gpu")
    with PretendCuda(), pytest.raises(OptionError, match="question-answering is not"):
        contract_of("question-answering").build(device="cuda", decode="cuda")
    assert current_decoder() is None
