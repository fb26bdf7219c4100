"""The HTML report: what it shows, and that nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sensorium
from sensorium.errors import InputError
from sensorium.report import SIDE_PX, Report, score_bars
from sensorium.results import Embedding, Labels

SCRIPT = Path(sensorium.__file__).with_name("report.js").read_text(encoding="utf-8")
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "</title><script>",
    "&lt;b&gt;",
    "javascript:alert(1)",
]


class Page(HTMLParser):
    """The elements with their attributes, and the text, as a browser would have them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.script = [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script" and data.strip():
            self.script += data
        else:
            self.text.append(data.strip())

    def images(self):
        return [attrs["src"] for tag, attrs in self.elements if tag == "img"]


def labels(*names):
    return Labels(names, np.linspace(0.9, 0.1, len(names)))


def check_inert(page: Page) -> None:
    assert [attrs for tag, attrs in page.elements if tag == "script"] == [{}], "ours, and no other"
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert page.script == SCRIPT
    for tag, attrs in page.elements:
        assert tag not in ("iframe", "object", "embed", "link", "base", "form", "svg"), tag
        assert not [name for name in attrs if name.startswith("on") or name == "href"], attrs
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.images())
    policies = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policies == [f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


@pytest.mark.parametrize("evil", EVIL)
def test_untrusted_text_is_shown_as_it_is_and_does_nothing(evil):
    report = Report(evil, details={evil: evil})
    report.add(evil, labels(evil, "cat"), image=Image.new("RGB", (20, 10)))
    report.add("bad", InputError(evil, code=evil))
    page = Page(report.html())
    check_inert(page)
    places = ["title", "heading", "detail", "its name", "source", "label", "message"]
    places += ["code of its card", "code among the counts", "code to choose"]
    assert page.text.count(evil) == len(places)


@given(st.text(max_size=40))
def test_no_text_breaks_out(text):
    report = Report("run")
    report.add(text, labels(text))
    report.add(text, InputError(text))
    check_inert(Page(report.html()))


def test_pictures_are_embedded_small_and_in_colour():
    report = Report("run")
    report.add("wide.png", labels("cat"), image=Image.new("RGB", (4000, 1000), (200, 30, 30)))
    [source] = Page(report.html()).images()
    data = base64.b64decode(source.partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.size == (SIDE_PX, SIDE_PX // 4)
        assert np.allclose(np.asarray(image).mean((0, 1)), (200, 30, 30), atol=3)
    assert len(data) < 4000


def test_counts_and_cut_are_told_and_failures_come_first():
    report = Report("run", max_shown=2)
    for i in range(4):
        report.add(f"{i}.jpg", labels("cat"))
    for i, code in enumerate(["truncated", "empty-file", "truncated"], 4):
        report.add(f"{i}.jpg", InputError(f"{code} {i}", code=code))
    page = Page(report.html())
    text = " ".join(filter(None, page.text))
    assert "inputs 7 results 4 failed 3 truncated 2 empty-file 1" in text
    assert "4 of 7 inputs are shown: the first 2 that failed, and the first results." in text
    shown = [attrs["data-state"] for tag, attrs in page.elements if tag == "article"]
    assert shown == ["truncated", "empty-file", "result", "result"]
    places = [page.text.index(f"{i}.jpg") for i in (4, 5, 0, 1)]
    assert places == sorted(places)
    assert "2.jpg" not in text
    assert [attrs["value"] for tag, attrs in page.elements if tag == "option"] == [
        "", "result", "truncated", "empty-file",
    ]  # fmt: skip


def test_a_thousand_photographs_make_a_page_that_opens(tmp_path):
    """Grain, which JPEG is worst at, costs no more than 20 kB a picture."""
    grain = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    report = Report("run")
    report.add("grain.png", labels("cat"), image=Image.fromarray(grain))
    [source] = Page(report.html()).images()
    assert 1000 * len(source) < 20e6


def test_a_picture_that_has_gone_costs_only_itself(tmp_path):
    report = Report("run")
    report.add("gone.jpg", labels("cat"), image=tmp_path / "gone.jpg")
    page = Page(report.html())
    assert page.images() == []
    assert "cat" in page.text


def test_bars_fill_their_share_of_one_or_of_the_largest_logit():
    assert [bar.percent for bar in score_bars(Labels(["a", "b"], [0.75, 0.25]))] == [75, 25]
    assert [bar.percent for bar in score_bars(Labels(["a", "b", "c"], [4.0, 1.0, -3.0]))] == [100, 25, 0]
    assert [bar.percent for bar in score_bars(Labels(["a", "b"], [float("nan"), 0.5]))] == [0, 50]
    assert score_bars(Embedding(np.ones(3))) == []


def test_results_without_labels_are_told_in_words():
    report = Report("run")
    report.add("a.jpg", Embedding(np.array([3.0, 4.0], dtype=np.float32)), image=Image.new("RGB", (20, 10)))
    assert "2 numbers, norm 5" in Page(report.html()).text


def test_results_that_can_be_drawn_are_drawn():
    """Feature maps stand beside the picture, so what is embedded is twice as wide; one vector leaves it alone."""
    image = Image.new("RGB", (100, 100))
    report = Report("run")
    report.add("maps", Embedding(np.ones(3), [np.random.default_rng(0).random((4, 5, 5))], ["stage1"]), image=image)
    report.add("vector", Embedding(np.ones(3)), image=image)
    sizes = []
    for source in Page(report.html()).images():
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as drawn:
            sizes.append(drawn.size)
    assert sizes == [(200, 100), (100, 100)]


def test_saving_replaces_the_file_as_a_whole(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("before")
    report = Report("run")
    report.add("name with a byte that is not UTF-8: \udcff", labels("cat"))
    report.save(target)
    assert "cat" in Page(target.read_text(encoding="utf-8")).text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_no_control_character_reaches_the_page():
    report = Report("a\x1b[2Jb", details={"model\x07": "x\x9b1m"})
    report.add("na\x1bme\u202egpj.exe", InputError("bad \x1b]0;title\x07", code="corrupt", index=0))
    page = report.html()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    for shown in (r"a\x1b[2Jb", r"model\x07", r"x\x9b1m", r"na\x1bme\u202egpj.exe", r"bad \x1b]0;title\x07"):
        assert shown in page
