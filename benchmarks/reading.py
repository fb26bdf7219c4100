"""16 questions with 50 passages of 100 words each through DPR's reader of BERT-base size (random weights), against
Transformers by hand, question by question.

    python -m benchmarks.reading --questions 16 --passages 50

The peer is written as its documentation has it: for each question the tokenizer lays out its passages, padded to the
longest, the model runs them as one batch, and `decode_best_spans` chooses the answers. At its defaults that is float32,
with tensors given to `decode_best_spans`; its best is sought over dtype × passages per batch, sorted by length, with
NumPy arrays given to it, which it searches many times faster. Prints questions per second from texts to answers, their
ratios, what the stages of each take, and the drift of bfloat16: answers that change, and how far scores move.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, save
from benchmarks.question_answering import texts

SPANS = 16
"""Answers to a question: those that `decode_best_spans` gives."""


def asked(questions: int, passages: int, *, fewest: int, most: int) -> list[dict[str, Any]]:
    """Questions, each with passages of its own, of between `fewest` and `most` words, with titles of three."""
    found = texts(questions * passages, fewest, most)
    titles = [" ".join(text.split()[:3]) for text in reversed(found)]
    rows = [{"title": title, "text": text} for title, text in zip(titles, found, strict=True)]
    return [
        {
            "question": " ".join(["where does", *rows[i]["text"].split()[4:10], "?"]),
            "passages": rows[i : i + passages],
        }
        for i in range(0, len(rows), passages)
    ]


def checkpoint(folder: Path, *, layers: int) -> Path:
    """DPR's reader with random weights, its logits spread as a trained one's, and a WordPiece tokenizer."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import DPRConfig, DPRReader, DPRReaderTokenizer

    place = folder / f"dpr-reader-{layers}"
    if not (place / "model.safetensors").exists():
        trained = BertWordPieceTokenizer()
        trained.train_from_iterator(texts(50, 50, 500), vocab_size=30522, show_progress=False)
        torch.manual_seed(0)
        model = DPRReader(DPRConfig(num_hidden_layers=layers))
        with torch.no_grad():
            model.span_predictor.qa_outputs.weight.mul_(10)
            model.span_predictor.qa_classifier.weight.mul_(10)
        model.save_pretrained(place)
        DPRReaderTokenizer(vocab=trained.get_vocab(), do_lower_case=True, model_max_length=512).save_pretrained(place)
    return place


class Peer:
    """Transformers by hand, one question at a time."""

    def __init__(self, place: Path, device: str, dtype: str) -> None:
        import torch
        from transformers import DPRReader, DPRReaderTokenizer

        self.tokenizer = DPRReaderTokenizer.from_pretrained(place)
        self.model = DPRReader.from_pretrained(place, dtype=getattr(torch, dtype)).to(device).eval()
        self.device = device
        self.seconds = {"tokenize": 0.0, "forward": 0.0, "decode": 0.0}

    def __call__(self, rows: list[dict[str, Any]], *, batch_size: int | None = None) -> list[list[Any]]:
        """The answers to each question; all passages as one batch and tensors decoded where `batch_size` is None."""
        return [self._answer(row, batch_size) for row in rows]

    def _answer(self, row: dict[str, Any], batch_size: int | None) -> list[Any]:
        began = time.perf_counter()
        passages = row["passages"]
        encoded = self.tokenizer(
            questions=[row["question"]] * len(passages),
            titles=[passage["title"] for passage in passages],
            texts=[passage["text"] for passage in passages],
            padding=True, truncation=True, max_length=512, return_tensors="pt",
        )  # fmt: skip
        told = time.perf_counter()
        output = self._all(encoded) if batch_size is None else self._sorted(encoded, batch_size)
        ran = time.perf_counter()
        found = self.tokenizer.decode_best_spans(*output, num_spans=SPANS)
        for name, seconds in zip(self.seconds, np.diff([began, told, ran, time.perf_counter()]), strict=True):
            self.seconds[name] += float(seconds)
        return found

    def _all(self, encoded: Any) -> tuple[Any, Any]:
        import torch

        with torch.inference_mode():
            output = self.model(**encoded.to(self.device))
        return encoded, output

    def _sorted(self, encoded: Any, batch_size: int) -> tuple[Any, Any]:
        import torch

        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        lengths = mask.sum(1)
        order = lengths.argsort(descending=True)
        spans, relevance = np.full((2, *ids.shape), -np.inf, np.float32), np.zeros(len(ids), np.float32)
        for rows in order.split(batch_size):
            length = int(lengths[rows].max())
            with torch.inference_mode():
                output = self.model(ids[rows, :length].to(self.device), mask[rows, :length].to(self.device))
            for i, name in enumerate(("start_logits", "end_logits")):
                spans[i, rows, :length] = output[name].float().cpu().numpy()
            relevance[rows] = output.relevance_logits.float().cpu().numpy()
        return {"input_ids": ids.numpy()}, (spans[0], spans[1], relevance)


