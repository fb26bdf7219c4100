"""Index: round trips, adds, deletes and filters against a NumPy brute force; saves that end half-way; damaged files."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sensorium.errors import IndexFileError, InputError, OptionError, UnknownNameError
from sensorium.retrieval import Index, Passage, storage
from sensorium.retrieval.dense.approximate import factory_string
from sensorium.retrieval.dense.kinds import choose_kind
from sensorium.retrieval.passage_table import PassageTable
from tests.pretend_cuda import PretendCuda

CPU = torch.device("cpu")
WIDTH = 8


def vectors(count, seed=0, width=WIDTH):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def passages(count, first=0):
    return [
        {"text": f"text {i} of {'cats' if i % 2 else 'dogs'}", "title": f"T{i % 3}", "year": 1990 + i % 5, "tag": None}
        for i in range(first, first + count)
    ]


def made(rows):
    return Index.from_vectors(vectors(len(rows)), passages=rows)


def brute_force(x, ids, q, k):
    """The ids of the k rows with the largest products, in float64."""
    order = np.argsort(-(q.astype(np.float64) @ x.astype(np.float64).T), axis=1, kind="stable")[:, :k]
    return np.asarray(ids)[order]


class Together(RuleBasedStateMachine):
    """An index and a dict of vectors, which must agree whatever is done to them."""

    @initialize(count=st.integers(1, 30), kind=st.sampled_from(["exact", "hnsw", "IVF1,Flat"]), words=st.booleans())
    def build(self, count, kind, words):
        self.seed, self.kind = 1, kind
        x = vectors(count)
        self.index = Index.from_vectors(x, passages=passages(count), kind=kind, lexical=words, device="cpu")
        self.known = {i: (x[i], 1990 + i % 5) for i in range(count)}

    @rule(count=st.integers(1, 20))
    def add(self, count):
        self.seed += 1
        x, rows = vectors(count, self.seed), passages(count, first=100 * self.seed)
        ids = self.index.add(rows, vectors=x)
        assert not set(ids.tolist()) & set(self.known), "ids are new"
        self.known |= {i: (v, row["year"]) for i, v, row in zip(ids.tolist(), x, rows, strict=True)}

    @precondition(lambda self: len(self.known) > 1)
    @rule(data=st.data())
    def delete(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.known)), min_size=1, unique=True, max_size=5))
        ids = ids[: len(self.known) - 1]
        assert self.index.delete(ids) == len(ids)
        for each in ids:
            del self.known[each]
        with pytest.raises(OptionError, match="no passage has the id"):
            self.index.delete(ids)

    @rule(tmp=st.integers(0, 2**31))
    def save_and_load(self, tmp):
        folder = Path(os.environ["PYTEST_TMP"]) / "index"
        self.index.save(folder)
        self.index = Index.load(folder, device="cpu")
        assert self.index.kind == self.kind

    @rule(k=st.integers(1, 40), year=st.none() | st.sampled_from([1990, 1991, [1992, 1993], [1999]]))
    def search(self, k, year):
        q = vectors(3, self.seed + 1000)
        where = None if year is None else {"year": year}
        found = self.index.search(q, k, where=where)
        years = None if year is None else year if isinstance(year, list) else [year]
        left = {i: v for i, (v, y) in self.known.items() if years is None or y in years}
        count = min(k, len(left))
        assert found.ids.shape == (3, k)
        assert (found.ids[:, count:] == -1).all() and (found.scores[:, count:] == -np.inf).all()
        if left:
            want = brute_force(np.stack(list(left.values())), list(left), q, k)
            assert (found.ids[:, :count] == want).all()
            scores = [[float(v @ left[i]) for i in row] for v, row in zip(q, want.tolist(), strict=True)]
            np.testing.assert_allclose(found.scores[:, :count], scores, rtol=1e-4, atol=1e-5)
        for hits, row in zip(found, found.ids[:, :count].tolist(), strict=True):
            assert [p["id"] for p in hits.passages] == row

    @invariant()
    def agree(self):
        if hasattr(self, "index"):
            assert len(self.index) == len(self.known)
            assert sorted(self.index.ids.tolist()) == sorted(self.known)


@pytest.fixture(autouse=True)
def _tmp(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


TestTogether = Together.TestCase
TestTogether.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_passages_come_back_as_they_went_in(tmp_path):
    given = [
        Passage("one", title="T", source="a.txt", start=3, end=6, metadata={"year": 1808, "tags": ["x", "y"]}),
        "two",
        ("Faust", "three"),
        {"text": "four", "year": 1832},
    ]
    index = Index.from_vectors(vectors(4), passages=given)
    index.save(tmp_path / "i")
    for one in (index, Index.load(tmp_path / "i")):
        first, second, third, fourth = one.passages([0, 1, 2, 3])
        assert first == {
            "id": 0, "text": "one", "title": "T", "source": "a.txt", "start": 3, "end": 6,
            "year": 1808, "tags": ["x", "y"],
        }  # fmt: skip
        assert (second["text"], second["title"], second["year"]) == ("two", "", None)
        assert (third["title"], third["text"], fourth["year"]) == ("Faust", "three", 1832)


def test_ids_of_texts_and_numbers():
    index = Index.from_vectors(vectors(2), passages=[Passage("a", id="x"), Passage("b", id="y")])
    assert index.ids.tolist() == ["x", "y"] and index.search(vectors(1), 3).ids[0, 2] == ""
    with pytest.raises(InputError, match="id of each passage is a text"):
        index.add(["c"], vectors=vectors(1))
    with pytest.raises(InputError, match="used twice: 'x'") as caught:
        index.add([Passage("c", id="x")], vectors=vectors(1))
    assert caught.value.code == "duplicate-id" and len(index) == 2
    index.delete(["x"])
    index.add([Passage("c", id="x")], vectors=vectors(1))
    assert [p["text"] for p in index.passages(["x", "y"])] == ["c", "b"]
    with pytest.raises(InputError, match="used twice: 7"):
        Index.from_vectors(vectors(2), passages=[Passage("a", id=7), Passage("b", id=7)])
    numbers = Index.from_vectors(vectors(2), passages=[Passage("a", id=7), "b"])
    assert numbers.ids.tolist() == [7, 8]
    numbers.delete([8])
    assert numbers.add(vectors=vectors(1)).tolist() == [9], "numbers are not used again"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Index.from_vectors(np.empty((0, 4), np.float32)), r"got the shape \(0, 4\)"),
        (lambda: Index.from_vectors(np.zeros(4, np.float32)), r"got the shape \(4,\)"),
        (lambda: Index.from_vectors([["a"]]), "vectors of numbers"),
        (lambda: Index.from_vectors([[1.0, np.nan]]), "NaN or infinity in row 0"),
        (lambda: Index.from_vectors(vectors(3), passages=["a"]), "a vector for each passage, got 3 and 1"),
        (lambda: Index.from_vectors(vectors(1), passages=[" "]), "blank"),
        (lambda: Index.from_vectors(vectors(1), passages=[7]), "to be a str"),
        (lambda: Index.from_vectors(vectors(1), passages=["x" * 10_000_000]), "at most 1,000,000 characters"),
        (lambda: Index.from_vectors(vectors(1), passages="text"), "put it in a list"),
        (lambda: Index.from_vectors(vectors(2), passages=[{"text": "a", "n": 1}, {"text": "b", "n": "x"}]), "'n'"),
        (lambda: Index.from_vectors(vectors(4), kind="nonsense"), "factory string of faiss"),
        (lambda: Index.from_vectors(vectors(4), kind="IVF64,PQ8"), 'Use kind="exact"'),
        (lambda: Index.from_vectors(vectors(4), kind=7), "kind is"),
        (lambda: Index.from_vectors(vectors(4), similarity="l2"), "similarity is"),
        (lambda: Index.from_vectors(vectors(4)).search(vectors(1, width=5)), "of 8 dimensions, got 5"),
        (lambda: Index.from_vectors(vectors(4)).search(vectors(1), 0), "k is a whole number"),
        (lambda: Index.from_vectors(vectors(4)).search("text"), "has no encoder"),
        (lambda: Index.from_vectors(vectors(4)).search(vectors(1), mode="words"), "mode is one of"),
        (lambda: Index.from_vectors(vectors(4), passages=["a"] * 4).search("a", mode="lexical"), "has no words"),
        (lambda: Index.from_vectors(vectors(4)).add(), "add needs passages"),
        (lambda: Index.from_vectors(vectors(4)).add(["a"]), "has no encoder"),
        (lambda: Index.from_vectors(vectors(4)).add(vectors=vectors(1, width=5)), "of 8 dimensions"),
        (lambda: Index.from_vectors(vectors(4)).delete(["x"]), "whole numbers here"),
        (lambda: Index.from_vectors(vectors(4)).search(vectors(1), where=7), "where is a mapping"),
        (lambda: made(passages(4)).search(vectors(1), where={"year": "x"}), "year holds whole numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(wrong, said):
    with pytest.raises((InputError, OptionError), match=said):
        wrong()


def test_filters():
    x = vectors(20)
    index = Index.from_vectors(x, passages=passages(20))
    found = index.search(x[:1], 20, where=pc.field("year") >= 1993).ids[0]
    assert sorted(found[found >= 0]) == [i for i in range(20) if i % 5 >= 3]
    assert index.search(x[:1], 5, where={"title": "T1", "year": [1991, 1994]}).ids[0, 0] in (1, 4, 16, 19)
    with pytest.raises(UnknownNameError, match="Did you mean 'year'"):
        index.search(x[:1], where={"yaer": 1})
    assert len(index.search(x[:1], 5, where={"year": 1})[0]) == 0


def test_cosine_is_of_unit_vectors():
    x = (vectors(50) * 10.0 ** (np.arange(50)[:, None] % 30 - 15)).astype(np.float32)
    index = Index.from_vectors(x, similarity="cosine")
    q = vectors(4, 1)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    want = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ unit.T
    found = index.search(q, 5)
    assert (found.ids == np.argsort(-want, axis=1)[:, :5]).all()
    np.testing.assert_allclose(found.scores, -np.sort(-want, axis=1)[:, :5], atol=1e-5)


def test_auto_goes_by_size_memory_and_deletes(monkeypatch):
    monkeypatch.setattr("sensorium.retrieval.dense.kinds._memory", lambda: 64 * 2**30)
    assert choose_kind("auto", 1_000_000, 768, deletes=False, device=CPU) == "exact"
    assert choose_kind("auto", 5_000_000, 768, deletes=False, device=CPU) == "hnsw"
    assert choose_kind("auto", 5_000_000, 768, deletes=True, device=CPU) == "ivfpq"
    assert choose_kind("auto", 21_000_000, 768, deletes=False, device=CPU) == "ivfpq"
    with PretendCuda(memory=80 * 2**30):
        assert choose_kind("auto", 5_000_000, 768, deletes=False, device=torch.device("cuda")) == "exact"
    assert choose_kind("hnsw", 3, 4, deletes=True, device=CPU) == "hnsw"


def test_approximate_kinds_find_most(tmp_path):
    x, q = vectors(4_000, width=32), vectors(20, 1, width=32)
    exact = Index.from_vectors(x, kind="exact").search(q, 10).ids
    for kind, share in (("hnsw", 0.95), ("ivfpq", 0.3), ("IVF32,Flat", 0.95)):
        index = Index.from_vectors(x, kind=kind)
        index.save(tmp_path / kind)
        for one in (index, Index.load(tmp_path / kind)):
            found = one.search(q, 10).ids
            assert (
                np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
                > share
            )
        some = one.search(q, 3, where=None)
        one.delete(some.ids[0].tolist())
        assert not set(one.search(q, 3).ids[0]) & set(some.ids[0])


def test_quantized_lists_are_not_trained_for_a_search_that_is_never_made():
    index = faiss.index_factory(32, factory_string("ivfpq", 4_000, 32), faiss.METRIC_INNER_PRODUCT)
    assert (index.nlist, index.pq.M, index.pq.nbits) == (102, 8, 8)
    assert not index.do_polysemous_training  # some seconds for each of the M bytes, for the same results


def test_a_filter_that_leaves_few_is_answered_in_full():
    x = vectors(4_000, width=32)
    rows = [{"text": "x", "rare": i % 1000 == 7} for i in range(4_000)]
    for kind in ("hnsw", "ivfpq", "exact"):
        index = Index.from_vectors(x, passages=rows, kind=kind)
        assert sorted(index.search(x[:1], 10, where={"rare": True}).ids[0, :4].tolist()) == [7, 1007, 2007, 3007]


def test_words_and_both():
    texts = ["the river begins in the hills", "a boat on the river", "hills and hills", "nothing of that kind"]
    index = Index.from_vectors(vectors(4), passages=texts, lexical=True, encoder=None)
    found = index.search(["river hills", "boat"], 3, mode="lexical")
    assert found.ids[0, 0] == 0 and found.ids[1].tolist() == [1, -1, -1]
    index.add(["a second boat"], vectors=vectors(1))
    index.delete([1])
    assert index.search(["boat"], 3, mode="lexical").ids[0].tolist() == [4, -1, -1]
    both = index.search_encoded(vectors(1), ["boat"], 3, mode="hybrid")
    assert both.ids[0, 0] == 4 and len(both[0]) == 3
    with pytest.raises(OptionError, match="searches for words"):
        index.search(vectors(1), 3, mode="hybrid")


def test_searches_while_others_add_and_delete():
    index = Index.from_vectors(vectors(300), passages=passages(300), kind="hnsw")
    failures = []

    def search():
        try:
            for _ in range(60):
                found = index.search(vectors(2, 5), 20)
                assert all(p["text"].startswith("text ") for hits in found for p in hits.passages)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(30):
        ids = index.add(passages(5), vectors=vectors(5, i))
        index.delete(ids[:2])
    for thread in threads:
        thread.join()
    assert not failures and len(index) == 300 + 30 * 3


SAVES_AND_IS_KILLED = """
import os, random, signal, sys
import numpy as np
from sensorium.retrieval import Index

