"""COCO's run-length encoding against a brute force, and against pycocotools where it is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sensorium.results import rle

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40))


def counts_by_hand(mask):
    """Walks over the mask pixel by pixel, a column at a time."""
    counts, last, length = [], False, 0
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != last:
                counts.append(length)
                last, length = not last, 0
            length += 1
    return [*counts, length]


def string_by_hand(counts):
    """cocoapi's rleToString, character by character."""
    out = ""
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        while True:
            group, x = x & 31, x >> 5
            more = x != (-1 if group & 16 else 0)
            out += chr(group + 32 * more + 48)
            if not more:
                break
    return out


@settings(deadline=None)
@given(MASKS)
def test_encodes_as_by_hand_and_decodes_to_the_same(mask):
    counts = counts_by_hand(mask)
    encoded = rle.encode(mask)
    assert encoded == {"size": list(mask.shape), "counts": string_by_hand(counts)}
    assert json.loads(json.dumps(encoded)) == encoded
    assert rle.runs(mask).tolist() == counts
    assert rle.decompress(encoded["counts"]).tolist() == counts
    for form in (encoded, {**encoded, "counts": encoded["counts"].encode()}, {**encoded, "counts": counts}):
        decoded = rle.decode(form)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


@given(st.lists(st.integers(0, 2**33), min_size=1, max_size=40))
def test_any_counts_survive_the_string(counts):
    text = rle.compress(np.array(counts, np.int64))
    assert text == string_by_hand(counts)
    assert rle.decompress(text).tolist() == counts


def test_numbers_are_a_mask_too():
    soft = np.array([[0.0, 0.25], [2.0, 0.0]])
    np.testing.assert_array_equal(rle.decode(rle.encode(soft)), soft != 0)


def test_does_not_write_into_what_it_is_given():
    counts = np.array([3, 2, 4, 1, 6], np.int64)
    rle.compress(counts)
    assert counts.tolist() == [3, 2, 4, 1, 6]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
@settings(deadline=None)
@given(MASKS.filter(lambda mask: mask.size > 0))
def test_equals_pycocotools(mask):
    reference = pytest.importorskip("pycocotools.mask")
    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = rle.encode(mask)
    assert ours["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(reference.decode({**ours, "counts": ours["counts"].encode()}), mask)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": [2, 2]}, "a mask in RLE is"),
        ({"counts": "4"}, "a mask in RLE is"),
        ({"size": [2, 2], "counts": "5"}, "runs of 5 px in all do not fill a mask of 2 x 2 px"),
        ({"size": [2, 2], "counts": [5, -1]}, "do not fill"),
        ({"size": [2, 2], "counts": "a"}, "expected a string of COCO's"),  # says that more follows
        ({"size": [2, 2], "counts": "4 "}, "expected a string of COCO's"),
        ({"size": [2, 2], "counts": "4é"}, "do not fill|expected a string of COCO's"),
        ({"size": [2, 2], "counts": "o" * 30 + "0"}, "longer than any mask"),
        ({"size": [2, 2], "counts": ""}, "do not fill"),
    ],
)
def test_refuses_what_is_no_mask(given, message):
    with pytest.raises(ValueError, match=message):
        rle.decode(given)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), ()])
def test_refuses_what_has_other_than_two_axes(shape):
    with pytest.raises(ValueError, match="array, got shape"):
        rle.encode(np.zeros(shape, bool))
