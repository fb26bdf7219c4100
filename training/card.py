"""The model card that stands beside a trained checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.glyphs import LABELS
from training.scenes import RULES

CARD = """\
---
license: apache-2.0
library_name: sensorium
pipeline_tag: image-classification
---
# starter/image-classification

A {parameters:,}-parameter classifier (`timm/{arch}` and a linear head) that tells 64 everyday nouns apart in
composed pictures. It is here so that everything in Sensorium runs offline, on a real trained model. It has seen
emoji only: on photographs it is a guess.

## What it was trained on
{scenes:,} scenes drawn by `training/`: one main object from Noto Color Emoji, scaled, turned, squeezed, recoloured,
shaded, half of them among up to {clutter} other emoji and now and then partly covered, on painted backgrounds, then
darkened, blurred, with noise and JPEG artefacts. The main object is the largest by far and stands near the centre:
nothing else is wider than 55 % of it.

## How well it does
| pictures | right |
|---|---|
| {held_out_scenes:,} scenes freshly composed from another seed, shortest edge 180 to 480 px | **{held_out:.2%}** |
| {held_out_scenes:,} scenes with emoji of the same nouns that no training scene holds | {unseen:.2%} |

Hardest labels: {hardest}.
Unseen emoji by label: {unseen_by_label}.

## How to make it again
```
{commands}
```
The last command took {steps_taken:,} steps of {batch_size} pictures, {minutes:.0f} minutes on two shared CPU cores.
Labels: {labels}.

## Licence
The weights are under Apache-2.0. The scenes hold rendered glyphs of Noto Color Emoji (Copyright 2013-2017 Google
Inc.), a font under the SIL Open Font License 1.1 (https://openfontlicense.org). No part of the font is in this
folder; that licence does not extend to what is made with the font.
"""


@dataclass(frozen=True)
class Measured:
    """What a run has reached; accuracies in [0, 1], lists already written out."""

    held_out: float
    held_out_scenes: int
    hardest: str
    unseen: float
    unseen_by_label: str
    parameters: int
    steps_taken: int
    minutes: float


REPEATED = (
    "arch", "edge", "steps", "minutes", "batch_size", "lr", "label_smoothing", "scenes", "held_out_scenes", "seed",
)  # fmt: skip
"""The options that decide what comes out, and so stand in the card's command."""
PROGRAM = "python -m training.starter_image_classification"


def write_card(folder: Path, measured: Measured, *, options: Mapping[str, object]) -> None:
    """Write `README.md` into a checkpoint's folder.

    Args:
        folder: the checkpoint.
        measured: what it reached.
        options: of the command that made it; those in `REPEATED` are told, and where it went on from another
            checkpoint (`init`), the commands that made that one.
    """
    chosen = {name: options[name] for name in REPEATED if options[name] is not None}
    command = " ".join([PROGRAM, *(f"--{name.replace('_', '-')} {value}" for name, value in chosen.items())])
    earlier = _commands(Path(str(options["init"]))) if options["init"] else []
    if earlier:
        step = len(earlier)
        earlier[-1] += f" --out run-{step}"
        command += f" --init run-{step}"
    text = CARD.format(
        commands="\n".join([*earlier, command]),
        clutter=RULES.clutter_count[1],
        wide=RULES.other_size,
        labels=", ".join(LABELS),
        **(chosen | vars(measured)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _commands(folder: Path) -> list[str]:
    """Read the commands out of the card of the checkpoint that a run went on from."""
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(PROGRAM)]
