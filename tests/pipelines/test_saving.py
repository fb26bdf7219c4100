"""What `save_pretrained` writes: that which a pipeline needs, and nothing else that lies beside it."""

from __future__ import annotations

import json
import shutil

import pytest
import transformers

from sensorium import OptionError, pipeline
from tests import tiny, tiny_embedding
from tests.contract import assert_close
from tests.media import make_image

CPU = {"device": "cpu", "dtype": "float32", "compile": False, "num_workers": 1}


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_lies_deeper_stays_where_it_is(tmp_path):
    home = shutil.copytree(tiny.folder("vit"), tmp_path / "m")
    wanted = names(home)
    for name in ("checkpoint-500/model.safetensors", "checkpoint-500/config.json", "logs/run.json"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("{}")
    with pipeline("image-classification", home, **CPU) as pipe:
        for _ in range(2):  # into the folder itself, and over what was written before
            pipe.save_pretrained(home / "copy")
            assert names(home / "copy") == wanted
        with pytest.raises(OptionError, match="name another folder"):
            pipe.save_pretrained(home)


def test_modules_of_sentence_transformers_are_what_a_checkpoint_needs(tmp_path):
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    parts = tiny_embedding.encoder("bert"), Pooling(16, pooling_mode="mean"), Dense(16, 8)
    with pipeline("feature-extraction", tiny_embedding.sentence_transformer(*parts), **CPU) as pipe:
        pipe.save_pretrained(tmp_path)
        expected = pipe("a boat", pool="own").to_dict()
    with pipeline("feature-extraction", tmp_path, **CPU) as again:
        assert_close(again("a boat", pool="own").to_dict(), expected)


def test_loaded_modules_and_given_processors(tmp_path):
    model = transformers.AutoModelForImageClassification.from_pretrained(tiny.folder("vit"))
    processor = transformers.AutoImageProcessor.from_pretrained(tiny.folder("vit"))
    with pipeline("image-classification", model, processor=processor, device="cpu", compile=False) as pipe:
        pipe.save_pretrained(tmp_path)
        expected = pipe(make_image()).to_dict()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "vit"
    with pipeline("image-classification", tmp_path, **CPU) as again:
        assert_close(again(make_image()).to_dict(), expected)
