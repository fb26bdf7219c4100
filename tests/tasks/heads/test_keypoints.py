"""Heat maps: what is drawn is found again, to a fraction of a cell."""

from __future__ import annotations

import pytest
import torch

from sensorium.tasks.heads.keypoints import HeatMapHead, draw_heat_maps, locate_peaks


def logits_of(heat):
    return torch.logit(heat.clamp(1e-6, 0.99))


@pytest.mark.parametrize("size", [(16, 16), (24, 13)])
@pytest.mark.parametrize("sigma", [1.0, 1.5, 3.0])
def test_what_is_drawn_is_found(size, sigma):
    generator = torch.Generator().manual_seed(0)
    xy = 0.15 + 0.7 * torch.rand(5, 4, 2, generator=generator)
    heat = draw_heat_maps(xy, size=size, sigma=sigma)
    found, scores = locate_peaks(logits_of(heat * 0.9))
    cells = (found - xy) * torch.tensor([size[1], size[0]])
    assert cells.abs().max() < 0.02
    torch.testing.assert_close(scores, heat.flatten(2).amax(2) * 0.9, atol=1e-4, rtol=0)


def test_the_peak_is_one_at_the_middle_of_a_cell():
    heat = draw_heat_maps(torch.tensor([[[2.5 / 8, 6.5 / 10]]]), size=(10, 8))
    assert heat.shape == (1, 1, 10, 8)
    assert heat[0, 0, 6, 2] == 1
    assert heat[0, 0, 6, 3] == heat[0, 0, 5, 2] < 1


def test_what_is_not_visible_stays_cold():
    xy, visible = torch.full((1, 2, 2), 0.5), torch.tensor([[True, False]])
    heat = draw_heat_maps(xy, size=(9, 9), visible=visible)
    assert heat[0, 0].max() == 1
    assert heat[0, 1].max() == 0


def test_peaks_at_the_border_and_on_plateaus_stay_in_their_cell():
    logits = torch.full((1, 3, 5, 7), -9.0)
    logits[0, 0, 0, 6] = 2
    logits[0, 1, 4, 0] = 2
    xy, scores = locate_peaks(logits)
    expected = torch.tensor([[6.5 / 7, 0.5 / 5], [0.5 / 7, 4.5 / 5], [0.5 / 7, 0.5 / 5]])
    torch.testing.assert_close(xy[0], expected)
    torch.testing.assert_close(scores[0, :2], torch.sigmoid(torch.tensor([2.0, 2.0])))


def test_gradients_reach_the_heat():
    logits = logits_of(draw_heat_maps(torch.tensor([[[0.4, 0.6]]]), size=(12, 12))).requires_grad_()
    xy, _ = locate_peaks(logits)
    xy.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).sum() >= 4


def test_levels_of_a_pyramid_are_brought_together():
    torch.manual_seed(0)
    head = HeatMapHead([6, 8], [8, 16], 3, width=12).eval()
    fine, coarse = torch.randn(2, 6, 8, 10), torch.randn(2, 8, 4, 5)
    logits = head([fine, coarse])
    assert logits.shape == (2, 3, 16, 20)  # a quarter of the input's 64x80 px
    assert not torch.allclose(logits, head([fine, coarse * 2]))
    assert not torch.allclose(logits, head([fine * 2, coarse]))
