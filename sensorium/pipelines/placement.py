"""Where a model runs, and in which dtype."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from sensorium.errors import OptionError
from sensorium.pipelines.settings import DTYPES, Devices, several_of


@dataclass(frozen=True)
class Placement:
    """A device and a dtype.

    Attributes:
        device: where batches go and the model lies.
        dtype: of the weights and of the model's arithmetic; None keeps the one of a loaded model.
    """

    device: torch.device
    dtype: torch.dtype | None


def resolve_device(device: Devices = None) -> torch.device:
    """CUDA, then MPS, then the CPU, unless `device` says otherwise.

    Args:
        device: `"cuda"`, `"cuda:1"`, `"mps"`, `"cpu"`, a CUDA ordinal, -1 for the CPU as in Transformers,
            or None or `"auto"` to choose.

    Raises:
        OptionError: no such device here, or several.
    """
    if several_of(device) is not None or (isinstance(device, str) and device == "all"):
        raise OptionError(f"one device is taken here, got device={device!r}; name one. A pipeline takes several")
    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if isinstance(device, int) and device == -1:
        device = "cpu"
    try:
        target = (
            torch.device("cuda", device) if isinstance(device, int) and device >= 0 else torch.device(cast(Any, device))
        )
    except (RuntimeError, TypeError) as error:
        raise OptionError(f'device is "auto", "cpu", "cuda", "cuda:N", "mps" or an ordinal, got {device!r}') from error
    if target.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (target.index or 0) >= count:
            raise OptionError(f'device {device!r} was asked for, but this machine has {count} CUDA devices; try "cpu"')
        return torch.device("cuda", target.index if target.index is not None else torch.cuda.current_device())
    if target.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError('device "mps" was asked for, but this machine has none; try "cpu"')
    return target


def resolve_devices(device: Devices = None) -> tuple[torch.device, ...]:
    """The devices that a model is put on, each once but for the CPU.

    Args:
        device: as `resolve_device` takes it; `"all"` for every CUDA device, or, where there is none, as None; or a
            list of devices of one kind, also as a text with commas.

    Raises:
        OptionError: no such device here, or a list that cannot be.
    """
    if isinstance(device, str) and device == "all":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return tuple(torch.device("cuda", i) for i in range(count)) or (resolve_device(),)
    several = several_of(device)
    if several is None:
        return (resolve_device(device),)
    devices = tuple(resolve_device(each) for each in several)
    if len({each.type for each in devices}) > 1:
        raise OptionError(
            f"the devices of one pipeline are of one kind, got {device!r}: results would differ by where they come "
            "from, and the slowest would hold up the order. Leave the others out"
        )
    again = [str(each) for i, each in enumerate(devices) if each in devices[:i]]
    if again and devices[0].type != "cpu":
        raise OptionError(
            f"{again[0]} is in {device!r} twice: two copies of a model on one card share its memory and its time; "
            "name each once"
        )
    return devices


def resolve_dtype(dtype: str | torch.dtype | None, *devices: torch.device) -> torch.dtype:
    """bfloat16 where all the hardware multiplies it natively, else float32, unless `dtype` says otherwise.

    Raises:
        OptionError: no such dtype.
    """
    if isinstance(dtype, torch.dtype):
        if not dtype.is_floating_point:
            raise OptionError(f"dtype must be a floating-point type, got {dtype}")
        return dtype
    if dtype is None or dtype == "auto":
        return torch.bfloat16 if all(map(multiplies_bfloat16, devices)) else torch.float32
    if dtype not in DTYPES:
        raise OptionError(f'dtype is "auto", a torch.dtype or one of {", ".join(DTYPES)}, got {dtype!r}')
    chosen: torch.dtype = getattr(torch, DTYPES[dtype])
    return chosen


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bfloat16 matrices (Ampere or later, AMX, AVX512-BF16)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(cpu_features() & {"amx_bf16", "avx512_bf16"})
    return False


def cpu_features() -> frozenset[str]:
    """The instruction sets of this CPU that decide how fast it multiplies: avx2, avx512f, avx512_bf16, amx_bf16, …."""
    info = Path("/proc/cpuinfo")
    if not info.exists():  # neither macOS nor Windows tells; torch's own word is the least that can be said
        return frozenset({"avx512f"} if torch.backends.cpu.get_cpu_capability() == "AVX512" else ())
    wanted = {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "bf16"}
    for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(wanted & set(line.split(":", 1)[1].split()))
    return frozenset()
