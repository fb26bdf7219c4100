"""The protocol of results: what it brings by itself, and that nothing more is asked of a result."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sensorium.results
from sensorium.cli.sinks import Archive, JsonLines, Lines, Page, Tables
from sensorium.errors import OptionError
from sensorium.report import Report
from sensorium.results import CocoFile, Crop, Result, Row, SearchResults, Transcript

PACKAGE = Path(sensorium.__file__).parent
USERS = [PACKAGE / "report.py", *(PACKAGE / "cli" / f"{name}.py" for name in ("running", "sinks", "telling"))]
TABLES = {"records", "to_pandas", "to_polars", "columns", "schema", "to_row", "from_row"}
FOR_PEOPLE = {"seconds", "source", "time_s", "to_json", *TABLES}
MEMBERS = {"index", "to_dict", "lines", "plot", "save", "arrays", *FOR_PEOPLE}


@dataclass
class Depth(Result):
    """The least that a result can be."""

    metres: float
    index: int = 0

    def to_dict(self):
        return {"metres": self.metres}


class Watched(Depth):
    """Keeps what was asked of it from outside."""

    def __init__(self):
        super().__init__(2.5)
        object.__setattr__(self, "asked", set())

    def __getattribute__(self, name):
        caller = inspect.currentframe().f_back.f_code.co_filename
        if Path(caller) in USERS:
            object.__getattribute__(self, "asked").add(name)
        return object.__getattribute__(self, name)


def test_a_result_that_only_has_its_dict_can_all_the_rest(tmp_path):
    result = Depth(2.5)
    assert isinstance(result, Result)
    assert result.lines() == ['{"metres": 2.5}']
    assert result.arrays() == {}
    with pytest.raises(ValueError, match="a Depth cannot be drawn"):
        result.plot(Image.new("RGB", (4, 4)))
    result.save(tmp_path / "depth.json")
    assert json.loads((tmp_path / "depth.json").read_text(encoding="utf-8")) == {"metres": 2.5}


def test_a_long_one_is_cut_and_written_as_it_is():
    assert Depth("é" * 500).lines() == ['{"metres": "' + "é" * 187 + "…"]


def test_without_its_dict_there_is_no_result():
    class Nothing(Result):
        index = 0

    with pytest.raises(TypeError, match="to_dict"):
        Nothing()
    assert not isinstance(object(), Result)


def test_every_result_of_the_package_derives_from_it():
    classes = {each for each in vars(sensorium.results).values() if inspect.isclass(each)}
    assert len(classes) >= 14
    for each in classes - {Result, Row, SearchResults, CocoFile, Crop}:  # no call gives the last three
        assert Result in each.__mro__, each
        assert "__dict__" not in dir(each), f"{each.__name__} has slots, and its base must not undo them"


def test_the_protocol_holds_what_people_and_programs_use():
    members = {*vars(Result), *Result.__annotations__}
    assert {name for name in members if not name.startswith("_")} == MEMBERS


def test_the_command_line_and_the_report_ask_for_nothing_else(tmp_path, capsysbinary):
    result = Watched()
    rows, page = (
        JsonLines(str(tmp_path / "x.jsonl")),
        Page(str(tmp_path / "x.html"), Report("run")),
    )
    image = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(image)
    for sink in (rows, JsonLines(None), Lines(), Tables(), page):
        sink.begin()
        sink.add(str(image), result)
        sink.finish()
        sink.close()
    with pytest.raises(OptionError, match="for results with arrays"):
        Archive(str(tmp_path / "y.npz")).add("x", result)
    shown = [*capsysbinary.readouterr().out.decode().splitlines(), (tmp_path / "x.html").read_text(encoding="utf-8")]
    assert sum("2.5" in each for each in shown) == 4, "every sink has shown it"
    assert result.asked - {"__class__"} == MEMBERS - {"save", *FOR_PEOPLE}, "saving is for people"


def test_nobody_looks_whether_a_result_can_do_something():
    for path in USERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("hasattr", "getattr"), f"{path.name}:{node.lineno} asks for what Result may not have"


def test_arrays_of_a_new_kind_of_result_go_into_an_archive(tmp_path):
    class Map(Depth):
        def arrays(self):
            return {"metres": np.full((2, 3), self.metres)}

    sink = Archive(str(tmp_path / "x.npz"))
    sink.add("a", Map(1.0, index=0))
    sink.add("b", Map(2.0, index=1))
    sink.finish()
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["metres"].tolist() == [[[1.0] * 3] * 2, [[2.0] * 3] * 2]
        assert archive["index"].tolist() == [0, 1]


def test_a_transcript_is_not_drawn_on_a_picture():
    with pytest.raises(ValueError, match="is not drawn on a picture"):
        Transcript("hello", ["hello"], [0.0], [1.0]).plot(Image.new("RGB", (4, 4)))
