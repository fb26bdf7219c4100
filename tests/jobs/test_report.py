"""The report of a job: what it tells, that nothing in it can act, and that nothing depends on it."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from sensorium.errors import JobStoppedError
from sensorium.jobs import Job, page, thumbnails
from sensorium.jobs.stores import open_store
from sensorium.jobs.timings import ShardTiming, TimingSummary, read_timings
from tests import media
from tests.test_report import Page

from .conftest import make_job, parts_of

EVIL = "<script>alert(1)</script>.jpg"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A job of which three kinds of inputs failed."""
    folder = tmp_path_factory.mktemp("done")
    pictures = folder / "pictures"
    pictures.mkdir()
    for i in range(8):
        (pictures / f"{i}.jpg").write_bytes(media.jpeg(300, 200, seed=i))
    whole = (pictures / "3.jpg").read_bytes()
    (pictures / "3.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    nothing = [EVIL, *(f"nowhere/{i}.jpg" for i in range(9))]
    make_job([pictures, *nothing], folder / "out", shard_size=4).run()
    return folder / "out"


def read(folder):
    return Page((folder / page.NAME).read_text(encoding="utf-8"))


def cards(told):
    """The sources of the inputs that are shown, and which have a picture."""
    shown, inside = [], False
    for tag, attrs in told.elements:
        inside = tag == "article" or (inside and tag != "section")
        shown += [False] if tag == "article" else []
        if tag == "img" and inside:
            shown[-1] = attrs["src"].startswith("data:image/jpeg;base64,")
    return shown


def test_it_tells_totals_failures_and_what_cost_most(done):
    told = read(done)
    text = " ".join(filter(None, told.text))
    assert "inputs 18 results 7 failed 11 Rate 18 inputs were run in" in text
    assert f"missing-file 10 inputs, of which the first 6 {EVIL} expected a picture file" in text
    assert "nowhere/4.jpg" in text and "truncated 1 input " in text
    assert cards(told) == [False] * 6 + [True]  # half a picture is one
    slowest = text[text.index("Slowest inputs") :]
    assert slowest.count(" ok ") == 7 and slowest.count("truncated") == 1 and "0.jpg" in slowest
    assert [tag for tag, _ in told.elements].count("rect") == 5  # a bar for each shard


def test_nothing_in_it_can_act(done):
    told = read(done)
    assert {tag for tag, _ in told.elements}.isdisjoint({"script", "iframe", "object", "link", "form", "a", "base"})
    assert not [name for _, attrs in told.elements for name in attrs if name.startswith("on") or name == "href"]
    policy = [attrs["content"] for tag, attrs in told.elements if tag == "meta" and "http-equiv" in attrs]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert any(EVIL in text for text in told.text)


def test_nothing_depends_on_it_and_without_times_it_says_so(done, tmp_path):
    parts = parts_of(done)
    kept = (done / "timings.jsonl").read_bytes()
    (done / "timings.jsonl").unlink()
    job = Job.open(done)
    try:
        assert job.write_report() == str(done / "report.html")
        text = " ".join(read(done).text)
        assert "There are no times of this job" in text and "truncated" in text
        (done / "timings.jsonl").write_bytes(kept[: len(kept) // 2])
        job.write_report()
        assert "Of 5 shards that are done, 2 have their times" in " ".join(read(done).text)
        (done / page.NAME).unlink()
        assert job.run().ran == 0 and (done / page.NAME).exists()
        assert parts_of(done) == parts
    finally:
        (done / "timings.jsonl").write_bytes(kept)


def test_a_run_that_is_stopped_leaves_it_and_its_counts(pictures, tmp_path):
    inputs = [pictures / "00.jpg", *(f"nowhere/{i}.jpg" for i in range(12))]
    with pytest.raises(JobStoppedError):
        make_job(inputs, tmp_path / "out").run(max_failures=3)
    assert "still to be done 7" in " ".join(filter(None, read(tmp_path / "out").text))
    counts = json.loads((tmp_path / "out" / "job.json").read_text())["counts"]
    assert (counts["failed"], counts["complete"]) == (5, False)


def test_what_ends_processes_is_not_opened_for_it(monkeypatch):
    asked = []

    def recorded(paths, *_):
        asked.extend(paths)
        return ["data:"] * len(paths)

    monkeypatch.setattr(page, "thumbnails", recorded)
    found = {"crashed": [page.FailureCard("a.jpg", "", True)], "truncated": [page.FailureCard("b.jpg", "", False)]}
    page._illustrate(found, {"task": "image-classification", "settings": {}, "cwd": None})
    assert asked == ["b.jpg"]
    assert [found["crashed"][0].image, found["truncated"][0].image] == [None, "data:"]
    page._illustrate(found, {"task": "question-answering", "settings": {}, "cwd": None})
    assert asked == ["b.jpg"]  # texts are no pictures


def test_pictures_that_take_too_long_are_left_out(pictures, monkeypatch):
    paths = ["00.jpg", "nowhere.jpg", "01.jpg"]
    made = thumbnails.thumbnails(paths, {"max_pixels": 10**6}, str(pictures))
    assert [each is not None for each in made] == [True, False, True]
    assert thumbnails.thumbnails(paths, {"max_pixels": 10}, str(pictures)) == [None] * 3
    monkeypatch.setattr(thumbnails, "TIMEOUT_S", 0.0)
    assert thumbnails.thumbnails(paths, None, str(pictures)) == [None] * 3


def timing(began, ended, ran, *, shard=0, slowest=()):
    return ShardTiming(shard, 0, ended, ended - began, ran, slowest)


def test_rates_leave_pauses_out_and_add_up_where_workers_overlap():
    summary = TimingSummary(iter([timing(1000, 1010, 100), timing(5000, 5010, 300)]), slowest=3)
    rates = summary.rates()
    assert rates.seconds == pytest.approx(20) and rates.a_second == pytest.approx([10, 30])
    both = TimingSummary(iter([timing(0, 10, 100), timing(5, 15, 200), timing(10, 15, 50)]), slowest=3).rates()
    assert both.seconds == pytest.approx(15) and both.a_second == pytest.approx([10, 30, 30])
    assert TimingSummary(iter([]), slowest=3).rates() is None
    back = TimingSummary(iter([timing(100, 110, 10), timing(50, 60, 10)]), slowest=3).rates()  # the clock was set back
    assert back.a_second == pytest.approx([1, 1])


def test_the_dearest_inputs_are_those_of_all_shards_each_once():
    told = [timing(i, i + 1, 9, shard=i % 3, slowest=[(i % 50, 1 + i), (200 + i, 0.5)]) for i in range(500)]
    summary = TimingSummary(iter(told), slowest=2)
    assert summary.slowest == [(49, 500), (48, 499)]
    assert (summary.shards, summary.ran) == (3, 4500)


def test_lines_that_are_cut_short_or_hold_something_else_are_passed_over(tmp_path):
    good = {"shard": 1, "generation": 0, "ended": 9.0, "seconds": 1.0, "ran": 4, "slowest": [[7, 0.5]]}
    lines = [json.dumps(good), "{}", "7", "null", '{"shard": "x"}', "\x00\xff", json.dumps(good)[:30]]
    (tmp_path / "timings.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [(each.shard, each.began, list(each.slowest)) for each in read_timings(open_store(tmp_path))] == [
        (1, 8.0, [(7, 0.5)])
    ]


def test_a_million_inputs_do_not_lie_in_memory():
    told = (timing(i, i + 1, 512, shard=i, slowest=[(512 * i + k, 1.0) for k in range(10)]) for i in range(20_000))
    tracemalloc.start()
    summary = TimingSummary(told, slowest=20)
    rates = summary.rates()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rates.a_second) == 60 and np.allclose(rates.a_second, 512)
    assert peak < 10e6  # ten million inputs


def test_a_chart_has_its_bars_between_its_lines():
    from sensorium.jobs.timings import Rates

    chart = page._chart(Rates(7300.0, [0.0, 37.0, 12.0]), 1000)
    assert [tick["text"] for tick in chart["ticks"]] == ["0", "10", "20", "30", "40"]
    assert chart["time"] == "2 h 02 min"
    base = chart["ticks"][0]["at"]
    assert [round(bar["y"] + bar["height"], 1) for bar in chart["bars"]] == [base] * 3
    assert page._chart(Rates(0.5, [0.0]), 0)["bars"][0]["height"] == 0
