"""Page-locked memory of the host, which the device reads and writes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .clocks import Uses

if TYPE_CHECKING:
    from .machine import PretendCuda
    from .streams import Stream


class PinnedMemory:
    """All page-locked memory, and the copies that may still be under way in it.

    Each piece stays until the machine goes, so that no address comes twice.
    """

    def __init__(self, cuda: PretendCuda) -> None:
        self._cuda = cuda
        self._uses: dict[int, tuple[torch.Tensor, Uses]] = {}

    def __bool__(self) -> bool:
        return bool(self._uses)

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Takes a CPU tensor as page-locked."""
        self._uses[tensor.untyped_storage().data_ptr()] = (tensor, Uses())
        return tensor

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a CPU tensor lies in page-locked memory."""
        return self._of(tensor) is not None

    def copies(self, tensor: torch.Tensor, stream: Stream, *, write: bool) -> None:
        """Notes that a copy which nobody waits for reads a CPU tensor, or writes it."""
        uses = self._of(tensor)
        if uses is not None:
            stream.use(uses, write=write, name="a copy")

    def touched(self, tensor: torch.Tensor, *, write: bool, name: str) -> None:
        """Checks that the host may read a CPU tensor now, or write it."""
        uses = self._of(tensor)
        for conflict in uses.conflicts(self._cuda.host, write=write) if uses is not None else ():
            self._cuda.fault("pinned", f"{name} on the host {conflict}")

    def _of(self, tensor: torch.Tensor) -> Uses | None:
        if not self._uses or tensor.device.type != "cpu" or tensor.layout != torch.strided or not tensor.numel():
            return None
        found = self._uses.get(tensor.untyped_storage().data_ptr())
        return None if found is None else found[1]


def checked(cuda: PretendCuda, function: Any, name: str) -> Any:
    """A method of CPU tensors through which Python reads them without torch's knowledge."""

    def method(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.device.type == "cuda":
            raise TypeError(
                f"can't convert {tensor.device} device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        cuda.pinned.touched(tensor, write=False, name=name)
        return function(tensor, *args, **kwargs)

    return method
