"""Labels pictures inside a data flow of Ray Data; one that cannot be read has a row that says why.

    pip install "ray[data]"
    python examples/ray_data.py

Each actor of `map_batches` loads the model once, and is given batches of rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import ray
import ray.data

import sensorium
from sensorium import InputError

PICTURES = Path(__file__).parent / "pictures"


class Classify:
    """Adds a picture's label, its score, and the code of its error to the rows that name it."""

    def __init__(self, model: str) -> None:
        self.pipe = sensorium.pipeline("image-classification", model)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A batch of rows, with what their pictures show."""
        outcomes = self.pipe(rows.column("path").to_pylist(), on_error="return")  # an InputError in place of a result
        best = [None if isinstance(outcome, InputError) else outcome[0] for outcome in outcomes]
        codes = [outcome.code if isinstance(outcome, InputError) else None for outcome in outcomes]
        rows = rows.append_column("label", pa.array([label and label["label"] for label in best], pa.string()))
        rows = rows.append_column("score", pa.array([label and label["score"] for label in best], pa.float64()))
        return rows.append_column("error", pa.array(codes, pa.string()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", help="pictures; those of the examples unless given")
    parser.add_argument("--model", default="starter/image-classification")
    parser.add_argument("--actors", type=int, default=1)
    arguments = parser.parse_args()
    paths = arguments.paths or [str(path) for path in sorted(PICTURES.glob("*.jpg"))]
    ray.init(ignore_reinit_error=True, logging_level="warning")
    labelled = ray.data.from_items([{"path": path} for path in paths]).map_batches(
        Classify,
        fn_constructor_args=(arguments.model,),
        batch_size=64,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=arguments.actors),  # num_gpus=1 gives each of them a GPU
    )
    for row in sorted(labelled.take_all(), key=lambda row: row["path"]):
        print(f"{Path(row['path']).name}: {row['label'] or row['error']}")


if __name__ == "__main__":
    main()
