"""Runs a module on the pretend CUDA device: `python -m tests.on_pretend_cuda benchmarks.throughput --device cuda …`.

For what is started as a program, and so cannot open the device itself. It fails if anything went wrong on it.
"""

from __future__ import annotations

import runpy
import sys

from tests.pretend_cuda import PretendCuda


def main() -> None:
    name, *arguments = sys.argv[1:]
    sys.argv = [name, *arguments]
    with PretendCuda() as cuda:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        cuda.check()
    print(f"{cuda.counts['operations']:,} operations on the pretend device, {cuda.counts['replays']} graphs replayed")


if __name__ == "__main__":
    main()
