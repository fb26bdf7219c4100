"""Commands that are killed at random moments: what is lost, and what is left after the next one.

    python -m benchmarks.kills
    python -m benchmarks.kills --kills 40 --commands add refresh

They build, change and save indexes, write results to files of each kind, and save a checkpoint, each over what is there
already. Every command runs in a process that is forked for it and has this one's libraries, and is ended by SIGKILL
after a random part of the time that it takes. What a reader finds then must be what was there before or what is new,
whole (of JSON Lines, which come as results do: whole lines); the next command must work, give what a command that was
left alone gives, and leave nothing else, in the folder for temporary files neither, and no process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.harness import photographs, save
from benchmarks.overhead import tiny_vit

SMALL = ("--device", "cpu", "--dtype", "float32")
FIRST = "500x375-00000.jpg"
MARK = "SENSORIUM_KILLED"
WORDS = ("a", "river", "heron", "bridge", "water", "stone", "tower", "under", "over", "long", "grey", "the")


@dataclass(frozen=True)
class Command:
    """A command line in a folder.

    Attributes:
        words: the command.
        read: what a reader finds in the folder.
        once_done: the next command where this one was killed after it had done all, and would do it twice.
        share: how many of the kills it gets, in comparison with others.
    """

    words: Sequence[str]
    read: Callable[[Path], Any]
    once_done: Sequence[str] = ()
    share: float = 1.0


def of_index(folder: Path) -> Any:
    """The passages of an index."""
    from sensorium.retrieval import Index

    if not (folder / "idx" / "index.json").exists():
        return None
    index = Index.load(folder / "idx", device="cpu")
    return sorted((passage["source"], passage["text"]) for passage in index.passages(index.ids))


def of_lines(folder: Path) -> Any:
    """The inputs in a file of JSON Lines, each line of which must be whole."""
    path = folder / "x.jsonl"
    return [json.loads(line)["source"] for line in path.read_text().splitlines()] if path.exists() else None


def of_csv(folder: Path) -> Any:
    """The inputs in a CSV file."""
    import csv

    path = folder / "x.csv"
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        return [row["source"] for row in csv.DictReader(file)]


def of_parquet(folder: Path) -> Any:
    """The inputs in a Parquet file."""
    import pyarrow.parquet as pq

    path = folder / "x.parquet"
    return pq.read_table(path)["source"].to_pylist() if path.exists() else None


def of_archive(folder: Path) -> Any:
    """The inputs in a NumPy archive."""
    import numpy as np

    path = folder / "x.npz"
    if not path.exists():
        return None
    with np.load(path) as archive:
        return [*archive["sources"].tolist(), archive["vectors"].shape]


def of_page(folder: Path) -> Any:
    """How many results a page shows, which must be whole."""
    path = folder / "x.html"
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    return text.count("data:image/jpeg"), text.rstrip().endswith("</html>")


def of_checkpoint(folder: Path) -> Any:
    """The content of a checkpoint, once it was opened."""
    from sensorium.checkpoints import resolve

    if not (folder / "saved").exists():
        return None
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "copy")
        shutil.copytree(folder / "saved", copy)
        if not (copy / "config.json").exists() and not [*copy.glob(".saved-*")]:
            return None
        resolve(copy)
        files = sorted(path for path in copy.iterdir() if path.is_file())
        return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def commands(folder: Path) -> dict[str, Command]:
    """What is killed."""
    encoder, pictures = _encoder(folder / "encoder"), folder / "pictures"
    vit = tiny_vit(folder / "vit")
    build = ("index", "build", "docs", "--encoder", str(encoder), "--pool", "mean", *SMALL, "--out", "idx")
    refresh = ("index", "refresh", "idx", "docs", "--device", "cpu")
    run = ("run", "image-classification", str(pictures), "--model", str(vit), *SMALL, "--overwrite")
    embed = ("run", "image-feature-extraction", str(pictures), "--model", str(vit), *SMALL, "--pool", "mean")
    delete = ("index", "delete", "idx", "--where", '{"source": "docs/0.md"}')
    return {
        "build": Command((*build, "--overwrite"), of_index, share=2),
        "build in workers": Command((*build, "--overwrite", "--workers", "1"), of_index, share=0.5),
        "build in workers, not kept": Command(
            (*build, "--overwrite", "--workers", "1", "--no-resume"), of_index, share=0.25
        ),
        "add": Command(("index", "add", "idx", "docs/new.md", "--device", "cpu"), of_index, refresh),
        "refresh": Command(refresh, of_index),
        "delete": Command(delete, of_index, ("index", "refresh", "idx", "docs/1.md", "--device", "cpu")),
        "x.jsonl": Command((*run, "--output", "x.jsonl"), of_lines),
        "x.csv": Command((*run, "--output", "x.csv"), of_csv),
        "x.parquet": Command((*run, "--output", "x.parquet"), of_parquet),
        "x.npz": Command((*embed, "--overwrite", "--output", "x.npz"), of_archive),
        "x.html": Command((*run, "--html", "x.html"), of_page),
        "save_pretrained": Command(("save", str(vit), "saved"), of_checkpoint),
    }


def lay_out(before: Path, known: dict[str, Command]) -> None:
    """What is there before each command: an index of some of the documents, results of other pictures."""
    docs = before / "docs"
    docs.mkdir()
    words = random.Random(0).choices(WORDS, k=1000)
    for i in range(3):
        (docs / f"{i}.md").write_text("\n\n".join(" ".join(words[at : at + 30]) for at in range(i, 900, 90)))
    _whole(known["build"].words, before)
    (docs / "new.md").write_text("\n\n".join(" ".join(words[at : at + 30]) for at in range(17, 900, 90)))
    for suffix in ("jsonl", "csv", "parquet", "npz", "html"):
        command = known[f"x.{suffix}"]
        few = [str(Path(word, FIRST)) if word.endswith("/pictures") else word for word in command.words]
        _whole(few, before)
    (before / "saved").mkdir()
    (before / "saved" / "config.json").write_text('{"model_type": "vit", "of": "another checkpoint"}')
    (before / "saved" / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")


def kills(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kills each command as often as it comes to, and looks at what there is."""
    known, rng = commands(folder), random.Random(arguments.seed)
    before = folder / "before"
    before.mkdir()
    lay_out(before, known)
    chosen = {name: each for name, each in known.items() if name in (arguments.commands or known)}
    whole = sum(each.share for each in chosen.values())
    found: dict[str, Any] = {"kills": {}, "lost": [], "left": []}
    for name, command in chosen.items():
        count = max(1, round(arguments.kills * command.share / whole))
        trial = Trial(name, command, before, folder / "trial", rng)
        for _ in range(count):
            trial.kill()
        found["kills"][name] = trial.killed.total()
        found["lost"] += trial.lost
        found["left"] += trial.left
        print(f"{name}: {trial.seconds:.2f} s, found {dict(trial.killed)}, lost {trial.lost}, left {trial.left}")
    return found


