"""Architectures of each task beside the one that its contract runs: those whose code on the device is another."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests import (
    tiny,
    tiny_answering,
    tiny_audio,
    tiny_detection,
    tiny_embedding,
    tiny_keypoints,
    tiny_ranking,
    tiny_reading,
    tiny_segmentation,
    tiny_speech,
    tiny_text,
)
from tests.contract import Contract


@dataclass(frozen=True)
class Family:
    """An architecture of a task.

    Attributes:
        task: its name; inputs and how results are compared are those of its contract.
        folder: makes the checkpoint that the `ours` of the task's tests loads, or names it to that.
        calls: sets of options, each for one call.
    """

    task: str
    folder: Callable[[], Path | str]
    calls: Sequence[dict[str, Any]] = ({},)

    def contract(self) -> Contract:
        """The task's, with this architecture, and these calls as its `options`."""
        module = importlib.import_module(f"tests.tasks.test_{self.task.replace('-', '_')}")
        build = lambda **settings: module.ours(self.folder(), **settings)  # noqa: E731 - as the contracts have it
        return dataclasses.replace(module.CONTRACT, build=build, options=self.calls, opened=None)


def _each(
    task: str, folder: Callable[[str], Path | str], names: str, calls: Sequence[dict[str, Any]] = ({},)
) -> dict[str, Family]:
    return {f"{task}-{name}": Family(task, partial(folder, name), calls) for name in names.split()}


WRITES = {"max_new_tokens": 6}
LABELS = {"candidate_labels": ["owl", "cat", "a red boat"]}
QUERIES = [{"threshold": 0.3}, {"subtask": "semantic"}]
VISUAL, SPEECH, MATCHING = "visual-question-answering", "automatic-speech-recognition", "keypoint-matching"

OWN_LOOPS = {  # what runs more than a model's forward: loops on the device, prompts, caches
    **_each("mask-generation", str, "sam2", [{"points_per_crop": 4}]),
    f"{MATCHING}-superglue": Family(MATCHING, tiny_keypoints.superglue, [{}, {"threshold": 0.01}]),
    f"{MATCHING}-lightglue-early": Family(
        MATCHING, partial(tiny_keypoints.lightglue, depth_confidence=0.5, width_confidence=0.6)
    ),
    f"{SPEECH}-whisper-greedy": Family(SPEECH, tiny_speech.whisper, [{"num_beams": 1}]),
    f"{SPEECH}-whisper-beams": Family(SPEECH, tiny_speech.whisper, [{"num_beams": 3, "length_penalty": 0.2}]),
    f"{SPEECH}-whisper-words": Family(
        SPEECH, partial(tiny_speech.whisper, alignment=True), [{"num_beams": 1, "return_timestamps": "word"}]
    ),
    **_each(SPEECH, tiny_speech.ctc, "wav2vec2 wav2vec2-layer", [{"return_timestamps": "word"}]),
    f"{VISUAL}-blip": Family(VISUAL, tiny_answering.blip, [WRITES, {**WRITES, "num_beams": 3}]),
    f"{VISUAL}-llava": Family(VISUAL, tiny_answering.llava, [WRITES, {**WRITES, "num_beams": 3}]),
    f"{VISUAL}-idefics": Family(VISUAL, tiny_answering.idefics, [WRITES]),
    "retrieval-qa-causal": Family("retrieval-qa", tiny_reading.causal, [WRITES]),
    **_each("retrieval-qa", tiny_reading.seq2seq, "t5 bart", [WRITES]),
}

ONE_FORWARD = {
    **_each("object-detection", tiny_detection.folder, "conditional_detr dab-detr deformable_detr yolos"),
    **_each("object-detection", tiny_detection.folder, "rt_detr rt_detr_v2 d_fine lw_detr rf_detr"),
    **_each("image-segmentation", tiny_segmentation.folder, "detr maskformer mask2former", QUERIES),
    **_each("image-segmentation", tiny_segmentation.folder, "beit upernet-swin dpt mobilevitv2"),
    **_each("image-classification", tiny.folder, "beit swinv2 focalnet hiera mobilevit efficientnet levit"),
    **_each("image-feature-extraction", tiny.folder, "swin resnet siglip", [{"pool": "pooled"}]),
    **_each("zero-shot-image-classification", tiny_text.matcher, "siglip altclip chinese_clip", [LABELS]),
    **_each("audio-classification", tiny_audio.folder, "wav2vec2-weighted hubert-layer sew ast whisper"),
    **_each("audio-classification", tiny_audio.folder, "wavlm data2vec-audio", [{"window_s": 0.25}]),
    **_each(
        "feature-extraction", tiny_embedding.encoder, "bert roberta mpnet t5 bart gpt2 fnet", [{}, {"pool": "mean"}]
    ),
    **_each("question-answering", tiny_text.reader, "distilbert roberta"),
    **_each("text-ranking", tiny_ranking.ranker, "roberta deberta-v2"),
}

FAMILIES = {**OWN_LOOPS, **ONE_FORWARD}
