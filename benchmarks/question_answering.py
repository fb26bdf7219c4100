"""64 contexts of 50–2,000 words through BERT-base (random weights), against Transformers 4.57's way, by hand.

    python -m benchmarks.question_answering --contexts 64

Transformers 5 has no such pipeline. The peer is written as 4.57's was: windows of 384 tokens, a softmax and a search
of spans in NumPy for each. At its defaults it runs one window at a time in float32; its best is sought over dtype ×
windows a batch, all windows of all contexts together, sorted by length. Prints contexts per second from texts to
answers, their ratios, and the drift of bfloat16: answers that change, and how far scores move.
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
from benchmarks.harness import Setting, compared, fastest, in_turn, label, sampled, save

QUESTION = "Where does the river begin and who saw it?"
_SYLLABLES = "ka lo mi ren tu sha vel dor in bra que pa ston ley fir no wes ta gri mund"


def texts(count: int, fewest: int, most: int) -> list[str]:
    """Texts of between `fewest` and `most` words, lengths spread evenly on a logarithmic scale and shuffled."""
    rng, syllables = np.random.default_rng(0), _SYLLABLES.split()
    lengths = np.geomspace(fewest, most, count).astype(int)
    rng.shuffle(lengths)
    return [" ".join("".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(n)) + "." for n in lengths]


def checkpoint(folder: Path, *, layers: int) -> Path:
    """BERT-base with random weights, and a WordPiece tokenizer trained on such texts."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForQuestionAnswering, BertTokenizer

    place = folder / f"bert-qa-{layers}"
    if not (place / "model.safetensors").exists():
        trained = BertWordPieceTokenizer()
        trained.train_from_iterator([*texts(50, 50, 500), QUESTION], vocab_size=30522, show_progress=False)
        torch.manual_seed(0)
        BertForQuestionAnswering(BertConfig(num_hidden_layers=layers)).save_pretrained(place)
        BertTokenizer(vocab=trained.get_vocab(), model_max_length=512).save_pretrained(place)
    return place


