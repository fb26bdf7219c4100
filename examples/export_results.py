"""Finds objects in large pictures window by window, and writes them for training, for correction, and for evaluation.

    python examples/export_results.py --model PekingU/rtdetr_r50vd [--folder exported] [--slice-px 640]

`found.coco.json` is what pycocotools, CVAT and FiftyOne load, `labels/` are YOLO's label files with `classes.txt`, and
`tasks.json` is what Label Studio imports as predictions to correct. The model is fetched from the Hub at its first use;
a local folder works offline.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sensorium import pipeline
from sensorium.results import CocoFile

IMAGES = Path(__file__).parent / "pictures"


def main() -> None:
    parser = argparse.ArgumentParser(description="Find objects in large pictures and export them.")
    parser.add_argument("--model", default="PekingU/rtdetr_r50vd", help="a Hub name or a folder")
    parser.add_argument("--folder", type=Path, default=Path("exported"))
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--slice-px", type=int, default=640, help="of windows; smaller pictures are one")
    options = parser.parse_args()
    (options.folder / "labels").mkdir(parents=True, exist_ok=True)

    paths, tasks = sorted(IMAGES.glob("c*.jpg")), []
    with pipeline("object-detection", model=options.model) as detect:
        classes = detect.model.config.id2label
        with CocoFile(options.folder / "found.coco.json", categories=classes) as file:
            results = detect.stream(paths, threshold=options.threshold, slice_px=options.slice_px)
            for path, found in zip(paths, results, strict=True):
                file.add(found, path.name)
                (options.folder / "labels" / f"{path.stem}.txt").write_text(found.to_yolo(), encoding="utf-8")
                tasks.append(found.to_label_studio(f"/data/local-files/?d=pictures/{path.name}"))
                print(f"{path.name}: {len(found)} objects")
    names = [classes[number] for number in sorted(classes)]
    (options.folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (options.folder / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
