"""The architectures of each task on a pretend CUDA device: the CPU's answers, and no fault."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import sensorium
from sensorium.retrieval.dense.exact import ExactScan
from tests import (
    tiny,
    tiny_answering,
    tiny_audio,
    tiny_depth,
    tiny_detection,
    tiny_embedding,
    tiny_grounding,
    tiny_keypoints,
    tiny_pose,
    tiny_ranking,
    tiny_reading,
    tiny_sam,
    tiny_segmentation,
    tiny_speech,
    tiny_text,
    tiny_video,
)
from tests.pretend_cuda import PretendCuda
from tests.tasks.test_image_segmentation import assert_same
from tests.test_contract import assert_alike, contract_of

SHORT = {"max_new_tokens": 6}
GREEDY = {"num_beams": 1}
MASKS = {"points_per_crop": 3, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.3}

LABELS = {"candidate_labels": ["a cat", "two owls", "the stone bridge"]}

TABLES = {
    "image-classification": (tiny.ARCHITECTURES, tiny.folder),
    "object-detection": (tiny_detection.ARCHITECTURES, tiny_detection.folder),
    "depth-estimation": (tiny_depth.ARCHITECTURES, tiny_depth.folder),
    "image-segmentation": (tiny_segmentation.ARCHITECTURES, tiny_segmentation.folder),
    "video-classification": (tiny_video.ARCHITECTURES, tiny_video.folder),
    "audio-classification": (tiny_audio.ARCHITECTURES, tiny_audio.folder),
    "feature-extraction": (tiny_embedding.MODELS, tiny_embedding.encoder),
    "pose-estimation": (tiny_pose.ARCHITECTURES, tiny_pose.folder),
    "question-answering": (tiny_text.READERS, tiny_text.reader),
    "retrieval-qa": (tiny_text.READERS, tiny_text.reader),
    "text-ranking": (tiny_ranking.RANKERS, tiny_ranking.ranker),
    "zero-shot-image-classification": (tiny_text.MATCHERS, tiny_text.matcher),
    "zero-shot-object-detection": (tiny_grounding.ARCHITECTURES, tiny_grounding.folder),
    "automatic-speech-recognition": (tiny_speech.CTC, tiny_speech.ctc),
}
CASES = {
    ("visual-question-answering", "blip"): (tiny_answering.blip, SHORT),
    ("visual-question-answering", "llava"): (tiny_answering.llava, SHORT),
    ("visual-question-answering", "idefics"): (tiny_answering.idefics, SHORT),
    ("retrieval-qa", "causal"): (tiny_reading.causal, SHORT),
    ("retrieval-qa", "chat"): (partial(tiny_reading.causal, chat=True), SHORT),
    ("retrieval-qa", "t5"): (partial(tiny_reading.seq2seq, "t5"), SHORT),
    ("retrieval-qa", "bart"): (partial(tiny_reading.seq2seq, "bart"), SHORT),
    ("mask-generation", "sam2"): (partial(tiny_sam.folder, "sam2"), MASKS),
    ("keypoint-matching", "efficientloftr"): (tiny_keypoints.efficientloftr, {}),
    ("mask-generation", "sam3_video"): (partial(tiny_sam.folder, "sam3_video"), MASKS),
    ("keypoint-matching", "superglue"): (tiny_keypoints.superglue, {}),
    ("keypoint-matching", "lightglue"): (partial(tiny_keypoints.lightglue, depth_confidence=0.2), {}),
    ("automatic-speech-recognition", "whisper, greedily"): (tiny_speech.whisper, GREEDY),
    ("automatic-speech-recognition", "whisper, words"): (
        partial(tiny_speech.whisper, 10, alignment=True),
        {**GREEDY, "return_timestamps": "word"},
    ),
    ("automatic-speech-recognition", "whisper, beams"): (partial(tiny_speech.whisper, 13), {"num_beams": 4}),
    ("feature-extraction", "dpr"): (partial(tiny_embedding.dpr, "ctx_encoder"), {}),
    ("feature-extraction", "siglip2"): (tiny_embedding.siglip2, {"truncation": True}),
    ("zero-shot-image-classification", "siglip2"): (tiny_embedding.siglip2, LABELS),
    ("feature-extraction", "clap"): (tiny_embedding.clap, {"truncation": True}),
}
OPTIONS = {"zero-shot-image-classification": LABELS, "zero-shot-object-detection": LABELS}
CASES |= {
    (task, name): (partial(folder, name), OPTIONS.get(task, {}))
    for task, (names, folder) in TABLES.items()
    for name in names
}
OFTEN = {
    "blip",
    "chat",
    "depth_pro",
    "detr",
    "idefics",
    "llava",
    "mask2former",
    "owlv2",
    "resnet",
    "rt_detr",
    "superglue",
    "t5",
    "wav2vec2",
    "whisper, greedily",
    "zoedepth-domains",
}
"""Run each time; the others with the slow tests."""


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case[1] in OFTEN else pytest.mark.slow, id=" ".join(case)) for case in CASES],
)
@pytest.mark.filterwarnings("ignore:.*recipe:UserWarning", "ignore:Support for mismatched key_padding_mask")
def test_an_architecture_equals_the_cpu(case, compiled):
    (task, _), (folder, options) = case, CASES[case]
    contract, settings = contract_of(task), {"dtype": "float32", "batch_size": 2}
    inputs = list(contract.inputs())[:2]
    with sensorium.pipeline(task, folder(), device="cpu", compile=False, **settings) as pipe:
        want = pipe(inputs, **options)
    with PretendCuda() as cuda, sensorium.pipeline(task, folder(), device="cuda", compile=compiled, **settings) as pipe:
        for _ in range(1 + compiled):
            for got, expected in zip(pipe(inputs, **options), want, strict=True):
                if task == "image-segmentation":  # pixels between two classes go to either, by rounding
                    assert_same(got, expected)
                else:
                    assert_alike(got.to_dict(), expected.to_dict(), contract)
    cuda.check()


@pytest.mark.parametrize("share", [None, 0.02, 0.6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_exact_search(share, dtype):
    draw = np.random.default_rng(0)
    vectors, queries = (draw.standard_normal((count, 16), np.float32) for count in (5000, 7))
    allowed = None if share is None else draw.random(len(vectors)) < share
    scores, rows = ExactScan(vectors).search(queries, 10, allowed=allowed)
    with PretendCuda(devices=2) as cuda:
        scan = ExactScan(vectors, device=torch.device("cuda", 1), dtype=dtype)
        got_scores, got_rows = scan.search(queries, 10, allowed=allowed)
        assert torch.cuda.max_memory_allocated(0) == 0
    np.testing.assert_array_equal(got_rows, rows)
    np.testing.assert_allclose(got_scores, scores, rtol=1e-6)  # computed from the same float32 vectors
    cuda.check()
