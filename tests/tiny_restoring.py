"""Tiny random models that give a picture back, of real architectures, saved to folders with their processors."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from tests.media import make_image
from tests.passing import passing_folder

_SMALL = {
    "image_size": 32,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 8,
    "mlp_ratio": 2.0,
    "upscale": 2,
}

ARCHITECTURES = {
    "classical": ({**_SMALL, "upsampler": "pixelshuffle"}, {}),
    "lightweight": ({**_SMALL, "upscale": 3, "upsampler": "pixelshuffledirect"}, {}),
    "real-world": ({**_SMALL, "upscale": 4, "upsampler": "nearest+conv"}, {}),
    "compressed": ({**_SMALL, "upscale": 4, "upsampler": "pixelshuffle_aux", "img_range": 255.0}, {}),
    "denoising": ({**_SMALL, "upscale": 1, "upsampler": "", "resi_connection": "3conv"}, {}),
    "grey": ({**_SMALL, "upscale": 1, "upsampler": "", "num_channels": 1, "num_channels_out": 1}, {}),
    "windows": ({**_SMALL, "window_size": 4, "image_size": 16, "upsampler": "pixelshuffle"}, {"size_divisor": 4}),
}
"""Settings of Swin2SR's configuration, and of its processor."""


@functools.cache
def folder(name: str) -> Path:
    """A checkpoint folder with random weights, whose pictures look like what goes in."""
    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution, Swin2SRImageProcessor

    settings, recipe = ARCHITECTURES[name]
    torch.manual_seed(0)
    model, processor = Swin2SRForImageSuperResolution(Swin2SRConfig(**settings)), Swin2SRImageProcessor(**recipe)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 0:
                parameter.add_(0.2 * (torch.rand(parameter.shape) - 0.5))
        _spread(
            model,
            processor(make_image(40, 32), return_tensors="pt")["pixel_values"][:, : settings.get("num_channels", 3)],
        )
    place = passing_folder(f"sensorium-swin2sr-{name}-")
    model.eval().save_pretrained(place)
    processor.save_pretrained(place)
    return place


def _spread(model, pixels):
    """Makes the last layer give levels about the middle, that few are cut off, and about a fifth apart."""
    last = model.upsample if hasattr(model, "upsample") else model
    layer = [each for each in last.modules() if isinstance(each, torch.nn.Conv2d)][-1]
    if hasattr(model, "final_convolution"):
        layer = model.final_convolution
    seen = []
    hook = layer.register_forward_hook(lambda module, given, output: seen.append(output))
    model(pixels)
    hook.remove()
    wanted = 0.2 * model.config.img_range
    layer.weight.mul_(wanted / seen[0].std())
    layer.bias.copy_((layer.bias - seen[0].mean()) * wanted / seen[0].std())
