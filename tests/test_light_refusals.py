"""What is wrong with a call is told before torch is imported, which takes longer than all the rest."""

from __future__ import annotations

import json
import subprocess
import sys

CALLS = """
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import sensorium
from pathlib import Path

told = []
for arguments, keywords in {calls}:
    try:
        sensorium.pipeline(*arguments, **keywords)
    except sensorium.SensoriumError as error:
        told.append([type(error).__name__, str(error), "torch" in sys.modules])
print(json.dumps(told))
"""

TASK = "image-classification"
WRONG_CALLS = {
    "a Hub id with a space": ([TASK, "no/such folder"], {}, "CheckpointNotFoundError", "neither a local folder nor"),
    "a folder that is not there": ([TASK, "./nowhere"], {}, "CheckpointNotFoundError", "does not exist"),
    "a folder without a model": ([TASK, "."], {}, "CheckpointNotFoundError", "expected config.json"),
    "an address": ([TASK, "https://hub.example/a/b"], {}, "CheckpointError", "expected the name of a checkpoint"),
    "a Hub id that nobody has": ([TASK, "nobody/nothing"], {}, "DownloadError", "not wholly in the cache"),
    "a starter": ([TASK, "starter/image-clasification"], {}, "CheckpointNotFoundError", "Did you mean"),
    "a reader": (["retrieval-qa"], {"reader": "./nowhere"}, "CheckpointNotFoundError", "does not exist"),
    "no task": ([], {"model": "./nowhere"}, "CheckpointNotFoundError", "does not exist"),
    "a task": (["image-clasification"], {}, "UnknownNameError", "Did you mean 'image-classification'"),
    "a keyword": ([TASK], {"modle": "x"}, "UnknownNameError", "Did you mean 'model'"),
    "an option": ([TASK], {"top_k": 3}, "OptionError", "pass it there"),
    "a keyword of Transformers": ([TASK], {"torch_dtype": "float32"}, "OptionError", "pass dtype="),
    "a dtype": ([TASK], {"dtype": "flaot32"}, "OptionError", "dtype is"),
    "a batch size": ([TASK], {"batch_size": 0}, "OptionError", "batch_size is"),
    "nothing": ([], {}, "OptionError", "name a task, a model, or both"),
    "a revision": ([TASK, "starter/image-classification"], {"revision": "x"}, "OptionError", "Leave it out"),
}


def test_a_wrong_call_is_refused_before_torch_is_imported():
    calls = [(arguments, keywords) for arguments, keywords, *_ in WRONG_CALLS.values()]
    told = _run(CALLS, calls=calls)
    assert len(told) == len(WRONG_CALLS)
    for (what, (_, _, kind, says)), (name, message, with_torch) in zip(WRONG_CALLS.items(), told, strict=True):
        assert (name, with_torch) == (kind, False), f"{what}: {message}"
        assert says in message, what


COMMANDS = """
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from typer.testing import CliRunner
from sensorium.cli import app

told = []
for words in {commands}:
    got = CliRunner().invoke(app, [*words, "./nowhere"])
    told.append([got.exit_code, got.stderr, "torch" in sys.modules])
print(json.dumps(told))
"""

WRONG_COMMANDS = [
    ["run", TASK, "a.jpg", "--model"],
    ["run", "automatic-speech-recognition", "a.wav", "--model"],
    ["run", "retrieval-qa", "a question", "--index", "idx", "--model"],
    ["run", "retrieval-qa", "a question", "--index", "idx", "--model", "starter/dpr-reader-wordnet", "--encoder"],
    ["run", "retrieval", "a question", "--index", "idx", "--reranker"],
    ["index", "build", "a.txt", "--out", "idx", "--encoder"],
    ["index", "add", "idx", "a.txt", "--query-model"],
    ["index", "refresh", "idx", "a.txt", "--encoder"],
    ["index", "search", "idx", "a question", "--reranker"],
    ["index", "search", "idx", "a question", "--encoder"],
    ["index", "ask", "idx", "a question", "--reader"],
    ["index", "eval", "idx", "questions.jsonl", "--reader"],
]


def test_the_command_line_refuses_a_wrong_model_before_torch_is_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text('{"question": "who?", "answers": ["she"]}')
    for words, (code, says, with_torch) in zip(WRONG_COMMANDS, _run(COMMANDS, commands=WRONG_COMMANDS), strict=True):
        assert (code, with_torch) == (1, False), (words, says)
        assert says.startswith("error: expected a local folder, but './nowhere' does not exist"), words


IMPORTS = """
import json, sys
from sensorium.tasks.base import all_tasks

tasks = all_tasks()
print(json.dumps(["torch._dynamo" in sys.modules, len(tasks)]))
"""


def test_tasks_do_not_import_what_compiles():
    """`torch._dynamo` takes as long as torch itself. Transformers' and timm's models import it all the same."""
    compiles, count = _run(IMPORTS)
    assert count > 10
    assert not compiles


FIRST_CALL = """
import json, sys
import numpy, sensorium

with sensorium.pipeline("image-classification", "starter/image-classification", device="cpu") as pipe:
    pipe(numpy.zeros((40, 60, 3), numpy.uint8))
print(json.dumps("torch._inductor.compile_fx" in sys.modules))
"""


def test_a_single_call_does_not_import_the_compiler():
    assert _run(FIRST_CALL) is False


def _run(code, **values):
    """What a script in another process prints as JSON."""
    code = code.format(**values) if values else code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
