"""Pictures against 1,000 labels with CLIP ViT-B/32 (random weights): what labels cost after the first picture.

    python -m benchmarks.zero_shot_image_classification --labels 1000 --images 64

Measures ours with the labels' texts kept, and ours with the features of the picture alone, on the same files; the
former is to be within 10 % of the latter. Transformers' pipeline encodes all labels anew for each picture, so it runs
on `--peer-images` of them; the best that a user gets from Transformers, its model by hand with the texts encoded once
and pictures in batches, runs beside it. Prints pictures per second, ratios, and the drift of bfloat16.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import as_rows, in_turn, photographs, ratio, ratio_value, save

_SYLLABLES = "ka lo mi ren tu sha vel dor in bra que pa ston ley fir no wes ta gri mund"


def names(count: int) -> list[str]:
    """Labels of one to three made-up words."""
    rng, parts = np.random.default_rng(0), _SYLLABLES.split()
    return [" ".join("".join(rng.choice(parts, 2)) for _ in range(1 + i % 3)) + f" {i}" for i in range(count)]


def tokenizer_of_clip(*special: str, length: int = 77) -> Any:
    """A tokenizer of CLIP's kind trained on the labels; special tokens before its own two get the first ids."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=[*special, "<|startoftext|>", "<|endoftext|>"],
                                  initial_alphabet=alphabet, end_of_word_suffix="</w>",
                                  show_progress=False)  # fmt: skip
    trained.train_from_iterator([*names(1000), "this is a photo of"], trainer)
    model = json.loads(trained.to_str())["model"]
    for symbol in alphabet:
        model["vocab"].setdefault(symbol + "</w>", len(model["vocab"]))
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=length)


