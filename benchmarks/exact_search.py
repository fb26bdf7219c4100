"""Exact search for the largest inner products, against a plain scan in float32 of the same vectors.

    python -m benchmarks.exact_search --vectors 1000000 --batch-sizes 1 64 1024
    python -m benchmarks.exact_search --device cuda --vectors 4000000
    python -m benchmarks.exact_search --scaling 10000 30000 100000 300000 1000000 3000000
    python -m benchmarks.exact_search --device cuda --scaling 1000000 4000000 21000000

The peer is faiss.IndexFlatIP on a CPU, and torch's product and top-k on a card. Prints questions per second and their
ratio, how many bytes of vectors a second ours reads, beside what the device copies, and checks that both find the same
rows; where they differ, the products of the rows that one of them has must be equal but for float32's rounding.
`--scaling` measures ours alone for growing numbers of vectors, with the bytes that it reads and the memory that it
takes beside the vectors, and draws it as `exact-search.svg` beside the figures. Vectors are normal, of unit length.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.arguments import Parser
from benchmarks.harness import in_turn, ratio, ratio_value, save
from benchmarks.machine import copy_rate, seconds

Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def unit_vectors(count: int, width: int, seed: int, device: str = "cpu") -> np.ndarray:
    """Normal vectors of unit length; a card draws millions of them in seconds."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    found = np.empty((count, width), np.float32)
    for start in range(0, count, 65_536):
        rows = found[start : start + 65_536]
        if device.startswith("cuda"):
            rows[:] = torch.nn.functional.normalize(torch.randn(rows.shape, device=device)).cpu().numpy()
        else:
            rng.standard_normal(rows.shape, dtype=np.float32, out=rows)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def plain(vectors: np.ndarray, args: argparse.Namespace) -> tuple[str, Search]:
    """The peer's name, and its search."""
    if args.device.startswith("cuda"):
        held = torch.from_numpy(vectors).to(args.device)

        def search(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            scores, rows = (torch.from_numpy(queries).to(args.device) @ held.T).topk(args.k)
            return scores.cpu().numpy(), rows.cpu().numpy()

        return "torch, float32", search
    import faiss

    index = faiss.IndexFlatIP(args.width)
    index.add(vectors)
    return "faiss.IndexFlatIP", lambda queries: index.search(queries, args.k)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    from sensorium.retrieval.dense.exact import ExactScan

    vectors = unit_vectors(args.vectors, args.width, 0, args.device)
    began = time.perf_counter()
    ours = ExactScan(vectors, device=torch.device(args.device))
    print(f"ours: {ours.dtype} scan of {args.vectors:,} × {args.width}, ready in {time.perf_counter() - began:.1f} s")
    name, peer = plain(vectors, args)
    held, copied = ours.coarse.values.nbytes, copy_rate(args.device)
    figures: dict[str, Any] = {"vectors": args.vectors, "width": args.width, "k": args.k, "batches": {}}
    for size in args.batch_sizes:
        queries = unit_vectors(size, args.width, 1)
        check(vectors, queries, ours.search(queries, args.k), peer(queries))
        repeat = max(1, 16 // size)
        found = in_turn(
            {
                name: lambda q=queries, n=repeat: [peer(q) for _ in range(n)],
                "ours": lambda q=queries, n=repeat: [ours.search(q, args.k) for _ in range(n)],
            },
            size * repeat,
            args,
        )
        print(f"batches of {size}")
        for measurement in found.values():
            print(f"  {measurement}")
        read = held * found["ours"].median / size * math.ceil(size / ours.together)
        print(f"  ours: {ratio(found['ours'], found[name])} {name}; reads {read / 1e9:.0f} GB/s ({read / copied:.0%})")
        figures["batches"][size] = {
            "rates": {key: m.rates for key, m in found.items()},
            "ratio": ratio_value(found["ours"], found[name]),
            "bytes_per_s": read,
        }
    figures |= {"dtype": str(ours.dtype), "scanned_again": ours.scanned_again, "copied_bytes_per_s": copied}
    print(f"scanned again: {ours.scanned_again}; the device copies {copied / 1e9:.0f} GB/s, bytes read and written")
    return figures


def check(vectors: np.ndarray, queries: np.ndarray, ours: Any, peer: Any) -> None:
    """The same rows, ties apart."""
    (scores, rows), (_, peer_rows) = ours, peer
    differing = np.argwhere(rows != peer_rows)
    for query, place in differing:
        row, other = rows[query, place], peer_rows[query, place]
        products = vectors[[row, other]].astype(np.float64) @ queries[query].astype(np.float64)
        assert math.isclose(products[0], products[1], abs_tol=1e-6), (row, other, products)
    assert (np.diff(scores, axis=1) <= 0).all()
    print(f"the same rows, but for {len(differing)} ties of {rows.size:,}")


def scale(args: argparse.Namespace) -> list[dict[str, Any]]:
    from sensorium.retrieval.dense.exact import ExactScan

    rows, copied = [], copy_rate(args.device)
    for count in args.scaling:
        vectors = unit_vectors(count, args.width, 0, args.device)
        before = psutil.Process().memory_info().rss
        scan = ExactScan(vectors, device=torch.device(args.device))
        row = {"vectors": count, "held_mb": (psutil.Process().memory_info().rss - before) / 2**20}
        for size in args.batch_sizes:
            queries = unit_vectors(size, args.width, 1)
            spent = seconds(lambda q=queries, scan=scan: scan.search(q, args.k), "cpu", calls=args.rounds, warmup_s=0)
            row[f"ms_{size}"] = 1e3 * spent / size
            row[f"share_{size}"] = scan.coarse.values.nbytes * math.ceil(size / scan.together) / spent / copied
        rows.append(row)
        cells = ", ".join(
            f"{row[f'ms_{size}']:.2f} ms a question in batches of {size} ({row[f'share_{size}']:.0%})"
            for size in args.batch_sizes
        )
        print(f"{count:>9,}: {cells}; {row['held_mb']:.0f} MB of the host's memory beside the vectors", flush=True)
        del scan, vectors
    print(f"in brackets: bytes of vectors read, of the {copied / 1e9:.0f} GB/s that the device copies")
    return rows


def draw(rows: Sequence[dict[str, Any]], sizes: Sequence[int], path: Path) -> None:
    """Milliseconds a question over the number of vectors, both on logarithmic axes, as an SVG."""
    width, height, left, bottom = 640, 400, 70, 50
    xs = [math.log10(row["vectors"]) for row in rows]
    ys = [math.log10(row[f"ms_{size}"]) for row in rows for size in sizes]
    low_x, high_x, low_y, high_y = math.floor(min(xs)), max(xs), math.floor(min(ys)), math.ceil(max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - low_x) / (high_x - low_x) * (width - left - 130)
        return across, height - bottom - (y - low_y) / (high_y - low_y) * (height - bottom - 20)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
    ]
    for exponent in range(low_y, high_y + 1):
        x, y = at(low_x, exponent)
        parts.append(f'<path d="M{x:.0f} {y:.0f}H{width - 130}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{10.0**exponent:g}</text>')
    for exponent in range(low_x, math.floor(high_x) + 1):
        x, y = at(exponent, low_y)
        parts.append(f'<path d="M{x:.0f} {y:.0f}V20" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{10**exponent:,}</text>')
    for size, colour in zip(sizes, ("#1f77b4", "#d62728", "#2ca02c", "#9467bd"), strict=False):
        points = [at(math.log10(row["vectors"]), math.log10(row[f"ms_{size}"])) for row in rows]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        x, y = points[-1]
        parts.append(f'<text x="{x + 8:.0f}" y="{y + 4:.0f}" fill="{colour}">batches of {size}</text>')
    parts.append(f'<text x="{(left + width - 130) / 2}" y="{height - 10}" text-anchor="middle">vectors</text>')
    parts.append(f'<text x="16" y="{height / 2}" transform="rotate(-90 16 {height / 2})" text-anchor="middle">')
    parts.append("milliseconds a question</text></svg>\n")
    path.write_text("".join(parts), encoding="utf-8")
    print(f"drawn in {path}")


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--vectors", type=int, default=1_000_000)
    found.add_argument("--width", type=int, default=768)
    found.add_argument("--k", type=int, default=100)
    found.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 64, 1024])
    found.add_argument("--scaling", type=int, nargs="*", default=[])
    return found


def main() -> None:
    args = parser().parse_args()
    if args.scaling:
        rows = scale(args)
        path = save("exact-search-scaling", {"width": args.width, "k": args.k, "rows": rows}, args)
        if path is not None:
            draw(rows, args.batch_sizes, path.parent / "exact-search.svg")
    else:
        save("exact-search", compare(args), args)


if __name__ == "__main__":
    main()
