"""float32 that means float32: convolutions on CUDA without TF32, which torch lets them use by default."""

from __future__ import annotations

import threading

import torch


class FullFloat32:
    """Within it cuDNN multiplies float32 with all of its 24 bits, and not with the 11 of TF32.

    torch's setting is one for the process. It is changed when the first thread enters, and changed back when the last
    one leaves. Whoever has set it operation by operation (`torch.backends.cudnn.conv.fp32_precision`), or TF32 for
    everything (`torch.backends.fp32_precision = "tf32"`), keeps what was set.
    """

    _lock = threading.Lock()
    _entered = 0
    _before = False

    def __enter__(self) -> None:
        kind = type(self)
        with kind._lock:
            kind._entered += 1
            if kind._entered == 1:
                kind._before = _allows_tf32()
                if kind._before:
                    torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        kind = type(self)
        with kind._lock:
            kind._entered -= 1
            if kind._entered == 0 and kind._before:
                torch.backends.cudnn.allow_tf32 = True


def _allows_tf32() -> bool:
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:  # its operations were set apart from each other
        return False
