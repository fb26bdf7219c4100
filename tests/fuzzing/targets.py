"""All targets, by name: one for each parser of ours that reads what others have written."""

from __future__ import annotations

import importlib

from tests.fuzzing.target import Target

OF_MODULES = {
    "media_targets": ("picture-headers", "sound-headers", "pictures", "sounds", "addresses", "web-answers"),
    "result_targets": ("rle-strings", "rle-json", "coco-annotations", "result-rows"),
    "index_targets": ("index-manifest", "index-arrays", "index-passages", "index-vectors", "index-words"),
    "text_targets": ("passage-rows", "questions", "texts", "manual-pages", "markdown", "html"),
    "job_targets": ("tables", "archives", "job-description", "job-listing", "job-parts", "job-timings"),
    "checkpoint_targets": ("safetensors", "configs", "sentence-files", "recipes", "tokenizers", "tokenizer-patterns"),
}
NAMES = tuple(name for names in OF_MODULES.values() for name in names)


def target(name: str) -> Target:
    """One target; nothing is imported that others need.

    Raises:
        KeyError: there is none of this name.
    """
    module = next((module for module, names in OF_MODULES.items() if name in names), None)
    if module is None:
        raise KeyError(f"unknown target {name!r}; known: {', '.join(NAMES)}")
    return importlib.import_module(f"tests.fuzzing.{module}").TARGETS[name]