def checkpoint(folder: Path, *, layers: int) -> Path:
    """CLIP ViT-B/32 with random weights, and a tokenizer of its kind trained on the labels."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    place = folder / f"clip-{layers}"
    if (place / "model.safetensors").exists():
        return place
    tokenizer_of_clip().save_pretrained(place)
    CLIPImageProcessor().save_pretrained(place)
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1}
    text, vision = {"num_hidden_layers": layers, **ends}, {"num_hidden_layers": layers}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(place)
    return place


class ByHand:
    """Transformers' model as a careful user runs it: texts once, pictures in batches."""

    def __init__(self, place: Path, device: str, dtype: str, labels: list[str]) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        self.dtype, self.device = getattr(torch, dtype), device
        self.model = CLIPModel.from_pretrained(place, dtype=self.dtype).to(device).eval()
        self.processor = AutoImageProcessor.from_pretrained(place)
        tokenizer = AutoTokenizer.from_pretrained(place)
        texts = tokenizer([f"This is a photo of {x}." for x in labels], padding=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            found = self.model.get_text_features(**texts).pooler_output
        self.texts, self.labels = found / found.norm(dim=-1, keepdim=True), labels

    def __call__(self, paths: list[str], batch_size: int) -> list[list[dict[str, Any]]]:
        import torch
        from PIL import Image

        rows = []
        for begin in range(0, len(paths), batch_size):
            images = [Image.open(path).convert("RGB") for path in paths[begin : begin + batch_size]]
            pixels = self.processor(images, return_tensors="pt")["pixel_values"].to(self.device, self.dtype)
            with torch.inference_mode():
                found = self.model.get_image_features(pixels).pooler_output
                found = found / found.norm(dim=-1, keepdim=True)
                scores = (found @ self.texts.T * self.model.logit_scale.exp()).float().softmax(-1).cpu()
            for row in scores:
                pairs = sorted(zip(row.tolist(), self.labels, strict=True), reverse=True)
                rows.append([{"score": score, "label": label} for score, label in pairs])
        return rows


def compare(place: Path, paths: list[str], labels: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    import transformers

    import sensorium

    device = arguments.device
    peer = transformers.pipeline("zero-shot-image-classification", model=str(place), device=device)
    few = paths[: arguments.peer_images]
    began = time.perf_counter()
    expected = peer(few, candidate_labels=labels)
    peer_rate = len(few) / (time.perf_counter() - began)
    print(f"  peer, pipeline, float32, one by one: {peer_rate:.3f} /s (on {len(few)} pictures, once)")
    hands = {dtype: ByHand(place, device, dtype, labels) for dtype in arguments.dtypes}
    mine = sensorium.pipeline("zero-shot-image-classification", place, device=device, batch_size=arguments.batch_size)
    alone = sensorium.pipeline("zero-shot-image-classification", place, device=device, batch_size=arguments.batch_size)
    began = time.perf_counter()
    mine(paths[0], candidate_labels=labels)
    first = time.perf_counter() - began
    runs = {
        "ours, features of the pictures alone": lambda: features_alone(alone, paths),
        f"ours, {len(labels)} labels kept": lambda: mine(paths, candidate_labels=labels),
        **{
            f"model by hand, {dtype}, texts once": (lambda hand=hand: hand(paths, arguments.batch_size))
            for dtype, hand in hands.items()
        },
    }
    found = in_turn(runs, len(paths), arguments)
    base, ours, *others = found.values()
    for measurement in found.values():
        print(f"  {measurement}")
    print(f"  first picture with its labels: {first:.2f} s")
    print(f"  with labels: {ratio(ours, base)} the rate of features alone (0.9 or more is wanted)")
    print(f"  with labels: {ours.median / peer_rate:.1f}× the pipeline, {ratio(ours, others[-1])} {others[-1].name}")
    exact = sensorium.pipeline("zero-shot-image-classification", place, device=device, dtype="float32", compile=False)(
        few, candidate_labels=labels
    )
    shares = shares_of_bound(
        found,
        {f"ours, {len(labels)} labels kept": mine},
        paths[:4],
        device,
        run=lambda pipe, some: pipe(some, candidate_labels=labels),
    )
    for theirs, result in zip(expected, exact, strict=True):  # what is compared must do the same work
        np.testing.assert_allclose([row["score"] for row in theirs], result.scores, atol=1e-5)
    return {
        "measurements": as_rows(list(found.values())),
        "peer_pipeline_rate": peer_rate,
        "first_picture_s": first,
        **shares,
        "ratios": {
            "of_features_alone": ratio_value(ours, base),
            "pipeline": ours.median / peer_rate,
            **{other.name: ratio_value(ours, other) for other in others},
        },
    }


def features_alone(pipe: Any, paths: list[str]) -> None:
    """The same files through the same engine and the same part of the model, and no labels at all."""
    task = pipe.task
    task.check = lambda options: None
    task.forward = lambda batch, options, call: call(task.compute, batch)
    task.decode = lambda outputs, metas, options: list(outputs["features"].float().cpu().numpy())
    task.merge = lambda parts, options, index: parts[0]
    pipe(paths)


def drift(place: Path, paths: list[str], labels: list[str], device: str) -> dict[str, float]:
    """How far bfloat16 moves the scores of the labels."""
    import sensorium

    pipes = [
        sensorium.pipeline("zero-shot-image-classification", place, device=device, dtype=dtype, compile=False)
        for dtype in ("float32", "bfloat16")
    ]
    exact, fast = (pipe(paths, candidate_labels=labels) for pipe in pipes)
    moved = [np.abs(a.scores[a.ids.argsort()] - b.scores[b.ids.argsort()]) for a, b in zip(exact, fast, strict=True)]
    found = {
        "score_moves_at_most": float(np.max(moved)),
        "score_moves_on_average": float(np.mean(moved)),
        "same_best_label": float(np.mean([a.labels[0] == b.labels[0] for a, b in zip(exact, fast, strict=True)])),
    }
    print("  drift of bfloat16:", ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


def parser() -> Parser:
    found = Parser(__doc__, rounds=5)
    found.add_argument("--labels", type=int, default=1000)
    found.count("--images", 64, 1024)
    found.add_argument("--peer-images", type=int, default=2, help="for the pipeline, which encodes all labels anew")
    found.add_argument("--layers", type=int, default=12, help="fewer to try the script out")
    found.count("--batch-size", 8, 128, "ours, and that of the model by hand")
    found.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="of the model by hand")
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    place, labels = checkpoint(folder, layers=arguments.layers), names(arguments.labels)
    paths = photographs(folder / "photographs", arguments.images)
    figures = compare(place, paths, labels, arguments)
    figures["drift"] = drift(place, paths[:16], labels, arguments.device)
    save("zero-shot-image-classification", figures, arguments)


if __name__ == "__main__":
    main()
