"""Films for tests, made with PyAV: the same for every test."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import torch

from sensorium.processors.video_frame import VideoFrame

RATE = 30


def drawn(index, frames, width, height, seed):
    """One frame: a colour of its own, a bar that grows from the left, and a line that falls."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = np.random.default_rng((seed, index)).integers(0, 255, 3)
    pixels[:, : index * width // frames] = 255
    pixels[index * height // frames, :, 0] = index * 2 % 255
    return pixels


def film(frames=48, width=64, height=48, *, form="mp4", codec=None, rate=RATE, stamps=None, rotation=None, matrix=None,
         muxer=None, seed=0, **settings):  # fmt: skip
    """The bytes of a film.

    Args:
        frames: how many.
        width: of them, px.
        height: of them, px.
        form: FFmpeg's name of the container.
        codec: FFmpeg's name of the encoder; by default what is usual in the container.
        rate: frames a second.
        stamps: when each frame is shown, in 1/rate seconds; one after the other unless given.
        rotation: degrees in the header by which a player turns the film anticlockwise.
        matrix: the same as nine numbers.
        muxer: settings of the container.
        seed: of the pictures.
        **settings: of the encoder; `g=12` sets a key every 12 frames.
    """
    codec = codec or {"avi": "mpeg4", "webm": "libvpx-vp9", "gif": "gif", "mpeg": "mpeg2video"}.get(form, "libx264")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={key: str(value) for key, value in settings.items()})
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        container.start_encoding()
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(drawn(index, frames, width, height, seed), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = int(stamps[index]), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def only_sound(form="mp4", codec="aac"):
    """The bytes of a file with half a second of sound, and no pictures."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        tone = (0.1 * np.sin(np.arange(8_192) / 5)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decoded(data):
    """Times in seconds and `(H, W, 3)` pixels of all frames, by PyAV from start to end."""
    with av.open(io.BytesIO(data)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def make_films():
    """Six films of several sizes, lengths and containers."""
    shapes = [(48, 64, 48, "mp4"), (30, 48, 64, "matroska"), (20, 40, 40, "avi"), (48, 96, 32, "mp4")]
    films = [film(*shape[:3], form=shape[3], seed=seed) for seed, shape in enumerate(shapes)]
    shown = [
        VideoFrame(torch.from_numpy(drawn(i, 16, 50, 40, 5)).permute(2, 0, 1), i, i / RATE, None) for i in range(16)
    ]
    return [*films, film(24, form="gif", seed=4), shown]
