"""Texts that models write: what they are told for a call, batches of prompts, and the text piece by piece."""
