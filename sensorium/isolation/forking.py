"""The process that forks helpers, and what a helper does: it answers requests until nobody asks any more.

The forking process has imported what helpers need, so that one is there in a few milliseconds. It never sees what they
read. `pool.py` is the other side.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

from sensorium.isolation.bounds import end_with

READY = b"+"
"""What the forking process says once it can fork."""

ASKED = struct.Struct("<Id")
"""Before a request: its length, and the seconds that there are for it."""

TOLD = struct.Struct("<I")
"""Before an answer: its length. One of no bytes is the last word of a helper whose memory did not suffice."""

LONGEST_S = 1e6
"""Timers take no infinity."""

KEPT_BYTES = 32 * 2**20
"""Of a helper's file, for as long as it lives: both sides have them at hand, and what is larger is read and written."""

IS_MEMORY = sys.platform == "linux"
"""Whether helpers' files are. Elsewhere they lie on a disk, and only who calls `write` is told that it is full."""

_PIECE = 2**16  # bytes of a message that are read at once


class SharedFile:
    """The file through which data pass between a helper and those whom it helps."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept: Any = memoryview(mmap.mmap(descriptor, KEPT_BYTES))

    def read(self, count: int) -> memoryview:
        """Its first bytes; not to be used after `write`."""
        return self._kept[:count] if count <= KEPT_BYTES else memoryview(os.pread(self._descriptor, count, 0))

    def write(self, pieces: Iterable[bytes]) -> None:
        """Writes over it from its beginning."""
        at = 0
        for piece in pieces:
            end = at + len(piece)
            if IS_MEMORY and end <= KEPT_BYTES:
                self._kept[at:end] = piece
            else:
                left = memoryview(piece)
                while left:
                    left = left[os.pwrite(self._descriptor, left, end - len(left)) :]
            at = end


Answer = Callable[[bytes, SharedFile], bytes]
"""From a request, and the file that goes with it, to what the other side is told."""


def fork_helpers(orders: socket.socket, answer: Answer) -> None:
    """Forks a helper for each pair of descriptors, a socket and a file, that comes; until the other side closes.

    Args:
        orders: where they come.
        answer: what helpers do; whatever it raises but MemoryError ends one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for helpers: their sockets tell
    gc.collect()
    gc.freeze()  # what is collected is written to, and then is each helper's own
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
            line, file = descriptors
            _serve(socket.socket(fileno=line), SharedFile(file), answer)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def received(line: socket.socket, head: struct.Struct) -> tuple[Any, bytes] | None:
    """The next message, its head's numbers and its body; None where the other side has ended.

    Args:
        line: where it comes.
        head: whose first number is the length of the body.
    """
    message = line.recv(_PIECE)
    while message:
        if len(message) >= head.size:
            numbers = head.unpack_from(message)
            if len(message) == head.size + numbers[0]:
                return numbers, message[head.size :]
        piece = line.recv(_PIECE)
        if not piece:
            return None
        message += piece
    return None


def _serve(line: socket.socket, file: SharedFile, answer: Answer) -> None:
    while (message := received(line, ASKED)) is not None:
        (_, seconds), request = message
        # the kernel ends this process, whatever it is doing, and even if nobody is waiting any more
        signal.setitimer(signal.ITIMER_REAL, min(seconds, LONGEST_S))
        try:
            told = answer(request, file)
        except MemoryError:
            told = b""
        signal.setitimer(signal.ITIMER_REAL, 0)
        line.sendall(TOLD.pack(len(told)) + told)