def index(count):
    vectors = np.random.default_rng(count).standard_normal((count, 16)).astype(np.float32)
    return Index.from_vectors(vectors, device="cpu")

def save(number, last_call):
    "Saves one after the other, and kills this process at a call, of Python or C; gives how many two saves make."
    ways, calls = [index(500), index(700)], 0  # of this process: one that was forked saves no other's
    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls == last_call:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    for i in range(2 if last_call is None else 1000):
        ways[(number + i) % 2].save(sys.argv[1])
    sys.setprofile(None)
    return calls

calls = save(0, None)
rng = random.Random(0)
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        save(number, rng.randrange(calls))
    rng.random()
    _, status = os.waitpid(child, 0)
    print("killed" if os.WTERMSIG(status) == signal.SIGKILL else status, flush=True)
    sys.stdin.readline()
"""


def test_a_save_is_whole_or_not_at_all(tmp_path):
    """100 processes that save one of two indexes over the other are killed at some moment; one of the two is there."""
    folder, there, seen = tmp_path / "index", False, set()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SAVES_AND_IS_KILLED, folder, "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        for _ in range(100):
            assert process.stdout.readline() == "killed\n"
            if (folder / "index.json").exists():
                there = True
                seen.add(len(Index.load(folder, device="cpu")))
            assert not there or (folder / "index.json").exists(), "what was there is gone"
            process.stdin.write("\n")
            process.stdin.flush()
    assert seen == {500, 700}
    Index.load(folder, device="cpu").save(folder)
    assert len(list(folder.iterdir())) == 1 + 3, "what was left over is gone"


def test_a_save_undoes_nothing_that_another_has_saved(tmp_path):
    (tmp_path / "alias").symlink_to(tmp_path / "i")
    Index.from_vectors(vectors(4)).save(tmp_path / "i")
    first, second = Index.load(tmp_path / "i"), Index.load(tmp_path / "alias")
    first.add(vectors=vectors(2))
    second.delete([0])
    first.save(tmp_path / "i")
    first.add(vectors=vectors(1))
    first.save(tmp_path / "alias")
    for name in ("i", "alias"):
        with pytest.raises(IndexFileError, match="changed by another process since"):
            second.save(tmp_path / name)
    assert len(Index.load(tmp_path / "i")) == 7 and len(list((tmp_path / "i").iterdir())) == 4
    second.save(tmp_path / "j")
    assert len(Index.load(tmp_path / "j")) == 3
    again = Index.load(tmp_path / "i")
    again.delete([0])
    again.save(tmp_path / "i")
    assert len(Index.load(tmp_path / "i")) == 6


def test_a_save_mends_what_is_damaged_or_gone(tmp_path):
    Index.from_vectors(vectors(4)).save(tmp_path / "i")
    index = Index.load(tmp_path / "i")
    (tmp_path / "i" / "index.json").write_text("{")
    index.save(tmp_path / "i")
    assert len(Index.load(tmp_path / "i")) == 4
    shutil.rmtree(tmp_path / "i")
    index.save(tmp_path / "i")
    assert len(Index.load(tmp_path / "i")) == 4


@pytest.mark.parametrize("before", [True, False])
def test_another_may_change_it_while_it_is_being_written(tmp_path, monkeypatch, before):
    """Where the file system keeps no locks; where it does, the other waits."""
    monkeypatch.setattr(storage, "alone_in", lambda _: contextlib.nullcontext())
    Index.from_vectors(vectors(4)).save(tmp_path / "i")
    first, second = Index.load(tmp_path / "i"), Index.load(tmp_path / "i")
    write = PassageTable.write

    def slowly(table, path):
        monkeypatch.setattr(PassageTable, "write", write)
        if before:
            write(table, path)
        second.add(vectors=vectors(1))
        second.save(tmp_path / "i")
        if not before:
            write(table, path)

    monkeypatch.setattr(PassageTable, "write", slowly)
    with pytest.raises(IndexFileError, match="changed by another process since"):
        first.save(tmp_path / "i")
    assert len(Index.load(tmp_path / "i")) == 5


def test_who_saves_waits_until_another_has(tmp_path, monkeypatch):
    Index.from_vectors(vectors(4)).save(tmp_path / "i")
    first, second = Index.load(tmp_path / "i"), Index.load(tmp_path / "i")
    second.add(vectors=vectors(1))
    write, failed = PassageTable.write, []

    def save_second():
        try:
            second.save(tmp_path / "i")
        except IndexFileError as error:
            failed.append(str(error))

    other = threading.Thread(target=save_second)

    def slowly(table, path):
        monkeypatch.setattr(PassageTable, "write", write)
        other.start()
        write(table, path)

    first.add(vectors=vectors(2))
    monkeypatch.setattr(PassageTable, "write", slowly)
    first.save(tmp_path / "i")
    other.join()
    assert len(failed) == 1 and "changed by another process since" in failed[0]
    assert len(Index.load(tmp_path / "i")) == 6


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_a_thousand_damaged_files_are_never_opened(tmp_path, kind):
    index = Index.from_vectors(vectors(40), passages=passages(40), kind=kind, lexical=True)
    index.save(tmp_path / "good")
    files = sorted(path.name for path in (tmp_path / "good").iterdir())
    rng = random.Random(kind)
    folder = tmp_path / "bad"
    for _ in range(500):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "good", folder)
        path = folder / rng.choice(files)
        content = bytearray(path.read_bytes())
        how = rng.randrange(5)
        if how == 0:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif how == 1:
            del content[rng.randrange(len(content)) :]
        elif how == 2:
            content += rng.randbytes(3)
        elif how == 3:
            at = rng.randrange(len(content))
            content[at : at + 4] = rng.randbytes(5)
        path.write_bytes(content) if how < 4 else path.unlink()
        if how < 4 and bytes(content) == (tmp_path / "good" / path.name).read_bytes():
            continue
        with pytest.raises(IndexFileError):
            Index.load(folder)


def test_files_that_do_not_suit_each_other_are_told(tmp_path):
    """As they are after somebody wrote an index.json of his own."""
    Index.from_vectors(vectors(4)).save(tmp_path / "i")
    content = json.loads((tmp_path / "i" / "index.json").read_text())
    content["files"]["vectors"]["name"] = "../../etc/passwd"
    (tmp_path / "i" / "index.json").write_text(json.dumps(content))
    with pytest.raises(IndexFileError, match="not as it was written"):
        Index.load(tmp_path / "i")


def test_folders_that_hold_something_else(tmp_path):
    index = Index.from_vectors(vectors(4))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(IndexFileError, match=r"holds other files \(diary.txt\)"):
        index.save(tmp_path / "notes")
    with pytest.raises(IndexFileError, match=r"has no index.json"):
        Index.load(tmp_path / "notes")
    with pytest.raises(IndexFileError, match="does not exist"):
        Index.load(tmp_path / "nowhere")
    with pytest.raises(IndexFileError, match="is a file"):
        index.save(tmp_path / "notes" / "diary.txt")
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear diary"


def test_sizes_are_checked_without_reading_all(tmp_path):
    Index.from_vectors(vectors(4)).save(tmp_path / "i")
    (path,) = (tmp_path / "i").glob("vectors-*")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IndexFileError):
        Index.load(tmp_path / "i", verify=False)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "IVF1,Flat"])
@pytest.mark.parametrize("words", [True, False])
def test_an_index_may_become_empty_and_be_filled_again(tmp_path, kind, words):
    """As it does whose passages are all replaced: deleted, then added."""
    for ids in ([3, 7], ["a", "b"]):
        rows = [{"id": ids[0], "text": "a river", "year": 1808}, {"id": ids[1], "text": "a boat", "year": 1832}]
        folder = tmp_path / str(ids[0])
        index = Index.from_vectors(vectors(2), passages=rows, kind=kind, lexical=words, device="cpu")
        index.save(folder)
        modes = ("dense", "lexical", "hybrid") if words else ("dense",)
        assert index.delete(ids) == 2
        for _ in range(2):
            for mode in modes:
                found = index.search_encoded(vectors(1), ["a river"], 3, mode=mode)
                assert len(found[0]) == 0 and found.ids.shape == (1, 3)
                assert len(index.search_encoded(vectors(1), ["x"], 3, mode=mode, where={"year": 1808})[0]) == 0
            index.save(folder)
            assert len(index) == 0
            index = Index.load(folder, device="cpu")
        assert index.add(rows, vectors=vectors(2)).tolist() == ids
        index.save(folder)
        index = Index.load(folder, device="cpu")
        for mode in modes:
            hit = index.search_encoded(vectors(1), ["a river"], 1, mode=mode, where={"year": 1808})[0][0]
            assert (hit["id"], hit["text"]) == (ids[0], "a river")
        assert index.passages(ids)[1]["year"] == 1832


def test_ids_that_are_missing_get_numbers_that_no_other_has():
    rows = ["a", Passage("b", id=0), Passage("c", id=np.int64(2)), "d", {"text": "e", "id": np.int32(7)}, "f"]
    index = Index.from_vectors(vectors(6), passages=rows)
    assert index.ids.tolist() == [1, 0, 2, 3, 7, 8]
    assert index.add(["g", Passage("h", id=9)], vectors=vectors(2)).tolist() == [10, 9]
    assert index.add(["i"], vectors=vectors(1)).tolist() == [11]
    assert index.passages([np.int64(7)])[0]["text"] == "e" and index.delete(np.array([7, 8])) == 2


@pytest.mark.parametrize("bad", [-1, "", 1.5, True, np.float64(2), 2**63, b"x"])
def test_ids_that_are_none(bad):
    with pytest.raises(InputError) as caught:
        Index.from_vectors(vectors(2), passages=["a", {"text": "b", "id": bad}])
    assert caught.value.code == "bad-id" and caught.value.index == 1


def test_ids_are_checked_as_they_are_read():
    texts = Index.from_vectors(vectors(1), passages=[Passage("a", id="x")])
    for index, given, said in (
        (texts, ["b"], "is a text in this index, got none"),
        (texts, [Passage("b", id=1)], "is a text in this index, got a number: 1"),
        (texts, [Passage("b", id="y"), Passage("c", id="x")], "used twice: 'x'"),
        (Index.from_vectors(vectors(1)), [Passage("b", id="0")], "is a number in this index, got a text: '0'"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            index.add(given, vectors=vectors(len(given)))
        assert caught.value.index == len(given) - 1 and len(index) == 1
    with pytest.raises(InputError, match="is a text"):
        texts.add(vectors=vectors(1))


def test_queries_as_people_give_them():
    x = vectors(5)
    index = Index.from_vectors(x, passages=["a river", "b", "c", "d", "e"], lexical=True)
    want = index.search(x[:2], 3).ids.tolist()
    for queries in (
        x[:2].tolist(),
        tuple(map(tuple, x[:2].tolist())),
        torch.from_numpy(x[:2]),
        x[:2].astype(np.float64),
    ):
        assert index.search(queries, np.int64(3)).ids.tolist() == want
    assert index.search(x[0].tolist(), 3).ids.tolist() == want[:1]
    for queries, said in (
        ([[0.1, 0.2]], "of 8 dimensions, got 2"),
        ([[0.1, 0.2], [0.1]], "different lengths"),
        ([0.1] * 7, "of 8 dimensions, got 7"),
        ([[1, "a"]], "vectors of numbers"),
    ):
        with pytest.raises(InputError, match=said):
            index.search(queries)
    assert index.search(np.array(["river", "b"]), 1, mode="lexical").ids.tolist() == [[0], [1]]
    for k in (0, 1.5, "3", True, None):
        with pytest.raises(OptionError, match="k is a whole number"):
            index.search(x[:1], k)
