"""Hundreds of inputs that ask for far more than they are large: each ends in its own words, in bounded time and memory.

A few of each kind are tried always; all of them by

    python -m pytest tests/hostile -m slow
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.hostile import checkpoints, documents, pictures, plain_pictures, rarer_pictures, rows, sounds, stored, tables
from tests.hostile.bomb import Bomb
from tests.hostile.reader import Reader, tried

ROOMS = (pictures, rarer_pictures, plain_pictures, sounds, documents, rows, tables, stored, checkpoints)
BOMBS = {room.__name__.rpartition(".")[2]: list(room.all_bombs()) for room in ROOMS}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def some(room: str, count: int) -> list[Bomb]:
    """A few of a room, spread over it."""
    return BOMBS[room][:: len(BOMBS[room]) // count]


FEW = [bomb for room in ("pictures", "rarer_pictures", "plain_pictures", "sounds", "rows", "tables", "stored")
       for bomb in some(room, 4)]  # fmt: skip


def test_there_are_hundreds_and_each_is_another():
    names = [bomb.name for bombs in BOMBS.values() for bomb in bombs]
    assert len(names) == len(set(names)) > 300


@pytest.mark.parametrize("bomb", FEW, ids=lambda bomb: bomb.name)
def test_a_few_bombs_do_no_harm(bomb, reader, tmp_path):
    tried(bomb, reader, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bomb", [bomb for bombs in BOMBS.values() for bomb in bombs], ids=lambda bomb: bomb.name)
def test_a_bomb_does_no_harm(bomb, reader, tmp_path):
    tried(bomb, reader, tmp_path)
