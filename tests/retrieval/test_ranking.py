"""What a search does last: weights, a least score, hits that differ, and their neighbours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from sensorium.errors import OptionError, UnknownNameError
from sensorium.retrieval import Index, Passage
from sensorium.retrieval.passage_table import PassageTable
from sensorium.retrieval.rank_fusion import reciprocal_rank_fusion
from sensorium.retrieval.ranking import Neighbours


def unit(count, width=8, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def marginal(query, rows, k, diversity):
    """MMR by its definition, one step after the other."""
    relevance, likeness = rows @ query, rows @ rows.T
    taken: list[int] = []
    for _ in range(k):
        left = [i for i in range(len(rows)) if i not in taken]
        worth = [
            (1 - diversity) * relevance[i] - diversity * max((likeness[i, j] for j in taken), default=0) for i in left
        ]
        taken.append(left[int(np.argmax(worth))])
    return taken


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize("diversity", [0.3, 0.7, 0.95])
def test_hits_that_differ_are_those_of_the_definition(kind, diversity):
    rows, queries = unit(60), unit(3, seed=1)
    index = Index.from_vectors(rows, similarity="cosine", kind=kind)
    found = index.search(queries, 10, diversity=diversity)
    assert found.ids.tolist() == [marginal(query, rows, 10, diversity) for query in queries]
    np.testing.assert_allclose(
        found.scores, [(rows @ q)[ids] for q, ids in zip(queries, found.ids, strict=True)], atol=1e-5
    )
    assert index.search(queries, 10, diversity=0).ids.tolist() == index.search(queries, 10).ids.tolist()


def test_copies_make_room_for_others():
    rows = np.repeat(unit(5), 4, axis=0) * np.arange(1, 21, dtype=np.float32)[:, None]  # of dot: scores have any scale
    texts = [f"the river {i // 4}" for i in range(20)]
    index = Index.from_vectors(rows, passages=texts, lexical=True)
    found = index.search(unit(1, seed=2), 5, diversity=0.95)
    assert len({i // 4 for i in found.ids[0].tolist()}) == 5
    both = index.search_encoded(unit(1, seed=2), ["river"], 5, mode="hybrid", diversity=0.9)
    assert len({i // 4 for i in both.ids[0].tolist()}) >= 4
    assert len(index.search(["nothing"], 5, mode="lexical", diversity=0.5)[0]) == 0
    lists = Index.from_vectors(unit(400), kind="IVF4,SQ8")
    with pytest.raises(OptionError, match="diversity compares vectors"):
        lists.search(unit(1), diversity=0.5)


def test_a_least_score():
    rows, queries = unit(50), unit(2, seed=1)
    index = Index.from_vectors(rows, passages=["a river"] * 50, similarity="cosine")
    products = queries @ rows.T
    for least in (0.0, 0.4, 0.99, -2):
        found = index.search(queries, 30, min_score=least)
        assert [len(hits) for hits in found] == [min(30, int((row >= least).sum())) for row in products]
        assert all((hits.scores >= least).all() for hits in found)
        assert ((found.ids == -1) == (found.scores == -np.inf)).all()
    low = index.search(queries, 3, min_score=0.3, diversity=0.99)
    assert all((hits.scores >= 0.3).all() for hits in low), "hits that differ are not taken from below"


def test_weights_of_both_rankings():
    index = Index.from_vectors(unit(3), passages=["a mill", "a river", "the river, the river"], lexical=True)
    dense = index.search(unit(3)[:1], 3).rows
    lexical = index.search(["river"], 3, mode="lexical").rows
    for weight in (0.01, 1, 50):
        got = index.search_encoded(unit(3)[:1], ["river"], 3, mode="hybrid", lexical_weight=weight)
        scores, rows = reciprocal_rank_fusion([dense, lexical], k=3, weights=[1, weight])
        assert got.rows.tolist() == rows.tolist()
        np.testing.assert_allclose(got.scores, scores)
    assert got.rows[0, 0] == lexical[0, 0] != dense[0, 0]


def test_neighbours_come_along(tmp_path):
    texts = [
        Passage(f"{name} {i}", source=f"{name}.md", start=10 * i, end=10 * i + 9) for name in "ab" for i in range(4)
    ]
    given = [texts[i] for i in (5, 0, 3, 1, 7, 2, 4, 6)] + [Passage("alone"), Passage("c 0", source="c.md")]
    rows = np.eye(10, dtype=np.float32)
    index = Index.from_vectors(rows, passages=given)
    index.save(tmp_path / "i")

    def beside(one, text, count):
        row = [each.text for each in given].index(text)
        hit = one.search(rows[row], 1, around=count)[0][0]
        assert hit["text"] == text
        return [p["text"] for p in hit["before"]], [p["text"] for p in hit["after"]]

    for one in (index, Index.load(tmp_path / "i")):
        assert beside(one, "a 1", 1) == (["a 0"], ["a 2"])
        assert beside(one, "a 0", 2) == ([], ["a 1", "a 2"])
        assert beside(one, "b 3", 9) == (["b 0", "b 1", "b 2"], [])
        assert beside(one, "alone", 1) == ([], []) == beside(one, "c 0", 1)
    index.delete([3])
    assert beside(index, "a 0", 1) == ([], ["a 2"]), "what is deleted is no neighbour"
    index.add([Passage("c 1", source="c.md"), Passage("a 1, again", source="a.md", start=12, end=19)], vectors=rows[:2])
    assert beside(index, "c 0", 1) == ([], ["c 1"]), "without a start they stand in the order in which they came"
    assert beside(index, "a 0", 1) == ([], ["a 1, again"])
    assert "before" not in index.search(rows[:1], 1)[0][0]
    table = PassageTable.of([{"id": i, "source": name} for i, name in enumerate("abab")]).table
    parts = PassageTable(pa.concat_tables([table.slice(0, 1), table.slice(1)]))  # large ones come in several
    assert Neighbours.of(parts, np.ones(4, dtype=bool)).order.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize(
    "wrong",
    [{"diversity": 1.5}, {"diversity": -1}, {"min_score": "high"}, {"around": -1}, {"around": 1.5},
     {"lexical_weight": 2}, {"lexical_weight": 0, "mode": "hybrid"}],
)  # fmt: skip
def test_what_cannot_be(wrong):
    index = Index.from_vectors(unit(3), passages=["a", "b", "c"], lexical=True)
    with pytest.raises(OptionError, match=next(iter(wrong))):
        index.search_encoded(unit(1), ["a"], 3, **wrong)
    with pytest.raises(OptionError, match=next(iter(wrong))):
        index.check_search(**wrong)
    with pytest.raises(UnknownNameError, match="Did you mean 'around'"):
        index.check_search(arround=1)
