"""Labels pictures inside a data flow of Daft; one that cannot be read has a row that says why.

    pip install daft
    python examples/daft_pictures.py

Daft makes one object of the class for each of its workers, which loads the model once, and gives it batches of rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import daft
from daft import DataType, Series

import sensorium
from sensorium import InputError

PICTURES = Path(__file__).parent / "pictures"
LABELLED = DataType.struct({"label": DataType.string(), "score": DataType.float64(), "error": DataType.string()})


@daft.cls(max_concurrency=1)
class Classify:
    """Makes a picture's label, its score, and the code of its error of its path."""

    def __init__(self, model: str) -> None:
        self.pipe = sensorium.pipeline("image-classification", model)

    @daft.method.batch(return_dtype=LABELLED, batch_size=64)
    def labels(self, paths: Series) -> list[dict[str, Any]]:
        """What the pictures of a batch show."""
        outcomes = self.pipe(paths.to_pylist(), on_error="return")  # an InputError in place of a result
        return [
            {"label": None, "score": None, "error": outcome.code} if isinstance(outcome, InputError) else
            {**outcome[0], "error": None}
            for outcome in outcomes
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", help="pictures; those of the examples unless given")
    parser.add_argument("--model", default="starter/image-classification")
    arguments = parser.parse_args()
    paths = arguments.paths or [str(path) for path in sorted(PICTURES.glob("*.jpg"))]
    classify = Classify(arguments.model)
    pictures = daft.from_pydict({"path": paths})
    labelled = pictures.with_column("found", classify.labels(pictures["path"]))
    for row in labelled.sort("path").to_pylist():
        print(f"{Path(row['path']).name}: {row['found']['label'] or row['found']['error']}")


if __name__ == "__main__":
    main()
