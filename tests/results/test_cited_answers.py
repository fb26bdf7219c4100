"""CitedAnswers: what it holds, how it is read, and what it refuses."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from sensorium.results import CitedAnswers, Result

PASSAGES = [
    {
        "id": 7,
        "text": "Goethe wrote Faust.",
        "title": "Faust",
        "source": "a.txt",
        "start": 100,
        "end": 119,
        "year": 1808,
    },
    {"id": None, "text": "Marlowe wrote one, too.", "title": "", "source": None, "start": None, "end": None},
]


def pointed():
    return CitedAnswers(
        ["Goethe", "Marlowe", "Faust"],
        [[1], [2], [1]],
        PASSAGES,
        scores=[0.5, 0.25, 0.125],
        span_scores=[9.5, 4, 3],
        relevance_scores=[2, 1, 2],
        starts=[0, 0, -1],
        ends=[6, 7, -1],
        index=3,
    )


def test_rows_tell_where_an_answer_stands():
    result = pointed()
    assert isinstance(result, Result)
    assert len(result) == 3 and result.read == 2
    first, second, third = result
    assert first == {
        "answer": "Goethe",
        "score": 0.5,
        "span_score": 9.5,
        "relevance_score": 2.0,
        "start": 0,
        "end": 6,
        "document_start": 100,
        "document_end": 106,
        "passage": PASSAGES[0],
        "citations": [1],
    }
    assert (second["start"], second["document_start"], second["passage"]) == (0, None, PASSAGES[1])
    assert (third["start"], third["end"], third["document_end"]) == (None, None, None)  # it stands in the title
    assert result[-1] == third
    with pytest.raises(IndexError):
        result[3]


def test_parts_keep_the_passages_that_they_cite():
    result = pointed()
    for part in (result[:2], result[np.array([0, 1])], result[result.scores >= 0.25]):
        assert part.answers.tolist() == ["Goethe", "Marlowe"]
        assert list(part) == list(result)[:2]
        assert (part.index, part.read) == (3, 2)
    assert result[1:] != result
    assert pickle.loads(pickle.dumps(result)) == result


def test_it_is_plain_data(tmp_path):
    result = pointed()
    result.save(tmp_path / "x.json")
    told = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert told == result.to_dict() == {"answers": list(result), "refused": False, "passages": PASSAGES}
    with pytest.raises(TypeError, match="read-only"):
        result[0]["passage"]["title"] = "changed"
    result.to_dict()["passages"][0]["title"] = "changed"
    result.to_dict()["passages"][0]["title"] = "changed"
    assert result == pointed()


def test_lines_name_what_is_cited():
    assert pointed().lines() == ["Goethe 0.5000 (Faust)", "Marlowe 0.2500 (passage 2)", "Faust 0.1250 (Faust)"]
    written = CitedAnswers(["Goethe [1], Marlowe [2]"], [[1, 2]], PASSAGES)
    assert written.lines() == ["Goethe [1], Marlowe [2] (Faust; passage 2)"]
    assert written[0]["score"] is None and written[0]["start"] is None
    assert CitedAnswers(["who knows"], [[]], PASSAGES).lines() == ["who knows"]
    assert CitedAnswers(["who knows"], [[]], PASSAGES)[0]["passage"] is None
    assert "read=2, index=3" in repr(pointed())
    assert len(repr(CitedAnswers(["a" * 5000] * 30, [[1]] * 30, PASSAGES))) < 2000


def test_without_an_answer_it_is_empty_and_says_why():
    nothing, refused = CitedAnswers(), CitedAnswers(passages=PASSAGES, refused=True)
    assert not nothing and not refused
    assert nothing.lines() == ["no answer"]
    assert refused.lines() == ["no answer in the passages"]
    assert refused.to_dict() == {"answers": [], "refused": True, "passages": PASSAGES}
    assert nothing != refused
    assert not refused[:1] and refused[:1].refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": [0.5]},
        {"citations": [[1]]},
        {"citations": [[1], [3]]},
        {"citations": [[0], [1]]},
        {"starts": [1, 2]},
        {"starts": [1, 2], "ends": [3]},
    ],
)
def test_what_does_not_agree_is_refused(wrong):
    given = {"citations": [[1], [2]], "passages": PASSAGES, **wrong}
    with pytest.raises(ValueError, match=r"length|citations|together"):
        CitedAnswers(["a", "b"], **given)
