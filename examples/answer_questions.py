"""Answers questions from text files, and shows each answer in its sentence.

    python examples/answer_questions.py "Where does the river begin?" FILE… --model NAME

Files of any length are read in overlapping windows; those of all files share batches. Without FILE a short text is
read. NAME is a checkpoint of the Hub, such as distilbert/distilbert-base-cased-distilled-squad, or a local folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sensorium import InputError, pipeline

RIVER = """The river begins in the hills north of the town, and runs past the old mill to the sea. In the storm of 1953
the water rose four metres. Since then the keeper of the lock has looked at it every morning."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer questions from text files.")
    parser.add_argument("question")
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--model", required=True)
    parser.add_argument("--top-k", type=int, default=3)
    options = parser.parse_args()

    texts = {str(path): path.read_text(encoding="utf-8") for path in options.files} or {"the river": RIVER}
    with pipeline("question-answering", model=options.model) as ask:
        found = ask(question=options.question, context=list(texts.values()), top_k=options.top_k, on_error="return")
    for (name, text), answers in zip(texts.items(), found, strict=True):
        print(name)
        if isinstance(answers, InputError):
            print(f"  {answers}")
            continue
        for answer in answers:
            start, end = answer["start"], answer["end"]
            before, after = text[max(0, start - 30) : start], text[end : end + 30]
            print(f"  {answer['score']:.3f}  …{before}[{answer['answer']}]{after}…".replace("\n", " "))


if __name__ == "__main__":
    main()
