"""Processes that read hostile files in place of this one, with a bound on their time and memory."""
