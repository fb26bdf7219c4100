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
        ({"size": [2, 2], "counts": "5"}, "runs of 5 px do not fill a mask of 2 x 2 px"),
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


def string_of(numbers):
    """The string in which these numbers stand: counts, and from the fourth on differences."""
    return "".join(string_by_hand([number]) for number in numbers)


def undone(numbers):
    """The counts, of whatever size, whose differences these are."""
    counts = []
    for i, number in enumerate(numbers):
        counts.append(number + counts[i - 2] if i > 2 else number)
    return counts


HOSTILE = {
    "a sum of 64 bits that wraps to 16": {"size": [4, 4], "counts": [2**62, 2**62, 2**62, 2**62 + 16]},
    "compressed counts that wrap": {"size": [4, 4], "counts": string_of([0, 0, 0, *[2**58, 0] * 32, 16, 0])},
    "compressed counts whose sum wraps": {"size": [4, 4], "counts": string_of([2**58, 0, 0, *[0] * 60, 16])},
    "negative counts that add up": {"size": [4, 4], "counts": [-16, 32]},
    "compressed negative counts that add up": {"size": [4, 4], "counts": string_of([-16, 32])},
    "unsigned counts that are negative as signed ones": {"size": [4, 4], "counts": np.array([2**64 - 16, 32], "u8")},
    "2 GB of mask in 12 bytes": {"size": [46_341, 46_341], "counts": string_of([46_341**2])},
    "a size that wraps": {"size": [2**32, 2**32], "counts": [0]},
    "negative sides": {"size": [-4, -4], "counts": [16]},
    "sides that are not whole": {"size": [2.5, 4], "counts": [10]},
    "sides that are texts": {"size": ["4", "4"], "counts": [16]},
    "one side": {"size": [16], "counts": [16]},
    "counts that are not whole": {"size": [4, 4], "counts": [15.5, 0.5]},
    "counts beyond 64 bits": {"size": [4, 4], "counts": [2**70]},
    "a table of counts": {"size": [4, 4], "counts": [[16]]},
    "counts that are texts": {"size": [4, 4], "counts": ["16"]},
    "no counts": {"size": [4, 4], "counts": None},
}


def _fill_checked(fill, monkeypatch):
    """`fill`, in which the step that takes and writes the memory of a mask fails the test."""

    def checked(lengths, size):
        monkeypatch.setattr(np, "repeat", lambda *args: pytest.fail("a mask was written that was not checked"))
        return fill(lengths, size)

    return checked


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_refuses_before_anything_is_allocated_or_written(hostile, monkeypatch):
    monkeypatch.setattr(rle, "fill", _fill_checked(rle.fill, monkeypatch))
    with pytest.raises(ValueError, match=r"mask|RLE|unpack"):
        rle.decode(hostile)


@given(st.lists(st.integers(-(2**59), 2**59 - 1), min_size=1, max_size=80))
def test_no_string_gives_counts_that_are_not_what_it_says(numbers):
    counts = undone(numbers)
    try:
        read = rle.decompress(string_of(numbers)).tolist()
    except ValueError:
        assert min(counts) < 0 or max(map(abs, [*counts, *numbers])) > 2**40
    else:
        assert read == counts


@settings(deadline=None)
@given(st.lists(st.integers(), max_size=8) | st.binary(max_size=40) | st.text(max_size=40),
       st.lists(st.integers(-3, 2**40), min_size=2, max_size=2))  # fmt: skip
def test_any_counts_give_a_mask_or_a_value_error(counts, size):
    try:
        mask = rle.decode({"size": size, "counts": counts}, max_pixels=10_000)
    except ValueError:
        return
    assert mask.shape == tuple(size)


def test_the_bound_can_be_set():
    encoded = rle.encode(np.ones((10, 10), bool))
    assert rle.decode(encoded, max_pixels=100).all()
    with pytest.raises(ValueError, match="10 x 10 px are more than the 99 px"):
        rle.decode(encoded, max_pixels=99)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_runs_of_a_box_are_those_of_the_whole_mask(share):
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = np.zeros(rng.integers(0, 9, 2), bool)
        top, left = rng.integers(0, 9, 2)
        part = mask[top:, left:]
        part[: rng.integers(1, 9), : rng.integers(1, 9)] = rng.random() < share
        part[...] &= rng.random(part.shape) < 0.8
        flat = mask.ravel(order="F")
        changes = np.flatnonzero(np.diff(flat)) + 1
        expected = rle.runs_between(changes, len(flat), starts_set=bool(flat[:1].any()))
        assert rle.runs(mask).tolist() == expected.tolist()
