"""Exact search against all products, computed by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import InputError
from sensorium.retrieval.dense import exact, flat_scan
from sensorium.retrieval.dense.exact import ExactScan
from sensorium.retrieval.dense.selection import RowCandidates

DTYPES = [torch.int8, torch.bfloat16, torch.float32]


def data(kind, rows, width, seed):
    """Vectors of a kind that stresses the proof."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)).astype(np.float32)
    if kind == "near-duplicates":
        return x[:1] + x * np.float32(1e-4)
    if kind == "integers":  # exact in both types: many equal products
        return rng.integers(-2, 3, (rows, width)).astype(np.float32)
    if kind == "zeros":
        x[rng.random(rows) < 0.7] = 0
    if kind == "huge and tiny":
        x *= 10.0 ** rng.integers(-12, 12, (rows, 1)).astype(np.float32)
    return x


def brute_force(x, q, k, allowed=None):
    """The best k products in float64, and which rows could be among them for float32's rounding."""
    products = q.astype(np.float64) @ x.T.astype(np.float64)
    if allowed is not None:
        products[:, ~allowed] = -np.inf
    return -np.sort(-products, axis=1)[:, :k], products


def assert_exact(scan, x, q, k, allowed=None):
    scores, rows = scan.search(q, k, allowed=allowed)
    assert scores.shape == rows.shape == (len(q), k) and scores.dtype == np.float32 and rows.dtype == np.int64
    best, products = brute_force(x, q, k, allowed)
    count = min(k, len(x) if allowed is None else int(allowed.sum()))
    assert (rows[:, count:] == -1).all() and (scores[:, count:] == -np.inf).all()
    scores, rows, best = scores[:, :count], rows[:, :count], best[:, :count]
    # D sums in float32, whose error is relative to the lengths
    rounding = 2.0**-23 * (x.shape[1] + 2) * np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1).max()
    assert (np.abs(np.take_along_axis(products, rows, 1) - scores) <= rounding).all()
    assert (np.abs(scores - best) <= rounding).all(), "a better row was left out"
    for one in rows:
        assert len(set(one.tolist())) == count
    falls = np.diff(scores, axis=1)
    assert (falls <= 0).all()
    assert (np.diff(rows, axis=1)[falls == 0] > 0).all(), "of equal ones the lower row comes first"


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["normal", "near-duplicates", "integers", "zeros", "huge and tiny"]),
    st.integers(1, 700),
    st.integers(2, 40),
    st.integers(1, 9),
    st.integers(1, 60),
    st.sampled_from(DTYPES),
    st.sampled_from([None, 0.0, 0.1, 0.9]),
    st.integers(0, 2**16),
)
def test_equals_all_products(kind, rows, width, queries, k, dtype, share, seed):
    x = data(kind, rows, width, seed)
    q = data("normal" if kind != "integers" else kind, queries, width, seed + 1)
    allowed = None if share is None else np.random.default_rng(seed).random(rows) < share
    assert_exact(ExactScan(x, dtype=dtype), x, q, k, allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [exact.FIRST_TILE - 1, exact.FIRST_TILE + exact.LEAST_TILE + 17])
