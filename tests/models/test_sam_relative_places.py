"""SAM's relative positions: those of Transformers, found on the device."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers

from sensorium.models.sam.relative_places import keep_relative_places
from tests import tiny_sam
from tests.host_waits import Calls


def attention():
    model = transformers.SamModel.from_pretrained(tiny_sam.folder("sam")).eval()
    return model, model.vision_encoder.layers[0].attn


@pytest.mark.parametrize(("q_size", "k_size"), [(4, 4), (7, 7), (3, 6), (6, 3), (5, 2), (1, 1)])
def test_they_are_those_of_transformers(q_size, k_size):
    model, layer = attention()
    want = layer.get_rel_pos(q_size, k_size, layer.rel_pos_h)
    keep_relative_places(model)
    for _ in range(2):
        assert torch.equal(layer.get_rel_pos(q_size, k_size, layer.rel_pos_h), want)


def test_a_picture_is_encoded_without_a_copy_to_the_device():
    model, _ = attention()
    keep_relative_places(model)
    on_meta = copy.deepcopy(model).to("meta")  # the copies find their own
    pixels = torch.zeros((1, 3, tiny_sam.SIZE, tiny_sam.SIZE), device="meta")
    with torch.no_grad():
        on_meta.get_image_embeddings(pixels)
        with Calls() as calls:
            on_meta.get_image_embeddings(pixels)
    assert calls.counts["index"]
    assert not calls.counts["arange"], "the places are known from the first time"
