"""Texts, pictures and sounds as vectors: what the task and the encoders of retrieval share."""
