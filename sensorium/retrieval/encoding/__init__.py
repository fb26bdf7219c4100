"""Encoders: passages and queries to vectors, by the tasks and the pairs of models that were trained for it."""
