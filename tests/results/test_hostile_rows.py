"""Rows that no result was written as: each is a `ValueError`, and takes no more memory than it is long."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.results import (
    AlphaMatte,
    DepthMap,
    Embedding,
    FrameMasks,
    Keypoints,
    Masks,
    NormalMap,
    OutputImage,
    Poses,
    Segments,
    rle,
)
from sensorium.results.kinds import numbers_of
from tests.mutations import mutated
from tests.results.test_columns import MAKERS, floats

NAMES = sorted(name for name in MAKERS if "many" not in name and "torch" not in name)


def row_of(result):
    """Its row as a file of JSON would have it."""
    return _plain(result.to_row())


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return value


def tried(data, name):
    """Reads one row with something odd in it."""
    made = MAKERS[name]()
    row = data.draw(mutated(row_of(made), times=2))
    try:
        result = type(made).from_row(row)
    except ValueError:
        return
    assert type(result) is type(made)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_row_gives_a_result_or_a_value_error(data):
    tried(data, data.draw(st.sampled_from(NAMES)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=1_000, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_of_a_thousand_rows_gives_a_result_or_a_value_error(name, data):
    tried(data, name)


def no_memory(*args, **kwargs):
    pytest.fail("memory was taken for a size that was not checked")


HUGE = 2**31
OVERLAPPING = row_of(Segments.from_masks(floats(2, 4, 4) > 0.5, ["a", "b"]))
MAP = row_of(Segments(np.zeros((4, 4), np.uint8), [0], ["a"]))
NONE_IN_A_MAP = {**MAP, "segments": [], "background": []}


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (Segments, {**OVERLAPPING, "height": HUGE, "width": HUGE}),
        (Segments, {**MAP, "height": HUGE, "width": HUGE}),
        (Segments, {**NONE_IN_A_MAP, "height": HUGE, "width": HUGE}),
        (Segments, {**NONE_IN_A_MAP, "dtype": "V1000000000"}),
        (Segments, {**NONE_IN_A_MAP, "dtype": "U1000000000"}),
        (Segments, {**NONE_IN_A_MAP, "height": -1, "width": -1}),
        (Masks, {**row_of(MAKERS["masks"]()), "height": HUGE, "width": HUGE}),
        (Masks, {**row_of(MAKERS["masks, none"]()), "height": HUGE, "width": HUGE}),
        (FrameMasks, {**row_of(MAKERS["frame masks"]()), "height": HUGE, "width": HUGE}),
        (DepthMap, {**row_of(MAKERS["depth"]()), "depth_shape": [HUGE, HUGE]}),
        (DepthMap, {**row_of(MAKERS["depth"]()), "depth_shape": [2**32, 2**32]}),
        (AlphaMatte, {**row_of(MAKERS["matte"]()), "alpha_shape": [HUGE, HUGE]}),
        (AlphaMatte, {**row_of(MAKERS["matte, with colours"]()), "foreground_shape": [3, 9, 7]}),
        (NormalMap, {**row_of(MAKERS["normals"]()), "normals_shape": [3, 9, 7]}),
        (NormalMap, {**row_of(MAKERS["normals"]()), "normals_shape": [HUGE, HUGE, 3]}),
        (OutputImage, {**row_of(MAKERS["output image"]()), "array_shape": [HUGE, HUGE]}),
        (OutputImage, {**row_of(MAKERS["output image"]()), "array_dtype": "uint16"}),
        (OutputImage, {**row_of(MAKERS["output image"]()), "array_dtype": "U1000000000"}),
        (OutputImage, {**row_of(MAKERS["output image"]()), "array": [1, 2]}),
        (Embedding, {**row_of(MAKERS["embedding"]()), "vector_shape": [-1]}),
        (Embedding, {**row_of(MAKERS["embedding"]()), "vector_shape": [HUGE, HUGE]}),
        (Embedding, {**row_of(MAKERS["embedding"]()), "vector_shape": [2**32, 2**32]}),
        (Keypoints, {**row_of(MAKERS["keypoints, described"]()), "descriptors_shape": [HUGE]}),
        (Poses, {**row_of(MAKERS["poses"]()), "xy_shape": [HUGE, HUGE, 2]}),
    ],
)
def test_a_size_in_a_row_takes_no_memory(kind, row, monkeypatch):
    for name in ("zeros", "empty", "repeat"):
        monkeypatch.setattr(np, name, no_memory)
    with pytest.raises(ValueError, match=r"px|shape|whole numbers|height|column|type of numbers"):
        kind.from_row(row)


def large(kind: str | None, *, masks: int) -> dict:
    """A row of a picture of 100 megapixels, in a few bytes."""
    side = 10_000
    entry, value = OVERLAPPING["segments"][0], {"uint8": 1, "int64": 2**40}.get(kind, 0)
    counts = rle.compress(np.array([0, side * side] if masks == 1 else [side * side]))
    segments = [{**entry, "value": value + i, "rle": counts} for i in range(masks)]
    return {**OVERLAPPING, "segments": segments, "height": side, "width": side, "dtype": kind}


@pytest.mark.parametrize(("kind", "masks"), [("uint8", 1), ("int64", 1), ("int64", 9), (None, 1), (None, 42)])
def test_a_row_of_a_few_bytes_takes_little_memory(kind, masks):
    tracemalloc.start()
    segments = Segments.from_row(large(kind, masks=masks))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 1_000_000
    assert len(segments) == masks
    assert segments.size == (10_000, 10_000)


def test_a_map_that_is_made_later_is_the_same():
    values = np.random.default_rng(0).integers(-3, 5, (7, 9)).astype(np.int16)
    values[0, 0] = 3
    made = Segments(values, [-3, 3, 77], ["a", "b", "c"])
    read = Segments.from_row(row_of(made))
    assert read.segmentation.dtype == np.int16
    np.testing.assert_array_equal(read.segmentation, values)
    np.testing.assert_array_equal(read[[1]].mask(0), values == 3)
    overlapping = Segments.from_masks(floats(3, 7, 9) > 0.4, ["a", "b", "c"])
    again = Segments.from_row(row_of(overlapping))
    np.testing.assert_array_equal(again.masks, overlapping.masks)
    np.testing.assert_array_equal(again[[2, 0]].masks, overlapping.masks[[2, 0]])
    assert row_of(again) == row_of(overlapping)


def test_masks_of_a_map_do_not_overlap():
    whole = {**MAP["segments"][0], "value": 5}
    with pytest.raises(ValueError, match="overlap"):
        Segments.from_row({**MAP, "segments": [*MAP["segments"], whole]})


def test_very_many_masks_of_a_large_picture_are_refused_together():
    whole = rle.encode(np.zeros((1, 1), bool))
    side = 10_000
    counts = rle.compress(np.array([side * side]))
    entry = {**OVERLAPPING["segments"][0]}
    segments = [{**entry, "rle": counts} for _ in range(43)]
    assert whole["counts"] == "1"
    with pytest.raises(ValueError, match="43 times"):
        Segments.from_row({**OVERLAPPING, "segments": segments, "height": side, "width": side})


@pytest.mark.parametrize(
    ("kind", "column", "change"),
    [
        ("ranking", "ranking", {"text": None}),
        ("labels", "labels", {"label": ["x"]}),
        ("answers", "answers", {"answer": 3}),
        ("detections", "detections", {"xmax": 2**64}),
        ("detections", "detections", {"xmax": float("nan")}),
        ("detections", "detections", {"score": 1e300}),
    ],
)
def test_what_is_made_of_a_row_can_be_read(kind, column, change):
    row = row_of(MAKERS[kind]())
    row[column][0] |= change
    with pytest.raises(ValueError, match=r"texts|sides|overflow"):
        type(MAKERS[kind]()).from_row(row)


@pytest.mark.parametrize("name", ["a", "V8", "float64,float64", "object", "<U3", ["int64"], None])
def test_a_type_of_numbers_has_a_name_of_its_own(name):
    with pytest.raises((ValueError, TypeError)):
        numbers_of(name)
