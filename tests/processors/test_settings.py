"""Settings of processors with which nothing can be prepared: each is the checkpoint's error, and no input's."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium import ImageProcessor
from sensorium.errors import CheckpointError
from sensorium.processors.audio import AudioProcessor
from tests import tiny, tiny_audio

FILE = "preprocessor_config.json"
INF, NAN = float("inf"), float("nan")


def written(tmp_path, source, **entries):
    folder = tmp_path / "checkpoint"
    shutil.copytree(source, folder)
    (folder / FILE).write_text(json.dumps({**json.loads((folder / FILE).read_text()), **entries}))
    return folder


IMAGES = [
    *({"image_mean": value} for value in ([0.5] * 10**4, [0.5] * 2, [0.5] * 4, [], "x", ["a"] * 3, None, 1e308, NAN)),
    *({"image_std": value} for value in ([0, 0, 0], [0.5, 0, 0.5], 0, 1e-300, 1e-40, [NAN] * 3, INF, None, {"a": 1})),
    *({"rescale_factor": value} for value in (1e308, 0, 1e-300, NAN, INF, "x", None, [1, 2])),
    *({"size": value} for value in (0, None, "x", {"height": 0, "width": 0}, {"height": 1.5, "width": 9})),
    *({"resample": value} for value in (2.5, -1, 9, "x")),
    {"do_center_crop": True, "crop_size": None},
    {"do_center_crop": True, "crop_size": {"height": 0, "width": 0}},
    {"do_pad": True, "pad_size": {"height": 1, "width": 1}},
    {"do_pad": True, "pad_size": {"height": 0, "width": 0}},
    {"preprocess": 5},
    {"resize": "x"},
]


@pytest.mark.parametrize("entries", IMAGES, ids=lambda entries: str(entries)[:60])
def test_no_picture_could_be_prepared(entries, tmp_path):
    (entry, *_) = sorted(entries, key=lambda name: name.startswith("do_"))
    with pytest.raises(CheckpointError, match=rf"(?s){entry}.*{FILE}|{FILE}.*{entry}"):
        ImageProcessor.from_pretrained(written(tmp_path, tiny.folder("vit"), **entries))


@pytest.mark.parametrize(
    ("entry", "value"), [("image_mean", [0, 0]), ("image_std", 0), ("size", {"shortest_edge": 0}), ("resample", 2.5)]
)
def test_the_same_of_a_processor_whose_steps_are_not_known(entry, value, tmp_path):
    folder = written(tmp_path, tiny.folder("vit"), image_processor_type="BridgeTowerImageProcessor", **{entry: value})
    with pytest.raises(CheckpointError, match=entry):
        ImageProcessor.from_pretrained(folder)


@pytest.mark.parametrize(
    "entries",
    [
        {"image_std": -0.5},
        {"image_mean": [0.25]},
        {"rescale_factor": -1},
        {"image_std": [0, 0, 0], "do_normalize": False},
        {"resample": 0},
        {"size_divisor": 0},
    ],
    ids=str,
)
def test_what_the_reference_allows_gives_its_pixels(entries, tmp_path):
    from transformers import AutoImageProcessor

    folder = written(tmp_path, tiny.folder("vit"), **entries)
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    expected = AutoImageProcessor.from_pretrained(folder)(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    with warnings.catch_warnings(action="ignore"):
        pixels = ImageProcessor.from_pretrained(folder)(image)["pixel_values"]
    # one grey level of 255, where a resize rounds the other way
    torch.testing.assert_close(pixels, expected, rtol=0, atol=2.1 / 255 * max(1, abs(expected).max().item()))


SOUNDS = {
    "ast": [
        *({"mean": value} for value in ("x", None, [1, 2], 1e308, NAN)),
        *({"std": value} for value in (0, "x", None, 1e-300, INF)),
        *({"max_length": value} for value in (0, None, 10**6, 1.5)),
        *({"num_mel_bins": value} for value in (0, 1, 10**5, "x")),
        *({"sampling_rate": value} for value in (0, 1, 10**9, None, 16_000.5)),
    ],
    "whisper": [
        *({"n_fft": value} for value in (0, 1, 131_072, None, "x")),
        *({"hop_length": value} for value in (0, 131_072, None, 1.5)),
        *({"chunk_length": value} for value in (0, 3_600, 0.5, None, "x")),
        *({"dither": value} for value in ("x", 1e30, NAN)),
        *({"padding_value": value} for value in ("x", 1e308, INF)),
        {"feature_size": 10**5},
        {"padding_side": "x"},
    ],
}


@pytest.mark.filterwarnings("ignore:Sensorium does not read")
@pytest.mark.parametrize(
    ("kind", "entries"),
    [(kind, one) for kind, listed in SOUNDS.items() for one in listed],
    ids=str,
)
def test_no_sound_could_be_prepared(kind, entries, tmp_path):
    with pytest.raises(CheckpointError):
        AudioProcessor.from_pretrained(written(tmp_path, tiny_audio.folder(kind), **entries))


def test_a_file_of_many_megabytes_is_not_read(tmp_path):
    with pytest.raises(CheckpointError, match=f"{FILE} should be at most 4 MiB"):
        ImageProcessor.from_pretrained(written(tmp_path, tiny.folder("vit"), a="x" * 5_000_000))