class Peer:
    """What 4.57's pipeline does for a question and its contexts."""

    def __init__(self, place: Path, device: str, dtype: str) -> None:
        import torch
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(place)
        model = AutoModelForQuestionAnswering.from_pretrained(place, dtype=getattr(torch, dtype))
        self.model, self.device = model.to(device).eval(), device

    def __call__(self, contexts: list[str], *, batch_size: int = 1) -> list[dict[str, Any]]:
        encoded = self.tokenizer(
            [QUESTION] * len(contexts), contexts, truncation="only_second", max_length=384, stride=128,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        count = len(encoded["input_ids"])
        order = list(range(count))
        if batch_size > 1:
            order.sort(key=lambda i: len(encoded["input_ids"][i]))
        best: list[dict[str, dict[str, Any]]] = [{} for _ in contexts]
        for begin in range(0, count, batch_size):
            rows = order[begin : begin + batch_size]
            for i, start, end in zip(rows, *self._logits(encoded, rows), strict=True):
                context = encoded["overflow_to_sample_mapping"][i]
                self._note(best[context], contexts[context], encoded, i, start, end)
        return [max(found.values(), key=lambda row: row["score"]) for found in best]

    def _logits(self, encoded: Any, rows: list[int]) -> tuple[Any, Any]:
        import torch

        names = self.tokenizer.model_input_names
        batch = self.tokenizer.pad({name: [encoded[name][i] for i in rows] for name in names}, return_tensors="pt")
        with torch.inference_mode():
            output = self.model(**batch.to(self.device))
        return output.start_logits.float().cpu().numpy(), output.end_logits.float().cpu().numpy()

    def _note(self, found: dict, context: str, encoded: Any, i: int, start: Any, end: Any) -> None:
        length = len(encoded["input_ids"][i])
        mask = np.array([which == 1 for which in encoded.sequence_ids(i)])
        mask[0] = True
        start, end = (np.where(mask, logits[:length], -10000) for logits in (start, end))
        start, end = (np.exp(logits - logits.max()) for logits in (start, end))
        start, end = start / start.sum(), end / end.sum()
        start[0] = end[0] = 0
        scores = np.tril(np.triu(np.outer(start, end)), 14)
        flat = scores.ravel()
        places = np.argpartition(-flat, 12)[:12]
        for place in places[np.argsort(-flat[places])]:
            s, e = np.unravel_index(place, scores.shape)
            encoding = encoded.encodings[i]
            first = encoding.word_to_chars(encoding.word_ids[s], 1)[0]
            last = encoding.word_to_chars(encoding.word_ids[e], 1)[1]
            row = {"score": 0.0, "start": first, "end": last, "answer": context[first:last]}
            row = found.setdefault(row["answer"].lower(), row)
            row["score"] += float(flat[place])


def compare(place: Path, contexts: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    import sensorium

    device = arguments.device
    peers = functools.cache(functools.partial(Peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        peer, sample = peers(setting["dtype"]), sampled(contexts, arguments, setting["batch_size"])
        peer(contexts[:1])
        return lambda: peer(sample, batch_size=setting["batch_size"]), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, defaults": sensorium.pipeline("question-answering", place, device=device),
        "ours, float32, eager": sensorium.pipeline(
            "question-answering", place, device=device, dtype="float32", compile=False
        ),
    }
    if arguments.compile:
        mine["ours, compiled"] = sensorium.pipeline("question-answering", place, device=device, compile=True)
    runs = {
        "peer, defaults (float32, window by window)": lambda: peers("float32")(contexts),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(contexts, batch_size=best["batch_size"]),
        **{name: (lambda pipe=pipe: pipe(question=QUESTION, context=contexts)) for name, pipe in mine.items()},
    }
    found = in_turn(runs, len(contexts), arguments)
    asked = [{"question": QUESTION, "context": context} for context in contexts]
    figures = {**compared(found), **shares_of_bound(found, mine, asked, device)}
    agree(peers("float32")(contexts[:8]), mine["ours, float32, eager"](question=QUESTION, context=contexts[:8]))
    stats = {name: pipe.stats() for name, pipe in mine.items()}
    return {**figures, "peer_settings_tried": tried, "stats": stats}


def agree(theirs: list[dict[str, Any]], mine: list[Any]) -> None:
    """What is compared must do the same work."""
    for expected, result in zip(theirs, mine, strict=True):
        assert abs(expected["score"] - result[0]["score"]) < 1e-5, (expected, result)


def drift(place: Path, contexts: list[str], device: str) -> dict[str, float]:
    """How far bfloat16 moves answers from float32's."""
    import sensorium

    pipes = [
        sensorium.pipeline("question-answering", place, device=device, dtype=dtype, compile=False)
        for dtype in ("float32", "bfloat16")
    ]
    exact, fast = (pipe(question=QUESTION, context=contexts, top_k=5) for pipe in pipes)
    same = [a.answers[0] == b.answers[0] for a, b in zip(exact, fast, strict=True)]
    kept = [a.answers[0] in b.answers for a, b in zip(exact, fast, strict=True)]
    moved = [abs(a.scores[0] - b.scores[0]) / a.scores[0] for a, b in zip(exact, fast, strict=True)]
    found = {
        "same_best_answer": float(np.mean(same)),
        "best_answer_among_five": float(np.mean(kept)),
        "relative_move_of_the_best_score_median": float(np.median(moved)),
        "relative_move_of_the_best_score_most": float(np.max(moved)),
    }
    print("  drift of bfloat16:", ", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


def parser() -> Parser:
    found = Parser(__doc__)
    found.count("--contexts", 64, 512)
    found.add_argument("--fewest", type=int, default=50, help="words")
    found.add_argument("--most", type=int, default=2000, help="words")
    found.add_argument("--layers", type=int, default=12, help="fewer to try the script out")
    found.add_argument("--compile", action="store_true", help="also ours with compile=True")
    found.peer_settings(16, batch_sizes=(4, 8, 16, 32))
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    place = checkpoint(Path(tempfile.gettempdir()) / "sensorium-benchmarks", layers=arguments.layers)
    contexts = texts(arguments.contexts, arguments.fewest, arguments.most)
    figures = compare(place, contexts, arguments)
    figures["drift"] = drift(place, contexts[: arguments.sample], arguments.device)
    save("question-answering", figures, arguments)


if __name__ == "__main__":
    main()
