"""An hour of sound in files of 5 s to 20 min through Whisper-base (random weights), against Transformers' pipeline.

    python -m benchmarks.automatic_speech_recognition --minutes 60 --tokens 64
    python -m benchmarks.automatic_speech_recognition --drift --memory

Both sides read the same FLAC files and hear windows of 30 s (`chunk_length_s=30`) with a fixed number of new tokens, so
that random weights do not decide how much is written. The peer's defaults are float32, one window at a time, 5 beams;
its best setting is the fastest of dtype × batch size with one beam. Ours runs at its defaults with the same number of
beams. Prints seconds of sound per second, and ratios. `--drift` compares what is written in bfloat16 with float32, by
words; `--memory` what an hour in one file costs above the model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.harness import compared, in_turn, save

RATE = 16_000
SECONDS = [5, 8, 12, 20, 25, 30, 45, 60, 75, 100, 140, 180, 240, 360, 450, 650, 1200]  # an hour
NAME = "automatic-speech-recognition"


def checkpoint(folder: Path) -> Path:
    """Whisper-base with random weights and a vocabulary of made-up words, every token in its place."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    place = folder / "whisper-base"
    if (place / "tokenizer.json").exists():
        return place
    words = {f"Ġw{i}": i for i in range(50257)}
    tokenizer = WhisperTokenizer(vocab={**words, "<|endoftext|>": 50257}, merges=[], pad_token="<|endoftext|>")
    codes = list(LANGUAGES)[:99]
    special = ["<|startoftranscript|>", *(f"<|{code}|>" for code in codes), "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    ids = tokenizer.get_vocab()
    config = WhisperConfig(
        vocab_size=len(ids),
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():  # wide enough that chances are not all alike, as after training
        model.model.decoder.embed_tokens.weight.mul_(4)
        for layer in model.model.decoder.layers:
            for projection in (layer.encoder_attn.q_proj, layer.encoder_attn.k_proj, layer.encoder_attn.v_proj):
                projection.weight.mul_(4)
    model.generation_config = GenerationConfig(
        bos_token_id=50257,
        eos_token_id=50257,
        pad_token_id=50257,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        max_length=448,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        suppress_tokens=list(range(50258, 51865)),
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in codes},
        task_to_id={name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")},
    )
    model.save_pretrained(place)
    WhisperFeatureExtractor().save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def ctc_checkpoint(folder: Path) -> Path:
    """wav2vec2-base with random weights and letters for its frames."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    place = folder / "wav2vec2-ctc"
    if not (place / "vocab.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=32)).save_pretrained(place)
        letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
        (place / "letters.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
        Wav2Vec2CTCTokenizer(str(place / "letters.json")).save_pretrained(place)
        Wav2Vec2FeatureExtractor().save_pretrained(place)
    return place


def files(folder: Path, minutes: float) -> tuple[list[str], float]:
    """FLAC files of tones and noise that come and go, a few times shorter where less than an hour is asked for."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths, total = [], 0.0
    for i, seconds in enumerate(SECONDS):
        wanted = max(5.0, seconds * minutes / 60)
        path = folder / f"{wanted:.1f}-{i}.flac"
        if not path.exists():
            soundfile.write(path, noise(wanted, i), RATE)
        paths.append(str(path))
        total += wanted
    return paths, total


def noise(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE), dtype=np.float32) / RATE
    tones = sum(np.sin(2 * np.pi * f * t + 40 * np.sin(t / f * 300)) for f in rng.uniform(100, 2500, 3))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 0.37 * t)
    return (0.1 * tones * envelope + 0.02 * rng.standard_normal(len(t))).astype(np.float32)


def peer(place: Path, device: str, dtype: str):
    import torch
    import transformers

    return transformers.pipeline(NAME, model=str(place), device=device, dtype=getattr(torch, dtype))


def heard_by_peer(pipe, audios: list[np.ndarray], **options):
    """The peer reads files only with an ffmpeg binary; it is given what soundfile reads, at no cost of its own."""
    return pipe([{"raw": audio, "sampling_rate": RATE} for audio in audios], **options)


