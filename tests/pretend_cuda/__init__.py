"""A CUDA device for tests on machines without one: its tensors hold CPU memory, its mistakes are those of the real one.

    with PretendCuda(devices=2) as cuda:
        ...                      # torch.cuda is there; tensors on "cuda:1" compute on the CPU
        cuda.check()             # no fault: an AssertionError lists them

What raises on a card raises here, with the same text where it is known: tensors of two devices in one operation, a wait
while a graph is captured, `record_stream` of a CPU tensor, an index out of range, memory that does not suffice. What
goes wrong silently there, or only sometimes, is a *fault* here: a stream that uses what another may still be writing,
memory let go while another stream uses it, pinned memory written during its copy, an empty graph. Each time that the
host waits for the device is counted, with its place in Sensorium.

It knows streams, events, the allocator and graphs by their rules; it has no kernels, no compiled code, no TF32, and no
time. `torch.compile` runs functions as they are, on the path that would be compiled: inductor cannot compile for such
tensors.
"""

from .machine import Fault, PretendCuda, Wait

__all__ = ["Fault", "PretendCuda", "Wait"]
