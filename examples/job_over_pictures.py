"""Classifies very many pictures as a job: whatever stops it, the same command goes on.

    python examples/job_over_pictures.py [FOLDER] [--out RUN] [--model NAME]

Each picture has one row in the end, with its labels or with why there are none. Press Ctrl-C and start it again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import Labels
from sensorium.jobs import Job

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify very many pictures as a job.")
    parser.add_argument("folder", type=Path, nargs="?", default=IMAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--model", default="starter/image-classification")
    options = parser.parse_args()

    inputs = f"{options.folder}/**/*.jpg"
    job = Job("image-classification", options.model, inputs=inputs, out=options.out, options={"top_k": 1})
    report = job.run(progress=True, max_failures="20%")
    print(report)
    for batch in job.results().to_batches():
        for row in batch.to_pylist():
            name = Path(row["source"]).name
            print(f"{name}: {Labels.from_row(row)[0]['label'] if row['status'] == 'ok' else row['error_code']}")


if __name__ == "__main__":
    main()
