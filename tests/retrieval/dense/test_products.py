"""Products of single rows, where they lie and gathered."""

from __future__ import annotations

import pytest
import torch

from sensorium.retrieval.dense import products


@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_products_where_they_lie_are_those_of_gathered_rows(count):
    torch.manual_seed(0)
    vectors, queries = torch.randn(500, 48), torch.randn(7, 48)
    rows, query = torch.randint(0, 500, (count,)), torch.randint(0, 7, (count,)).sort().values
    want = (vectors[rows].double() * queries[query].double()).sum(1)
    for way in (products._where_they_lie, products._gathered, products.inner_products):
        found = way(vectors, rows, queries, query)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), want, atol=1e-5, rtol=0)


def test_where_torch_cannot_sample_products_rows_are_gathered(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("not in this build")

    products._multiplies_where_they_lie.cache_clear()
    monkeypatch.setattr(torch.sparse, "sampled_addmm", refuse)
    try:
        one = products.inner_products(torch.eye(3), torch.tensor([1, 2]), torch.ones(1, 3), torch.tensor([0, 0]))
    finally:
        products._multiplies_where_they_lie.cache_clear()
    assert one.tolist() == [1.0, 1.0]