@pytest.mark.parametrize("queries", [1, 70])
@pytest.mark.parametrize("share", [None, 0.1, 0.6])
def test_many_tiles(rows, queries, share, dtype):
    x, q = data("normal", rows, 24, 0), data("normal", queries, 24, 1)
    allowed = None if share is None else np.random.default_rng(2).random(rows) < share
    scan = ExactScan(x, dtype=dtype)
    assert_exact(scan, x, q, 10, allowed)
    assert scan.scanned_again == 0, "well separated products are proven in the first scan"


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_over_many_tiles_go_to_the_lowest_rows(dtype):
    x = np.ones((2 * exact.FIRST_TILE, 8), np.float32)
    scan = ExactScan(x, dtype=dtype)
    scores, rows = scan.search(np.ones((2, 8), np.float32), 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 2 and (scores == 8).all()
    assert scan.scanned_again == (0 if dtype == torch.float32 else 2)


def alike(rows, width, seed):
    """Vectors that few bits cannot tell apart."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.standard_normal((1, width)), rows, axis=0).astype(np.float32)
    return x + rng.standard_normal(x.shape).astype(np.float32) * np.float32(2e-4)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])
def test_what_few_bits_cannot_tell_apart_is_scanned_again(dtype):
    x = alike(20_000, 64, 0)
    q = np.concatenate([x[:1], data("normal", 1, 64, 1)])
    scan = ExactScan(x, dtype=dtype)
    assert_exact(scan, x, q, 10)
    assert scan.scanned_again == 2
    x[:2000] = data("normal", 2000, 64, 2) * 9
    scan = ExactScan(x, dtype=dtype)
    assert_exact(scan, x, q, 10)
    assert scan.scanned_again == 0, "what is alike is far from the best now"


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])
def test_the_bounds_are_what_makes_it_exact(dtype, monkeypatch):
    x = 1 + data("normal", 20_000, 64, 0) / 1_000
    q = np.where(np.arange(64) % 2, -1, 1) + data("normal", 4, 64, 1) / 1_000  # products far smaller than lengths
    x, q = x.astype(np.float32), q.astype(np.float32)
    assert_exact(ExactScan(x, dtype=dtype), x, q, 10)
    monkeypatch.setattr(RowCandidates, "_bounds", lambda self, tile: torch.zeros(len(self.given_up), len(tile.scales)))
    with pytest.raises(AssertionError):
        assert_exact(ExactScan(x, dtype=dtype), x, q, 10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_s_scores_do_not_depend_on_its_batch(dtype):
    x, q = data("normal", 3_000, 96, 0), data("normal", 130, 96, 1)
    scan = ExactScan(x, dtype=dtype)
    scores, rows = scan.search(q, 20)
    for i in (0, 64, 129):
        one_scores, one_rows = scan.search(q[i : i + 1], 20)
        assert (one_scores[0] == scores[i]).all() and (one_rows[0] == rows[i]).all()


@pytest.mark.parametrize("mode", ["r", "c"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_may_stay_in_a_file(tmp_path, mode, dtype):
    x, q = data("normal", 500, 16, 0), data("normal", 3, 16, 1)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    q.setflags(write=False)
    a, b = ExactScan(mapped, dtype=dtype).search(q, 7), ExactScan(x, dtype=dtype).search(q, 7)
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_may_be_given(dtype, monkeypatch):
    x, q = data("normal", 500, 16, 0), data("normal", 3, 16, 1)
    known = ExactScan(x, dtype=dtype).coarse
    monkeypatch.setattr(exact, "coarse_copy", None)
    assert_exact(ExactScan(x, coarse=known), x, q, 7)


@pytest.mark.parametrize("k", [400, 3_000, 20_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_are_wanted(k, dtype):
    x, q = data("normal", 19_000, 8, 0), data("normal", 3, 8, 1)
    assert_exact(ExactScan(x, dtype=dtype), x, q, k)


def test_a_setting_that_allows_float32_fewer_bits_changes_nothing():
    x, q = data("near-duplicates", 3_000, 64, 0), data("normal", 70, 64, 1)
    scores, rows = ExactScan(x, dtype=torch.float32).search(q, 5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        fewer_scores, fewer_rows = ExactScan(x, dtype=torch.float32).search(q, 5)
    finally:
        torch.set_float32_matmul_precision(before)
    assert (fewer_scores == scores).all() and (fewer_rows == rows).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_beyond_float32_are_refused(dtype):
    scan = ExactScan(data("normal", 50, 8, 0) * np.float32(1e25), dtype=dtype)
    with pytest.raises(InputError, match="too large for float32"):
        scan.search(data("normal", 2, 8, 1) * np.float32(1e25), 3)


def test_no_queries():
    scores, rows = ExactScan(data("normal", 5, 4, 0)).search(np.empty((0, 4), np.float32), 3)
    assert scores.shape == rows.shape == (0, 3)


@pytest.mark.parametrize("rows", [20, 3_000])
@pytest.mark.parametrize("kind", ["normal", "integers", "zeros", "huge and tiny", "near-duplicates"])
def test_what_faiss_scans_is_what_torch_scans(kind, rows, monkeypatch):
    x, q = data(kind, rows, 24, 0), data("normal" if kind != "integers" else kind, 40, 24, 1)
    scan = ExactScan(x, dtype=torch.float32)
    x.setflags(write=False)
    monkeypatch.setattr(flat_scan, "suits", lambda queries, vectors, k: True)
    assert_exact(scan, x, q, 10)
    again = scan.scanned_again
    scores, best = scan.search(q, 10)
    monkeypatch.setattr(flat_scan, "suits", lambda queries, vectors, k: False)
    want_scores, want = scan.search(q, 10)
    assert (scores == want_scores).all() and (best == want).all(), "to the bit, whoever scans"
    if kind in ("normal", "near-duplicates"):
        left_open = kind != "normal" and rows > exact.GROUP
        assert bool(again) == left_open, "what float32's rounding leaves open is scanned again"


def test_faiss_scans_long_runs_where_it_is_faster(monkeypatch):
    relative = {"time": 1.2}
    monkeypatch.setattr(flat_scan, "relative_time", lambda: relative["time"])
    assert not flat_scan.suits(1_024, 1_000_000, 100)
    relative["time"] = 1.03
    assert flat_scan.suits(1_024, 1_000_000, 100)
    assert not flat_scan.suits(64, 1_000_000, 100) and not flat_scan.suits(1_024, 1_000, 100)


def test_faiss_does_not_take_more_threads_than_torch_may(monkeypatch):
    flat_scan.relative_time.cache_clear()
    monkeypatch.setattr("faiss.omp_get_max_threads", lambda: torch.get_num_threads() + 1)
    try:
        assert flat_scan.relative_time() == float("inf")
    finally:
        flat_scan.relative_time.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize("share", [None, 0.1, 0.6])
def test_on_a_gpu(share):
    x, q = data("normal", 600_000, 32, 0), data("normal", 70, 32, 1)
    allowed = None if share is None else np.random.default_rng(2).random(len(x)) < share
    scan = ExactScan(x, device=torch.device("cuda"))
    assert_exact(scan, x, q, 50, allowed)
    assert scan.scanned_again == 0
    for got, want in zip(scan.search(q, 50, allowed=allowed), ExactScan(x).search(q, 50, allowed=allowed), strict=True):
        assert (got == want).all(), "the CPU's, to the bit"
