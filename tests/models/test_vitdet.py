"""VitDet's attention part by part against Transformers' own, in float32."""

from __future__ import annotations

import pytest
import torch
import transformers

from sensorium.models import vitdet


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("at_once", [1, 2 * 2 * 5 * 35, 2**24])
def test_same_features_whatever_is_held_at_once(monkeypatch, positions, at_once):
    config = transformers.VitDetConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=64,
        window_size=3,
        window_block_indices=[1],
        use_relative_position_embeddings=positions,
    )
    torch.manual_seed(0)
    model = transformers.VitDetModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        pixels = torch.randn(2, 3, 16 * 7, 16 * 5)
        expected = model(pixels, output_attentions=True)
        monkeypatch.setattr(vitdet, "_AT_ONCE", at_once)
        vitdet.attend_in_parts(model)
        torch.testing.assert_close(model(pixels).last_hidden_state, expected.last_hidden_state, rtol=1e-4, atol=1e-5)
        again = model(pixels, output_attentions=True)
    assert all(torch.equal(*pair) for pair in zip(again.attentions, expected.attentions, strict=True))
