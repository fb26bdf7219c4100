"""What the settings of a feature extractor for sound may be, whoever runs it; `image_settings` is this for pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import CheckpointError

_MOST_SAMPLES = 2**25  # that a model hears at once: half an hour at 16 kHz
_MOST_NUMBERS = 2**26  # on the way to a spectrum: 30 s for Whisper take a hundredth of them


def check_size(extractor: Any) -> None:
    """Refuses an extractor that makes out of any sound more than a model hears, before one is given to it.

    Args:
        extractor: a feature extractor object.

    Raises:
        CheckpointError: names the settings.
    """
    samples = max(_number(extractor, name) for name in ("n_samples", "nb_max_samples"))
    hop = max(1, _number(extractor, "hop_length"))
    points = max(_number(extractor, name) for name in ("n_fft", "fft_window_size"))
    frames = _number(extractor, "max_length") if samples == 0 else samples // hop
    window = points or int(0.025 * _number(extractor, "sampling_rate"))
    if samples > _MOST_SAMPLES or frames * max(1, window) > _MOST_NUMBERS:
        raise CheckpointError(
            f"{type(extractor).__name__} should hear at most {_MOST_SAMPLES:,} samples, in spectra of at most "
            f"{_MOST_NUMBERS:,} numbers together, got {samples or 'any number of'} samples in {frames:,} spectra of "
            f"{window:,} numbers. Correct chunk_length, max_length, n_fft and hop_length in the checkpoint's "
            "preprocessor_config.json, or pass processor=."
        )


def check_by_trial(extractor: Any, prepare: Callable[..., Mapping[str, Tensor]]) -> None:
    """Refuses an extractor of Transformers' that cannot prepare a plain sound, or makes of it what are no numbers.

    Args:
        extractor: a feature extractor object.
        prepare: of samples and `rate=`, in Hz, makes what a model takes.

    Raises:
        CheckpointError: it failed.
    """
    kind = type(extractor)
    if not kind.__module__.startswith("transformers."):
        return  # its own code, which may want more than a sound
    try:
        noise = torch.rand(extractor.sampling_rate, generator=torch.Generator().manual_seed(0)) - 0.5
        with np.errstate(all="ignore"):
            made = prepare(noise.numpy(), rate=extractor.sampling_rate)
    except (MemoryError, Warning):
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise _useless(kind, f"fails on every sound ({type(cause).__name__}: {cause!s:.300})") from error
    for name, value in made.items():
        if not (value.numel() and torch.isfinite(value).all()):
            raise _useless(kind, f"makes no numbers of a sound: {name} of {tuple(value.shape)} is empty, or has NaN")


def _number(extractor: Any, name: str) -> int:
    value = getattr(extractor, name, None)
    return int(value) if isinstance(value, (int, float)) else 0


def _useless(kind: type, why: str) -> CheckpointError:
    return CheckpointError(
        f"{kind.__name__} {why}. Correct its settings in the checkpoint's preprocessor_config.json, or pass processor=."
    )
