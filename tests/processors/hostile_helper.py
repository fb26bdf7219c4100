"""The process that decodes pictures apart, with a decoder that certain files crash, hang or fill."""

from __future__ import annotations

import os
import threading

from sensorium.processors import image_decoding, image_helper

decode_pil = image_decoding.decode_pil


def hostile(stream, *, name, limits):
    data = stream.getvalue()
    if data.endswith(b"CRASH"):
        os.abort()
    if data.endswith(b"HANG"):
        threading.Event().wait()
    if data.endswith(b"FILL"):
        return bytearray(2**42)
    return decode_pil(stream, name=name, limits=limits)


image_decoding.decode_pil = hostile

if __name__ == "__main__":
    image_helper.main()
