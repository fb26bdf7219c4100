"""Writes a new task that runs, for one of Transformers' Auto classes: `scripts/new-task token-classification`.

It writes the task's file, its test and its page from the templates beside this file, and its rows in README.md,
mkdocs.yml and CHANGELOG.md. The task gives the model's own outputs as they are; what is to be made of them is the
author's. What has to be written by hand says FILL IN, and `tests/test_new_task.py` fails until it is.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
sys.path.insert(0, str(ROOT))  # for the tests' small models

from scripts.small_models import SmallModel, small_model  # noqa: E402 - found by the line above

CATALOGUE = "sensorium/tasks/catalogue/catalogue.json"
"""What the command line says of tasks, where it is generated and kept; the step is left out where there is none."""

CATALOGUE_COMMAND = ("-m", "sensorium.cli.write_catalogue")
"""Generates it again."""


class Refusal(Exception):  # noqa: N818 - it is told to whoever has called the script, and nothing was written
    """Why no task can be written; the message says what to do."""


@dataclass(frozen=True)
class NewTask:
    """What a new task is made of.

    Attributes:
        name: in kebab-case.
        summary: a line for lists of tasks.
        auto_class: Transformers' Auto class that loads its models.
        kind: what it takes: "image", "audio" or "text".
        model: the small random model that its test runs.
    """

    name: str
    summary: str
    auto_class: str
    kind: str
    model: SmallModel

    @property
    def files(self) -> dict[str, str]:
        """The new files' paths with the names of their templates."""
        stem = self.name.replace("-", "_")
        return {
            f"sensorium/tasks/{stem}.py": f"{self.kind}_task.txt",
            f"tests/tasks/test_{stem}.py": f"{self.kind}_test.txt",
            f"docs/{self.name}.md": "page.txt",
        }

    def render(self, template: str) -> str:
        """The text of a template, filled in."""
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        camel = "".join(word.capitalize() for word in self.name.split("-"))
        return Template(text).substitute(
            name=self.name,
            stem=self.name.replace("-", "_"),
            camel=camel,
            summary=self.summary,
            kind=self.kind,
            auto_class=self.auto_class,
            imports=self.model.imports,
            checkpoint=self._checkpoint(),
            quiet=self._quiet(),
        )

    def _checkpoint(self) -> str:
        """The line of the test that makes the model."""
        if self.model.arguments is None:
            return 'pytest.fail("FILL IN: a small random model and its processor, by tiny.checkpoint(…)")'
        return f"return tiny.checkpoint({self.auto_class}, {self.model.arguments})"

    def _quiet(self) -> str:
        """What the test does with the warning of a processor whose recipe is not known."""
        if self.model.unread is None:
            return "nullcontext()"
        return f'ignored("Sensorium does not read the recipe of {self.model.unread}")'


