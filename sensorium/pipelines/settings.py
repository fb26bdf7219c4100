"""Settings: how a model is found, loaded and run, checked before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from sensorium.checkpoints import LoadOptions
from sensorium.errors import OptionError
from sensorium.processors.limits import MediaLimits

if TYPE_CHECKING:
    import torch

Auto = Literal["auto"]

Device: TypeAlias = "str | int | torch.device"
Devices: TypeAlias = "Device | Sequence[Device] | None"
"""One device, several, or the best there is."""

DTYPES = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}
"""The names of dtypes, and torch's for each."""

_ACCESS = tuple(each.name for each in dataclasses.fields(LoadOptions) if each.name not in ("dtype", "device"))
"""What of `LoadOptions` is said as it is; device and dtype may be "auto" before."""


@dataclass(frozen=True)
class Settings:
    """What `pipeline()` and `Encoder.from_pretrained` are told, besides the names of models.

    Attributes:
        device: "cuda", "cuda:1", "mps", "cpu" or a CUDA ordinal; None for the best there is; "all", or a list, for
            several.
        dtype: "float32", "bfloat16", "float16", a torch.dtype, or "auto": bfloat16 where the hardware multiplies it
            natively, else float32.
        compile: True, False, "auto": once a stream is long enough to win the compiling back, "max-autotune": True,
            with further kernels where they are faster, or "cudagraphs": each batch of a shape is recorded, uncompiled.
        batch_size: units per batch, or "auto" for the fastest that fits.
        decode: where JPEGs are decoded, "cpu" or "cuda".
        num_workers: threads that decode and prepare inputs, or "auto" for one per core, two where pictures are
            isolated.
        limits: what an input may cost; None for the usual ones.
        access: how checkpoints are found and opened.
        steady: whether the same inputs always make the same batches: an "auto" batch size is then one middling size.
    """

    device: Devices = None
    dtype: str | torch.dtype = "auto"
    compile: bool | Literal["auto", "max-autotune", "cudagraphs"] = "auto"
    batch_size: int | Auto = "auto"
    decode: Literal["cpu", "cuda"] = "cpu"
    num_workers: int | Auto = "auto"
    limits: MediaLimits | None = None
    access: LoadOptions = field(default_factory=LoadOptions)
    steady: bool = False

    def __post_init__(self) -> None:
        if self.compile not in (True, False, "auto", "max-autotune", "cudagraphs"):
            raise OptionError(f'compile is "auto", True, False, "max-autotune" or "cudagraphs", got {self.compile!r}')
        if isinstance(self.dtype, str) and self.dtype != "auto" and self.dtype not in DTYPES:
            raise OptionError(f'dtype is "auto", a torch.dtype or one of {", ".join(DTYPES)}, got {self.dtype!r}')
        several = several_of(self.device)
        if several is not None and not (several and all(map(_names_one, several))):
            raise OptionError(
                'device is one, or a list that names each, such as ["cuda:0", "cuda:1"]; "all" is each CUDA device '
                f"there is. Got {self.device!r}"
            )
        if self.decode not in ("cpu", "cuda"):
            raise OptionError(f'decode is "cpu" or "cuda", got {self.decode!r}')
        if self.decode == "cuda" and self.limits is not None and self.limits.isolate:
            raise OptionError('decode="cuda" decodes pictures in this process, and MediaLimits.isolate in others')
        for name in ("batch_size", "num_workers"):
            value = getattr(self, name)
            if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                one = "; 1 prepares inputs one at a time" if name == "num_workers" and value == 0 else ""
                raise OptionError(f'{name} is "auto" or a whole number from 1, got {value!r}{one}')

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Settings by their names, those of `access` among them."""
        names = set(_ACCESS)
        access = LoadOptions(**{name: value for name, value in given.items() if name in names})
        return cls(access=access, **{name: value for name, value in given.items() if name not in names})

    @classmethod
    def names(cls) -> list[str]:
        """What `of` takes: the names of its own fields, and of those of `access`."""
        own = [each.name for each in dataclasses.fields(cls) if each.name not in ("access", "steady")]
        return own + list(_ACCESS)

    def access_for(self, device: torch.device, dtype: torch.dtype) -> LoadOptions:
        """How checkpoints are opened whose weights are to lie on this device, in this dtype."""
        straight = device.type == "cuda" and self.access.device_map is None and self.access.quantization_config is None
        return dataclasses.replace(self.access, dtype=dtype, device=device if straight else None)

    def of_loading(self) -> Mapping[str, Any]:
        """Those that say how a model is loaded and placed, by name, where they are not the usual ones."""
        fields: list[tuple[Any, Any]] = [
            (self, each) for each in dataclasses.fields(self) if each.name in ("device", "dtype", "limits")
        ]
        fields += [(self.access, each) for each in dataclasses.fields(self.access) if each.name in _ACCESS]
        return {each.name: value for of, each in fields if (value := getattr(of, each.name)) != each.default}


def several_of(device: Devices) -> Sequence[Device] | None:
    """The devices of a list, or of a text with commas, as a command line has it; None where one is named, or none."""
    if isinstance(device, str) and "," in device:
        parts = [part.strip() for part in device.split(",")]
        return [int(part) if part.removeprefix("-").isdigit() else part for part in parts]
    return device if isinstance(device, (list, tuple)) else None


def _names_one(device: Any) -> bool:
    """Whether this is a device, and not left open: in a list each is named."""
    return device is not None and not isinstance(device, (bool, list, tuple)) and device not in ("", "auto", "all")
