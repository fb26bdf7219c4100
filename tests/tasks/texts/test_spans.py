"""The search of spans against every span, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.processors.windows import CONTEXT, COUNTED, NEVER, NOTHING
from sensorium.tasks.texts.spans import best_spans, probabilities, separate_spans


def every_span(start, end, roles, most, join):
    inside = [i for i, role in enumerate(roles) if role == CONTEXT]
    pairs = [(join(start[s], end[e]), s, e) for s in inside for e in inside if s <= e < s + most]
    return sorted(pairs, reverse=True)


@pytest.mark.parametrize("join", [torch.mul, torch.add])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_finds_the_best_of_all_spans(join, data):
    length, rows = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    most, top_k = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 40))
    roles = data.draw(st.lists(st.lists(st.sampled_from([NEVER, COUNTED, NOTHING, CONTEXT]), min_size=length,
                                        max_size=length), min_size=rows, max_size=rows))  # fmt: skip
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    start, end = torch.rand((2, rows, length), generator=generator)
    found = best_spans(start, end, torch.tensor(roles, dtype=torch.uint8), most_tokens=most, top_k=top_k, join=join)
    for i in range(rows):
        expected = every_span(start[i], end[i], roles[i], most, join)[:top_k]
        real = np.isfinite(found.scores[i])
        assert real.sum() == len(expected)
        np.testing.assert_allclose(found.scores[i][real], [float(score) for score, _, _ in expected], rtol=1e-6)
        for score, s, e in zip(found.scores[i][real], found.starts[i][real], found.ends[i][real], strict=True):
            assert roles[i][s] == roles[i][e] == CONTEXT
            assert s <= e < s + most
            assert score == pytest.approx(float(join(start[i, s], end[i, e])))
        none = sum(float(join(start[i, j], end[i, j])) for j in range(length) if roles[i][j] == NOTHING)
        assert found.nothing[i] == pytest.approx(none)


def test_probabilities_leave_out_what_does_not_count():
    roles = torch.tensor([[NOTHING, NEVER, COUNTED, CONTEXT, CONTEXT, NEVER]], dtype=torch.uint8)
    logits = torch.tensor([[1.0, 50.0, 2.0, 3.0, -4.0, 70.0]], dtype=torch.bfloat16)
    found = probabilities(logits, roles)
    assert found.dtype == torch.float32
    expected = torch.tensor([1.0, 2.0, 3.0, -4.0]).softmax(-1)
    torch.testing.assert_close(found[0, [0, 2, 3, 4]], expected)
    assert found[0, [1, 5]].tolist() == [0, 0]


@pytest.mark.parametrize("join", [torch.mul, torch.add])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_separate_spans_are_those_that_a_greedy_choice_keeps(join, data):
    length, rows = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    most, top_k = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 9))
    roles = data.draw(st.lists(st.lists(st.sampled_from([NEVER, CONTEXT, CONTEXT]), min_size=length, max_size=length),
                               min_size=rows, max_size=rows))  # fmt: skip
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    start, end = torch.randint(0, 4, (2, rows, length), generator=generator).float()  # many are equal
    found = separate_spans(start, end, torch.tensor(roles, dtype=torch.uint8), most_tokens=most, top_k=top_k, join=join)
    for i in range(rows):
        chosen = []
        for score, s, e in sorted(
            every_span(start[i], end[i], roles[i], most, join), key=lambda x: (-x[0], x[1], x[2])
        ):
            nested = any((s <= a and b <= e) or (a <= s and e <= b) for _, a, b in chosen)
            if not nested and len(chosen) < top_k:
                chosen.append((float(score), s, e))
        real = np.isfinite(found.scores[i])
        rows_ = zip(found.scores[i][real], found.starts[i][real], found.ends[i][real], strict=True)
        assert [(float(score), s, e) for score, s, e in rows_] == chosen
