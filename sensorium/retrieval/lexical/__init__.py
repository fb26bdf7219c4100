"""Words of a query in passages: BM25."""
