"""Encoding passages: ours against sentence-transformers, from texts to vectors.

    python -m benchmarks.text_encoding                  # the peer at its defaults and at its best, in turn
    python -m benchmarks.text_encoding --device cuda --passages 4096
    python -m benchmarks.text_encoding --model starter/text-embedding

The model is BERT-base with random weights and mean pooling: speed does not depend on them. The peer's defaults are what
`SentenceTransformer(folder).encode(passages)` does: float32, 32 passages per batch, sorted by length. Its best is
sought over dtype × passages per batch. Prints passages per second, their ratios, and the cosine of bfloat16's vectors
with float32's.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.bound import shares_of_bound
from benchmarks.harness import Setting, compared, fastest, in_turn, label, sampled, save
from benchmarks.question_answering import texts


def checkpoint(folder: Path, *, layers: int) -> Path:
    """BERT-base with random weights and mean pooling, and a WordPiece tokenizer trained on such texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizer

    place = folder / f"bert-encoder-{layers}"
    if not (place / "modules.json").exists():
        bare = folder / f"bert-bare-{layers}"
        trained = BertWordPieceTokenizer()
        trained.train_from_iterator(texts(400, 50, 500), vocab_size=30522, show_progress=False)
        torch.manual_seed(0)
        BertModel(BertConfig(num_hidden_layers=layers)).save_pretrained(bare)
        BertTokenizer(vocab=trained.get_vocab(), model_max_length=512).save_pretrained(bare)
        modules = [Transformer(str(bare)), Pooling(768, pooling_mode="mean"), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(place))
    return place


class Peer:
    """sentence-transformers with one dtype."""

    def __init__(self, place: str, device: str, dtype: str) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(place, device=device).to(getattr(torch, dtype))

    def __call__(self, passages: list[str], *, batch_size: int = 32) -> Any:
        return self.model.encode(passages, batch_size=batch_size, show_progress_bar=False)


def compare(model: str, passages: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    from sensorium.checkpoints import resolve
    from sensorium.retrieval.encoding.encoder import Encoder

    device, place = arguments.device, str(resolve(model).folder)
    peers = functools.cache(functools.partial(Peer, place, device))

    def ready(setting: Setting) -> tuple[Any, int]:
        peer, sample = peers(setting["dtype"]), sampled(passages, arguments, setting["batch_size"])
        peer(passages[:4])
        return lambda: peer(sample, batch_size=setting["batch_size"]), len(sample)

    best, tried = fastest(ready, arguments)
    mine = {
        "ours, defaults": Encoder.from_pretrained(model, device=device),
        "ours, float32": Encoder.from_pretrained(model, device=device, dtype="float32"),
    }
    if arguments.compile:
        mine["ours, compiled"] = Encoder.from_pretrained(model, device=device, compile=True)
    runs = {
        "peer, defaults (float32, 32 passages)": lambda: peers("float32")(passages),
        f"peer, best ({label(best)})": lambda: peers(best["dtype"])(passages, batch_size=best["batch_size"]),
        **{name: (lambda encoder=encoder: encoder.encode(passages)) for name, encoder in mine.items()},
    }
    found = in_turn(runs, len(passages), arguments)
    figures = compared(found)
    figures |= shares_of_bound(found, mine, passages[:32], device, run=lambda encoder, some: encoder.encode(some))
    sample = passages[: arguments.sample]
    exact, theirs = mine["ours, float32"].encode(sample), peers("float32")(sample)
    assert float((exact * theirs).sum(1).min()) > 0.99999, "what is compared must do the same work"
    cosines = (mine["ours, defaults"].encode(sample) * exact).sum(1)
    drift = {"cosine_least": float(cosines.min()), "cosine_median": float(np.median(cosines))}
    print("  drift of the defaults:", ", ".join(f"{name} {value:.6f}" for name, value in drift.items()))
    return {**figures, "peer_settings_tried": tried, "drift": drift, "passages": len(passages)}


def parser() -> Parser:
    found = Parser(__doc__)
    found.add_argument("--model", help="a checkpoint instead of BERT-base with random weights")
    found.count("--passages", 128, 4096)
    found.add_argument("--fewest", type=int, default=20, help="words")
    found.add_argument("--most", type=int, default=250, help="words")
    found.add_argument("--layers", type=int, default=12, help="fewer to try the script out")
    found.add_argument("--compile", action="store_true", help="also ours with compile=True")
    found.peer_settings(32, dtypes=("bfloat16",), batch_sizes=(4, 8, 16, 32), batch_sizes_on_cuda=(32, 128))
    return found


def main() -> None:
    arguments = parser().parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    model = arguments.model or str(checkpoint(folder, layers=arguments.layers))
    passages = texts(arguments.passages, arguments.fewest, arguments.most)
    figures = compare(model, passages, arguments)
    save("text-encoding" if arguments.model is None else "text-encoding-" + Path(model).name, figures, arguments)


if __name__ == "__main__":
    main()
