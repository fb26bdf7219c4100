"""Vectors nearest to a query: exact scans, and faiss's approximate ones."""
