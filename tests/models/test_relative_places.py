"""Relative positions are those of Transformers, found on the device."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers

from sensorium.models.relative_places import keep_relative_places
from tests import tiny_sam, tiny_segmentation
from tests.host_waits import Calls


def sam():
    model = transformers.SamModel.from_pretrained(tiny_sam.folder("sam")).eval()
    return model, model.vision_encoder.layers[0].attn


def beit(kind):
    folder = tiny_segmentation.folder(kind)
    return transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).eval()


@pytest.mark.parametrize(("q_size", "k_size"), [(4, 4), (7, 7), (3, 6), (6, 3), (5, 2), (1, 1)])
def test_sam_s_are_those_of_transformers(q_size, k_size):
    model, layer = sam()
    want = layer.get_rel_pos(q_size, k_size, layer.rel_pos_h)
    keep_relative_places(model)
    for _ in range(2):
        assert torch.equal(layer.get_rel_pos(q_size, k_size, layer.rel_pos_h), want)


def test_sam_sees_a_picture_without_a_copy_to_the_device():
    model, _ = sam()
    keep_relative_places(model)
    on_meta = copy.deepcopy(model).to("meta")  # the copies find their own
    pixels = torch.zeros((1, 3, tiny_sam.SIZE, tiny_sam.SIZE), device="meta")
    with torch.no_grad():
        on_meta.get_image_embeddings(pixels)
        with Calls() as calls:
            on_meta.get_image_embeddings(pixels)
    assert calls.counts["index"]
    assert not calls.counts["arange"], "the places are known from the first time"


@pytest.mark.parametrize("kind", ["beit", "data2vec-vision"])
def test_beit_s_are_those_of_transformers(kind):
    model = beit(kind)
    pixels = torch.rand((1, 3, 64, 64))
    with torch.no_grad():
        want = model(pixels).logits
        for _ in range(2):
            keep_relative_places(model)
            assert torch.equal(model(pixels).logits, want)


@pytest.mark.parametrize("kind", ["beit", "data2vec-vision"])
def test_beit_finds_its_own_on_its_device(kind):
    model = beit(kind)
    keep_relative_places(model)
    on_meta = copy.deepcopy(model).to("meta")
    found = [
        module.generate_relative_position_index((4, 4))
        for module in on_meta.modules()
        if hasattr(module, "relative_position_bias_table")
    ]
    assert len(found) > 1
    assert {index.device.type for index in found} == {"meta"}
    assert len({id(index) for index in found}) == 1, "the layers share it"
