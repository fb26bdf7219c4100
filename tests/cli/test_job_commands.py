"""`sensorium job`: a run that fails in part, what is told of it, a retry, an export, and what is refused."""

from __future__ import annotations

import csv
import json
import signal

import pyarrow.parquet as pq
import pytest

from sensorium.cli.jobs.commands import COMMANDS
from tests import media, tiny

from .test_process import HEAVY, finish, loaded, start, wait_until

FLOAT = ("--device", "cpu", "--dtype", "float32")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.jpg").write_bytes(media.jpeg(seed=i))
    (folder / "3.jpg").write_bytes(b"no picture")
    return folder


def job(*words, **more):
    return finish(start("job", *words, **more))


def test_a_job_from_its_inputs_to_a_table(pictures, tmp_path):
    out, table = tmp_path / "out", tmp_path / "table"
    (tmp_path / "list.csv").write_text(
        "path,id\n" + "".join(f"{pictures}/{i}.jpg,00{i}\n" for i in range(5)), encoding="utf-8"
    )
    command = ("run", "image-classification", tmp_path / "list.csv", "--column", "image=path", "--carry", "id")
    command += ("--model", tiny.folder("vit"), "--out", out, *FLOAT)
    code, told, err = job(*command, "--top-k", "2", "--shard-size", "2", "--json")
    report = json.loads(told)
    assert code == 1, err
    assert (report["ok"], report["failed"], report["codes"], report["ran"]) == (4, 1, {"not-a-picture": 1}, 5)

    code, told, _ = job("failures", out)
    assert code == 1 and told.startswith(f"{pictures}/3.jpg\tnot-a-picture\t") and told.count("\n") == 1

    (pictures / "3.jpg").write_bytes((pictures / "2.jpg").read_bytes())
    code, _, err = job(*command, "--top-k", "2", "--shard-size", "2", "--refresh")
    assert code == 1 and "listed the inputs again: 0 new inputs" in err  # the rows of the table are the same
    code, told, err = job("retry", out, "--code", "not-a-picture")
    assert code == 0 and "ran 1 inputs" in err, err
    code, told, _ = job("status", out)
    assert (code, told) == (0, f"{out}: 5 of 5 inputs have a result\n")

    code, told, _ = job("report", out)
    assert (code, told) == (0, f"{out}/report.html\n")

    for suffix in (".csv", ".jsonl", ".parquet"):
        assert job("export", out, "--to", f"{table}{suffix}")[0] == 0
    assert job("export", out, "--to", f"{table}.csv")[0] == 2  # is there
    with open(f"{table}.csv", encoding="utf-8") as file:  # noqa: PTH123
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["000", "001", "002", "003", "004"]
    with open(f"{table}.jsonl", encoding="utf-8") as file:  # noqa: PTH123
        lines = [json.loads(line) for line in file]
    assert [json.loads(row["labels"]) for row in rows] == [line["labels"] for line in lines]
    assert pq.read_table(f"{table}.parquet").to_pylist() == lines
    assert len(lines[3]["labels"]) == 2

    code, _, err = job(*command, "--shard-size", "3")
    assert code == 2 and "top_k: 2 before, None now" in err and "--shard-size: 2 before, 3 now" in err


def test_ctrl_c_keeps_what_was_done_and_the_same_command_goes_on(pictures, tmp_path):
    out = tmp_path / "out"
    for i in range(5, 40):
        (pictures / f"{i}.jpg").write_bytes(media.jpeg(seed=i))
    command = ("run", "image-classification", pictures, "--model", tiny.folder("vit"), "--out", out, *FLOAT)
    command += ("--shard-size", "1")
    process = start("job", *command)
    wait_until(process, lambda: (out / "parts").is_dir() and len(list((out / "parts").glob("*.parquet"))) > 2)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and "the same command goes on" in err
    done = {path.name for path in (out / "parts").glob("*.parquet")}
    code, _, err = job(*command)
    assert code == 1 and f"ran {40 - len(done)} inputs" in err
    assert done <= {path.name for path in (out / "parts").iterdir()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "image-classification", "x.jpg"), "--out"),
        (("run", "image-clasification", "x.jpg", "--out", "o"), "Did you mean 'image-classification'"),
        (("run", "image-classification", "x.jpg", "--out", "o", "--max-failures", "5 percent"), 'a share such as "5%"'),
        (("run", "image-classification", "x.jpg", "--out", "o", "--column", "path"), "image=path"),
        (("rnu",), "Did you mean 'run'"),
        (("status", "nowhere"), "not the folder of a job"),
    ],
)
def test_wrong_commands_are_refused(words, told, tmp_path):
    code, _, err = job(*words, cwd=tmp_path)
    assert code != 0 and told in err and "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_help_loads_nothing_heavy():
    for words in (("job", "--help"), ("job", "run", "image-classification", "--help")):
        assert not loaded(*words) & {*HEAVY, "pyarrow"}
    assert list(COMMANDS) == ["status", "report", "failures", "retry", "export"]
