"""The process that decodes untrusted pictures, and the one that forks it. `image_isolation.py` starts the latter.

The forking process has imported what decoders need, so that a helper that is ended by a picture is replaced in a few
milliseconds. It never sees a picture itself.
"""

from __future__ import annotations

import functools
import gc
import io
import json
import os
import signal
import socket
import sys
from typing import Any, BinaryIO

from PIL import Image

from sensorium.errors import InputError, LimitError, OptionError
from sensorium.isolation.bounds import address_space, bound_address_space, end_with
from sensorium.processors import image_decoding
from sensorium.processors.limits import MediaLimits

READY = b"+"
"""What the forking process says once it can fork."""

OUT_OF_MEMORY = b'{"memory": true}\n'
"""The last word of a helper whose memory did not suffice."""

_BYTES_A_PIXEL = 24  # of a picture of four channels that is turned, converted and written
_LEAST_MEMORY = 2 * 2**30
LONGEST_S = 1e6  # timers take no infinity


def main() -> None:
    """Forks a helper for each pair of descriptors, a socket and a file, that comes through the given socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for helpers: their sockets tell
    orders = socket.socket(fileno=int(sys.argv[1]))
    Image.init()
    gc.freeze()
    orders.send(READY)
    while True:
        word, descriptors, _, _ = socket.recv_fds(orders, 1, 2)
        if not word:  # whoever gives the orders has ended
            return
        parent = os.getpid()
        if os.fork() == 0:
            orders.close()
            end_with(parent)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve(*descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _serve(wire: int, shared: int) -> None:
    """Answers requests, each a line of JSON, until the other side closes its socket."""
    with open(wire, "r+b", buffering=0) as line, open(shared, "r+b", buffering=0) as file:
        for request in io.BufferedReader(line):  # type: ignore[type-var, unused-ignore]
            try:
                answer = _answered(json.loads(request), file)
            except MemoryError:
                answer = OUT_OF_MEMORY
            signal.setitimer(signal.ITIMER_REAL, 0)
            line.write(answer)


def _answered(request: dict[str, Any], file: Any) -> bytes:
    name, limits = request["name"], _limits(request["limits"])
    # the kernel ends this process, whatever it is doing, and even if nobody is waiting any more
    signal.setitimer(signal.ITIMER_REAL, min(limits.decode_s, LONGEST_S))
    try:
        size = _decode(file, request["bytes"], name, limits)
        return json.dumps({"size": size}).encode() + b"\n"
    except (InputError, OptionError) as error:
        if getattr(error, "code", None) == "out-of-memory":
            return OUT_OF_MEMORY
        return _refusal(error)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as the pipeline itself would tell it
        return _refusal(InputError(f"{name}: could not be decoded: {type(error).__name__}: {error}", code="failed"))


def _decode(file: BinaryIO, count: int, name: str, limits: MediaLimits) -> tuple[int, int]:
    """Decodes the file's content, and writes the pixels over it as a PPM."""
    stream = io.BytesIO(os.pread(file.fileno(), count, 0))
    image = image_decoding.decode_pil(stream, name=name, limits=limits)
    file.seek(0)
    image.save(file, "PPM")
    return image.size


@functools.lru_cache(1)
def _limits(described: str) -> MediaLimits:
    """The limits of a request, kept by this process's memory, too."""
    limits = MediaLimits(**json.loads(described))
    bound_address_space(_base() + max(_LEAST_MEMORY, _BYTES_A_PIXEL * limits.max_pixels))
    return limits


@functools.cache
def _base() -> int:
    return address_space()


def _refusal(error: InputError | OptionError) -> bytes:
    kind = "option" if isinstance(error, OptionError) else "limit" if isinstance(error, LimitError) else "input"
    told = {"kind": kind, "message": str(error), "code": getattr(error, "code", None)}
    return json.dumps(told).encode() + b"\n"


if __name__ == "__main__":
    main()
