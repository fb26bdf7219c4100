"""Films through VideoMAE-base and TimeSformer-base (random weights), against Transformers' pipeline; and a long film.

    python -m benchmarks.video_classification --models videomae --films 32
    python -m benchmarks.video_classification --long-s 600 --window-s 10

Prints, for each model: the peer at its defaults, the peer at its best of dtype × batch size, and ours at its defaults
and eager in float32, in films per second, and their ratios. Films are ten seconds of 320 by 240 px at 30 frames a
second. The peer decodes with its own reader by PyAV, as ours does.

Then one long film in windows: the share of decoding in the time, which is measured by reading the same frames again
without a model, and how far the resident set grows; the goals are 10 % and no growth with the film's length.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, of_call, sampled, save
from benchmarks.ours import compiles, pipes

MODELS = {"videomae": 16, "timesformer": 8}
"""With the number of frames that each looks at."""

RATE = 30


def checkpoint(name: str, folder: Path, *, layers: int | None) -> Path:
    """Saves the model with random weights, as `from_pretrained` wants it."""
    import torch
    import transformers

    place = folder / f"video-{name}-{layers or 'base'}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        told = {"num_labels": 400, **({"num_hidden_layers": layers} if layers else {})}
        config = transformers.AutoConfig.for_model(name, **told)
        transformers.AutoModelForVideoClassification.from_config(config).save_pretrained(place)
        processors = {"videomae": "VideoMAEVideoProcessor", "timesformer": "TimesformerVideoProcessor"}
        getattr(transformers, processors[name])().save_pretrained(place)
    return place


def film(path: Path, seconds: float, seed: int, size: tuple[int, int] = (320, 240)) -> str:
    """Writes an MP4 in which a pattern moves, unless it is there; keys come every 250 frames, as x264 sets them."""
    import av

    if path.exists():
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = rng.integers(0, 255, (height // 16, width // 8, 3), np.uint8)
    whole = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * RATE)):
            view = np.roll(whole, -3 * number, axis=1)[:, :width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def peer(place: Path, device: str, dtype: str):
    """Transformers' pipeline with its own reader by PyAV; with torchcodec, its default, it is not installed here."""
    import torch
    import transformers
    from transformers.video_processing_utils import BaseVideoProcessor
    from transformers.video_utils import load_video

    def fetched(self, films, sample_indices_fn=None):
        read = [load_video(one, backend="pyav", sample_indices_fn=sample_indices_fn) for one in films]
        return tuple(zip(*read, strict=True))

    BaseVideoProcessor.fetch_videos = fetched
    return transformers.pipeline("video-classification", model=str(place), video_processor=str(place), device=device,
                                 dtype=getattr(torch, dtype))  # fmt: skip


def run(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    place, device = checkpoint(name, folder, layers=arguments.layers), arguments.device
    films = [film(folder / "films" / f"{i:03d}.mp4", 10, i) for i in range(arguments.films)]
    peers = {dtype: peer(place, device, dtype) for dtype in dict.fromkeys(("float32", *arguments.dtypes))}

    def ready(setting: Setting) -> tuple[Any, int]:
        pipe, sample = peers[setting["dtype"]], sampled(films, arguments, setting["batch_size"])
        return lambda: pipe(list(sample), **of_call(setting)), len(sample)

    best, tried = fastest(ready, arguments)
    mine = pipes("video-classification", place, films, arguments)
    runs = {
        "peer, defaults (float32, one by one)": lambda: peers["float32"](list(films)),
        f"peer, best ({label(best)})": lambda: peers[best["dtype"]](list(films), **of_call(best)),
        **{key: (lambda pipe=pipe: pipe(films)) for key, pipe in mine.items()},
    }
    found = in_turn(runs, len(films), arguments)
    print(f"\n{name}")
    figures = {**compared(found), **shares_of_bound(found, mine, films[:1], device)}
    return {**figures, "peer_settings_tried": tried, "stats": {key: pipe.stats() for key, pipe in mine.items()}}


def long_film(name: str, arguments: argparse.Namespace, folder: Path) -> dict:
    """One film in windows: what decoding takes of the time, and what memory it takes beside that of a short one."""
    import sensorium

    place = checkpoint(name, folder, layers=arguments.layers)
    short, long = (film(folder / "films" / f"{s:g}s.mp4", s, 0) for s in (3 * arguments.window_s, arguments.long_s))
    process, figures = psutil.Process(), {}
    with sensorium.pipeline("video-classification", place, device=arguments.device) as pipe:
        pipe(short, window_s=arguments.window_s)
        before_mb = process.memory_info().rss / 2**20
        began = time.perf_counter()
        pipe(long, window_s=arguments.window_s)
        figures["seconds"] = time.perf_counter() - began
        figures["growth_mb"] = process.memory_info().rss / 2**20 - before_mb
        task, options = pipe.task, pipe.task.options.parse({"window_s": arguments.window_s})
        began, windows = time.perf_counter(), 0
        for _ in task.split(long, options):
            windows += 1
        figures["decoding_seconds"] = time.perf_counter() - began
    figures |= {"windows": windows, "share_of_decoding": figures["decoding_seconds"] / figures["seconds"]}
    print(f"{name}: {arguments.long_s:g} s of film in {windows} windows take {figures['seconds']:.1f} s, reading their")
    print(f"  frames {figures['decoding_seconds']:.2f} s, {figures['share_of_decoding']:.1%};", end=" ")
    print(f"memory grew by {figures['growth_mb']:.0f} MB")
    return figures


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--models", nargs="+", choices=MODELS, default=["videomae"])
    found.count("--films", 16, 64)
    compiles(found, 2, 16)
    found.add_argument("--layers", type=int, default=None, help="of the models, to try this out quickly")
    found.add_argument("--long-s", type=float, default=600.0, help="seconds of the long film; 0 for none")
    found.add_argument("--window-s", type=float, default=10.0, help="seconds of its windows")
    found.peer_settings(1)
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    figures: dict[str, Any] = {}
    for name in arguments.models:
        figures[name] = run(name, arguments, folder) if arguments.films else {}
        if arguments.long_s:
            figures[name]["long film"] = long_film(name, arguments, folder)
    save("video-classification", figures, arguments)


if __name__ == "__main__":
    main()
