"""64 questions on 8 pictures through ViLT-base (random weights), against Transformers 4.57's way, by hand.

    python -m benchmarks.visual_question_answering --questions 8 --pictures 8

Every question about every picture: pictures of 500×375, 640×480 and 375×500 px, questions of 3 to 12 words.
Transformers 5 has no such pipeline. The peer is written as 4.57's was: the picture is opened, prepared and run with its
question, one pair at a time in float32. Its best is sought over dtype × pairs a batch, each picture opened once, the
checkpoint's own processor padding pictures and questions, as a careful user would. Prints pairs per second from file
names to answers, their ratios, and the drift of bfloat16: scores, and best answers that change.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, photographs, save

TEXT = "what colour is the large dog on left side of street near a red car how many people are there"
WORDS = TEXT.split()
SIZES = [(500, 375), (640, 480), (375, 500)]


def questions(count: int) -> list[str]:
    """Questions of 3 to 12 words."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 13))) + "?" for _ in range(count)]


def make_images(folder: Path, count: int) -> list[str]:
    """Photographs of three sizes, in turn."""
    each = -(-count // len(SIZES))
    rows = [photographs(folder, each, size=size) for size in SIZES]
    return [path for column in zip(*rows, strict=True) for path in column][:count]


def checkpoint(folder: Path, *, layers: int) -> Path:
    """ViLT-base with random weights and 3,129 answers, as the published checkpoint has."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer, ViltConfig, ViltForQuestionAnswering, ViltImageProcessor, ViltProcessor

    place = folder / f"vilt-{layers}"
    if not (place / "model.safetensors").exists():
        trained = BertWordPieceTokenizer()
        trained.train_from_iterator(questions(500), vocab_size=30522, show_progress=False)
        labels = {i: f"answer {i}" for i in range(3129)}
        config = ViltConfig(num_hidden_layers=layers, id2label=labels, label2id={v: k for k, v in labels.items()})
        torch.manual_seed(0)
        ViltForQuestionAnswering(config).save_pretrained(place)
        tokenizer = BertTokenizer(vocab=trained.get_vocab(), model_max_length=40)
        ViltProcessor(ViltImageProcessor(), tokenizer).save_pretrained(place)
    return place


class Peer:
    """4.57's pipeline by hand; in batches as a careful user would write it."""

    def __init__(self, place: Path, device: str, dtype: str) -> None:
        import torch
        from transformers import ViltForQuestionAnswering, ViltProcessor

        self.processor, self.device, self.dtype = ViltProcessor.from_pretrained(place), device, getattr(torch, dtype)
        self.model = ViltForQuestionAnswering.from_pretrained(place, dtype=self.dtype).to(device).eval()

    def one_by_one(self, images: list[str], asked: list[str]) -> list[Any]:
        """Every question about every picture, each by itself."""
        from transformers.image_utils import load_image

        found = []
        for question in asked:
            for path in images:
                inputs = self.processor.tokenizer(question, return_tensors="pt")
                inputs.update(self.processor.image_processor(images=load_image(path), return_tensors="pt"))
                found += self._run(inputs)
        return found

    def batched(self, images: list[str], asked: list[str], *, batch_size: int) -> list[Any]:
        """The same, each picture opened once, `batch_size` pairs at a time."""
        from transformers.image_utils import load_image

        opened = [load_image(path) for path in images]
        pairs = [(image, question) for question in asked for image in opened]
        found = []
        for begin in range(0, len(pairs), batch_size):
            some, texts = zip(*pairs[begin : begin + batch_size], strict=True)
            found += self._run(self.processor(list(some), list(texts), padding=True, return_tensors="pt"))
        return found

    def _run(self, inputs: Any) -> list[Any]:
        import torch

        moved = {
            name: tensor.to(self.device, self.dtype) if tensor.is_floating_point() else tensor.to(self.device)
            for name, tensor in inputs.items()
        }
        with torch.inference_mode():
            scores, ids = self.model(**moved).logits.float().sigmoid().topk(5)
        names = self.model.config.id2label
        rows = zip(scores.tolist(), ids.tolist(), strict=True)
        return [[{"score": s, "answer": names[i]} for s, i in zip(*row, strict=True)] for row in rows]


def speed(place: Path, images: list[str], asked: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    import sensorium

    device = arguments.device
    peers = functools.cache(functools.partial(Peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        peer, size = peers(setting["dtype"]), setting["batch_size"]
        some = asked[: max(2, -(-2 * size // len(images)))]
        peer.batched(images[:2], asked[:1], batch_size=2)
        return lambda: peer.batched(images, some, batch_size=size), len(images) * len(some)

    best, tried = fastest(ready, arguments)
    ours = sensorium.pipeline("visual-question-answering", place, device=device)
    exact = sensorium.pipeline("visual-question-answering", place, device=device, dtype="float32", compile=False)
    runs = {
        "peer, one by one (float32)": lambda: peers("float32").one_by_one(images, asked),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"]).batched(
            images, asked, batch_size=best["batch_size"]
        ),
        "ours, defaults": lambda: ours(images, asked),
        "ours, float32, eager": lambda: exact(images, asked),
    }
    found = in_turn(runs, len(images) * len(asked), arguments)
    mine, few = {"ours, defaults": ours, "ours, float32, eager": exact}, [(i, q) for i in images[:2] for q in asked[:2]]
    shares = shares_of_bound(found, mine, few, device, run=lambda pipe, _: pipe(images[:2], asked[:2]))
    return {**compared(found), **shares, "peer_settings_tried": tried, "stats": ours.stats()}


def drift(place: Path, device: str, images: list[str], asked: list[str]) -> dict[str, float]:
    """How far bfloat16 moves scores, and how often the best answer changes."""
    import sensorium

    found = []
    for dtype in ("float32", "bfloat16"):
        with sensorium.pipeline("visual-question-answering", place, device=device, dtype=dtype, compile=False) as pipe:
            found.append(pipe(images, asked, top_k=None))
    moved, same = [], []
    for exact, fast in zip(*found, strict=True):
        want = dict(zip(exact.answers.tolist(), exact.scores.tolist(), strict=True))
        moved += [abs(want[a] - s) for a, s in zip(fast.answers.tolist(), fast.scores.tolist(), strict=True)]
        same.append(exact.answers[0] == fast.answers[0])
    return {
        "largest": float(np.max(moved)),
        "mean": float(np.mean(moved)),
        "same_best_answer": float(np.mean(same)),
    }


def parser() -> Parser:
    found = Parser(__doc__)
    found.count("--questions", 8, 32)
    found.count("--pictures", 8, 32)
    found.add_argument("--layers", type=int, default=12, help="fewer to try the script out")
    found.peer_settings(1, batch_sizes=(1, 4, 8, 16, 32))
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    place = checkpoint(folder, layers=arguments.layers)
    images, asked = make_images(folder / "photographs", arguments.pictures), questions(arguments.questions)
    figures = speed(place, images, asked, arguments)
    moved = drift(place, arguments.device, images[:4], asked[:4])
    same = moved["same_best_answer"]
    print(f"bfloat16: scores move by {moved['largest']:.2e} at most, {same:.0%} of the best answers are the same")
    save("visual-question-answering", {**figures, "drift_bfloat16": moved}, arguments)


if __name__ == "__main__":
    main()
