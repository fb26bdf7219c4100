"""How far the faster modes drift from float32, run eagerly: the largest difference of a probability.

python -m benchmarks.drift
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path

import numpy as np

import sensorium
from benchmarks.arguments import Parser
from benchmarks.harness import photographs, save
from benchmarks.image_classification import MODELS, checkpoint


def probabilities(place: Path | str, images: list[str], **settings) -> np.ndarray:
    pipe = sensorium.pipeline("image-classification", place, batch_size=8, **settings)
    rows = []
    for result in pipe(images, top_k=None):
        row = np.zeros(len(result), np.float64)
        row[result.ids] = result.scores
        rows.append(row)
    return np.array(rows)


def parser() -> Parser:
    found = Parser(__doc__)
    known = [*MODELS, "starter"]
    found.add_argument("--models", nargs="+", choices=known, default=[name for name in known if name != "tiny"])
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    figures = {}
    for name in arguments.models:
        place = "starter/image-classification" if name == "starter" else checkpoint(name, folder)
        images = photographs(folder / "photographs", 16)
        if name == "starter":
            images = sorted(str(p) for p in (Path(__file__).parents[1] / "examples" / "pictures").glob("*.jpg"))
        run = functools.partial(probabilities, place, images, device=arguments.device)
        exact = run(dtype="float32", compile=False)
        drift = {
            "bfloat16": run(dtype="bfloat16", compile=False),
            "float32 compiled": run(dtype="float32", compile=True),
            "bfloat16 compiled": run(dtype="bfloat16", compile=True),
        }
        figures[name] = {
            mode: {
                "largest": float(np.abs(got - exact).max()),
                "mean": float(np.abs(got - exact).mean()),
                "same_top_1": float((got.argmax(1) == exact.argmax(1)).mean()),
            }
            for mode, got in drift.items()
        }
        for mode, found in figures[name].items():
            print(f"{name:<10} {mode:<18} largest {found['largest']:.2e}   same top-1 {found['same_top_1']:.0%}")
    save("drift", figures, arguments)


if __name__ == "__main__":
    main()
