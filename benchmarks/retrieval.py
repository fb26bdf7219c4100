"""One question over many passages, end to end: encoded by MiniLM (real weights), searched exactly, passages looked up.

    python -m benchmarks.retrieval --passages 100000

Prints the median and the 95th percentile of a call of `pipeline("retrieval", index=…)`, and of its parts: encoding and
searching. The passages' vectors are random ones of unit length, since encoding them would take half an hour and changes
nothing in what a question costs; the index is saved and loaded, so that vectors and passages come from disk.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.exact_search import unit_vectors
from benchmarks.harness import save
from benchmarks.question_answering import texts


def timed(calls: int, call: Callable[[int], Any]) -> dict[str, float]:
    """Milliseconds of single calls."""
    spent = []
    for number in range(calls + 3):
        began = time.perf_counter()
        call(number)
        spent.append(1e3 * (time.perf_counter() - began))
    return {"p50_ms": float(np.percentile(spent[3:], 50)), "p95_ms": float(np.percentile(spent[3:], 95))}


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--passages", type=int, default=100_000)
    found.add_argument("--questions", type=int, default=100)
    return found


def main() -> None:
    args = parser().parse_args()

    from sensorium import pipeline
    from sensorium.retrieval import Encoder, Index

    encoder = Encoder.from_pretrained("starter/text-embedding", device=args.device)
    words = texts(args.passages, 80, 120)
    questions = [" ".join(["where does", *text.split()[:8], "?"]) for text in words[: args.questions + 3]]
    vectors = unit_vectors(args.passages, encoder.dimension, 0)
    with tempfile.TemporaryDirectory() as folder:
        built = Index.from_vectors(vectors, passages=words, similarity="cosine", encoder=encoder, device=args.device)
        built.save(Path(folder, "index"))
        index = Index.load(Path(folder, "index"), encoder=encoder, device=args.device)
        queries = encoder.encode_queries(questions)
        with pipeline("retrieval", index=index) as pipe:
            figures = {
                "whole call": timed(args.questions, lambda i: pipe(questions[i])),
                "encoding": timed(args.questions, lambda i: encoder.encode_queries([questions[i]])),
                "search": timed(args.questions, lambda i: index.search(queries[i])),
            }
    print(f"one question over {args.passages:,} passages of 80 to 120 words, {index!r}")
    for name, found in figures.items():
        print(f"  {name:<12} p50 {found['p50_ms']:6.1f} ms, p95 {found['p95_ms']:6.1f} ms")
    save("retrieval", {"passages": args.passages, **figures}, args)


if __name__ == "__main__":
    main()
