"""Checkpoints that are damaged, mistaken or hostile: each is an error of ours that names the file."""

from __future__ import annotations

import functools
import json
import pickle
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sensorium import AutoBackbone, pipeline
from sensorium.backbones import spending
from sensorium.checkpoints import Checkpoint, resolve
from sensorium.errors import CheckpointError, MissingWeightsError, SensoriumError, UnsafeCheckpointError
from sensorium.processors.image import ImageProcessor
from tests import tiny, tiny_answering, tiny_speech, tiny_text
from tests.mutations import mutated

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
SOUND = {"array": tiny_speech.make_audio(0.5), "sampling_rate": tiny_speech.RATE}
ASKED = {"question": "who was it?", "context": "it was a dog"}
KINDS = {
    "vit": (functools.partial(tiny.folder, "vit"), "image-classification", PICTURE),
    "convnext": (functools.partial(tiny.folder, "convnext"), "image-classification", PICTURE),
    "wav2vec2": (functools.partial(tiny_speech.ctc, "wav2vec2"), "automatic-speech-recognition", SOUND),
    "whisper": (tiny_speech.whisper, "automatic-speech-recognition", SOUND),
    "bert": (functools.partial(tiny_text.reader, "bert"), "question-answering", ASKED),
    "llava": (tiny_answering.llava, "visual-question-answering", {"image": PICTURE, "question": "what is it?"}),
}
MUTATED = [
    ("vit", "config.json"), ("vit", "preprocessor_config.json"), ("convnext", "config.json"),
    ("wav2vec2", "config.json"), ("wav2vec2", "preprocessor_config.json"), ("wav2vec2", "tokenizer_config.json"),
    ("wav2vec2", "vocab.json"), ("whisper", "config.json"), ("whisper", "generation_config.json"),
    ("bert", "config.json"), ("bert", "tokenizer.json"), ("bert", "tokenizer_config.json"),
    ("llava", "config.json"), ("llava", "processor_config.json"),
]  # fmt: skip


@functools.cache
def working(kind: str) -> Path:
    """A folder of this kind of which files may be written anew."""
    original = KINDS[kind][0]()
    place = Path(f"{original}-mutated")
    shutil.copytree(original, place, dirs_exist_ok=True)
    return place


def run(kind: str, folder: Path):
    """What comes of it: a result, or an error of an input."""
    _, task, raw = KINDS[kind]
    with (
        warnings.catch_warnings(action="ignore"),
        pipeline(task, model=str(folder), device="cpu", compile=False, num_workers=1, batch_size=2) as pipe,
    ):
        return pipe(raw, on_error="return")


def tried(kind: str, file: str, content) -> None:
    """Runs a checkpoint with one file written anew: it works, or an error of ours is raised."""
    folder = working(kind)
    original = (folder / file).read_bytes()
    try:
        (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        run(kind, folder)
    except SensoriumError:
        pass
    finally:
        (folder / file).write_bytes(original)


def read(kind: str, file: str):
    return json.loads((working(kind) / file).read_text())


quickly = settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
thoroughly = settings(deadline=None, max_examples=5_000, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(("kind", "file"), MUTATED)
@quickly
@given(st.data())
def test_some_mutations_raise_nothing_else(kind, file, data):
    tried(kind, file, data.draw(mutated(read(kind, file), times=2)))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("kind", "file"), MUTATED)
@thoroughly
@given(st.data())
def test_thousands_of_mutations_raise_nothing_else(kind, file, data):
    tried(kind, file, data.draw(mutated(read(kind, file), times=2)))


def damaged(data, content: bytes) -> bytes:
    """A file with some bytes changed, gone, or put in."""
    how = data.draw(st.sampled_from(["change", "cut", "grow", "header"]))
    at = data.draw(st.integers(0, min(len(content) - 1, 4_000)))
    if how == "change":
        return content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 8 :]
    if how == "cut":
        return content[: data.draw(st.integers(0, len(content)))]
    if how == "grow":
        return content[:at] + data.draw(st.binary(min_size=1, max_size=64)) + content[at:]
    length = int.from_bytes(content[:8], "little")
    header = data.draw(mutated(json.loads(content[8 : 8 + length])))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


@quickly
@given(st.data())
def test_some_damaged_weights_raise_nothing_else(data):
    tried("vit", "model.safetensors", damaged(data, (working("vit") / "model.safetensors").read_bytes()))


