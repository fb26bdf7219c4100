"""Turns at the device: everybody comes in the order of asking, whoever gives way included."""

from __future__ import annotations

import threading

import pytest

from sensorium.pipelines.turns import Turns


def wait_until(turns, count):
    """Waits until so many threads stand in line."""
    never = threading.Event()
    while turns.waiting != count:
        never.wait(0.001)


def in_line(turns, names, said):
    """Threads that ask for their turn in this order, and say their names in it."""
    threads = []
    for count, name in enumerate(names, turns.waiting + 1):

        def work(name=name):
            with turns:
                said.append(name)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        wait_until(turns, count)
    return threads


def end(threads):
    for thread in threads:
        thread.join()


def test_turns_come_in_the_order_of_asking():
    turns, said = Turns(), []
    with turns:
        threads = in_line(turns, "abcde", said)
        assert said == []
    end(threads)
    assert said == list("abcde")


def test_giving_way_lets_all_that_wait_in_before_going_on():
    turns, said = Turns(), []
    with turns:
        with turns:  # twice: it is given up whole, and had again whole
            threads = in_line(turns, "abc", said)
            turns.give_way()
            said.append("me")
            late = in_line(turns, "d", said)
        assert said == ["a", "b", "c", "me"]
    end(threads + late)
    assert said == ["a", "b", "c", "me", "d"]
    turns.acquire()
    turns.release()


def test_giving_way_to_nobody_goes_on():
    turns = Turns()
    with turns:
        turns.give_way()
    with pytest.raises(RuntimeError, match="another thread's turn"):
        turns.give_way()
    with pytest.raises(RuntimeError, match="another thread's turn"):
        turns.release()


def test_only_one_thread_has_the_turn():
    turns, inside, most = Turns(), [0], [0]

    def work():
        for i in range(300):
            with turns:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
                if i % 3 == 0:
                    turns.give_way()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    end(threads)
    assert (inside, most, turns.waiting) == ([0], [1], 0)


def test_an_interrupted_wait_leaves_the_line(monkeypatch):
    from sensorium.pipelines import turns as module

    class Interrupted(module._Place):
        """A place whose owner is interrupted while waiting: a plain lock would have to be hit by a signal."""

        def __init__(self, thread):
            super().__init__(thread)
            self.called = self

        def acquire(self):
            raise KeyboardInterrupt

    turns, said, met = Turns(), [], []
    with turns:
        monkeypatch.setattr(module, "_Place", Interrupted)

        def work():
            try:
                turns.acquire()
            except KeyboardInterrupt:
                met.append(turns.waiting)

        thread = threading.Thread(target=work)
        thread.start()
        end([thread])
        monkeypatch.undo()
        threads = in_line(turns, "ab", said)
    end(threads)
    assert (met, said) == ([0], ["a", "b"])