def compare(place: Path, rows: list[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    import sensorium

    device, sample = arguments.device, rows[: arguments.sample]
    peers = functools.cache(functools.partial(Peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        peer = peers(setting["dtype"])
        return lambda: peer(sample, batch_size=setting["batch_size"]), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, defaults": sensorium.pipeline("retrieval-qa", place, device=device),
        "ours, float32, eager": sensorium.pipeline(
            "retrieval-qa", place, device=device, dtype="float32", compile=False
        ),
    }
    if arguments.compile:
        mine["ours, compiled"] = sensorium.pipeline("retrieval-qa", place, device=device, compile=True)
    used = {dtype: peers(dtype) for dtype in ("float32", best["dtype"])}
    for peer in used.values():
        peer.seconds = dict.fromkeys(peer.seconds, 0.0)
    runs = {
        "peer, defaults (float32, question by question)": lambda: peers("float32")(rows),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(rows, batch_size=best["batch_size"]),
        **{name: (lambda pipe=pipe: pipe(rows, top_k=SPANS)) for name, pipe in mine.items()},
    }
    found = in_turn(runs, len(rows), arguments)
    figures = compared(found)
    figures |= shares_of_bound(found, mine, rows[:2], device, run=lambda pipe, some: pipe(some, top_k=SPANS))
    agree(peers("float32")(rows[:1]), mine["ours, float32, eager"](rows[:1], top_k=SPANS))
    stages = {f"peer, {name}": {k: round(v, 2) for k, v in peer.seconds.items()} for name, peer in used.items()}
    for name, pipe in mine.items():
        told = pipe.stats()["stages"]
        stages[name] = {stage: round(told[stage]["seconds"], 2) for stage in ("split", "forward", "decode", "merge")}
    for name, seconds in stages.items():
        print(f"  seconds, {name}: {seconds}")
    return {**figures, "peer_settings_tried": tried, "seconds": stages}


def agree(theirs: list[list[Any]], mine: list[Any]) -> None:
    """What is compared must do the same work."""
    for expected, result in zip(theirs, mine, strict=True):
        for a, b in zip(expected, result, strict=True):
            assert abs(float(a.span_score) - b["span_score"]) < 1e-3, (a, b)
            assert abs(float(a.relevance_score) - b["relevance_score"]) < 1e-3, (a, b)
            assert a.doc_id + 1 == b["citations"][0], (a, b)


def drift(place: Path, rows: list[dict[str, Any]], device: str) -> dict[str, float]:
    """How far bfloat16 moves answers from float32's."""
    import sensorium

    exact, fast = (
        sensorium.pipeline("retrieval-qa", place, device=device, dtype=dtype, compile=False)(rows, top_k=SPANS)
        for dtype in ("float32", "bfloat16")
    )
    pairs = list(zip(exact, fast, strict=True))
    found = {
        "same_best_passage": float(np.mean([a.citations[0] == b.citations[0] for a, b in pairs])),
        "same_best_answer": float(np.mean([a.answers[0] == b.answers[0] for a, b in pairs])),
        "best_answer_among_16": float(np.mean([a.answers[0] in b.answers for a, b in pairs])),
        "move_of_the_best_relevance_most": float(
            max(abs(a.relevance_scores[0] - b.relevance_scores[0]) for a, b in pairs)
        ),
    }
    print("  drift of bfloat16:", ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


def parser() -> Parser:
    found = Parser(__doc__)
    found.count("--questions", 16, 32)
    found.add_argument("--passages", type=int, default=50, help="a question")
    found.add_argument("--fewest", type=int, default=60, help="words")
    found.add_argument("--most", type=int, default=110, help="words")
    found.add_argument("--layers", type=int, default=12, help="fewer to try the script out")
    found.add_argument("--compile", action="store_true", help="also ours with compile=True")
    found.peer_settings(2, batch_sizes=(10, 25, 50), batch_sizes_on_cuda=(25, 50))
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    place = checkpoint(Path(tempfile.gettempdir()) / "sensorium-benchmarks", layers=arguments.layers)
    rows = asked(arguments.questions, arguments.passages, fewest=arguments.fewest, most=arguments.most)
    figures = {"questions": arguments.questions, "passages": arguments.passages}
    figures |= compare(place, rows, arguments)
    figures["drift"] = drift(place, rows[: arguments.sample], arguments.device)
    save("reading", figures, arguments)


if __name__ == "__main__":
    main()
