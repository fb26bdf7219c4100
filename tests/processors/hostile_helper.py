"""The process that decodes pictures apart, with a decoder that certain files crash, hang or fill."""

from __future__ import annotations

import os
import threading

from sensorium.processors import image_helper

decode = image_helper.decoded


def hostile(data, name, limits):
    if data[-5:] == b"CRASH":
        os.abort()
    if data[-4:] == b"HANG":
        threading.Event().wait()
    if data[-4:] == b"FILL":
        return bytearray(2**42)
    return decode(data, name, limits)


image_helper.decoded = hostile

if __name__ == "__main__":
    image_helper.main()
