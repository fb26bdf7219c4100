"""`sensorium index`: builds that go on, what is left out, searches, answers, measures, and exit codes."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import sensorium as package
from sensorium.cli.indexes.commands import COMMANDS
from sensorium.cli.indexes.settings import BuildSettings, EncoderSettings, WorkerSettings
from sensorium.jobs import Job
from sensorium.retrieval import Encoder, Index, read_documents, split
from sensorium.retrieval.measuring import evaluate
from tests import tiny_embedding, tiny_ranking, tiny_reading, tiny_text
from tests.cli.conftest import rows
from tests.cli.test_process import HEAVY, MAIN, finish, start, wait_until
from tests.retrieval.reading.test_documents import pdf_file

FLOAT = ("--device", "cpu", "--dtype", "float32")
TINY = ("--encoder", tiny_embedding.encoder("bert"), "--pool", "mean", *FLOAT)
CHUNK = 128
CHUNKS = 6  # two more than `STOPPING` lets be made

IN_CHUNKS = f"import sensorium.retrieval.building as building\nbuilding.CHUNK = {CHUNK}\n"
COUNTED = (
    IN_CHUNKS + "import sys\n"
    "from sensorium.retrieval import Encoder\n"
    "encode = Encoder.encode_batches\n"
    "def counted(self, passages, **more):\n"
    "    print('encoded', len(passages), file=sys.stderr, flush=True)\n"
    "    return encode(self, passages, **more)\n"
    "Encoder.encode_batches = counted\n" + MAIN
)
STOPPING = (
    IN_CHUNKS + "import threading\n"
    "from sensorium.retrieval import Encoder\n"
    "encode, calls = Encoder.encode_batches, []\n"
    "def stopping(self, passages, **more):\n"
    "    calls.append(len(passages))\n"
    "    if len(calls) > 4:\n"
    "        threading.Event().wait()\n"
    "    return encode(self, passages, **more)\n"
    "Encoder.encode_batches = stopping\n" + MAIN
)
"""The command, but that it never gets beyond its fourth chunk: so the signal falls into the build on every machine."""


@pytest.fixture
def documents(tmp_path):
    """Four documents of four formats, one of them in a subfolder, a PDF that is none, and what is no document."""
    folder = tmp_path / "documents"
    (folder / "more").mkdir(parents=True)
    (folder / "river.md").write_text("# The river\n\nThe river begins in the hills north of the town.\n")
    (folder / "heron.txt").write_text("Twelve people saw the heron near the old stone bridge on Sunday morning.\n")
    (folder / "mill.html").write_text("<title>The mill</title><p>The mill ground barley until 1953.</p>")
    (folder / "more" / "lock.pdf").write_bytes(pdf_file(["The keeper opens the lock at six."], title="The lock"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "picture.png").write_bytes(b"no document")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An index of the project's river stories by the real MiniLM, with words, and its folder's name."""
    folder = tmp_path_factory.mktemp("built")
    texts = {
        "r": "The river begins in the hills north of the town.",
        "h": "Twelve people saw the heron near the old stone bridge.",
        "m": "The mill ground barley until the storm of 1953.",
        "k": "The keeper opens the lock at six in the morning.",
    }
    given = [{"id": id, "text": text, "year": 1950 + i} for i, (id, text) in enumerate(texts.items())]
    encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
    Index.build(given, encoder, lexical=True, device="cpu").save(folder / "idx")
    return folder / "idx"


def vectors(folder):
    (path,) = Path(folder).glob("vectors-*.npy")
    return path.read_bytes()


def test_a_folder_of_documents_with_a_broken_one(sensorium, documents, tmp_path):
    got = sensorium("index", "build", documents, *TINY, "--out", tmp_path / "idx", "--json")
    assert got.exit_code == 1
    facts = json.loads(got.stdout)
    broken = str(documents / "broken.pdf")
    assert [row["source"] for row in facts["failures"]] == [broken]
    assert {name: facts[name] for name in ("inputs", "failed", "passages", "added", "kind", "similarity")} == {
        "inputs": 5, "failed": 1, "passages": 4, "added": 4, "kind": "exact", "similarity": "cosine",
    }  # fmt: skip
    told = got.stderr.splitlines()
    assert told[0].startswith(f"failed: {broken}: ")
    assert told[1].startswith(f"wrote {tmp_path / 'idx'}: 4 passages of 4 inputs in ")
    assert told[2:] == [f"1 of 5 inputs failed ({facts['failures'][0]['code']} 1)"]
    assert not (tmp_path / "idx.part").exists()
    index = Index.load(tmp_path / "idx", device="cpu")
    expected = [p for d in read_documents(documents, on_error="skip") for p in split(d)]
    found = index.passages(index.ids)
    assert [(p["text"], p["title"], p["source"]) for p in found] == [(p.text, p.title, p.source) for p in expected]
    encoder = Encoder.from_pretrained(TINY[1], pool="mean", device="cpu", dtype="float32")
    want = encoder.encode([(p.title, p.text) if p.title else p.text for p in expected])
    (path,) = (tmp_path / "idx").glob("vectors-*.npy")
    np.testing.assert_allclose(np.load(path), want, atol=1e-6)  # another load: kernels may depend on where weights lie


