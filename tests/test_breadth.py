"""Which of Transformers' models for pictures run: each does, or stands in a table with the reason."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import AutoModelForImageClassification

import sensorium
from sensorium.tasks.base import all_tasks
from tests import breadth, tiny
from tests.media import make_image, make_images
from tests.tasks.test_image_classification import assert_same


def test_each_class_runs_or_stands_in_the_table_with_a_reason():
    known = breadth.classes()
    refused = {name for name, kind in known.items() if breadth.task_of(name, kind) is None}
    told = {name for name in breadth.REFUSED if name in known}  # an old Transformers has fewer
    assert refused == told, "a class runs now, or Transformers has a new one"
    assert all(10 <= len(reason) <= 100 for reason in breadth.REFUSED.values())
    assert len(known) > 100


def test_each_type_that_runs_is_held_to_its_reference_or_counted():
    running = {(kind, breadth.task_of(name, kind)) for name, kind in breadth.classes().items()}
    untried = {kind for kind, task in running if task is not None and kind not in breadth.HELD[task]}
    assert untried == breadth.UNTRIED


def test_neither_table_grows():
    assert len(breadth.REFUSED) <= 11
    assert len(breadth.UNTRIED) <= 1
    assert len(breadth.UNTRIED) <= 1


def test_the_tasks_are_those_that_take_models_of_the_tables():
    taking = {name for name, task in all_tasks().items() if {m.auto for m in task.models} & set(breadth.TABLES)}
    assert taking == set(breadth.HELD)


def test_the_page_shows_the_tables():
    assert breadth.tables() in breadth.PAGE.read_text(encoding="utf-8"), "python -m tests.breadth writes them"


def theirs(model_type, place, inputs):
    """What Transformers' pipeline gives; it does not find PP-LCNet's logits, which are called something else."""
    if model_type != "pp_lcnet":
        return transformers.pipeline("image-classification", model=str(place), device="cpu")(inputs, top_k=7)
    model = AutoModelForImageClassification.from_pretrained(place).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(place)
    rows = []
    for image in inputs:
        with torch.no_grad():
            scores = model(**processor(image, return_tensors="pt")).last_hidden_state[0].softmax(-1)
        rows.append(
            [{"score": float(scores[i]), "label": f"LABEL_{i}"} for i in scores.argsort(descending=True).tolist()]
        )
    return rows


@pytest.mark.parametrize("model_type", breadth.CLASSIFIERS)
@pytest.mark.filterwarnings("ignore:.*recipe:UserWarning")
def test_a_further_classifier_equals_transformers(model_type):
    settings, processor, recipe = breadth.CLASSIFIERS[model_type]
    place = tiny.checkpoint(
        AutoModelForImageClassification,
        model_type,
        {**settings, "num_labels": 7},
        getattr(transformers, processor)(**recipe),
        [make_image(seed=seed) for seed in range(4)] if model_type in breadth.DEEP else None,
    )
    inputs = make_images()
    reference = theirs(model_type, place, inputs)
    with sensorium.pipeline(
        "image-classification", place, device="cpu", dtype="float32", compile=False, batch_size=4
    ) as pipe:
        results = pipe(inputs, top_k=7)
    for result, expected in zip(results, reference, strict=True):
        assert_same(result.to_dict(), expected, tolerance=5e-5)
    assert len({result[0]["score"] for result in results}) > 1, "the model has to tell the inputs apart"