def main(words: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Writes the task under `root`; 0 if it did, 2 if it refused to."""
    arguments = _arguments(words)
    try:
        check_name(arguments.name, root)
        task = plan(arguments.name, arguments.summary, arguments.auto_class, arguments.input)
        written = write(task, root)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    stem = task.name.replace("-", "_")
    left = [row for name in written for row in left_to_fill_in(root, name) if task.name in row or stem in row]
    print("wrote:", *written, *generate_catalogue(root), sep="\n  ")
    print("left to fill in, beside better results:", *left, sep="\n  ")
    print(f"try it: scripts/test tests/tasks/test_{stem}.py tests/test_contract.py -k '{task.name} or test_{stem}'")
    return 0


def check_name(name: str, root: Path) -> None:
    """Refuses names that are not in kebab-case, and those that are taken."""
    stem = name.replace("-", "_")
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name):
        kebab = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).replace("_", "-").replace(" ", "-").lower()
        hint = f"; {kebab} would be" if re.fullmatch(r"[a-z]+(-[a-z]+)*", kebab) else ""
        raise Refusal(f"{name!r} is no name in kebab-case, of small letters a to z{hint}")
    places = (f"sensorium/tasks/{stem}.py", f"sensorium/tasks/{stem}", f"tests/tasks/test_{stem}.py", f"docs/{name}.md")
    for place in places:
        if (root / place).exists():
            raise Refusal(f"{name!r} is taken: there is {place}; nothing is overwritten")


def plan(name: str, summary: str | None, auto_class: str | None, kind: str | None) -> NewTask:
    """Looks up in Transformers what was not given."""
    from transformers.models.auto import modeling_auto
    from transformers.pipelines import SUPPORTED_TASKS

    known = SUPPORTED_TASKS.get(name, {})
    classes = [each.__name__ for each in known.get("pt", ())]
    kind = kind or (known["type"] if known.get("type") in ("image", "audio", "text") else None)
    auto_class = auto_class or (classes[0] if len(classes) == 1 else None)
    if auto_class is None:
        those = f" (its pipeline takes {', '.join(classes)})" if classes else ""
        raise Refusal(f"say which of Transformers' classes loads the models of {name}{those}: --from AutoModelFor…")
    if kind is None:
        raise Refusal(f"say what {name} takes: --input image, audio or text")
    found = getattr(modeling_auto, auto_class, None)
    if getattr(found, "_model_mapping", None) is None:
        near = difflib.get_close_matches(auto_class, [n for n in vars(modeling_auto) if n.startswith("AutoModelFor")])
        raise Refusal(f"Transformers has no {auto_class}; near are: {', '.join(near) or 'none'}")
    what = {"image": "a picture", "audio": "a sound", "text": "a text"}[kind]
    summary = summary or f"FILL IN: what {what} gives, in a line"
    return NewTask(name, summary, auto_class, kind, small_model(found, kind))


def write(task: NewTask, root: Path) -> list[str]:
    """Writes all files and rows, or nothing where any of them cannot be made."""
    new = {name: task.render(template) for name, template in task.files.items()}
    row = f"| `{task.name}` | {task.summary} | [docs](docs/{task.name}.md) |"
    changed = {
        "README.md": _insert_sorted(root / "README.md", row, r"\| `[a-z-]+` \| .* \| \[docs\]\(docs/.*\) \|"),
        "mkdocs.yml": _insert_sorted(
            root / "mkdocs.yml", f"      - {task.name}: {task.name}.md", r"      - ([a-z-]+): \1\.md"
        ),
        "CHANGELOG.md": _insert_first(root / "CHANGELOG.md", f"- `{task.name}`: {task.summary}.", "### Added"),
    }
    for name, text in new.items():
        with (root / name).open("x", encoding="utf-8") as file:
            file.write(text)
    for name, text in changed.items():
        (root / name).write_text(text, encoding="utf-8")
    python = [name for name in new if name.endswith(".py")]
    for command in (["check", "--fix", "--quiet", "--select", "I,F401"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *python], cwd=root, check=True)
    return [*new, *changed]


def generate_catalogue(root: Path) -> list[str]:
    """Regenerates what the command line says of tasks, where a file keeps it; returns that file's name."""
    if not (root / CATALOGUE).exists():
        return []
    subprocess.run([sys.executable, *CATALOGUE_COMMAND], cwd=root, check=True)
    return [CATALOGUE]


def left_to_fill_in(root: Path, name: str) -> list[str]:
    """The places of a file that say FILL IN, as `path:line: what`."""
    lines = (root / name).read_text(encoding="utf-8").splitlines()
    return [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if "FILL IN" in line]


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/new-task", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="of the task, in kebab-case, as Transformers' pipeline has it if there is one")
    parser.add_argument("--from", dest="auto_class", metavar="AutoModelFor…", help="the class that loads its models")
    parser.add_argument("--input", choices=("image", "audio", "text"), help="what it takes")
    parser.add_argument("--summary", help="what it gives, in a line of 10 to 100 characters")
    return parser.parse_args(words)


def _insert_sorted(path: Path, row: str, pattern: str) -> str:
    """The file's text with a row where it belongs among those that fit the pattern."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [number for number, line in enumerate(lines) if re.fullmatch(pattern, line.rstrip("\n"))]
    if not rows:
        raise Refusal(f"{path.name} has no list of tasks any more; the script has to learn its new form")
    at = next((number for number in rows if lines[number] > row), rows[-1] + 1)
    return "".join([*lines[:at], row + "\n", *lines[at:]])


def _insert_first(path: Path, row: str, heading: str) -> str:
    """The file's text with a row at the beginning of the list under a heading."""
    before, found, after = path.read_text(encoding="utf-8").partition(f"{heading}\n\n")
    if not found:
        raise Refusal(f"{path.name} has no {heading!r} any more; the script has to learn its new form")
    return f"{before}{found}{row}\n{after}"


if __name__ == "__main__":
    sys.exit(main())