class Trial:
    """A command that is killed, again and again.

    Attributes:
        seconds: that it takes.
        killed: how often it was, and what was there then.
        lost: what was not as it should be.
        left: what the next command has left.
    """

    def __init__(self, name: str, command: Command, before: Path, place: Path, rng: random.Random) -> None:
        self._name, self._command, self._before, self._place, self._rng = name, command, before, place, rng
        self.killed: Counter[str] = Counter()
        self.lost: list[str] = []
        self.left: list[str] = []
        self._lay()
        self._old = command.read(place)
        began = time.perf_counter()
        _whole(command.words, place)
        self.seconds = time.perf_counter() - began
        self._new, self._names = command.read(place), _names(place)

    def kill(self) -> None:
        """Kills it once, and lets the next one run."""
        how = 0
        while how != signal.SIGKILL:  # or it was faster this time
            self._lay()
            child = _start(self._command.words, self._place)
            time.sleep(self._rng.random() * self.seconds)
            os.kill(child, signal.SIGKILL)
            how = os.WTERMSIG(os.waitpid(child, 0)[1])
        with _told(self.lost, self._name):
            found = self._found(self._command.read(self._place))
            self.killed[found] += 1
            following = self._command.once_done if found == "new" else ()
            _whole(following or self._command.words, self._place)
            if (now := self._command.read(self._place)) != self._new:
                self.lost.append(f"{self._name}: the next command gave {now!s:.300}")
        if (names := _names(self._place)) != self._names:
            self.left.append(f"{self._name}: {sorted(set(names) ^ set(self._names))}")
        if left := [*_temporary(self._place).iterdir()]:
            self.left.append(f"{self._name}: {left}")
        if running := _running(self._place):
            self.left.append(f"{self._name}: processes {running}")

    def _found(self, now: Any) -> str:
        if now in (self._old, self._new):
            return "old" if now == self._old else "new"
        if self._name == "x.jsonl" and now == self._new[: len(now)]:
            return "some"
        self.lost.append(f"{self._name}: found {now!s:.300}")
        return "neither"

    def _lay(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.rmtree(_temporary(self._place), ignore_errors=True)
        shutil.copytree(self._before, self._place)
        _temporary(self._place).mkdir()


@contextlib.contextmanager
def _told(into: list[str], name: str) -> Any:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - each is a finding
        into.append(f"{name}: {type(error).__name__}: {error!s:.500}")


def _whole(words: Sequence[str], folder: Path) -> None:
    """Runs a command to its end."""
    _temporary(folder).mkdir(exist_ok=True)
    _, status = os.waitpid(_start(words, folder), 0)
    if status:
        log = _log(folder).read_text(errors="replace")
        raise RuntimeError(f"status {os.waitstatus_to_exitcode(status)} of {' '.join(words)}: {log}")


def _start(words: Sequence[str], folder: Path) -> int:
    """Has a new process run a command; gives its number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.environ |= {"TMPDIR": str(_temporary(folder)), MARK: str(folder)}
        tempfile.tempdir = None
        log = os.open(_log(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        os.chdir(folder)
        status = _run(list(words))
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException as error:  # noqa: BLE001 - is told, and ends the process
        print(repr(error), file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _run(words: list[str]) -> int:
    from sensorium.cli import main

    if words[0] == "save":
        import sensorium

        with sensorium.pipeline("image-classification", words[1], device="cpu") as pipe:
            pipe.save_pretrained(words[2])
        return 0
    sys.argv = ["sensorium", *words]
    main()
    return 0


def _names(folder: Path) -> list[str]:
    """The files of a folder; those of an index have names of their own each time."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name if "-g" not in name else name.rpartition("-g")[0] + Path(name).suffix for name in names)


def _temporary(folder: Path) -> Path:
    return folder.with_name(f"temporary-of-{folder.name}")


def _log(folder: Path) -> Path:
    return folder.with_name(f"log-of-{folder.name}")


def _running(folder: Path) -> list[str]:
    """The processes of a command that was killed, which have ten seconds to end."""
    until = time.monotonic() + 10
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if path.parent.name != str(os.getpid()) and f"{MARK}={folder}".encode() in path.read_bytes():
                    found.append((path.parent / "cmdline").read_text().replace("\0", " ")[:200])
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def _encoder(folder: Path) -> Path:
    """A BERT of two layers with random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: i for i, word in enumerate([*letters, *(f"##{letter}" for letter in letters[5:])])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return folder


def main() -> None:
    """Parses arguments and runs the benchmark."""
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--commands", nargs="+", help="some of them alone")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"kills-{secrets.token_hex(2)}-") as place:
        photographs(Path(place, "pictures"), 6)
        _warm(Path(place))
        figures = kills(Path(place), arguments)
    figures["seconds"] = round(time.perf_counter() - began, 1)
    count = sum(figures["kills"].values())
    print(f"{count} kills in {figures['seconds']} s: {len(figures['lost'])} lost, {len(figures['left'])} left")
    save("kills", figures, arguments)


def _warm(folder: Path) -> None:
    """Imports here what commands need, so that they spend their time on what they do."""
    import sensorium
    import sensorium.cli.indexes.building
    import sensorium.cli.indexes.refreshing
    import sensorium.cli.running
    from sensorium.retrieval import Encoder, Index

    with sensorium.pipeline("image-classification", tiny_vit(folder / "warm"), device="cpu") as pipe:
        pipe(str(folder / "pictures" / FIRST))
    with contextlib.closing(Encoder.from_pretrained(_encoder(folder / "warm-encoder"), pool="mean")) as encoder:
        Index.build(["a text"], encoder).save(folder / "warm-index")


if __name__ == "__main__":
    main()