@pytest.mark.slow
@pytest.mark.timeout(0)
@thoroughly
@given(st.data())
def test_thousands_of_damaged_weights_raise_nothing_else(data):
    tried("vit", "model.safetensors", damaged(data, (working("vit") / "model.safetensors").read_bytes()))


def changed(tmp_path, kind: str, file: str, **entries) -> Path:
    """A copy of a checkpoint with other entries; a dotted name is of an entry in an entry."""
    folder = tmp_path / kind
    shutil.copytree(KINDS[kind][0](), folder)
    content = json.loads((folder / file).read_text())
    for name, value in entries.items():
        *above, last = name.split("__")
        holder = functools.reduce(dict.__getitem__, above, content)
        holder[last] = value
    (folder / file).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("kind", "file", "entries", "said"),
    [
        ("vit", "config.json", {"num_labels": 10**9}, "num_labels in config.json"),
        ("vit", "config.json", {"num_hidden_layers": 10**5}, "num_hidden_layers in config.json"),
        ("vit", "config.json", {"num_hidden_layers": 10_000}, "num_hidden_layers = 10000 in config.json"),
        ("vit", "config.json", {"hidden_size": 2**20}, "hidden_size = 1048576 in config.json"),
        ("vit", "config.json", {"intermediate_size": 2**27}, "intermediate_size = 134217728 in config.json"),
        ("vit", "config.json", {"image_size": 30_000}, "image_size in config.json"),
        ("vit", "config.json", {"num_attention_heads": 0}, "num_attention_heads = 0 in config.json"),
        ("vit", "config.json", {"hidden_size": "x"}, "hidden_size = 'x' in config.json"),
        ("vit", "config.json", {"id2label": ["a", "b"]}, "id2label in config.json should be an object"),
        ("vit", "config.json", {"_attn_implementation": "org/repo:kernel"}, "_attn_implementation in config.json"),
        ("convnext", "config.json", {"depths": [10**9, 1]}, "depths in config.json"),
        ("vit", "preprocessor_config.json", {"size": {"height": 30_000, "width": 30_000}}, "size.height in preproc"),
        ("vit", "preprocessor_config.json", {"size": {"shortest_edge": 2**24}}, "shortest_edge"),
        ("vit", "preprocessor_config.json", {"do_center_crop": True, "crop_size": 30_000}, "crop_size in preproc"),
        ("vit", "preprocessor_config.json", {"resample": 99}, "resample in preprocessor_config.json"),
        ("wav2vec2", "preprocessor_config.json", {"sampling_rate": 10**9}, "sampling_rate in preprocessor_config.json"),
        ("wav2vec2", "preprocessor_config.json", {"sampling_rate": 0}, "sampling_rate in preprocessor_config.json"),
        ("wav2vec2", "tokenizer_config.json", {"model_max_length": "x"}, "model_max_length in tokenizer_config.json"),
        ("whisper", "generation_config.json", {"num_beams": 10**6}, "num_beams in generation_config.json"),
        ("whisper", "generation_config.json", {"max_length": 10**9}, "max_length in generation_config.json"),
        ("whisper", "config.json", {"decoder_layers": 10**5}, "decoder_layers in config.json"),
        ("llava", "config.json", {"text_config__num_hidden_layers": 10**5}, "text_config.num_hidden_layers in config"),
        ("llava", "config.json", {"text_config__vocab_size": 2**27}, "text_config.vocab_size = 134217728 in config"),
    ],
)  # fmt: skip
def test_what_a_file_asks_for_is_refused_by_name(tmp_path, kind, file, entries, said):
    folder = changed(tmp_path, kind, file, **entries)
    with warnings.catch_warnings(action="ignore"), pytest.raises(CheckpointError) as caught:
        run(kind, folder)
    assert said in str(caught.value)


def test_a_kernel_is_not_fetched_unless_code_may_run(tmp_path):
    folder = changed(tmp_path, "vit", "config.json", _attn_implementation="org/repo:kernel")
    with pytest.raises(UnsafeCheckpointError, match="names a kernel to be fetched"):
        run("vit", folder)


def test_a_model_is_bounded_by_its_weights_and_not_by_its_size(tmp_path, monkeypatch):
    """What the weights account for is built, however large; what they do not is stopped, however small."""
    monkeypatch.setattr(spending, "LEAST_NUMBERS", 0)
    monkeypatch.setattr(spending, "LEAST_TENSORS", 0)
    folder = KINDS["vit"][0]()
    assert type(run("vit", folder)).__name__ == "Labels"
    AutoBackbone.from_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"asks for more .* Look at num_hidden_layers = 60 in config.json"):
        run("vit", changed(tmp_path, "vit", "config.json", num_hidden_layers=60))


