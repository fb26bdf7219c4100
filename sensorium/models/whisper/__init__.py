"""Whisper: a decoder with static caches, and the searches that write with it."""
