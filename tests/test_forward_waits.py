"""A forward pass asks its device for no value: on the meta device, which has none, it runs all the same.

Asking makes the host wait until all that was queued is done, and the device then wait for the host.
"""

from __future__ import annotations

import contextlib
import itertools

import pytest
import torch

import sensorium
from sensorium.pipelines.transfer import Uploader
from sensorium.tasks.base import Runtime
from tests import (
    tiny_answering,
    tiny_audio,
    tiny_depth,
    tiny_detection,
    tiny_embedding,
    tiny_grounding,
    tiny_keypoints,
    tiny_normals,
    tiny_pose,
    tiny_ranking,
    tiny_reading,
    tiny_restoring,
    tiny_sam,
    tiny_segmentation,
    tiny_speech,
    tiny_text,
    tiny_video,
)
from tests.test_contract import TASKS, contract_of

META = torch.device("meta")

WRITES = {"automatic-speech-recognition"}
"""Tasks whose contract is of a model that writes: it has to know whether all is written."""

FAMILIES = [
    ("audio-classification", tiny_audio.folder, "hubert", {}),
    ("audio-classification", tiny_audio.folder, "wavlm", {}),
    ("automatic-speech-recognition", tiny_speech.ctc, "wav2vec2", {}),
    ("depth-estimation", tiny_depth.folder, "depth_pro", {}),
    ("depth-estimation", tiny_depth.folder, "dpt-hybrid", {}),
    ("depth-estimation", tiny_depth.folder, "glpn", {}),
    ("depth-estimation", tiny_depth.folder, "zoedepth-domains", {}),
    ("feature-extraction", tiny_embedding.dpr, "question_encoder", {"pool": "own"}),
    ("feature-extraction", tiny_embedding.encoder, "mpnet", {"pool": "mean"}),
    ("image-to-image", tiny_restoring.folder, "classical", {}),
    ("image-segmentation", tiny_segmentation.folder, "detr", {}),
    ("image-segmentation", tiny_segmentation.folder, "eomt", {"subtask": "instance"}),
    ("image-segmentation", tiny_segmentation.folder, "mask2former", {"subtask": "panoptic"}),
    ("image-segmentation", tiny_segmentation.folder, "oneformer", {}),
    ("image-segmentation", tiny_segmentation.folder, "rf_detr", {}),
    ("image-segmentation", tiny_segmentation.folder, "segformer", {}),
    ("keypoint-matching", lambda _: tiny_keypoints.efficientloftr(), "efficientloftr", {}),
    ("mask-generation", tiny_sam.folder, "sam2", {}),
    ("mask-generation", tiny_sam.folder, "sam3_video", {}),
    ("object-detection", tiny_detection.folder, "deformable_detr", {}),
    ("object-detection", tiny_detection.folder, "d_fine", {}),
    ("object-detection", tiny_detection.folder, "pp_doclayout_v2", {}),
    ("object-detection", tiny_detection.folder, "pp_doclayout_v3", {}),
    ("object-detection", tiny_detection.folder, "rt_detr_v2", {}),
    ("pose-estimation", tiny_pose.folder, "sapiens2", {}),
    ("pose-estimation", tiny_pose.folder, "vitpose-experts", {}),
    ("question-answering", tiny_text.reader, "roberta", {}),
    ("retrieval-qa", tiny_text.reader, "bert", {}),
    ("surface-normals", tiny_normals.folder, "sapiens2", {}),
    ("text-ranking", tiny_ranking.ranker, "roberta", {}),
    ("video-classification", tiny_video.folder, "timesformer", {}),
    ("video-classification", tiny_video.folder, "vivit", {}),
    ("video-classification", tiny_video.folder, "vjepa2", {}),
    ("zero-shot-image-classification", lambda _: tiny_embedding.siglip2(), "siglip2", {"candidate_labels": ("owl",)}),
    ("zero-shot-image-classification", tiny_text.matcher, "siglip", {"candidate_labels": ("a cat", "an owl")}),
    ("zero-shot-object-detection", tiny_grounding.folder, "grounding-dino", {"candidate_labels": ("a cat", "an owl")}),
    ("zero-shot-object-detection", tiny_grounding.folder, "omdet-turbo", {"candidate_labels": ("a cat", "an owl")}),
    ("zero-shot-object-detection", tiny_grounding.folder, "owlv2", {"candidate_labels": ("a cat", "an owl")}),
]
"""Further families of models: the task, what makes the checkpoint, of what, and options."""


def forward_without_values(task, inputs, options):
    """Runs batches of up to two units, of each shape one, on the meta device; gives what they give."""
    buckets = {}
    for unit in itertools.chain.from_iterable(task.split(raw, options) for raw in inputs):
        buckets.setdefault(task.bucket(unit), []).append(unit)
    upload = Uploader(META)
    with on_meta(task.model), torch.inference_mode():
        task.runtime = Runtime(task.model)
        return [task.forward(upload(task, units[:2]), options, task.runtime.call) for units in buckets.values()]


@contextlib.contextmanager
def on_meta(model):
    """Takes a model's values away, and gives them back: an index that other tests share may hold it."""
    had = [(module, dict(module._parameters), dict(module._buffers)) for module in model.modules()]
    model.to(META)
    try:
        yield
    finally:
        for module, parameters, buffers in had:
            module._parameters.update(parameters)
            module._buffers.update(buffers)


def assert_all_on_meta(outputs):
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    assert leaves
    assert {leaf.device.type for leaf in leaves} == {"meta"}


@pytest.mark.parametrize("name", [name for name in TASKS if name not in WRITES])
def test_forward_asks_for_nothing(name):
    contract = contract_of(name)
    with contract.build(compile=False) as pipe:
        for options in ({}, *contract.options):
            parsed = pipe.task.options.parse(options)
            pipe.task.check(parsed)
            outputs = forward_without_values(pipe.task, contract.inputs(), parsed)
            if options.get("mode") != "lexical":  # which looks for words, and runs no model
                assert_all_on_meta(outputs)


@pytest.mark.parametrize(("name", "folder", "kind", "options"), FAMILIES)
def test_other_families_ask_for_nothing_either(name, folder, kind, options):
    settings = {"device": "cpu", "dtype": "float32", "compile": False}
    with sensorium.pipeline(name, folder(kind), **settings) as pipe:
        parsed = pipe.task.options.parse(options)
        pipe.task.check(parsed)
        assert_all_on_meta(forward_without_values(pipe.task, contract_of(name).inputs(), parsed))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("keypoint-matching", tiny_keypoints.superglue),
        ("keypoint-detection", tiny_keypoints.superpoint),
        ("retrieval-qa", tiny_reading.dpr),
        ("visual-question-answering", tiny_answering.vilt),
    ],
)
def test_families_of_one_kind_ask_for_nothing(name, folder):
    with sensorium.pipeline(name, folder(), device="cpu", dtype="float32", compile=False) as pipe:
        parsed = pipe.task.options.parse({})
        assert_all_on_meta(forward_without_values(pipe.task, contract_of(name).inputs(), parsed))