def test_weights_for_which_no_memory_is_free_are_refused(monkeypatch):
    monkeypatch.setattr(spending, "_free_bytes", lambda: 1000)
    with pytest.raises(CheckpointError, match=r"GiB of weights, and 0.0 GiB of memory are free"):
        run("vit", KINDS["vit"][0]())


def header_of(header, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = {
    "cut off in the length": b"\x10\0\0",
    "cut off in the header": struct.pack("<Q", 500) + b'{"a":',
    "a header longer than anything": struct.pack("<Q", 2**63) + b"{}",
    "a header larger than any": struct.pack("<Q", 17 * 2**20) + b"{" + b" " * (17 * 2**20),
    "no JSON": header_of(b"{oops"),
    "not UTF-8": header_of(b'{"\xff": 1}'),
    "a list": header_of([1, 2]),
    "objects in objects": header_of(b'{"a":' * 100_000),
    "an entry that is a number": header_of({"a": 3}),
    "an unknown dtype": header_of({"a": {**F32, "dtype": "Q7"}}, bytes(8)),
    "a dtype that is a list": header_of({"a": {**F32, "dtype": ["F32"]}}, bytes(8)),
    "a negative side": header_of({"a": {**F32, "shape": [-2]}}, bytes(8)),
    "a shape that wraps": header_of({"a": {**F32, "shape": [2**62, 4, 2]}}, bytes(8)),
    "a shape of other size": header_of({"a": {**F32, "shape": [3]}}, bytes(8)),
    "offsets backwards": header_of({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8)),
    "offsets that are texts": header_of({"a": {**F32, "data_offsets": ["0", "8"]}}, bytes(8)),
    "offsets beyond the end": header_of({"a": F32}, bytes(4)),
    "bytes behind the end": header_of({"a": F32}, bytes(16)),
    "tensors that overlap": header_of({"a": F32, "b": F32}, bytes(8)),
    "room between tensors": header_of({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, bytes(20)),
    "metadata that are numbers": header_of({"__metadata__": {"format": 3}, "a": F32}, bytes(8)),
    "a pickle": pickle.dumps({"a": [1.0] * 100}),
    "a zip of torch": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_damaged_weights_are_named(tmp_path, content):
    folder = tmp_path / "vit"
    shutil.copytree(KINDS["vit"][0](), folder)
    (folder / "model.safetensors").write_bytes(content)
    checkpoint = resolve(folder)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file that can be read"):
        checkpoint.stored()
    for load in (lambda: run("vit", folder), lambda: AutoBackbone.from_pretrained(folder)):
        with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file"):
            load()


def shards(folder: Path) -> Checkpoint:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", "architectures": ["ViTModel"]}))
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for i, name in enumerate("ab", start=1):
        save_file({name: torch.zeros(2)}, folder / f"model-{i}.safetensors")
    return resolve(folder)


def test_shards_that_lie_elsewhere(tmp_path):
    assert shards(tmp_path / "good").stored().shapes == {"a": (2,), "b": (2,)}
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"not weights at all, but long enough")
    places = {
        "nowhere": outside / "nothing",
        "a folder": outside,
        "itself": tmp_path / "itself" / "model-1.safetensors",
    }
    for name, target in places.items():
        checkpoint = shards(tmp_path / name)
        path = checkpoint.folder / "model-1.safetensors"
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(MissingWeightsError, match=r"model-1\.safetensors"):
            checkpoint.stored()
    checkpoint = shards(tmp_path / "a file")
    (checkpoint.folder / "model-1.safetensors").unlink()
    (checkpoint.folder / "model-1.safetensors").symlink_to(outside / "secret")
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors is not a safetensors file"):
        checkpoint.stored()
    twice = shards(tmp_path / "twice")
    save_file({"a": torch.zeros(2)}, twice.folder / "model-2.safetensors")
    with pytest.raises(CheckpointError, match="the tensor 'a' is in another file"):
        twice.stored()


def test_a_processor_of_its_own_is_bounded_too(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "size": {"height": 10**9, "width": 10**9}})
    )
    with pytest.raises(CheckpointError, match=r"size\.height in preprocessor_config\.json"):
        ImageProcessor.from_pretrained(tmp_path)
