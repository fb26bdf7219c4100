"""Data sets of `datasets` as inputs: pictures and sounds in their rows, as bytes and as paths, and streamed."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from sensorium.errors import OptionError
from sensorium.jobs.inputs import Inputs
from sensorium.jobs.listing import Listing, write_listing
from sensorium.jobs.raws import raw_inputs
from sensorium.processors.audio_reading import load_audio
from sensorium.processors.media import load_image
from tests import media

datasets = pytest.importorskip("datasets")


def listed(folder, given, *, inputs=("image",), **more):
    facts = {}
    write_listing(folder, Inputs(given, **more).batches(inputs, (), facts), facts, shard_size=2)
    listing = Listing(folder)
    tables = [listing.read(shard) for shard in range(listing.shards)]
    raws = [raw for table in tables for raw in raw_inputs(table, listing.facts, {})]
    return pa.concat_tables(tables).to_pylist(), raws


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(media.jpeg(8 + i, 6, seed=i))
    names = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    return paths, lambda images: datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0]}, features=features)


def test_pictures_are_taken_as_they_are_stored(pictures, tmp_path):
    paths, make = pictures
    rows, raws = listed(tmp_path, make([str(path) for path in paths]), carry=("label",))
    assert [row["source"] for row in rows] == raws == [str(path) for path in paths]
    assert [row["label"] for row in rows] == [0, 1, 0]
    stored = make([{"bytes": path.read_bytes(), "path": path.name} for path in paths])
    for given in (stored, stored.to_iterable_dataset(num_shards=2)):
        rows, raws = listed(tmp_path, given)
        assert raws == [path.read_bytes() for path in paths]
        assert rows[2]["source"] == f"{type(given).__name__}, row 2"
        assert [load_image(raw).shape[2] for raw in raws] == [8, 9, 10]
    assert listed(tmp_path, stored.shuffle(seed=1).select([2, 0]))[1] == [
        stored.shuffle(seed=1).with_format("arrow")[i]["image"][0].as_py()["bytes"] for i in (2, 0)
    ]


def test_sounds_are_taken_as_they_are_stored(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600, np.float32), 16000, format="WAV")
    table = pa.table({"audio": [{"bytes": file.getvalue(), "path": None}] * 2})
    given = datasets.Dataset(table).cast_column("audio", datasets.Audio(sampling_rate=16000))
    _, raws = listed(tmp_path, given, inputs=("audio",))
    assert [tuple(load_audio(raw)[0].shape) for raw in raws] == [(1600,)] * 2


def test_the_same_data_set_is_known_again(pictures):
    paths, make = pictures
    stored = make([{"bytes": path.read_bytes(), "path": None} for path in paths])
    for given in (stored, stored.to_iterable_dataset()):
        assert Inputs(given).described() == Inputs(given).described()
        assert Inputs(given).described() != Inputs(stored.select([0])).described()


def test_several_splits_are_refused(pictures, tmp_path):
    paths, make = pictures
    splits = datasets.DatasetDict({"train": make([str(path) for path in paths])})
    with pytest.raises(OptionError, match="name one of its splits, 'train'"):
        listed(tmp_path, splits)
