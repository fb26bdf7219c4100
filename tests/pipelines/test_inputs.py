"""What a call is about: one input, or a stream of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.pipelines.inputs import is_lazy
from tests.media import make_image


def opened(cut=None):
    stream = io.BytesIO()
    make_image().save(stream, "PNG")
    return Image.open(io.BytesIO(stream.getvalue()[:cut]))


def test_a_pil_image_is_not_decoded_to_see_that_it_is_no_stream():
    image = opened()
    assert not is_lazy(image)
    assert image.tile, "it was loaded"
    assert not is_lazy(opened(cut=200)), "that it is cut off is for the task to say"


@pytest.mark.parametrize(
    "one", ["x.jpg", b"x", np.zeros((2, 2)), torch.zeros(2), [1], (1,), {"image": 1}, io.BytesIO()]
)
def test_one_input_or_a_list_is_no_stream(one):
    assert not is_lazy(one)


def test_what_is_gone_through_is_a_stream():
    assert is_lazy(iter([1]))
    assert is_lazy(range(3))
    assert is_lazy({"a", "b"})
