"""Faster or more exact runs of other people's architectures, one file or folder a family; none knows a task."""
