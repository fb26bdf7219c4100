"""Finds the people on pictures, and draws their skeletons.

    python examples/draw_poses.py --model usyd-community/vitpose-base-simple --detector facebook/detr-resnet-50 *.jpg

The models are fetched from the Hub at their first use; local folders work offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import InputError, pipeline

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw poses.")
    parser.add_argument("images", nargs="*", type=Path, default=sorted(IMAGES.glob("c*.jpg")))
    parser.add_argument("--model", default="usyd-community/vitpose-base-simple", help="a Hub name or a folder")
    parser.add_argument("--detector", default="facebook/detr-resnet-50", help="finds the people")
    parser.add_argument("--label", default="person", help="the class of the detector that counts")
    parser.add_argument("--folder", type=Path, default=Path("poses"))
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)

    with pipeline("pose-estimation", model=options.model, detector=options.detector) as pose:
        results = pose.stream(options.images, detector_label=options.label, on_error="return")
        for path, found in zip(options.images, results, strict=True):
            if isinstance(found, InputError):
                print(f"{path.name}: {found.message}")
                continue
            found.plot(path).save(options.folder / f"{path.stem}.png")
            print(f"{path.name}: {len(found)} people")


if __name__ == "__main__":
    main()
