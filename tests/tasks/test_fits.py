"""Which checkpoints fit which tasks, said from their configuration alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from sensorium.checkpoints import Checkpoint, LoadOptions
from sensorium.tasks.base import Task, all_tasks
from sensorium.tasks.base.models import Models, classes_of
from sensorium.tasks.searching.search_task import SearchTask


def checkpoint(kind="transformers", **config):
    return Checkpoint("made up", Path("nowhere"), kind, config, LoadOptions())


def named(architecture, model_type, **more):
    return checkpoint(architectures=[architecture], model_type=model_type, **more)


def bare(model_type, **more):
    return checkpoint(model_type=model_type, **more)


def composite(task):
    return checkpoint("composite", model_type="vit", sensorium={"task": task})


FEATURES = {"image-feature-extraction": "possible"}
ONE, THREE = ({"id2label": {str(i): "a" for i in range(n)}} for n in (1, 3))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            named("ViTForImageClassification", "vit"),
            {"image-classification": "native", "image-feature-extraction": "possible"},
        ),
        (named("ViTModel", "vit"), {"image-feature-extraction": "native"}),
        (bare("vit"), {"image-classification": "possible", **FEATURES}),
        (named("Own", "own", auto_map={"AutoModelForImageClassification": "x.Y"}), {"image-classification": "native"}),
        (named("Own", "own", auto_map={"AutoModelForObjectDetection": "x.Y"}), {"object-detection": "native"}),
        (named("Own", "own", auto_map={"AutoModelForMaskGeneration": "x.Y"}), {}),
        (checkpoint("timm", num_classes=10), {"image-classification": "native", **FEATURES}),
        (checkpoint("timm", num_classes=0), {"image-feature-extraction": "native"}),
        (checkpoint("backbone"), {"image-feature-extraction": "native"}),
        (composite("image-classification"), {"image-classification": "native", **FEATURES}),
        (composite("keypoint-detection"), {"keypoint-detection": "native", **FEATURES}),
        (composite("image-segmentation"), {"image-segmentation": "native", **FEATURES}),
        (composite("visual-question-answering"), {"visual-question-answering": "native", **FEATURES}),
        (composite("object-detection"), FEATURES),
        (named("DetrForObjectDetection", "detr"), {"object-detection": "native", **FEATURES}),
        (named("DetrForSegmentation", "detr"), {"image-segmentation": "native", **FEATURES}),
        (bare("detr"), {"object-detection": "possible", "image-segmentation": "possible", **FEATURES}),
        (named("SegformerForSemanticSegmentation", "segformer"), {"image-segmentation": "native", **FEATURES}),
        (
            named("Mask2FormerForUniversalSegmentation", "mask2former"),
            {"image-segmentation": "native", **FEATURES},
        ),
        (named("VideoMAEForVideoClassification", "videomae"), {"video-classification": "native"}),
        (bare("vivit"), {"video-classification": "possible"}),
        (named("DPTForDepthEstimation", "dpt"), {"depth-estimation": "native", **FEATURES}),
        (named("Tipsv2DptForNormalEstimation", "tipsv2_dpt"), {"surface-normals": "native", **FEATURES}),
        (
            named("Tipsv2DptForDensePrediction", "tipsv2_dpt"),
            {**dict.fromkeys(("depth-estimation", "image-segmentation", "surface-normals"), "native"), **FEATURES},
        ),
        (named("DepthProForDepthEstimation", "depth_pro"), {"depth-estimation": "native", **FEATURES}),
        (named("VitPoseForPoseEstimation", "vitpose"), {"pose-estimation": "native", **FEATURES}),
        (named("Swin2SRForImageSuperResolution", "swin2sr"), {"image-to-image": "native", **FEATURES}),
        (named("VitMatteForImageMatting", "vitmatte"), {"image-matting": "native", **FEATURES}),
        (named("Sapiens2ForImageMatting", "sapiens2"), {"image-matting": "native", **FEATURES}),
        (named("SamModel", "sam"), {"mask-generation": "native", **FEATURES}),
        (bare("sam2"), {"mask-generation": "possible", **FEATURES}),
        (named("SamHQModel", "sam_hq"), {"mask-generation": "native", **FEATURES}),
        (named("Sam3Model", "sam3"), {"mask-generation": "native"}),
        (named("Sam3VideoModel", "sam3_video"), {"mask-generation": "native"}),
        (
            named("EdgeTamVideoModel", "edgetam_video"),
            {"mask-generation": "native", "video-mask-generation": "possible"},
        ),
        (named("Sam3TrackerVideoModel", "sam3_tracker_video"), {"video-mask-generation": "possible"}),
        (named("SuperPointForKeypointDetection", "superpoint"), {"keypoint-detection": "native", **FEATURES}),
        (bare("superpoint"), {"keypoint-detection": "possible", **FEATURES}),
        (named("LightGlueForKeypointMatching", "lightglue"), {"keypoint-matching": "native", **FEATURES}),
        (named("EfficientLoFTRForKeypointMatching", "efficientloftr"), {"keypoint-matching": "native", **FEATURES}),
        (
            named("CLIPModel", "clip"),
            {"zero-shot-image-classification": "native", "feature-extraction": "possible", **FEATURES},
        ),
        (named("OwlViTForObjectDetection", "owlvit"), {"zero-shot-object-detection": "native", **FEATURES}),
        (bare("owlv2"), {"zero-shot-object-detection": "possible", **FEATURES}),
        (named("Wav2Vec2ForCTC", "wav2vec2"), {"automatic-speech-recognition": "native"}),
        (
            bare("wav2vec2"),
            {"automatic-speech-recognition": "possible", "audio-classification": "possible"},
        ),
        (named("WhisperForConditionalGeneration", "whisper"), {"automatic-speech-recognition": "native"}),
        (named("Speech2TextForConditionalGeneration", "speech_to_text"), {}),
        (named("ASTForAudioClassification", "audio-spectrogram-transformer"), {"audio-classification": "native"}),
        (
            named("BertForQuestionAnswering", "bert"),
            {"question-answering": "native", "retrieval-qa": "possible", "feature-extraction": "possible"},
        ),
        (named("LayoutLMv3ForQuestionAnswering", "layoutlmv3"), {"question-answering": None}),
        (
            named("BertForSequenceClassification", "bert", **ONE),
            {"text-ranking": "native", "feature-extraction": "possible"},
        ),
        (named("BertForSequenceClassification", "bert", **THREE), {"feature-extraction": "possible"}),
        (bare("bert", **ONE), {"text-ranking": None, "question-answering": "possible"}),
        (named("ViltForQuestionAnswering", "vilt"), {"visual-question-answering": "native", **FEATURES}),
        (bare("vilt"), {"visual-question-answering": None, **FEATURES}),
        (
            named("LlavaForConditionalGeneration", "llava"),
            {"visual-question-answering": "possible"},
        ),
        (named("Nothing", "nothing"), {}),
    ],
    ids=lambda value: "-".join(map(str, [value.kind, *value.config.values()]))[:60] if hasattr(value, "kind") else "",
)
def test_what_fits_what(given, expected):
    told = {name: task.fits(given) for name, task in all_tasks().items()}
    some = {name: fit for name, fit in told.items() if fit is not None and name not in _LOOSE}
    assert some == {name: fit for name, fit in expected.items() if fit is not None and name not in _LOOSE}
    assert all(told[name] == fit for name, fit in expected.items())


_LOOSE = {"feature-extraction", "retrieval-qa", "image-feature-extraction", "question-answering"}
"""Tasks that take nearly everything of a kind; compared only where a row names them."""


def test_the_tables_of_names_are_those_of_the_auto_classes():
    declared = [models for task in all_tasks().values() for models in task.models]
    assert len(declared) > 10
    for models in declared:
        for auto in filter(None, (models.auto, models.without)):
            table = getattr(transformers, auto)._model_mapping._model_mapping
            assert classes_of(auto) == {k: (v,) if isinstance(v, str) else tuple(v) for k, v in table.items()}
        assert models.only is None or set(models.only) <= set(classes_of(models.auto)), "a type that it does not know"
        assert models.classes()


def test_every_class_of_a_declared_model_is_native_and_its_type_possible():
    for task in all_tasks().values():
        for models in task.models:
            for model_type, names in models.classes().items():
                given = [named(name, model_type, num_labels=1) for name in names]
                assert {task.fits(each) for each in given} == {"native"}
                if models.unnamed:
                    assert task.fits(bare(model_type)) == "possible"


def test_every_task_says_what_it_takes():
    for name, task in all_tasks().items():
        own = task.fits.__func__ is not Task.fits.__func__
        assert task.models or own, f"{name} declares no models, and has no fits of its own"
        assert not issubclass(task, SearchTask) or task.fits(bare("bert")) is None


def test_models_that_are_left_out():
    models = Models("AutoModelForQuestionAnswering", without="AutoModelForDocumentQuestionAnswering")
    assert "bert" in models.classes()
    assert "layoutlmv3" not in models.classes()
    assert models.fit(named("LayoutLMv3ForQuestionAnswering", "layoutlmv3")) is None