def run(arguments: argparse.Namespace, folder: Path) -> dict:
    import soundfile

    import sensorium

    place, device = checkpoint(folder), arguments.device
    paths, seconds = files(folder / "speech", arguments.minutes)
    fixed = {"max_new_tokens": arguments.tokens, "min_new_tokens": arguments.tokens, "language": "en"}

    def audios() -> list[np.ndarray]:
        return [soundfile.read(path, dtype="float32")[0] for path in paths]

    def theirs(pipe, heard: list[np.ndarray], beams: int | None, batch_size: int = 1):
        options = fixed if beams is None else {**fixed, "num_beams": beams}
        return heard_by_peer(pipe, heard, chunk_length_s=30, batch_size=batch_size, generate_kwargs=options)

    tried: dict[str, float] = {}
    best: tuple[float, str, int] = (0.0, "float32", 1)
    sample = [audios()[-1][: RATE * arguments.sample_s]]
    for dtype in arguments.dtypes:
        pipe = peer(place, device, dtype)
        for batch_size in arguments.batch_sizes:
            began = time.perf_counter()
            theirs(pipe, sample, 1, batch_size)
            rate = len(sample[0]) / RATE / (time.perf_counter() - began)
            tried[f"{dtype} batch {batch_size}"] = round(rate, 2)
            best = max(best, (rate, dtype, batch_size))
    peers = {dtype: peer(place, device, dtype) for dtype in {"float32", best[1]}}
    mine = sensorium.pipeline(NAME, place, device=device)
    exact = sensorium.pipeline(NAME, place, device=device, dtype="float32", compile=False)
    options = {"chunk_length_s": 30, **fixed}
    runs = {
        "peer, defaults (float32, one by one, 5 beams)": lambda: theirs(peers["float32"], audios(), None),
        f"peer, best ({best[1]}, batch {best[2]}, 1 beam)": lambda: theirs(peers[best[1]], audios(), 1, best[2]),
        "ours, defaults (5 beams)": lambda: mine(paths, **options),
        "ours, float32, 5 beams": lambda: exact(paths, **options),
        "ours, 1 beam": lambda: mine(paths, num_beams=1, **options),
    }
    found = in_turn(runs, round(seconds), rounds=arguments.rounds, warmup=arguments.warmup)
    return {
        "seconds_of_sound": seconds,
        "tokens": arguments.tokens,
        **compared(found),
        "peer_settings_tried": tried,
        "stats": {"ours": mine.stats(), "float32": exact.stats()},
    }


def drift(arguments: argparse.Namespace, folder: Path) -> dict:
    """The share of words that bfloat16 writes as float32 does, at the same place and at all."""
    import sensorium

    place = arguments.checkpoint or checkpoint(folder)
    paths, _ = files(folder / "speech", arguments.minutes)
    options = {"chunk_length_s": 30, "max_new_tokens": arguments.tokens, "num_beams": 1}
    texts = {}
    for dtype in ("float32", "bfloat16"):
        with sensorium.pipeline(NAME, place, device=arguments.device, dtype=dtype, compile=False) as pipe:
            texts[dtype] = [result.text.split() for result in pipe(paths, **options)]
    words = sum(len(text) for text in texts["float32"])
    wrong = sum(_distance(a, b) for a, b in zip(texts["float32"], texts["bfloat16"], strict=True))
    print(f"  bfloat16 against float32: {wrong} of {words} words differ ({wrong / max(1, words):.1%})")
    return {"words": words, "differ": wrong}


def _distance(a: list[str], b: list[str]) -> int:
    """Words to insert, delete or replace."""
    row = np.arange(len(b) + 1)
    for i, word in enumerate(a, 1):
        before, row = row, np.empty(len(b) + 1, dtype=np.int64)
        row[0] = i
        for j, other in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return int(row[-1])


def memory(arguments: argparse.Namespace, folder: Path) -> dict:
    """What an hour in one file costs above the model: the peak of the process less what it held before, MB."""
    import psutil
    import soundfile

    import sensorium

    path = folder / f"{arguments.minutes:g}-minutes.flac"
    if not path.exists():
        with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as file:
            for i in range(max(1, round(arguments.minutes))):
                file.write(noise(60, i))
    process, found = psutil.Process(), {}
    fixed = {"max_new_tokens": arguments.tokens, "min_new_tokens": arguments.tokens, "language": "en"}
    ways = {
        "Whisper-base, windows": (checkpoint, {"chunk_length_s": 30, **fixed}),
        "Whisper-base, walked through": (checkpoint, fixed),
        "wav2vec2-base, windows": (ctc_checkpoint, {"chunk_length_s": 30}),
    }
    for name, (build, options) in ways.items():
        with sensorium.pipeline(
            NAME, build(folder), device=arguments.device, dtype=arguments.dtype, compile=False
        ) as pipe:
            pipe(noise(2, 0), **options)
            before = process.memory_info().rss
            with Peak(process) as peak:
                pipe(path, **options)
        found[name] = round((peak.most - before) / 1e6)
        print(f"  {arguments.minutes:g} minutes in one file, {name}: {found[name]} MB above the model", flush=True)
    return {"minutes": arguments.minutes, "dtype": arguments.dtype, "mb_above_the_model": found}


class Peak:
    """The most resident memory of a process while it is entered, looked at every 5 ms."""

    def __init__(self, process) -> None:
        self.max_length, self._process, self._over = 0, process, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._watch.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self.max_length = max(self.max_length, self._process.memory_info().rss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 4, 8, 16])
    parser.add_argument("--sample-s", type=int, default=240, help="seconds of sound for each of the peer's settings")
    parser.add_argument("--checkpoint", help="of trained weights, for --drift")
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--dtype", default="auto", help="ours, for --memory")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = Path(tempfile.gettempdir()) / "sensorium-benchmarks"
    folder.mkdir(exist_ok=True)
    figures = {}
    if arguments.memory:
        figures["memory_mb"] = memory(arguments, folder)
    if arguments.drift:
        figures["drift"] = drift(arguments, folder)
    if not figures:
        figures = run(arguments, folder)
    print(json.dumps(figures.get("ratios", figures), indent=2))
    kinds = [name for name in ("drift", "memory") if getattr(arguments, name)]
    save("-".join([NAME, *kinds]), figures)


if __name__ == "__main__":
    main()
