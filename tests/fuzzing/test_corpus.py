"""What a fuzzer has found worth keeping, given to each parser once more; `scripts/fuzz` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.target import Target
from tests.fuzzing.targets import NAMES, target

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", NAMES)
def test_each_input_is_taken_or_refused(name):
    parser = target(name)
    taken = [parser.feed(data) for data in parser.seeds()]
    assert any(taken), "a fuzzer begins with what is read"
    for path in sorted((CORPUS / name).glob("*")):  # none where the seeds reach all
        parser.feed(path.read_bytes())


def test_the_corpus_is_of_the_targets_and_small():
    assert {path.name for path in CORPUS.iterdir()} <= set(NAMES)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 500_000


def test_what_is_no_refusal_comes_through():
    def fall(data):
        raise LookupError if data else ValueError

    falling = Target(fall, list, (ValueError,))
    assert not falling.feed(b"")
    with pytest.raises(LookupError):
        falling.feed(b"x")
