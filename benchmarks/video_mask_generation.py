"""SAM 2's model of films (random weights) on films with several objects, against Transformers' own loop.

    python -m benchmarks.video_mask_generation --frames 8 --objects 3
    python -m benchmarks.video_mask_generation --size 256 --lengths 100 10000

Prints, for the peer in float32 and at its best dtype, and for ours in float32 and at its defaults, the frames a second
from the film's file to masks of its own size, and their ratios; then the highest memory of processes that each follow
one film of each of `--lengths`: the peer keeps every frame and every mask, ours is to take the same for all lengths.
The peer's film is decoded with PyAV beforehand, which is counted, as it is in ours. `--size` makes a smaller model.
"""

from __future__ import annotations

import argparse
import functools
import re
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.harness import compared, in_turn, save

WIDTH, HEIGHT = 640, 480


def checkpoint(folder: Path, size: int) -> Path:
    """Saves SAM 2.1 tiny with random weights and its processor; it sees squares of `size` px."""
    import torch
    from transformers import (
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
    )

    place = folder / f"sam2-video-{size}"
    if not (place / "model.safetensors").exists():
        torch.manual_seed(0)
        grid = size // 16
        backbone = {"model_type": "sam2_hiera_det_model", "image_size": [size, size]}
        sides = [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2]
        vision = {"model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_feature_sizes": sides}
        config = Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config={"image_size": size},
            image_size=size,
            memory_attention_rope_feat_sizes=[grid, grid],
        )
        model = Sam2VideoModel(config).eval()
        model.mask_decoder.pred_obj_score_head.proj_out.bias.data.add_(5)  # in sight, as a trained model finds it
        model.save_pretrained(place)
        square = {"height": size, "width": size}
        images, films = Sam2ImageProcessor(size=square), Sam2VideoVideoProcessor(size=square)
        Sam2VideoProcessor(images, films, target_size=size).save_pretrained(place)
    return place


def film(path: Path, frames: int) -> str:
    """Writes an MP4 in which a pattern moves, unless it is there."""
    import av

    if path.exists():
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(0).integers(0, 255, (HEIGHT // 16, WIDTH // 8, 3), np.uint8)
    whole = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            view = np.ascontiguousarray(np.roll(whole, -3 * number, axis=1)[:, :WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


def boxes(objects: int) -> list[list[int]]:
    """One for each object, px."""
    return [[20 + 60 * i, 30 + 40 * i, 100 + 60 * i, 120 + 40 * i] for i in range(objects)]


class Peer:
    """Transformers' loop as its documentation writes it."""

    def __init__(self, place: Path, device: str, dtype: str) -> None:
        import torch
        from transformers import Sam2VideoModel, Sam2VideoProcessor

        self._dtype, self._device = getattr(torch, dtype), device
        self._model = Sam2VideoModel.from_pretrained(place, dtype=self._dtype).to(device).eval()
        self._processor = Sam2VideoProcessor.from_pretrained(place)

    def __call__(self, path: str, objects: int) -> int:
        import av

        with av.open(path) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        session = self._processor.init_video_session(
            video=np.stack(frames), inference_device=self._device, dtype=self._dtype
        )
        self._processor.add_inputs_to_inference_session(
            session, frame_idx=0, obj_ids=list(range(objects)), input_boxes=[boxes(objects)]
        )
        self._model(session, frame_idx=0)
        seen, size = 0, [[session.video_height, session.video_width]]
        for output in self._model.propagate_in_video_iterator(session):
            masks = self._processor.post_process_masks([output.pred_masks.float()], original_sizes=size)[0]
            seen += len(masks.cpu())
        return seen


class Ours:
    """A session that streams."""

    def __init__(self, place: Path, device: str, dtype: str) -> None:
        import sensorium

        self._pipe = sensorium.pipeline("video-mask-generation", place, device=device, dtype=dtype)

    def __call__(self, path: str, objects: int) -> int:
        with self._pipe.video(path) as opened:
            for name, box in enumerate(boxes(objects)):
                opened.add(name, box=box)
            return sum(len(masks) for masks in opened.stream())


def memory(place: Path, films: list[str], arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The highest memory, MB, of processes that each follow one film: on a card the card's, else the resident set."""
    found: dict[str, dict[str, float]] = {}
    for side in (Ours,) if arguments.only_ours else (Peer, Ours):
        for path in films:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                job = pool.submit(_highest, side, place, path, arguments.device, arguments.objects)
                found.setdefault(side.__name__.lower(), {})[Path(path).stem] = job.result()
        told = ", ".join(f"{name}: {mb:.0f} MB" for name, mb in found[side.__name__.lower()].items())
        print(f"  {side.__name__.lower()}, float32: {told}")
    return found


def _highest(side: Any, place: Path, path: str, device: str, objects: int) -> float:
    import torch

    warnings.filterwarnings("ignore")
    side(place, device, "float32")(path, objects)
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss would count the parent's pages, too
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) / 2**10


def parser() -> Parser:
    found = Parser(__doc__)
    found.count("--frames", 8, 100)
    found.count("--objects", 3, 8)
    found.add_argument("--size", type=int, default=1024, help="px of the square that the model sees, times of 64")
    found.add_argument("--lengths", nargs="+", type=int, default=[10, 40], help="frames of the films that memory is of")
    found.add_argument("--only-ours", action="store_true", help="measures no memory of the peer, which long films fill")
    found.add_argument("--dtypes", nargs="+", default=["bfloat16"], help="the peer's, beside float32")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    place = checkpoint(folder, arguments.size)
    figures: dict[str, Any] = {"size": arguments.size, "objects": arguments.objects}
    if arguments.frames:
        path, device, objects = (
            film(folder / "films" / f"{arguments.frames}.mp4", arguments.frames),
            arguments.device,
            arguments.objects,
        )
        sides = {f"peer, {dtype}": Peer(place, device, dtype) for dtype in ("float32", *arguments.dtypes)}
        sides |= {"ours, defaults": Ours(place, device, "auto"), "ours, float32": Ours(place, device, "float32")}
        runs = {name: functools.partial(side, path, objects) for name, side in sides.items()}
        figures |= compared(in_turn(runs, arguments.frames, arguments))
    films = [film(folder / "films" / f"{length}.mp4", length) for length in arguments.lengths]
    figures["memory_mb"] = memory(place, films, arguments)
    save("video-mask-generation", figures, arguments)


if __name__ == "__main__":
    main()
