"""Each result knows the suffixes that it is saved as, and refuses others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sensorium.results import (
    AlphaMatte,
    Answers,
    CitedAnswers,
    DepthMap,
    Detections,
    Embedding,
    FrameMasks,
    Hits,
    Keypoints,
    Labels,
    Masks,
    Matches,
    NormalMap,
    OutputImage,
    Poses,
    Ranking,
    Result,
    Segments,
    Transcript,
)

RESULTS = {
    "Detections": (Detections([[1, 2, 3, 4]], [0.5], ["cat"]), {".json"}),
    "AlphaMatte": (AlphaMatte(np.ones((4, 4))), {".json", ".png", ".npz"}),
    "DepthMap": (DepthMap(np.ones((4, 4))), {".json", ".png", ".npz"}),
    "Masks": (Masks(np.ones((1, 4, 4), bool), [0.5]), {".json"}),
    "FrameMasks": (FrameMasks([np.array([1, 3])], (2, 2), ["cat"], [0.5], [0.25], frame=3), {".json"}),
    "Labels": (Labels(["cat"], [0.5]), {".json"}),
    "Answers": (Answers(["a cat"], [0.5]), {".json"}),
    "Segments": (Segments(np.ones((4, 4), int), [1], ["cat"], [0.5]), {".json", ".png"}),
    "Keypoints": (Keypoints([[1, 2]], [0.5]), {".json", ".npz"}),
    "Poses": (Poses([[[1, 2]]], [[0.5]], [[0, 0, 9, 9]], ["nose"]), {".json", ".npz"}),
    "Matches": (Matches([[1, 2]], [[3, 4]], [0.5]), {".json", ".npz"}),
    "NormalMap": (NormalMap(np.eye(3)[np.ones((4, 4), int)]), {".json", ".png", ".npz"}),
    "OutputImage": (OutputImage(np.ones((4, 4, 3), np.uint8)), {".json", ".npz", ".png", ".tif", ".tiff"}),
    "Transcript": (Transcript("a b", ["a"], [0.0], [1.0]), {".txt", ".json", ".srt", ".vtt"}),
    "Embedding": (Embedding(np.ones(4, np.float32)), {".npz", ".npy"}),
    "Embedding with maps": (Embedding(np.ones(4, np.float32), [np.ones((2, 3, 3))], ["s1"]), {".npz"}),
}
SUFFIXES = [
    "",
    ".png",
    ".jpg",
    ".JPEG",
    ".webp",
    ".json",
    ".jsonl",
    ".npz",
    ".npy",
    ".txt",
    ".csv",
    ".srt",
    ".vtt",
    ".pt",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", RESULTS)
def test_what_the_suffix_says_is_written_or_nothing(name, suffix, tmp_path):
    result, known = RESULTS[name]
    path = tmp_path / f"x{suffix}"
    if suffix not in known:
        with pytest.raises(ValueError, match=r"is saved as \.") as caught:
            result.save(path)
        assert all(one in str(caught.value) for one in known)
        assert path.name in str(caught.value)
        assert ("plot(image)" in str(caught.value)) == (suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
        assert not list(tmp_path.iterdir())
        return
    for written in (path, path.with_suffix(suffix.upper())):
        result.save(str(written))
        assert written.is_file()  # under the very name
        if suffix == ".json":
            assert json.loads(written.read_text(encoding="utf-8")) == json.loads(json.dumps(result.to_dict()))
        elif suffix == ".png":
            with Image.open(written) as image:
                assert image.format == "PNG"
        elif suffix in (".npz", ".npy"):
            with written.open("rb") as file:
                assert len(np.load(file, allow_pickle=False))


@pytest.mark.parametrize("kind", [CitedAnswers, Hits, Ranking])
def test_those_that_write_json_alone_say_so_too(kind):
    assert kind.save is Result.save
