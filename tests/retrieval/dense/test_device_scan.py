"""Exact search on a GPU, on the pretend device, against all products and against the CPU's search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import OptionError
from sensorium.retrieval.dense import device_scan
from sensorium.retrieval.dense.coarse import CoarseQueries, coarse_copy
from sensorium.retrieval.dense.device_scan import DeviceScan
from sensorium.retrieval.dense.exact import ExactScan
from sensorium.retrieval.dense.kinds import choose_kind
from sensorium.retrieval.dense.rounding import powers_below
from tests.pretend_cuda import PretendCuda
from tests.retrieval.dense.test_exact import alike, assert_exact, data

CARD = torch.device("cuda", 0)
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["normal", "near-duplicates", "integers", "zeros", "huge and tiny"]),
    st.integers(1, 3000),
    st.integers(2, 40),
    st.integers(1, 9),
    st.integers(1, 60),
    st.sampled_from(DTYPES),
    st.sampled_from([None, 0.0, 0.001, 0.1, 0.9]),
    st.sampled_from([1.0, 1e-12, 1e12]),
    st.integers(0, 2**16),
)
def test_equals_all_products(kind, rows, width, queries, k, dtype, share, size, seed):
    x = data(kind, rows, width, seed)
    q = data("normal" if kind != "integers" else kind, queries, width, seed + 1) * np.float32(size)
    allowed = None if share is None else np.random.default_rng(seed).random(rows) < share
    with PretendCuda() as cuda:
        assert_exact(ExactScan(x, device=CARD, dtype=dtype), x, q, k, allowed)
    cuda.check()


@pytest.mark.parametrize("rows", [1, 31, 32, 1_024, 5_003])
@pytest.mark.parametrize("share", [None, 0.3])
def test_scores_and_rows_are_those_of_the_cpu_to_the_bit(rows, share):
    x, q = data("normal", rows, 24, 0), data("normal", 9, 24, 1)
    allowed = None if share is None else np.random.default_rng(2).random(rows) < share
    want = ExactScan(x).search(q, 40, allowed=allowed)
    with PretendCuda() as cuda:
        scan = ExactScan(x, device=CARD)
        assert scan.dtype == torch.float16
        got = scan.search(q, 40, allowed=allowed)
        assert scan.scanned_again == 0
    cuda.check()
    assert (got[0] == want[0]).all() and (got[1] == want[1]).all()


def test_tiles_of_any_size_give_the_same(monkeypatch):
    x, q = data("huge and tiny", 4_111, 8, 0), data("normal", 5, 8, 1)
    monkeypatch.setattr(device_scan, "PRODUCTS", 2_048 * 5)
    with PretendCuda() as cuda:
        assert_exact(ExactScan(x, device=CARD), x, q, 10)
    cuda.check()


def test_vectors_of_any_length_fit_into_float16():
    x, q = data("normal", 2_016, 16, 0), data("normal", 3, 16, 1)
    x[:672] *= np.float32(1e12)
    x[672:1_344] *= np.float32(1e-12)
    with PretendCuda():
        scan = ExactScan(x, device=CARD)
        assert bool(scan.coarse.values.cpu().isfinite().all())
        assert bool((scan.coarse.left_over < 1e-3 * scan.coarse.longest).all()), "each 32 rows have their own scale"
        assert_exact(scan, x, q, 10)
        allowed = np.arange(len(x)) >= 672
        assert_exact(scan, x, q, 10, allowed)
        assert scan.scanned_again == 0, "long vectors say nothing about the bounds of others"


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_too_small_for_float32_are_those_of_the_cpu(dtype):
    x, q = data("normal", 500, 16, 0) * np.float32(1e-25), data("normal", 3, 16, 1) * np.float32(1e-25)
    allowed = np.arange(len(x)) >= 100
    want = ExactScan(x, dtype=torch.float32).search(q, 7, allowed=allowed)
    with PretendCuda():
        got = ExactScan(x, device=CARD, dtype=dtype).search(q, 7, allowed=allowed)
    assert (got[0] == want[0]).all() and (got[1] == want[1]).all()


def test_what_float16_cannot_tell_apart_is_searched_in_float32():
    x = alike(3_000, 64, 0)
    q = np.concatenate([x[:1], x[:1] * 2])
    with PretendCuda():
        scan = ExactScan(x, device=CARD)
        assert_exact(scan, x, q, 10)
        assert scan.scanned_again == 2
        x[:500] = data("normal", 500, 64, 2) * 9
        scan = ExactScan(x, device=CARD)
        assert_exact(scan, x, q, 10)
        assert scan.scanned_again == 0, "what is alike is far from the best now"


def test_the_bounds_are_what_makes_it_exact(monkeypatch):
    x = alike(3_000, 64, 0)
    right = CoarseQueries.of.__func__

    def without_bounds(cls, *args):
        asked = right(cls, *args)
        for name in ("of_left_over", "of_longest", "always"):
            object.__setattr__(asked, name, torch.zeros_like(getattr(asked, name)))
        return asked

    monkeypatch.setattr(CoarseQueries, "of", classmethod(without_bounds))
    with PretendCuda(), pytest.raises(AssertionError):
        assert_exact(ExactScan(x, device=CARD), x, x[:4], 10)


def test_the_cpu_looks_at_candidates_while_the_device_goes_on(monkeypatch):
    x, q = data("normal", 2_000, 16, 0), data("normal", 10, 16, 1)
    monkeypatch.setattr(device_scan, "TOGETHER", 4)
    order = []
    start, wait = DeviceScan.start, device_scan.Pending.wait
    monkeypatch.setattr(DeviceScan, "start", lambda *args: order.append("start") or start(*args))
    monkeypatch.setattr(device_scan.Pending, "wait", lambda self: order.append("wait") or wait(self))
    with PretendCuda() as cuda:
        scan = ExactScan(x, device=CARD)
        cuda.waits.clear()
        assert_exact(scan, x, q, 5)
        assert sum(cuda.waits.values()) == 3, cuda.waits_text()
    cuda.check()
    assert order == ["start", "start", "wait", "start", "wait", "wait"]


def test_rows_are_added_to_those_that_are_there():
    x, q = data("normal", 2_500, 8, 0), data("normal", 3, 8, 1)
    with PretendCuda() as cuda:
        known = coarse_copy(x[:2_100], device=CARD)
        grown, anew = coarse_copy(x, device=CARD, previous=known), coarse_copy(x, device=CARD)
        assert torch.equal(grown.values.cpu(), anew.values.cpu()) and torch.equal(grown.bounds, anew.bounds)
        assert_exact(ExactScan(x, device=CARD, coarse=grown), x, q, 10)
    cuda.check()


def test_tiles_are_halved_where_memory_does_not_suffice():
    x, q = data("normal", 65_536, 8, 0), data("normal", 64, 8, 1)
    with PretendCuda() as cuda:
        scan = ExactScan(x, device=CARD)
        cuda.limit_bytes = cuda.bytes_alive() + 2**23  # all products are 16 MB
        assert_exact(scan, x, q, 10)
        assert cuda.ran_out == 1 + 1, "one for all rows and one for half of them, which need some more beside"
        assert_exact(scan, x, q, 10)
        assert cuda.ran_out == 2, "tiles stay small"
        cuda.limit_bytes = cuda.bytes_alive() + 2**10
        with pytest.raises(torch.OutOfMemoryError):
            scan.search(q, 10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_that_do_not_fit_are_refused(dtype):
    x = data("normal", 40_000, 64, 0)
    with (
        PretendCuda(memory=4 * 2**20),
        pytest.raises(OptionError, match=r'cuda:0 takes (5|10) MiB .* 4 MiB are free.*device="cpu"'),
    ):
        ExactScan(x, device=CARD, dtype=dtype)


def test_auto_is_exact_where_half_of_the_card_holds_the_vectors():
    with PretendCuda(memory=2**30):
        assert choose_kind("auto", 300_000, 768, deletes=False, device=CARD) == "exact"
        assert choose_kind("auto", 400_000, 768, deletes=False, device=CARD) != "exact"


def test_float16_is_for_cuda():
    with pytest.raises(OptionError, match="float16 is for CUDA"):
        ExactScan(data("normal", 5, 4, 0), dtype=torch.float16)


def test_sums_are_in_float32_whatever_is_allowed_elsewhere(monkeypatch):
    x, q = data("normal", 100, 16, 0), data("normal", 3, 16, 1)
    matmul, product, seen = torch.backends.cuda.matmul, torch.mm, []

    def mm(*args, **kwargs):
        seen.append(matmul.allow_fp16_accumulation)
        return product(*args, **kwargs)

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(matmul, "allow_fp16_accumulation", True)
    with PretendCuda():
        assert_exact(ExactScan(x, device=CARD), x, q, 5)
    assert set(seen) == {False} and matmul.allow_fp16_accumulation


def test_a_setting_that_allows_float32_fewer_bits_widens_the_bounds(monkeypatch):
    q = torch.from_numpy(data("normal", 3, 16, 1))
    before = CoarseQueries.of(q, torch.float32, torch.device("cpu")).always  # float32 on the pretend device is sent
    with PretendCuda():
        full = CoarseQueries.of(q, torch.float32, CARD)
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
        fewer = CoarseQueries.of(q, torch.float32, CARD)
    assert bool((fewer.of_longest > full.of_longest + 2.0**-8).all()) and torch.equal(before, full.always)


@given(st.floats(2.0**-126, 2.0**127, width=32))
def test_powers_below_are_exact(value):
    power = float(powers_below(torch.tensor([value]))[0])
    assert np.frexp(power)[0] == 0.5 and power <= value < 2 * power
