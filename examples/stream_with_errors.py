"""Goes through files of which some are broken, and writes one row for each: a result, or what was wrong.

    python examples/stream_with_errors.py [--output rows.jsonl]

A bad input costs no good one, and says with a stable code what is wrong with it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sensorium import InputError, MediaLimits, pipeline

IMAGES = Path(__file__).parent / "pictures"
BLANK = {"index": None, "source": None, "result": None, "error": None}  # so that all rows have the same keys


def files_as_they_come(folder: Path) -> Iterator[Path]:
    """The example pictures, and between them what one finds in real folders."""
    good = sorted(IMAGES.glob("*.jpg"))
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<html>404 Not Found</html>", encoding="utf-8")
    (folder / "cut.jpg").write_bytes(good[0].read_bytes()[:5000])
    bad = [folder / "empty.jpg", folder / "page.jpg", folder / "cut.jpg", folder / "missing.jpg", folder]
    for i, path in enumerate(good):
        yield path
        if i < len(bad):
            yield bad[i]


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify files of which some are broken.")
    parser.add_argument("--output", type=Path, default=Path("rows.jsonl"))
    options = parser.parse_args()

    counts: Counter[str] = Counter()
    limits = MediaLimits(max_pixels=50_000_000, allow_urls=False)
    with (
        tempfile.TemporaryDirectory() as folder,
        pipeline("image-classification", model="starter/image-classification", limits=limits) as classify,
        options.output.open("w", encoding="utf-8") as file,
    ):
        for outcome in classify.stream(files_as_they_come(Path(folder)), top_k=1, on_error="return"):
            if isinstance(outcome, InputError):
                counts[outcome.code] += 1
                row = {**BLANK, **outcome.to_dict()}  # with its "index", "source" and "error": {"code", "message"}
            else:
                counts["fine"] += 1
                row = {**BLANK, "index": outcome.index, "result": outcome.to_dict()}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        done = classify.stats()
    for code, count in counts.most_common():
        print(f"{count:3} {code}")
    print(f"{done['inputs']} inputs, {done['failures']} failures, rows in {options.output}")


if __name__ == "__main__":
    main()