def test_workers_give_the_same_index(sensorium, documents, tmp_path):
    build = ("index", "build", documents, *TINY, "--json", "--out")
    assert sensorium(*build, tmp_path / "one").exit_code == 1
    got = sensorium(*build, tmp_path / "two", "--workers", 1, "--worker-timeout-s", 300)
    facts = json.loads(got.stdout)
    assert got.exit_code == 1 and (facts["passages"], facts["inputs"], facts["failed"]) == (4, 5, 1)
    assert not (tmp_path / "two.part").exists()
    one, two = (Index.load(tmp_path / name, device="cpu") for name in ("one", "two"))
    assert one.passages(one.ids) == two.passages(two.ids) and one.splitting == two.splitting
    np.testing.assert_allclose(
        *(np.load(next((tmp_path / name).glob("vectors-*"))) for name in ("one", "two")), atol=1e-6
    )
    got = sensorium(*build, tmp_path / "three", "--workers", 0)
    assert got.exit_code == 2 and "--workers" in got.stderr and "got 0" in got.stderr


def test_splitting_reaches_the_passages(sensorium, tmp_path):
    (tmp_path / "a.txt").write_text(tiny_text.words(50))
    words = ["--by", "words", "--words", 10, "--overlap", 5]
    assert sensorium("index", "build", tmp_path / "a.txt", *TINY, "-o", tmp_path / "idx", *words).exit_code == 0
    (document,) = read_documents(tmp_path / "a.txt")
    index = Index.load(tmp_path / "idx", device="cpu")
    want = [p.text for p in split(document, by="words", words=10, overlap=5)]
    assert [p["text"] for p in index.passages(index.ids)] == want
    got = sensorium(
        "index", "build", tmp_path, *TINY, "-o", tmp_path / "x", "--by", "words", "--words", 5, "--overlap", 5
    )
    assert got.exit_code == 2 and "overlap is below words" in got.stderr
    by_tokens = ("--by", "tokens", "--tokens", 20)
    assert sensorium("index", "build", tmp_path / "a.txt", *TINY, "-o", tmp_path / "t", *by_tokens).exit_code == 0
    index = Index.load(tmp_path / "t", device="cpu")
    encoder = Encoder.from_pretrained(TINY[1], pool="mean", device="cpu", dtype="float32")
    want = [p.text for p in split(document, by="tokens", tokens=20, encoder=encoder)]
    assert len(want) > 2 and [p["text"] for p in index.passages(index.ids)] == want
    assert index.splitting == {"by": "tokens", "overlap": 1, "tokens": 20}


def test_the_first_failure_ends_it_if_asked_to(sensorium, documents, tmp_path):
    got = sensorium("index", "build", documents, *TINY, "--out", tmp_path / "idx", "--on-error", "raise")
    assert got.exit_code == 1 and got.stderr.startswith("error: input 0: ") and "broken.pdf" in got.stderr
    assert not (tmp_path / "idx").exists()


def test_files_of_passages_and_their_bad_rows(sensorium, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": "x", "text": "a river", "year": 3}\n{"id": "y"}\n{"id": "z", "text": " "}\n'
    )
    (tmp_path / "b.tsv").write_text("id\ttext\ttitle\n7\ta bridge\tB\n")
    got = sensorium("index", "build", tmp_path / "*.jsonl", "-", "nowhere.tsv", *TINY, "--out", tmp_path / "idx",
                    stdin=f"{tmp_path / 'b.tsv'}\n")  # fmt: skip
    assert got.exit_code == 1
    assert got.stderr.splitlines()[-1] == "3 of 5 inputs failed (bad-row 1, empty-text 1, missing-file 1)"
    index = Index.load(tmp_path / "idx", device="cpu")
    assert index.ids.tolist() == ["x", "7"] and index.passages(["x"])[0]["year"] == 3


def test_nothing_to_index(sensorium, tmp_path):
    (tmp_path / "empty").mkdir()
    got = sensorium("index", "build", tmp_path / "empty", *TINY, "--out", tmp_path / "idx")
    assert got.exit_code == 1
    assert got.stderr.splitlines()[-1].startswith("error: expected passages to search, got none")
    assert not (tmp_path / "idx").exists()


def test_an_index_that_is_there_is_only_replaced_if_asked_to(sensorium, documents, tmp_path):
    build = ("index", "build", documents / "river.md", *TINY, "--out", tmp_path / "idx")
    assert sensorium(*build).exit_code == 0
    before = vectors(tmp_path / "idx")
    refused = sensorium("index", "build", documents / "heron.txt", *TINY, "--out", tmp_path / "idx")
    assert refused.exit_code == 2 and "--overwrite replaces it" in refused.stderr
    assert vectors(tmp_path / "idx") == before
    assert (
        sensorium("index", "build", documents / "heron.txt", *TINY, "--out", tmp_path / "idx", "--overwrite").exit_code
        == 0
    )
    assert vectors(tmp_path / "idx") != before
    other = sensorium("index", "build", documents, *TINY, "--out", documents)
    assert other.exit_code == 1 and "holds other files" in other.stderr


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Some chunks of passages, the last one not full, and the vectors of a build that nothing interrupts."""
    folder = tmp_path_factory.mktemp("many")
    lines = [
        json.dumps({"text": tiny_text.words(4 + i % 23, i), "title": f"t{i % 7}"}) for i in range(CHUNKS * CHUNK - 100)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    whole = ("index", "build", folder / "rows.jsonl", *TINY, "--out", folder / "whole")
    status, _, err = finish(start(*whole, code=IN_CHUNKS + MAIN))
    assert status == 0, err
    return folder / "rows.jsonl", vectors(folder / "whole")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_was_ended_goes_on_and_gives_the_same_bytes(many, tmp_path, end):
    source, whole = many
    words = ("index", "build", source, *TINY, "--out", tmp_path / "idx")
    process = start(*words, code=STOPPING)
    wait_until(process, lambda: len(list((tmp_path / "idx.part").glob("*.npy"))) >= 2)
    process.send_signal(end)
    status, out, err = finish(process)
    assert (status, out) == (130 if end == signal.SIGINT else -signal.SIGKILL, "")
    part = tmp_path / "idx.part"
    if end == signal.SIGINT:
        assert err == f"interrupted; {part} keeps what is encoded: the same command goes on there\n"
    kept = sum(len(np.load(path)) for path in part.glob("*.npy"))
    assert 2 <= kept <= 4 * CHUNK and not (tmp_path / "idx").exists()
    status, _, err = finish(start(*words, code=COUNTED))
    assert status == 0, err
    encoded = [int(line.split()[1]) for line in err.splitlines() if line.startswith("encoded")]
    assert sum(encoded) == CHUNKS * CHUNK - 100 - kept, "what was kept is not encoded again"
    assert vectors(tmp_path / "idx") == whole
    assert not part.exists()


def test_what_else_lies_beside_what_is_kept_stays(sensorium, documents, tmp_path):
    (tmp_path / "idx.part").mkdir()
    (tmp_path / "idx.part" / "notes.txt").write_text("mine")
    assert sensorium("index", "build", documents / "river.md", *TINY, "--out", tmp_path / "idx").exit_code == 0
    assert [path.name for path in (tmp_path / "idx.part").iterdir()] == ["notes.txt"]
    got = sensorium("index", "build", documents / "river.md", *TINY, "--out", tmp_path / "other", "--no-resume")
    assert got.exit_code == 0 and not (tmp_path / "other.part").exists()


def test_add_delete_and_info(sensorium, documents, tmp_path):
    idx = tmp_path / "idx"
    assert sensorium("index", "build", documents / "river.md", *TINY, "--out", idx, "--lexical").exit_code == 0
    got = sensorium("index", "add", idx, documents / "heron.txt", documents / "broken.pdf", "--json", *FLOAT)
    assert got.exit_code == 1
    assert got.stderr.splitlines()[1].startswith(f"added to {idx}: 1 passages of 1 inputs in ")
    facts = json.loads(got.stdout)
    assert (facts["added"], facts["passages"], facts["failed"]) == (1, 2, 1)
    index = Index.load(idx, device="cpu")
    assert [p["source"] for p in index.passages([0, 1])] == [
        str(documents / name) for name in ("river.md", "heron.txt")
    ]
    assert index.search("heron bridge", 1, mode="lexical").ids.tolist() == [[1]], "its words are counted, too"
    for wrong, message in (("5", "no passage has the id 5"), ("x", "whole numbers, got 'x'")):
        refused = sensorium("index", "delete", idx, "0", wrong)
        assert refused.exit_code == 2 and message in refused.stderr
    assert json.loads(sensorium("index", "info", idx, "--json").stdout)["passages"] == 2
    got = sensorium("index", "delete", idx, "-", stdin="0\n")
    assert (got.exit_code, got.stderr) == (0, f"deleted from {idx}: 1 passages; 1 are left\n")
    for words, message in (
        ([], "ids to delete, or --where"),
        (["1", "--where", '{"id": 1}'], "one of the two"),
        (["--where", '{"source": "x"}'], "no passage meets"),
        (["--where", '{"sourc": "x"}'], "Did you mean 'source'"),
        (["--where", '{"id": 0}'], "no passage meets"),
    ):
        refused = sensorium("index", "delete", idx, *words)
        assert refused.exit_code == 2 and message in refused.stderr, (words, refused.stderr)
    assert sensorium("index", "add", idx, documents / "mill.html", *FLOAT).exit_code == 0
    got = sensorium("index", "delete", idx, "--where", json.dumps({"source": str(documents / "heron.txt")}), "--json")
    assert json.loads(got.stdout) == {"index": str(idx), "deleted": 1, "passages": 1}
    assert [p["title"] for p in Index.load(idx, device="cpu").passages([2])] == ["The mill"]
    facts = json.loads(sensorium("index", "info", idx, "--json").stdout)
    assert facts["encoder"] == str(TINY[1]) and facts["columns"][:2] == ["id", "text"]
    told = {name: facts[name] for name in ("passages", "deleted", "kind", "dimension", "lexical", "ids")}
    assert told == {"passages": 1, "deleted": 0, "kind": "exact", "dimension": 16, "lexical": True, "ids": "numbers"}
    plain = dict(
        line.split(None, 1) for line in sensorium("index", "info", idx).stdout.splitlines() if " " in line.strip()
    )
    assert (plain["passages"], plain["deleted"], plain["lexical"]) == ("1", "0", "yes")


def test_an_add_that_was_interrupted_goes_on(sensorium, documents, tmp_path, monkeypatch):
    monkeypatch.setattr("sensorium.retrieval.building.CHUNK", 1)
    idx, part = tmp_path / "idx", tmp_path / "idx.part"
    assert sensorium("index", "build", documents / "river.md", *TINY, "--out", idx).exit_code == 0
    encoded, encode = [], Encoder.encode_batches

    def interrupted(self, passages, **settings):
        if len(encoded) == 1:
            raise KeyboardInterrupt
        encoded.append(len(passages))
        return encode(self, passages, **settings)

    words = ("index", "add", idx, documents / "heron.txt", documents / "mill.html", *FLOAT)
    with monkeypatch.context() as patched:
        patched.setattr(Encoder, "encode_batches", interrupted)
        got = sensorium(*words)
    assert got.exit_code == 130
    assert got.stderr == f"interrupted; {part} keeps what is encoded: the same command goes on there\n"
    assert len(Index.load(idx, device="cpu")) == 1 and len(list(part.iterdir())) == 1
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.append(len(p)) or encode(self, p))
    assert sensorium(*words).exit_code == 0
    assert encoded == [1, 1] and len(Index.load(idx, device="cpu")) == 3 and not part.exists()
    assert sensorium(*words, "--no-resume").exit_code == 0
    assert encoded == [1, 1, 1, 1] and not part.exists()


def test_an_add_undoes_nothing_that_another_has_saved_meanwhile(sensorium, documents, tmp_path, monkeypatch):
    idx, encode = tmp_path / "idx", Encoder.encode_batches
    assert sensorium("index", "build", documents / "river.md", *TINY, "--out", idx).exit_code == 0

    def slowly(self, passages, **settings):
        monkeypatch.setattr(Encoder, "encode_batches", encode)
        assert sensorium("index", "add", idx, documents / "mill.html", "--no-resume", *FLOAT).exit_code == 0
        return encode(self, passages, **settings)

    words = ("index", "add", idx, documents / "heron.txt", *FLOAT)
    monkeypatch.setattr(Encoder, "encode_batches", slowly)
    got = sensorium(*words)
    assert got.exit_code == 1 and "changed by another process since" in got.stderr
    assert len(Index.load(idx, device="cpu")) == 2
    monkeypatch.setattr(Encoder, "encode_batches", lambda *_, **__: pytest.fail("encoded anew"))
    assert sensorium(*words).exit_code == 0
    assert len(Index.load(idx, device="cpu")) == 3


def test_a_refresh_finds_what_is_changed_new_and_gone(sensorium, documents, tmp_path, monkeypatch):
    idx = tmp_path / "idx"
    (documents / "broken.pdf").unlink()
    long = "".join(f"Trout number {i} lives above the mill. " for i in range(30))
    (documents / "fish.txt").write_text(long)
    (tmp_path / "else.txt").write_text("Nothing of that kind.")
    words = ("--by", "words", "--words", 10)
    assert sensorium("index", "build", documents, tmp_path / "else.txt", *TINY, *words, "--out", idx).exit_code == 0
    count = len(Index.load(idx, device="cpu"))
    encoded, encode = [], Encoder.encode_batches
    monkeypatch.setattr(Encoder, "encode_batches", lambda self, p: encoded.extend(p) or encode(self, p))

    def refreshed(*more):
        encoded.clear()
        got = sensorium("index", "refresh", idx, *more, *FLOAT, "--json")
        facts = json.loads(got.stdout)
        return got.exit_code, *(facts[name] for name in ("kept", "moved", "added", "deleted"))

    monkeypatch.chdir(tmp_path)
    assert refreshed("documents") == (0, count - 1, 0, 0, 0) and not encoded, "cut as before, by whatever name"
    (documents / "fish.txt").write_text(f"One two three four five six seven eight nine ten {long}")
    (documents / "new.md").write_text("A bridge of stone.")
    (documents / "heron.txt").unlink()
    (documents / "mill.html").write_text("<title>The mill</title><p>The mill burned down.</p>")
    heron = 2
    assert refreshed(documents) == (0, count - 1 - heron - 21 - 1, 21, 3, heron + 1)
    assert sorted(text for _, text in (one if isinstance(one, tuple) else ("", one) for one in encoded)) == [
        "A bridge of stone.", "One two three four five six seven eight nine ten", "The mill burned down.",
    ]  # fmt: skip
    texts = {row["text"] for row in Index.load(idx, device="cpu").passages(Index.load(idx, device="cpu").ids)}
    assert "Nothing of that kind." in texts, "what lies elsewhere stays"
    (documents / "river.md").write_bytes(b"\xff\xfe\xff")
    code, *counts = refreshed(documents / "river.md", documents / "new.md")
    assert (code, counts) == (1, [1, 0, 0, 0]), "a file that cannot be read keeps its passages"
    (documents / "new.md").unlink()
    assert refreshed(documents / "new.md") == (0, 0, 0, 0, 1), "a file that is gone"
    assert refreshed(str(documents / "fi*.txt")) == (0, 22, 0, 0, 0)
    got = sensorium("index", "refresh", idx, "nowhere", *FLOAT)
    assert got.exit_code == 1 and "missing-file" in got.stderr


def test_a_refresh_leaves_alone_what_was_not_named_or_could_not_be_read(sensorium, tmp_path, monkeypatch):
    folder, idx = tmp_path / "g", tmp_path / "idx"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.md", "sub/b.md"):
        (folder / name).write_text(f"The text of {name}.")
    assert sensorium("index", "build", folder, *TINY, "--out", idx).exit_code == 0

    def left(word):
        code = sensorium("index", "refresh", idx, word, *FLOAT).exit_code
        return code, len(Index.load(idx, device="cpu"))

    assert left(str(folder / "*.md")) == (0, 2), "a star does not reach into folders"
    assert left(str(folder / "**" / "*.md")) == (0, 2)
    walk = os.walk

    def closed(top, topdown=True, onerror=None, followlinks=False):
        for where, folders, files in walk(top, topdown, onerror, followlinks):
            if "sub" in folders:
                folders.remove("sub")
                onerror(PermissionError(13, "Permission denied", str(Path(where, "sub"))))
            yield where, folders, files

    monkeypatch.setattr(os, "walk", closed)
    assert left(folder) == (1, 2), "of a folder that cannot be read it is not known what is gone"
    monkeypatch.setattr(os, "walk", walk)
    (folder / "sub" / "b.md").unlink()
    assert left(str(folder / "**" / "*.md")) == (0, 1)


def test_a_damaged_index_is_told_and_not_opened(sensorium, documents, tmp_path):
    idx = tmp_path / "idx"
    assert sensorium("index", "build", documents / "river.md", *TINY, "--out", idx).exit_code == 0
    (path,) = idx.glob("vectors-*.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for words in (["info", idx], ["search", idx, "a"], ["add", idx, documents], ["delete", idx, "0"]):
        got = sensorium("index", *words)
        assert got.exit_code == 1 and "not as it was written" in got.stderr, words
    assert sensorium("index", "info", idx, "--no-verify").exit_code == 0
    got = sensorium("index", "search", tmp_path / "nowhere", "a")
    assert got.exit_code == 1 and "does not exist" in got.stderr


def test_search_gives_what_the_index_gives(sensorium, built):
    index = Index.load(built, device="cpu")
    queries = ["Where does the river begin?", "who saw a bird?"]
    for more, options in (
        ([], {}),
        (["--mode", "lexical"], {"mode": "lexical"}),
        (["--mode", "hybrid"], {"mode": "hybrid"}),
        (["--where", '{"year": [1951, 1952]}'], {"where": {"year": [1951, 1952]}}),
    ):
        settings = () if "lexical" in more else ("--dtype", "float32")
        got = sensorium("index", "search", built, queries[0], "-", "--top-k", 2, "--json", "--device", "cpu", *settings,
                        *more, stdin=queries[1] + "\n")  # fmt: skip
        assert got.exit_code == 0, got.stderr
        found = rows(got.stdout)
        assert [(row["index"], row["source"]) for row in found] == list(enumerate(queries))
        encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
        index = Index.load(built, encoder=encoder, device="cpu")
        for row, want in zip(found, index.search(queries, 2, **options), strict=True):
            assert [hit["id"] for hit in row["result"]] == want.ids.tolist()
            assert [hit["score"] for hit in row["result"]] == pytest.approx(want.scores.tolist(), abs=1e-5)


def test_plain_hits_are_a_line_each(sensorium, built):
    got = sensorium("index", "search", built, "Where does the river begin?", "--top-k", 2)
    lines = [line.split("\t") for line in got.stdout.splitlines()]
    assert [len(line) for line in lines] == [5, 5]
    query, score, id, source, text = lines[0]
    assert (query, id, source) == ("Where does the river begin?", "r", "")
    assert float(score) > 0.5 and text == "The river begins in the hills north of the town."
    nothing = sensorium("index", "search", built, "xylophone", "--mode", "lexical")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "nothing found: xylophone\n")


def test_a_search_that_cannot_be(sensorium, built, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Pooling

    sentences = tiny_embedding.sentence_transformer(tiny_embedding.encoder("bert"), Pooling(16))
    for words, code, message in (
        (["a", "--where", '{"yeer": 1}'], 2, "Did you mean 'year'"),
        (["a", "--where", "[1]"], 2, "where is a mapping"),
        (["a", "--where", "{"], 2, "takes JSON"),
        (["a", "--mode", "sparse"], 2, "dense|lexical|hybrid"),
        (["a", "--top-k", "0"], 2, "--top-k is a whole number from 1"),
        (["a", "--mode", "lexical", "--batch-size", "2"], 2, "--batch-size has no meaning for --mode lexical"),
        ([], 2, "expected a query"),
        (["--image", "a.png"], 2, "--image is for an index of image"),
        (["a", "--encoder", tiny_embedding.encoder("bert")], 1, "no pooling of its own"),
        (["a", "--encoder", sentences], 2, "vectors of 384 dimensions"),
        ([" "], 1, "1 of 1 inputs failed (empty-text 1)"),
    ):
        got = sensorium("index", "search", built, *words)
        assert (got.exit_code, got.stdout) == (code, "") and message in got.stderr, (words, got.stderr)
    (tmp_path / "kept.jsonl").write_text("of another run")
    for command in (["index", "search", built, "a"], ["run", "retrieval", "a", "--index", built]):
        for words in (["--where", '{"yeer": 1}'], ["--mode", "lexical", "--where", "3"]):
            got = sensorium(*command, *words, "--output", tmp_path / "kept.jsonl", "--overwrite")
            assert got.exit_code == 2 and (tmp_path / "kept.jsonl").read_text() == "of another run", (command, words)
    Index.from_vectors(np.eye(3, dtype=np.float32)).save(tmp_path / "bare")
    got = sensorium("index", "search", tmp_path / "bare", "a")
    assert got.exit_code == 2 and "no encoder" in got.stderr
    got = sensorium("index", "search", tmp_path / "bare", "a", "--dtype", "float32")
    assert got.exit_code == 2 and "no encoder for --dtype" in got.stderr
    got = sensorium("index", "search", tmp_path / "bare", "a", "--mode", "lexical")
    assert got.exit_code == 2 and "lexical=True" in got.stderr


def test_a_reranker_orders_anew(sensorium, built):
    from sensorium.retrieval import Reranker

    folder = tiny_ranking.ranker("bert")
    question = "who saw the heron?"
    got = sensorium("index", "search", built, question, "--json", "--reranker", folder, *FLOAT)
    encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
    with Reranker.from_pretrained(folder, device="cpu", dtype="float32") as reranker:
        want = Index.load(built, encoder=encoder, device="cpu").search(question, 4, reranker=reranker)
    (row,) = rows(got.stdout)
    assert [hit["id"] for hit in row["result"]] == want.ids[0].tolist()
    assert [hit["score"] for hit in row["result"]] == pytest.approx(want.scores[0].tolist(), abs=1e-4)


def test_run_takes_an_index(sensorium, built):
    got = sensorium("run", "retrieval", "who saw a bird?", "--index", built, "--top-k", 1, "--json", *FLOAT)
    (row,) = rows(got.stdout)
    assert [hit["id"] for hit in row["result"]] == ["h"]
    assert "--model" not in sensorium("run", "retrieval", "--help").stdout
    missing = sensorium("run", "retrieval", "a")
    assert missing.exit_code == 2 and "--index" in missing.stderr
    images = sensorium("run", "image-retrieval", "a", "--index", built)
    assert images.exit_code == 2 and "Use 'retrieval'" in images.stderr
    assert "--index" not in sensorium("run", "image-classification", "--help").stdout


def test_ask_reads_what_is_found(sensorium, built):
    reader = tiny_reading.dpr()
    question = "Where does the river begin?"
    asked = sensorium("index", "ask", built, question, "--reader", reader, "--top-k", 2, "--json", *FLOAT)
    run = sensorium("run", "retrieval-qa", question, "--index", built, "-m", reader, "--top-k", 2, "--json", *FLOAT)
    assert asked.exit_code == 0, asked.stderr
    assert asked.stdout == run.stdout
    encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
    index = Index.load(built, encoder=encoder, device="cpu")
    with package.pipeline("retrieval-qa", index=index, reader=reader, device="cpu", dtype="float32") as ask:
        want = ask(question, top_k=2)
    (row,) = rows(asked.stdout)
    found = row["result"]["answers"] if isinstance(row["result"], dict) else row["result"]
    assert [answer["answer"] for answer in found] == want.answers.tolist()


def test_questions_need_passages_or_an_index(sensorium, built):
    reader = ("--model", tiny_reading.dpr())
    for words, message in (
        ([], "pass --passages to have it read, or --index"),
        (["--passages", "a river", "--index", built], "--index finds what --passages would give"),
        (["--passages", "a river", "--encoder", "x"], "--encoder says how --index is opened"),
        (["--passages", "a river", "--mode", "hybrid"], "mode is for a search"),
        (["--index", built, "--where", '{"x": 1}'], "unknown column"),
    ):
        got = sensorium("run", "retrieval-qa", "a", *reader, *words)
        assert (got.exit_code, got.stdout) == (2, "") and message in got.stderr, (words, got.stderr)
    got = sensorium("run", "retrieval-qa", "Who?", *reader, "--passages", "Twelve people saw it.", "--json")
    assert got.exit_code == 0 and len(rows(got.stdout)) == 1


QUESTIONS = [
    {"question": "Where does the river begin?", "answers": ["hills"], "relevant": ["r"]},
    {"question": "who saw the heron?", "answers": ["Twelve people"], "relevant": {"h": 2, "k": 1}},
    {"question": "What did the mill grind?", "answers": ["wheat"], "relevant": ["r"]},
]


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_eval_is_what_the_measures_say(sensorium, built, questions, mode):
    got = sensorium("index", "eval", built, questions, "--k", 1, "--k", 3, "--mode", mode, "--json", *FLOAT)
    assert got.exit_code == 0, got.stderr
    encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
    index = Index.load(built, encoder=encoder, device="cpu")
    found = index.search([row["question"] for row in QUESTIONS], 3, mode=mode)
    want = evaluate(
        ranked=[hits.ids.tolist() for hits in found],
        relevant=[row["relevant"] for row in QUESTIONS],
        passages=[[p["text"] for p in hits.passages] for hits in found],
        answers=[row["answers"] for row in QUESTIONS],
        k=(1, 3),
    )
    assert json.loads(got.stdout) == {"questions": 3, **want}
    plain = sensorium("index", "eval", built, questions, "--k", 1, "--k", 3, "--mode", mode, *FLOAT)
    lines = dict(line.split("\t") for line in plain.stdout.splitlines())
    assert lines == {"questions": "3", **{name: f"{value:.4f}" for name, value in want.items()}}
    assert 0 < want["recall@1"] < 1


def test_eval_reads_with_a_reader(sensorium, built, questions):
    reader = tiny_reading.dpr()
    got = sensorium("index", "eval", built, questions, "--reader", reader, "--num-passages", 2, "--json", *FLOAT)
    measures = json.loads(got.stdout)
    encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
    index = Index.load(built, encoder=encoder, device="cpu")
    with package.pipeline("retrieval-qa", index=index, reader=reader, device="cpu", dtype="float32") as ask:
        answers = [str(a.answers[0]) for a in ask([row["question"] for row in QUESTIONS], num_passages=2)]
    want = evaluate(predictions=answers, answers=[row["answers"] for row in QUESTIONS])
    assert {name: measures[name] for name in want} == want


def test_questions_that_cannot_be_measured(sensorium, built, tmp_path):
    path = tmp_path / "q.jsonl"
    for text, message in (
        ("", "expected a question a line, got none"),
        ("{", "line 1: expected a JSON object"),
        ('{"question": " ", "answers": ["a"]}', 'an object with a "question"'),
        ('{"question": "a"}', 'expected "answers", "relevant", or both'),
        ('{"question": "a", "answers": "b"}', "a list of texts"),
        ('{"question": "a", "relevant": []}', "not empty"),
        ('{"question": "a", "answers": ["b"]}\n{"question": "a", "relevant": ["r"]}', "is in 1 of 2 rows"),
        ('{"question": "a", "relevant": [3]}', "ids of this index are texts, got the relevant id 3"),
    ):
        path.write_text(text)
        got = sensorium("index", "eval", built, path)
        assert (got.exit_code, got.stdout) == (1, "") and message in got.stderr, (text, got.stderr)
    path.write_text('{"question": "a", "relevant": ["nowhere"]}')
    got = sensorium("index", "eval", built, path, "--k", 1)
    assert got.exit_code == 0 and "does not hold 1 of the relevant ids, such as 'nowhere'" in got.stderr
    for words, message in (
        (["--num-passages", 2], "--num-passages is for a reader"),
        (["--batch-size", 2], "--batch-size is for a reader"),
        (["--reader", "x"], "measured by answers"),
        (["--k", 0], "--k is a whole number from 1"),
    ):
        got = sensorium("index", "eval", built, path, *words)
        assert (got.exit_code, got.stdout) == (2, "") and message in got.stderr, (words, got.stderr)


def test_an_index_of_pictures(sensorium, broken, tmp_path):
    clip = tiny_text.matcher("clip")
    idx = tmp_path / "idx"
    got = sensorium("index", "build", broken, "nowhere.png", "--encoder", clip, *FLOAT, "--out", idx)
    assert got.exit_code == 1
    told = got.stderr.splitlines()
    assert told[-1].startswith("3 of 6 inputs failed (") and "left out" not in got.stderr
    names = [str(broken / name) for name in ("a.PNG", "b.jpg", "more/c.webp")]
    index = Index.load(idx, device="cpu")
    assert [p["source"] for p in index.passages(index.ids)] == names
    for name in names:
        found = sensorium("index", "search", idx, "--image", name, "--top-k", 1, "--json", *FLOAT)
        (row,) = rows(found.stdout)
        assert (row["source"], row["result"][0]["source"]) == (name, name)
        assert row["result"][0]["score"] == pytest.approx(1, abs=1e-4)
    texts = sensorium("index", "search", idx, "a river", "--top-k", 3, *FLOAT)
    assert sorted(line.split("\t")[3] for line in texts.stdout.splitlines()) == names
    shutil.copy(names[0], tmp_path / "new.png")
    (tmp_path / "bad.png").write_text("no picture")
    got = sensorium("index", "add", idx, tmp_path / "new.png", tmp_path / "bad.png", *FLOAT)
    assert got.exit_code == 1 and "1 of 2 inputs failed" in got.stderr
    assert len(Index.load(idx, device="cpu")) == 4
    limited = sensorium("index", "search", idx, "--image", names[0], "--max-pixels", 10, *FLOAT)
    assert limited.exit_code == 1 and "too-many-pixels 1" in limited.stderr
    for words, message in (
        (["--words", 5], "--words has no meaning here: the encoder is of image"),
        (["--lexical"], "--lexical is for texts"),
    ):
        got = sensorium("index", "build", broken, "--encoder", clip, *FLOAT, "--out", tmp_path / "x", *words)
        assert got.exit_code == 2 and message in got.stderr
    got = sensorium("index", "build", "http://127.0.0.1/a.png", "--encoder", clip, *FLOAT, "--out", tmp_path / "x")
    assert got.exit_code == 2 and "--no-resume" in got.stderr


@pytest.mark.parametrize("words", [[], ["build"], ["search"], ["ask"], ["eval"]])
def test_help_loads_nothing_heavy(words):
    code = f"import sys\ntry:\n    {MAIN}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    status, out, err = finish(start("index", *words, "--help", code=code))
    assert status == 0 and "Usage:" in out
    assert not {*HEAVY, "pyarrow", "faiss", "pypdfium2"} & set(err.splitlines()[-1].split())


def test_every_command_and_option_is_told_of(sensorium):
    shown = sensorium("index", "--help").stdout
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"\n  {name} " in shown
        assert f"`index {name}" in page or f"sensorium index {name}" in page
    got = sensorium("index", "serch", "x")
    assert got.exit_code == 2 and "Did you mean 'search'" in got.stderr


def test_settings_are_arguments_with_their_defaults():
    for settings, function, left_out in (
        (EncoderSettings, Encoder.from_pretrained, {"model", "limits", "token", "progress"}),
        (BuildSettings, Index.build, {"passages", "on_error", "device", "progress", "workers", "run"}),
        (WorkerSettings, Job.run, {"self", "progress", "refresh", "redo_changed"}),
    ):
        parameters = inspect.signature(function).parameters
        fields = {field.name: field.default for field in dataclasses.fields(settings)}
        assert set(parameters) - set(fields) == left_out
        for name in set(fields) & set(parameters) - {"encoder", "resume", "workers"}:
            assert fields[name] == parameters[name].default, name


def test_tables_on_a_terminal(built, questions, monkeypatch):
    from rich import console

    from sensorium.cli.indexes import evaluation, hit_sinks

    written = io.StringIO()
    make = console.Console
    monkeypatch.setattr(console, "Console", lambda **more: make(file=written, width=100))
    table = hit_sinks.HitTables()
    encoder = Encoder.from_pretrained("starter/text-embedding", device="cpu", dtype="float32")
    index = Index.load(built, encoder=encoder, device="cpu")
    table.add("who saw a bird?", index.search("who saw a bird?", 1)[0])
    table.add("xylophone", index.search("xylophone", 1, mode="lexical")[0])
    evaluation._table(3, {"recall@1": 0.5, "recall@3": 0.75, "f1": 0.25})
    text = written.getvalue()
    assert "who saw a bird?" in text and "Twelve people saw the heron" in text and "nothing found" in text
    assert "0.5000" in text and "@3" in text and "0.2500" in text and "3 questions" in text
